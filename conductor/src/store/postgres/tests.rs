//! Tests of a database that several Conductors share.

use std::{collections::BTreeSet, path::Path, process::Command};

use dispers_testing::cluster;

use super::{Postgres, PostgresError, Settings};
use crate::{
    Error, Store,
    store::tests::{NOW, batch, lease, over, query, settings, state, upload},
};

async fn refusal(settings: &Settings) -> PostgresError {
    Postgres::open(settings).await.err().expect("it is refused")
}

/// Returns the error for settings that are wrong by themselves. No server is asked.
fn said(url: &str, ca: Option<&Path>) -> String {
    let settings = Settings {
        ca: ca.map(Path::to_owned),
        ..settings(url.into())
    };
    let refused = settings.pool().err();
    refused.map_or(String::new(), |error| error.to_string())
}

#[tokio::test]
async fn conductors_that_start_at_once_make_the_tables_once() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let database = cluster.database();
    let settings = settings(cluster.url(&database));
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let settings = settings.clone();
        starts.spawn(async move { Postgres::open(&settings).await.map(|_| ()) });
    }
    for started in starts.join_all().await {
        started.unwrap();
    }
    assert_eq!(
        cluster.run(&database, "SELECT version FROM dispers_conductor"),
        "2"
    );
}

#[tokio::test]
async fn a_query_is_taken_up_by_one_of_many_that_try_at_once() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let settings = settings(cluster.url(&cluster.database()));
    let store = std::sync::Arc::new(Postgres::open(&settings).await.unwrap());
    for number in 0..20 {
        let begun = store.begin(query(number), &over("gone"), 99, NOW).await;
        assert!(begun.unwrap());
    }
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        tries.spawn(async move {
            let mut taken = Vec::new();
            while let Some(one) = store.take_up(&lease(&format!("c{number}"))).await.unwrap() {
                taken.push(one.manifest[0]);
            }
            taken
        });
    }
    let taken: Vec<u8> = tries.join_all().await.concat();
    assert_eq!(taken.len(), 20);
    assert_eq!(BTreeSet::from_iter(taken), (0..20).collect());
}

