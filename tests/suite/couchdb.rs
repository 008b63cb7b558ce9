//! Tests of homes whose documents lie in a server that speaks CouchDB's API, each in a database of its own.
//!
//! The server is `pouchdb-server`, installed with npm from `tests/couchdb` into the build folder and started in memory.
//! Without npm the test says so and passes, unless `DISPERS_REQUIRE_POUCHDB` is set.

use std::{
    env, fs,
    net::TcpListener as Port,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use dispers_node::keyfile::write_secret;
use dispers_sandbox::{Network, Options, Through};
use dispers_stack::{Connector, couch};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{options, plain::write};

/// Server that ends with the test.
struct Server {
    process: Child,
    url: String,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the path of the server's program, which is installed once.
fn program() -> Result<PathBuf, String> {
    let build = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "../.build".into(), PathBuf::from);
    let folder = build.join("couchdb");
    let program = folder.join("node_modules/.bin/pouchdb-server");
    if program.exists() {
        return program.canonicalize().map_err(|error| error.to_string());
    }
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(Path::new("couchdb").join(file), folder.join(file))
            .map_err(|error| error.to_string())?;
    }
    let installed = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder)
        .output()
        .map_err(|error| format!("npm: {error}"))?;
    match installed.status.success() {
        true => program.canonicalize().map_err(|error| error.to_string()),
        false => Err(String::from_utf8_lossy(&installed.stderr).into_owned()),
    }
}

