//! Tests of the owners' page in a real browser, over a whole network.
//!
//! They need `chromium` and `chromedriver`. Without them a test says so and passes, unless `DISPERS_REQUIRE_CHROMIUM`
//! is set. Screenshots are left in `screenshots` under the build folder.

use std::{
    env, fs,
    net::TcpListener as Port,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use dispers_core::subscription::HomeId;
use dispers_querier::steps;
use dispers_sandbox::{Network, Options};
use dispers_stack::{Otherwise, Outcome, Rules, page};
use fantoccini::{Client, ClientBuilder, Locator};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::sleep};

use crate::{options, plain::write};

/// Driver process. Dropping it ends the driver, and the browser with it.
struct Driver {
    process: Child,
    port: u16,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn driver() -> Option<Driver> {
    // The driver does not accept port 0.
    let port = Port::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let started = Command::new("chromedriver")
        .arg(format!("--port={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        Ok(process) => Some(Driver { process, port }),
        Err(error) if env::var_os("DISPERS_REQUIRE_CHROMIUM").is_some() => {
            panic!("chromedriver: {error}")
        }
        Err(_) => {
            eprintln!("passed over: there is no chromedriver");
            None
        }
    }
}

async fn browser(driver: &Driver, profile: &Path, languages: &str) -> Client {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1000,1400",
        &format!("--lang={languages}"),
        &format!("--accept-lang={languages}"),
        &format!("--user-data-dir={}", profile.display()),
    ]
    .map(str::to_owned);
    let capabilities = serde_json::json!({
        "goog:chromeOptions": {
            "args": arguments,
            "prefs": {"intl.accept_languages": languages, "intl.selected_languages": languages},
        }
    });
    let serde_json::Value::Object(capabilities) = capabilities else {
        unreachable!()
    };
    let address = format!("http://127.0.0.1:{}", driver.port);
    for _ in 0..100 {
        let mut builder =
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let connected = builder.capabilities(capabilities.clone()).connect(&address);
        match connected.await {
            Ok(client) => return client,
            Err(fantoccini::error::NewSessionError::Lost(_)) => {}
            Err(error) => panic!("{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("chromedriver does not answer")
}

async fn photograph(browser: &Client, name: &str) {
    let folder = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from("../.build"), PathBuf::from)
        .join("screenshots");
    fs::create_dir_all(&folder).unwrap();
    let picture = browser.screenshot().await.unwrap();
    fs::write(folder.join(format!("{name}.png")), picture).unwrap();
}

async fn text(browser: &Client) -> String {
    let main = browser.find(Locator::Css("body")).await.unwrap();
    main.text().await.unwrap()
}

/// Presses the button with this name, and waits until the page that it leads to has loaded.
async fn press(browser: &Client, name: &str) {
    let path = format!("//button[normalize-space()='{name}']");
    let button = browser.find(Locator::XPath(&path)).await.unwrap();
    let page = browser.find(Locator::Css("html")).await.unwrap();
    button.click().await.unwrap();
    for _ in 0..100 {
        if page.tag_name().await.is_err() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{name} leads nowhere");
}

/// Starts a network of eighty homes at one host that ask their owners.
async fn network() -> (TempDir, Network) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    write(
        &path,
        "home,age,sex",
        (0..80).map(|n| format!("p{n},{n},{}", ["f", "m"][n % 2])),
    );
    let options = Options {
        home_column: Some("home".into()),
        hosts: 1,
        rules: Rules {
            otherwise: Otherwise::Ask,
            ..Rules::allow_everything()
        },
        ..options(vec![path])
    };
    (folder, Network::start(&options, |_| {}).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_enters_reads_a_question_decides_and_makes_a_rule_in_chromium() {
    let Some(driver) = driver() else { return };
    let (folder, network) = network().await;
    let host = &network.hosts()[0];
    let store = host.store.clone();
    let home = HomeId("p7".into());
    let ask = Rules {
        otherwise: Otherwise::Ask,
        ..Rules::default()
    };
    store.set_rules([&home], ask).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = page::Config {
        listen: address,
        url: format!("http://{address}"),
    };
    config.check().unwrap();
    let relay = Some(host.relay.clone());
    let directory = network.directory();
    let served = page::Page::new(&config, store.clone(), directory, relay, 10);
    tokio::spawn(served.serve(listener));

    // A question that gives owners time to decide.
    let question = network.question(
        "SELECT domain(sex, 'f', 'm') AS grp, AVG(clamp(age, 0, 100, 1)) AS mean FROM people
         WHERE age < 70 GROUP BY grp",
        None,
        None,
    );
    let question = question.ask_owners(Duration::from_secs(60));
    let prepared = steps::prepare(network.querier(), &question).await.unwrap();
    steps::submit(network.querier(), &prepared).await.unwrap();
    let query = loop {
        if let Some(entry) = store.history(&home, 0, 1).unwrap().pop() {
            break entry.query;
        }
        sleep(Duration::from_millis(50)).await;
    };

    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let first = browser(&driver, &one, "en").await;
    let link = config.place(&format!(
        "/enter?token={}",
        store.link(&home).unwrap().text()
    ));
    first.goto(&link).await.unwrap();
    press(&first, "Enter").await;
    let seen = text(&first).await;
    assert!(seen.contains("Waiting for your word"), "{seen}");
    photograph(&first, "questions").await;
    // The link can be used only once.
    let again = browser(&driver, &two, "fr").await;
    again.goto(&link).await.unwrap();
    press(&again, "Entrer").await;
    assert!(text(&again).await.contains("Ce lien a déjà servi"));

    let details = Locator::LinkText("See the question");
    first.find(details).await.unwrap().click().await.unwrap();
    let seen = text(&first).await;
    for words in [
        "Your home takes part only if age is below 70; else it sends zeros.",
        "It sends age, as a number from 0 to 100, in steps of 1.",
        "WHERE (age < 70)",
        "20 people at least are behind each number that is released",
        "Nothing yet.",
    ] {
        assert!(seen.contains(words), "{words}: {seen}");
    }
    photograph(&first, "question").await;

    // The same question is opened in another browser, in French.
    let link = store.link(&home).unwrap().text();
    let link = config.place(&format!("/enter?token={link}"));
    again.goto(&link).await.unwrap();
    press(&again, "Entrer").await;
    again
        .goto(&config.place(&format!("/request/{query}")))
        .await
        .unwrap();
    photograph(&again, "question-fr").await;
    press(&again, "Refuser").await;
    let entry = || store.entry(&home, query).unwrap().unwrap();
    assert_eq!(entry().outcome, Outcome::DeniedByOwner);
    press(&first, "Allow").await;
    assert!(
        text(&first)
            .await
            .contains("decided before: refused, by your word")
    );

    first
        .goto(&config.place(&format!("/request/{query}")))
        .await
        .unwrap();
    press(&first, "Always deny this").await;
    let seen = text(&first).await;
    // The home had a rule before this test replaced its rules, and no number is given twice.
    assert!(seen.contains("Deny (Rule 2)"), "{seen}");
    photograph(&first, "rules").await;
    assert_eq!(store.rules(&home).unwrap().rules.len(), 1);
    press(&first, "Remove").await;
    assert!(text(&first).await.contains("You have no rules."));
    let year = first
        .find(Locator::Css("[name=epsilon_per_year]"))
        .await
        .unwrap();
    year.send_keys("5").await.unwrap();
    press(&first, "Save").await;
    assert_eq!(store.rules(&home).unwrap().epsilon_per_year, Some(5.0));

    first.goto(&config.place("/subscriptions")).await.unwrap();
    assert!(text(&first).await.contains("home>all"));
    press(&first, "Withdraw from everything").await;
    assert!(
        text(&first)
            .await
            .contains("cannot be found by any question")
    );
    first.goto(&config.place("/history")).await.unwrap();
    photograph(&first, "history").await;
    // The page has no scripts, and no inline styles or handlers.
    let script =
        "return document.scripts.length + document.querySelectorAll('[style],[onclick]').length";
    assert_eq!(first.execute(script, Vec::new()).await.unwrap(), 0);
    press(&first, "Log out").await;
    assert!(text(&first).await.contains("You are not logged in"));

    first.close().await.unwrap();
    again.close().await.unwrap();
    network.querier().cancel(query).await.unwrap();
    network.stop().await;
}