#[tokio::test]
async fn a_save_whose_answer_was_lost_comes_again_and_changes_nothing() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let settings = settings(cluster.url(&cluster.database()));
    let store = Postgres::open(&settings).await.unwrap();
    let id = query(1).id;
    store.begin(query(1), &lease("a"), 9, NOW).await.unwrap();
    store.save(id, "a", 0, state(1, false)).await.unwrap();
    store.save(id, "a", 0, state(1, false)).await.unwrap();
    // Another state of that version is not the saved one.
    let other = store.save(id, "a", 0, state(2, false)).await;
    assert!(matches!(other, Err(Error::TakenOver)));
    store.save(id, "a", 1, state(2, false)).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_newer_or_none_of_ours_is_refused_and_left_alone() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let database = cluster.database();
    let newer = settings(cluster.url(&database));
    drop(Postgres::open(&newer).await.unwrap());
    cluster.run(&database, "UPDATE dispers_conductor SET version = 9");
    let refused = refusal(&newer).await.to_string();
    for words in [
        &*database,
        "newer dispers (version 9, this one knows 2)",
        "run that one",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
    assert_eq!(
        cluster.run(&database, "SELECT version FROM dispers_conductor"),
        "9"
    );
    cluster.run(&database, "DELETE FROM dispers_conductor");
    assert!(matches!(refusal(&newer).await, PostgresError::Other { .. }));

    let database = cluster.database();
    cluster.run(&database, "CREATE TABLE query (a INTEGER)");
    let refused = refusal(&settings(cluster.url(&database))).await.to_string();
    assert!(
        refused.contains("a table query that is not a conductor's"),
        "{refused}"
    );
    let tables = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(cluster.run(&database, tables), "1");

    // Tables of other names may be in the same database.
    let database = cluster.database();
    cluster.run(&database, "CREATE TABLE people (a INTEGER)");
    Postgres::open(&settings(cluster.url(&database)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_user_that_may_not_write_and_a_server_that_is_read_only_are_named_at_the_start() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let database = cluster.database();
    let owner = settings(cluster.url(&database));
    let store = Postgres::open(&owner).await.unwrap();
    let reader = format!("reader_{database}");
    cluster.run(
        &database,
        &format!(
            "CREATE ROLE {reader} LOGIN PASSWORD 'r';
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"
        ),
    );
    let reader_url = cluster.url_of(&reader, "r", &database);
    let refused = refusal(&settings(reader_url.clone())).await;
    assert!(
        matches!(refused, PostgresError::MayNotWrite(_)),
        "{refused}"
    );
    assert!(refused.to_string().contains("createdb --owner"));
    // The right to write the marker table alone is not enough.
    cluster.run(
        &database,
        &format!("GRANT UPDATE ON dispers_conductor TO {reader}"),
    );
    let refused = refusal(&settings(reader_url.clone())).await;
    assert!(
        matches!(refused, PostgresError::MayNotWrite(_)),
        "{refused}"
    );
    cluster.run(
        &database,
        &format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {reader}"),
    );
    let lesser = Postgres::open(&settings(reader_url)).await.unwrap();
    lesser.add(upload(10, &[1]), 9).await.unwrap();
    cluster.run(&database, &format!("REVOKE INSERT ON entry FROM {reader}"));
    let refused = lesser.add(upload(20, &[1]), 9).await.unwrap_err();
    assert!(refused.to_string().contains("may not write"), "{refused}");
    // Nothing of the refused upload was stored.
    store.add(upload(20, &[1]), 2).await.unwrap();

    let read_only = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    cluster.run(&database, &read_only);
    let refused = refusal(&owner).await.to_string();
    assert!(
        refused.contains("give the address of the primary"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_password_that_is_wrong_or_missing_says_where_it_comes_from_and_is_not_shown() {
    let Some(cluster) = cluster::shared() else {
        return;
    };
    let database = cluster.database();
    let right = cluster::PASSWORD;
    let wrong = settings(cluster.url_of(cluster::OWNER, "not it", &database));
    let refused = refusal(&wrong).await;
    assert!(matches!(refused, PostgresError::Refused(_)), "{refused}");
    for shown in [refused.to_string(), format!("{refused:?}{wrong:?}")] {
        assert!(
            !shown.contains("not it") && !shown.contains("not%20it"),
            "{shown}"
        );
    }
    assert!(refused.to_string().contains("database-password-file"));
    let missing = settings(wrong.url.replace(":not%20it@", "@"));
    let refused = refusal(&missing).await;
    assert!(matches!(refused, PostgresError::Refused(_)), "{refused}");
    // The file's password takes precedence over the URL's, which takes precedence over the environment's.
    let with = |settings: &Settings, password: Option<&str>, fallback: Option<&str>| Settings {
        password: password.map(str::to_owned),
        fallback: fallback.map(str::to_owned),
        ..settings.clone()
    };
    Postgres::open(&with(&missing, None, Some(right)))
        .await
        .unwrap();
    Postgres::open(&with(&wrong, Some(right), Some("no")))
        .await
        .unwrap();
    let refused = refusal(&with(&wrong, None, Some(right))).await;
    assert!(matches!(refused, PostgresError::Refused(_)), "{refused}");

    let nowhere = settings(cluster.url("nowhere"));
    let refused = refusal(&nowhere).await.to_string();
    assert!(
        refused.contains("nowhere") && refused.contains("createdb"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced_and_a_server_that_is_away_is_waited_for() {
    let Some(mut cluster) = cluster::Cluster::start() else {
        return;
    };
    let database = cluster.database();
    let settings = settings(cluster.url(&database));
    let store = Postgres::open(&settings).await.unwrap();
    let id = query(1).id;
    store.begin(query(1), &lease("a"), 9, NOW).await.unwrap();
    cluster.run(
        &database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'dispers conductor'",
    );
    store.keep(id, "a", batch(0), vec![1]).await.unwrap();

    cluster.stop();
    let away = store.save(id, "a", 0, state(1, false)).await;
    assert!(matches!(away, Err(Error::Away(_))), "{away:?}");
    let away = store.add(upload(1, &[1]), 9).await;
    assert!(matches!(away, Err(Error::Away(_))), "{away:?}");
    let refused = refusal(&settings).await;
    assert!(refused.is_temporary(), "{refused}");
    assert!(refused.to_string().contains("start it"), "{refused}");

    cluster.start_again();
    store.save(id, "a", 0, state(1, false)).await.unwrap();
    assert_eq!(store.batch(id, batch(0)).await.unwrap(), [1]);
}

#[tokio::test]
async fn a_connection_is_encrypted_and_checked_where_an_authority_is_given() {
    let Some(mut cluster) = cluster::Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (
        folder.path().join("ca.pem"),
        folder.path().join("other.pem"),
    );
    let authority = |path: &Path| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut of = rcgen::CertificateParams::new(Vec::new()).unwrap();
        of.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(path, of.self_signed(&key).unwrap().pem()).unwrap();
        rcgen::Issuer::new(of, key)
    };
    let issuer = authority(&ours);
    authority(&other);
    let key = rcgen::KeyPair::generate().unwrap();
    let of = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = of.signed_by(&key, &issuer).unwrap();
    std::fs::write(cluster.path("server.crt"), certificate.pem()).unwrap();
    std::fs::write(cluster.path("server.key"), key.serialize_pem()).unwrap();
    let server = cluster.path("server.key");
    let data = cluster.path("");
    for (program, argument) in [("chmod", "600"), ("chown", "--reference")] {
        let mut command = Command::new(program);
        match program {
            "chown" => command.arg(format!("{argument}={}", data.display())),
            _ => command.arg(argument),
        };
        assert!(command.arg(&server).status().unwrap().success());
    }
    cluster.run("postgres", "ALTER SYSTEM SET ssl = on");
    cluster.stop();
    cluster.start_again();
    let database = cluster.database();
    // The server accepts no connection without TLS.
    std::fs::write(
        cluster.path("pg_hba.conf"),
        "hostssl all all 127.0.0.1/32 scram-sha-256\n",
    )
    .unwrap();
    let named = cluster.url(&database).replace("127.0.0.1", "localhost");
    let with = |url: &str, ca: &Path| Settings {
        ca: Some(ca.to_owned()),
        ..settings(url.into())
    };
    cluster.stop();
    cluster.start_again_unseen();
    for mode in ["", "?sslmode=require", "?sslmode=verify-full"] {
        Postgres::open(&with(&format!("{named}{mode}"), &ours))
            .await
            .unwrap();
    }
    let refused = refusal(&settings(named.clone())).await;
    assert!(matches!(refused, PostgresError::Refused(_)), "{refused}");
    let refused = refusal(&with(&named, &other)).await.to_string();
    assert!(refused.contains("certificate"), "{refused}");
    // A certificate of the right authority, but for another name, is refused.
    let refused = refusal(&with(&cluster.url(&database), &ours))
        .await
        .to_string();
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn a_url_that_would_not_be_safe_or_is_none_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    for bad in [
        "postgres://",
        "postgres:///dispers",
        "postgres://c:hush@db:port/dispers?sslmode=disable",
        "postgres://c:hush@db/dispers?sslmode=hush",
        "postgres://c:hush@db/dispers?sslmode=disable&sslrootcert=x",
    ] {
        let refused = said(bad, None);
        assert!(refused.contains("write postgres://"), "{bad}: {refused}");
        assert!(!refused.contains("hush"), "{refused}");
    }
    let far = "postgres://c:hush@db.example.org/dispers";
    let refused = said(far, None);
    assert!(
        refused.contains("db.example.org:5432 would not be encrypted"),
        "{refused}"
    );
    assert!(!refused.contains("hush"), "{refused}");
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = said(&format!("{far}?sslmode={mode}"), None);
        assert!(
            refused.contains(&format!("sslmode={mode} needs database-ca")),
            "{refused}"
        );
    }
    let refused = said(&format!("{far}?sslmode=disable"), Some(&ca));
    assert!(refused.contains("contradicts"), "{refused}");
    assert!(said(far, Some(&ca)).contains("ca.pem"));
    std::fs::write(&ca, "no certificate").unwrap();
    assert!(said(far, Some(&ca)).contains("it has no certificate"));
    for fine in [
        format!("{far}?sslmode=disable"),
        "postgres://c:hush@localhost/dispers".into(),
        "postgres://c:hush@127.0.0.1,[::1]:5433/dispers?sslmode=prefer".into(),
        "postgres://c@%2Fvar%2Frun%2Fpostgresql/dispers".into(),
    ] {
        assert_eq!(said(&fine, None), "", "{fine}");
    }
}
