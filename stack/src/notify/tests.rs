//! Tests of notices. Those of e-mail are in builds with it.

#[cfg(feature = "mail")]
mod mail;

use std::sync::Mutex;

use axum::{Router, extract::State, http::StatusCode, routing::post};
use tokio::net::TcpListener;

use super::*;

fn notice() -> Notice {
    Notice {
        home: HomeId("home-17".into()),
        email: Some("owner@example.org".into()),
        query: "ab12".into(),
        querier: "lab".into(),
        purpose: "étude <cœur>".into(),
        decide_by: Timestamp(1_795_435_200_000),
    }
}

type Received = Arc<Mutex<Vec<String>>>;

/// Starts a webhook that fails `failures` times before it succeeds.
async fn webhook(failures: usize) -> (String, Received) {
    let received = Received::default();
    let state = (received.clone(), Arc::new(Mutex::new(failures)));
    let take = |State((received, failures)): State<(Received, Arc<Mutex<usize>>)>, body: String| async move {
        received.lock().unwrap().push(body);
        let mut left = failures.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        StatusCode::NO_CONTENT
    };
    let routes = Router::new().route("/hook", post(take)).with_state(state);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, received)
}

/// Returns a notifier with this `[stack.notify]` table, whose notices link to a page.
fn notifier(table: &str) -> Arc<Notifier> {
    let config: Config = toml::from_str(table).unwrap();
    let page = page::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        url: "https://consent.example.org/".into(),
    };
    Arc::new(Notifier::new(&config, Some(&page)).unwrap())
}

/// Checks what a webhook was sent for `notice` and for a second one, when its first reply was an error.
fn check_posted(posted: &Received) {
    let posted = posted.lock().unwrap();
    // The first request failed and was repeated.
    assert_eq!(posted.len(), 3);
    let body: serde_json::Value = serde_json::from_str(&posted[1]).unwrap();
    assert_eq!(body["home"], "home-17");
    assert_eq!(body["purpose"], "étude <cœur>");
    assert_eq!(body["decide_by"], 1_795_435_200_000u64);
    assert_eq!(body["link"], "https://consent.example.org/request/ab12");
}

#[tokio::test]
async fn an_owner_is_told_by_webhook() {
    let (url, posted) = webhook(1).await;
    let notifier = notifier(&format!("webhook = '{url}'"));
    notifier.tell(vec![notice(), notice()]).await;
    check_posted(&posted);
}

/// Returns why a `[stack.notify]` table is refused, if it is.
fn refused(table: &str) -> Option<String> {
    let config: Config = toml::from_str(table).unwrap();
    Notifier::new(&config, None)
        .err()
        .map(|error| error.to_string())
}

/// Checks that each table is refused with these words.
fn check_refused(tables: &[(&str, &str)]) {
    for (table, said) in tables {
        let error = refused(table);
        assert!(
            error.as_ref().is_some_and(|e| e.contains(said)),
            "{table}: {error:?}"
        );
    }
}

#[test]
fn who_is_asked_is_not_sent_in_clear() {
    check_refused(&[
        ("webhook = 'http://example.org/hook'", "in clear"),
        ("webhook = 'ftp://localhost/hook'", "in clear"),
        ("webhook = 'nonsense'", "webhook in [stack.notify]"),
    ]);
    for table in [
        "",
        "webhook = 'https://example.org/hook'",
        "webhook = 'http://[::1]:8080/'",
    ] {
        assert_eq!(refused(table), None, "{table}");
    }
}