impl Server {
    async fn start() -> Option<Self> {
        let program = match program() {
            Ok(program) => program,
            Err(error) if env::var_os("DISPERS_REQUIRE_POUCHDB").is_some() => panic!("{error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                return None;
            }
        };
        // The server does not accept port 0, and another process may take the port first. So the start is tried three
        // times.
        for _ in 0..3 {
            let port = Port::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let folder = tempfile::tempdir().unwrap();
            let process = Command::new(&program)
                .args(["--in-memory", "--host", "127.0.0.1", "--no-stdout-logs"])
                .arg(format!("--port={port}"))
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let server = Self {
                process,
                url: format!("http://127.0.0.1:{port}"),
                folder,
            };
            for _ in 0..300 {
                if server.send("GET", "/", None).await.is_some() {
                    return Some(server);
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        panic!("the server does not start")
    }

    /// Sends a request. Returns the status of the answer, or `None` if the server does not answer.
    async fn send(&self, method: &str, place: &str, body: Option<Value>) -> Option<u16> {
        let client: Client<HttpConnector, Full<std::collections::VecDeque<u8>>> =
            Client::builder(TokioExecutor::new()).build_http();
        let body = body.map_or_else(String::new, |body| body.to_string());
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{place}", self.url))
            .header("content-type", "application/json")
            .body(Full::new(std::collections::VecDeque::from(
                body.into_bytes(),
            )));
        let reply = client.request(request.unwrap()).await.ok()?;
        let status = reply.status().as_u16();
        reply.into_body().collect().await.ok()?;
        Some(status)
    }

    /// Creates a home's database with its own user, and its documents.
    async fn settle(&self, home: &str, documents: &[Value]) {
        let user = json!({
            "_id": format!("org.couchdb.user:{home}"), "name": home, "type": "user", "roles": [],
            "password": format!("secret of {home}"),
        });
        let members = json!({
            "members": {"names": [home], "roles": []}, "admins": {"names": ["root"], "roles": []},
        });
        for (method, place, body) in [
            ("PUT", format!("/{home}-operations"), None),
            (
                "PUT",
                format!("/_users/org.couchdb.user:{home}"),
                Some(user),
            ),
            (
                "PUT",
                format!("/{home}-operations/_security"),
                Some(members),
            ),
            (
                "POST",
                format!("/{home}-operations/_bulk_docs"),
                Some(json!({ "docs": documents })),
            ),
        ] {
            let status = self.send(method, &place, body).await.unwrap();
            assert!((200..300).contains(&status), "{place}: {status}");
        }
    }

    /// Returns a source that knows the password of each home, except those in `wrong`.
    fn connector(&self, homes: usize, wrong: &[usize]) -> Arc<dyn Connector> {
        let file = self
            .folder
            .path()
            .join(format!("homes-{}.toml", wrong.len()));
        let credentials: String = (0..homes)
            .map(|home| {
                let told = if wrong.contains(&home) {
                    "another"
                } else {
                    "secret"
                };
                format!("[home.p{home}]\nuser = 'p{home}'\npassword = '{told} of p{home}'\n")
            })
            .collect();
        write_secret(&file, &credentials).unwrap();
        let config = format!(
            "kind = 'couchdb'\nurl = '{}/{{home}}-{{doctype}}'\nhomes = '{}'\npage-size = 3\nparallel = 4",
            self.url,
            file.display()
        );
        Arc::new(couch::Couch::open(toml::from_str(&config).unwrap()).unwrap())
    }
}

const HOMES: usize = 50;

/// Returns a home's operations: the amount, the label, and the day if it is known.
fn operations(home: usize) -> Vec<(f64, &'static str, Option<usize>)> {
    let label = |n: usize| ["rent", "food", "pay"][n % 3];
    (0..5 + home % 4)
        .map(|n| {
            let amount = ((home * 7 + n * 13) % 400) as f64 / 4.0;
            (amount, label(home + n), (n % 5 != 4).then_some(n % 28 + 1))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_homes_in_a_couchdb_answer_as_they_do_from_a_file() {
    let Some(server) = Server::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operations.csv");
    let mut rows = Vec::new();
    for home in 0..HOMES {
        let mut documents = vec![json!({"_id": "_design/views", "views": {}})];
        for (amount, label, day) in operations(home) {
            let told = day.map_or(String::new(), |day| day.to_string());
            rows.push(format!("p{home},{amount:.2},{label},{told}"));
            // JSON has one kind of number. An unknown day is null or missing.
            documents.push(match day {
                Some(day) => json!({"amount": amount, "label": label, "day": day as f64}),
                None if home % 2 == 0 => json!({"amount": amount, "label": label, "day": null}),
                None => json!({"amount": amount, "label": label}),
            });
        }
        server.settle(&format!("p{home}"), &documents).await;
    }
    let root = json!("root's password");
    assert_eq!(
        server.send("PUT", "/_config/admins/root", Some(root)).await,
        Some(200)
    );
    write(&path, "home,amount,label,day", rows.into_iter());

    let options = |through| Options {
        home_column: Some("home".into()),
        hosts: 2,
        min_cohort: 5,
        exact_queries: 100,
        through,
        ..options(vec![path.clone()])
    };
    let questions = [
        "SELECT COUNT(*) AS homes, AVG(clamp(spent, 0, 1000, 0.25)) AS spent FROM
         (SELECT SUM(amount) AS spent FROM operations WHERE label = 'food' AND amount < 60) AS home",
        "SELECT COUNT(*) AS homes, SUM(clamp(n, 0, 20, 1)) AS n, SUM(clamp(days, 0, 20, 1)) AS days FROM
         (SELECT COUNT(*) AS n, COUNT(day) AS days FROM operations) AS home",
        "SELECT COUNT(*) AS homes, AVG(clamp(last, 0, 31, 1)) AS last FROM
         (SELECT MAX(day) AS last FROM operations WHERE day BETWEEN 2 AND 4 AND label IN ('pay', 'rent')) AS home
         WHERE last > 2",
    ];
    let everybody = server.connector(HOMES, &[]);
    let in_couch = Through(Arc::new(move |_| everybody.clone()));
    let file = Network::start(&options(None), |_| {}).await.unwrap();
    let couch = Network::start(&options(Some(in_couch)), |_| {})
        .await
        .unwrap();
    for question in questions {
        let expected = file.ask(question, None, |_| {}).await.unwrap();
        let result = couch.ask(question, None, |_| {}).await.unwrap();
        assert_eq!(result.homes.accepted, HOMES as u64);
        assert_eq!(result.table.rows.len(), 1);
        assert_eq!(result.table.rows, expected.table.rows, "{question}");
    }
    file.stop().await;
    couch.stop().await;

    // A home with the wrong password has no data for its answer. The others have.
    let but_one = server.connector(HOMES, &[7]);
    let through = Through(Arc::new(move |_| but_one.clone()));
    let couch = Network::start(&options(Some(through)), |_| {})
        .await
        .unwrap();
    let result = couch.ask(questions[1], None, |_| {}).await.unwrap();
    assert_eq!(result.homes.accepted, HOMES as u64);
    let homes = HOMES as i128 - 1;
    assert_eq!(
        result.table.rows[0][0],
        dispers_sql::decode::Value::Integer(homes)
    );
    couch.stop().await;
}
