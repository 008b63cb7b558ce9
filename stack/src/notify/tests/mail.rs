//! Tests of e-mail to owners.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::*;

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
    let notifier = notifier(&format!(
        "webhook = '{url}'
         [smtp]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\nfrom = 'dispers@example.org'"
    ));
    let unreachable = Notice {
        email: None,
        ..notice()
    };
    notifier.tell(vec![notice(), unreachable]).await;
    check_posted(&posted);
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

/// Returns a table of a mail server with further keys.
fn smtp(keys: &str) -> String {
    format!("[smtp]\nhost = 'mail.example.org'\nfrom = 'a@b.c'\n{keys}")
}

#[test]
fn who_is_asked_is_not_mailed_in_clear() {
    check_refused(&[
        (&smtp("tls = 'none'"), "for a server on this machine"),
        (&smtp("user = 'x'"), "needs password-file"),
        (
            &smtp("user = 'x'\npassword-file = '/nowhere/at/all'"),
            "cannot access /nowhere/at/all",
        ),
        (
            "[smtp]\nhost = 'mail.example.org'\nfrom = 'nobody'",
            "no e-mail address",
        ),
    ]);
    assert_eq!(refused(&smtp("")), None);
}
