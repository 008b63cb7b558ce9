use std::sync::Mutex;

use axum::{Router, extract::State, http::StatusCode, routing::post};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

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

/// Starts a mail server that accepts every mail.
async fn mail_server() -> (u16, Received) {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"220 sink\r\n").await.unwrap();
            let (mut mail, mut data) = (String::new(), false);
            while let Ok(Some(line)) = lines.next_line().await {
                mail += &line;
                mail += "\n";
                let reply: &[u8] = match line.as_str() {
                    "." if data => {
                        data = false;
                        b"250 taken\r\n"
                    }
                    _ if data => continue,
                    "DATA" => {
                        data = true;
                        b"354 go on\r\n"
                    }
                    "QUIT" => b"221 bye\r\n",
                    _ => b"250 sink\r\n",
                };
                writer.write_all(reply).await.unwrap();
                if !data && line == "." {
                    mails.lock().unwrap().push(std::mem::take(&mut mail));
                }
            }
        }
    });
    (port, received)
}

#[tokio::test]
async fn an_owner_is_told_by_webhook_and_by_e_mail() {
    let (url, posted) = webhook(1).await;
    let (port, mails) = mail_server().await;
    let config: Config = toml::from_str(&format!(
        "webhook = '{url}'
         [smtp]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\nfrom = 'dispers@example.org'"
    ))
    .unwrap();
    let page = page::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        url: "https://consent.example.org/".into(),
    };
    let notifier = Arc::new(Notifier::new(&config, Some(&page)).unwrap());
    let unreachable = Notice {
        email: None,
        ..notice()
    };
    notifier.tell(vec![notice(), unreachable]).await;
    let posted = posted.lock().unwrap();
    // The first request failed and was repeated.
    assert_eq!(posted.len(), 3);
    let body: serde_json::Value = serde_json::from_str(&posted[1]).unwrap();
    assert_eq!(body["home"], "home-17");
    assert_eq!(body["purpose"], "étude <cœur>");
    assert_eq!(body["decide_by"], 1_795_435_200_000u64);
    assert_eq!(body["link"], "https://consent.example.org/request/ab12");
    let mails = mails.lock().unwrap();
    assert_eq!(mails.len(), 1);
    assert!(
        mails[0].contains("RCPT TO:<owner@example.org>"),
        "{}",
        mails[0]
    );
    assert!(mails[0].contains("https://consent.example.org/request/ab12"));
    assert!(!mails[0].contains("home-17"));
}

#[test]
fn who_is_asked_is_not_sent_in_clear() {
    let refused = |text: &str| {
        let config: Config = toml::from_str(text).unwrap();
        Notifier::new(&config, None)
            .err()
            .map(|error| error.to_string())
    };
    let smtp = |rest: &str| format!("[smtp]\nhost = 'mail.example.org'\nfrom = 'a@b.c'\n{rest}");
    for (text, said) in [
        ("webhook = 'http://example.org/hook'".into(), "in clear"),
        ("webhook = 'ftp://localhost/hook'".into(), "in clear"),
        ("webhook = 'nonsense'".into(), "webhook in [stack.notify]"),
        (smtp("tls = 'none'"), "for a server on this machine"),
        (smtp("user = 'x'"), "needs password-file"),
        (
            smtp("user = 'x'\npassword-file = '/nowhere/at/all'"),
            "cannot access /nowhere/at/all",
        ),
    ] {
        let error = refused(&text);
        assert!(
            error.as_ref().is_some_and(|e| e.contains(said)),
            "{text}: {error:?}"
        );
    }
    for text in [
        "",
        "webhook = 'https://example.org/hook'",
        "webhook = 'http://[::1]:8080/'",
    ] {
        assert_eq!(refused(text), None, "{text}");
    }
    assert_eq!(refused(&smtp("")), None);
    let wrong = "[smtp]\nhost = 'mail.example.org'\nfrom = 'nobody'";
    assert!(refused(wrong).unwrap().contains("no e-mail address"));
}
