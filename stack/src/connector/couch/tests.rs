//! Tests against a server that misbehaves. A real CouchDB is tested in `tests/suite/couchdb.rs`.

use std::{fs, path::Path, sync::Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Path as Place, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{Condition, Operator};

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers homes that behave with pages of two documents by bookmark, and each other home in its own way.
async fn answer(
    State(seen): State<Seen>,
    Place((home, _)): Place<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let asked: Value = serde_json::from_str(&body).unwrap();
    let credentials = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    seen.lock().unwrap().push((home.clone(), asked.clone()));
    let page =
        |docs: Value, bookmark: Value| json!({"docs": docs, "bookmark": bookmark}).to_string();
    let begin = asked["bookmark"]
        .as_str()
        .map_or(0, |mark| mark.parse().unwrap());
    match home.as_str() {
        "wrong" => return StatusCode::UNAUTHORIZED.into_response(),
        "absent" => return StatusCode::NOT_FOUND.into_response(),
        "broken" => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "moved" => {
            return (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response();
        }
        "slow" => sleep_for_ever().await,
        "malformed" => return "{\"docs\": [".into_response(),
        "list" => return "[]".into_response(),
        "nothing" => return "{\"error\": \"no\"}".into_response(),
        "types" => return page(json!([7]), json!("nil")).into_response(),
        "endless" => {
            let chunk = || Ok::<_, std::io::Error>(vec![b' '; 1 << 16]);
            let chunks = tokio_stream::iter(std::iter::repeat_with(chunk));
            return Body::from_stream(chunks).into_response();
        }
        "circle" => {
            let docs = json!([{"_id": "a"}, {"_id": "b"}]);
            return page(docs, json!("0")).into_response();
        }
        "many" => {
            let docs: Vec<Value> = (0..2)
                .map(|n| json!({"_id": format!("{}", begin + n)}))
                .collect();
            return page(json!(docs), json!((begin + 2).to_string())).into_response();
        }
        _ => {}
    }
    assert_eq!(credentials.as_deref(), Some("Bearer secret-of-good"));
    let documents = [
        json!({"_id": "1", "amount": 12.5, "date": "2026-01-01", "a": {"b": 3}, "flag": true}),
        json!({"_id": "_design/views", "amount": 99}),
        json!({"_id": "2", "amount": "12", "date": null, "a": 4, "flag": [1]}),
        json!({"_id": "3"}),
    ];
    let docs = &documents[begin.min(4)..(begin + 2).min(4)];
    page(json!(docs), json!((begin + 2).to_string())).into_response()
}

async fn sleep_for_ever() {
    std::future::pending::<()>().await;
}

fn config(folder: &Path, url: String, homes: &str) -> Config {
    let path = folder.join("homes.toml");
    dispers_node::keyfile::write_secret(&path, homes).unwrap();
    toml::from_str(&format!(
        "kind = 'couchdb'\nurl = '{url}'\nhomes = '{}'\npage-size = 2\nmax-documents = 10\n
         max-bytes = 1000000\ntimeout-ms = 2000\ndeadline-ms = 3000",
        path.display()
    ))
    .unwrap()
}

const HOMES: [&str; 13] = [
    "wrong",
    "absent",
    "broken",
    "moved",
    "slow",
    "malformed",
    "list",
    "nothing",
    "types",
    "endless",
    "circle",
    "many",
    "good",
];

async fn couch(folder: &Path) -> (Couch, Seen) {
    let seen = Seen::default();
    let routes = Router::new()
        .route("/{home}/{doctype}/_find", post(answer))
        .with_state(seen.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/{{home}}/{{doctype}}",
        listener.local_addr().unwrap()
    );
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let homes: Vec<String> = HOMES
        .iter()
        .map(|home| format!("[home.{home}]\ntoken = 'secret-of-{home}'\n"))
        .collect();
    (
        Couch::open(config(folder, url, &homes.concat())).unwrap(),
        seen,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_whose_source_fails_has_no_documents_and_the_others_have_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let (couch, seen) = couch(folder.path()).await;
    let couch = Arc::new(couch);
    let selector = Selector(vec![
        Condition {
            field: "amount".into(),
            operator: Operator::Less,
            values: vec![json!(100)],
        },
        Condition {
            field: "date".into(),
            operator: Operator::Exists,
            values: Vec::new(),
        },
    ]);
    let homes: Vec<HomeId> = HOMES
        .iter()
        .chain(&["unlisted"])
        .map(|home| HomeId((*home).into()))
        .collect();
    let found = tokio::task::spawn_blocking({
        let couch = couch.clone();
        move || {
            couch.documents(
                "bank",
                &["amount", "date", "a.b", "flag"],
                &homes,
                &selector,
            )
        }
    });
    let mut found = found.await.unwrap().unwrap();
    found.sort_by_key(|(place, _)| *place);
    use FieldValue::{Integer, Null, Real, Text};
    let good = 12;
    let expected = [
        (
            good,
            vec![
                Real(12.5),
                Text("2026-01-01".into()),
                Integer(3),
                Integer(1),
            ],
        ),
        (good, vec![Text("12".into()), Null, Null, Null]),
        (good, vec![Null, Null, Null, Null]),
    ];
    // Values are not shown, not even by a failed test.
    assert!(found == expected);
    let seen = seen.lock().unwrap();
    let asked: Vec<&Value> = seen
        .iter()
        .filter(|(home, _)| home == "good")
        .map(|(_, asked)| asked)
        .collect();
    assert_eq!(asked.len(), 3);
    assert_eq!(
        *asked[0],
        json!({
            "selector": {"$and": [
                {"_id": {"$gt": null}}, {"amount": {"$lt": 100}}, {"date": {"$exists": true}},
            ]},
            "fields": ["amount", "date", "a.b", "flag", "_id"],
            "limit": 2,
        })
    );
    assert_eq!(asked[2]["bookmark"], "4");
    // Reading stops at the bound on documents, and at a repeated bookmark.
    let many = seen.iter().filter(|(home, _)| home == "many").count();
    assert_eq!(many, 6);
    let circle = seen.iter().filter(|(home, _)| home == "circle").count();
    assert_eq!(circle, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_home_is_said_to_whoever_looks() {
    let folder = tempfile::tempdir().unwrap();
    let couch = Arc::new(couch(folder.path()).await.0);
    for (home, said) in [
        ("wrong", "renew them"),
        ("broken", "see its log"),
        ("moved", "see its log"),
        ("slow", "in time"),
        ("malformed", "that of a database"),
        ("types", "that of a database"),
        ("endless", "raise max-documents and max-bytes"),
        ("many", "raise max-documents"),
        ("unlisted", "add it to the file of homes"),
    ] {
        let couch = couch.clone();
        let id = HomeId(home.into());
        let checked = tokio::task::spawn_blocking(move || couch.check(&id, "bank"));
        let error = checked.await.unwrap().unwrap_err().to_string();
        assert!(error.contains(said), "{home}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for (home, count) in [("absent", 0), ("good", 3)] {
        let couch = couch.clone();
        let id = HomeId(home.into());
        let checked = tokio::task::spawn_blocking(move || couch.check(&id, "bank"));
        assert_eq!(checked.await.unwrap().unwrap(), count);
    }
}

#[test]
fn credentials_are_kept_from_others_and_sent_to_nobody_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let said = |url: &str, homes: &str, kind: &str| {
        let mut config = config(folder.path(), url.into(), homes);
        if kind == "cozy" {
            config.kind = Kind::Cozy;
        }
        let opened = Couch::open(config);
        fs::remove_file(folder.path().join("homes.toml")).unwrap();
        opened
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let good = "[home.a]\nuser = 'u'\npassword = 'p'\n";
    assert_eq!(
        said(
            "https://couch.example.org/{home}-{doctype}",
            good,
            "couchdb"
        ),
        ""
    );
    assert_eq!(
        said("http://[::1]:5984/{home}-{doctype}", good, "couchdb"),
        ""
    );
    for (url, homes, kind, words) in [
        (
            "http://couch.example.org/{home}-{doctype}",
            good,
            "couchdb",
            "in clear",
        ),
        ("nonsense", good, "couchdb", "in clear"),
        ("https://{home}", good, "cozy", "needs token"),
        (
            "https://x/{home}-{doctype}",
            "[home.a]\nuser = 'secret-1'\n",
            "couchdb",
            "needs user and password",
        ),
        (
            "https://x/{home}-{doctype}",
            "[home.a]\nurl = 'http://other.example.org'\n",
            "couchdb",
            "in clear",
        ),
        (
            "https://x/{home}-{doctype}",
            "[home.a]\ntokken = 'secret-2'\n",
            "couchdb",
            "unknown field `tokken`",
        ),
        (
            "https://x/{home}-{doctype}",
            "secret-3",
            "couchdb",
            "homes.toml",
        ),
        (
            "https://x/one-{doctype}",
            good,
            "couchdb",
            "same for every home",
        ),
        (
            "https://x/{home}",
            good,
            "couchdb",
            "same for every doctype",
        ),
        (
            "https://u:secret-4@x/{home}-{doctype}",
            good,
            "couchdb",
            "user or password",
        ),
        (
            "https://{home}",
            "[home.'a.org']\ntoken = 't'\n[home.b]\nurl = 'https://A.org/'\ntoken = 't'\n",
            "cozy",
            "the same address",
        ),
    ] {
        let error = said(url, homes, kind);
        assert!(error.contains(words), "{url}: {error}");
        assert!(!error.contains("secret-"), "{error}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let config = config(folder.path(), "https://x/{home}-{doctype}".into(), good);
        let readable = fs::Permissions::from_mode(0o644);
        fs::set_permissions(&config.homes, readable).unwrap();
        let error = Couch::open(config).err().unwrap().to_string();
        assert!(error.contains("homes.toml"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cozy_is_asked_at_its_own_address_for_its_doctype() {
    let operations = |Place(doctype): Place<String>, headers: HeaderMap| async move {
        assert_eq!(doctype, "io.cozy.bank.operations");
        assert_eq!(headers["authorization"], "Bearer secret-of-alice");
        // A Cozy says in `next` whether there is more.
        json!({"docs": [{"_id": "1", "amount": -7}], "next": false, "limit": 2}).to_string()
    };
    let routes = Router::new().route("/data/{doctype}/_find", post(operations));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let folder = tempfile::tempdir().unwrap();
    let homes = format!("[home.'alice.cozy.example']\nurl = '{url}'\ntoken = 'secret-of-alice'\n");
    let mut config = config(folder.path(), "https://{home}".into(), &homes);
    config.kind = Kind::Cozy;
    let couch = Couch::open(config).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let homes = couch.homes().unwrap();
        couch.documents(
            "io.cozy.bank.operations",
            &["amount"],
            &homes,
            &Selector::default(),
        )
    });
    assert!(read.await.unwrap().unwrap() == [(0, vec![FieldValue::Integer(-7)])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_a_redirect_to_another_place() {
    let followed = Arc::new(Mutex::new(0));
    let count = followed.clone();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = format!("http://{}/a/bank/_find", elsewhere.local_addr().unwrap());
    let take = Router::new().fallback(move || async move {
        *count.lock().unwrap() += 1;
        json!({"docs": [], "bookmark": "nil"}).to_string()
    });
    tokio::spawn(async move { axum::serve(elsewhere, take).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/{{home}}/{{doctype}}",
        listener.local_addr().unwrap()
    );
    let redirect = |Place((home, _)): Place<(u16, String)>| async move {
        (StatusCode::from_u16(home).unwrap(), [("location", there)])
    };
    let routes = Router::new().route("/{home}/{doctype}/_find", post(redirect));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let folder = tempfile::tempdir().unwrap();
    let codes = ["301", "302", "303", "307", "308"];
    let homes = codes.map(|code| format!("[home.{code}]\nuser = 'u'\npassword = 'secret'\n"));
    let couch = Arc::new(Couch::open(config(folder.path(), url, &homes.concat())).unwrap());
    for code in codes {
        let couch = couch.clone();
        let checked =
            tokio::task::spawn_blocking(move || couch.check(&HomeId(code.into()), "bank"));
        let refused = checked.await.unwrap().unwrap_err().to_string();
        assert!(refused.contains("see its log"), "{refused}");
    }
    assert_eq!(*followed.lock().unwrap(), 0);
}
