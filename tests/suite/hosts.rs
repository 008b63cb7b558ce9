//! Tests with many small hosts, and with hosts that attach themselves.

use std::time::Duration;

use dispers_sandbox::{Network, Options};
use dispers_sql::decode::Value;
use tokio::time::sleep;

use crate::{options, plain::write};

/// Writes a file of `count` people with ages 0, 1, 2 and so on, modulo 100. Returns its folder and the options of a
/// network over it.
fn people(count: usize, hosts: usize) -> (tempfile::TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    write(
        &path,
        "home,age",
        (0..count).map(|n| format!("p{n},{}", n % 100)),
    );
    let options = Options {
        home_column: Some("home".into()),
        hosts,
        ..options(vec![path])
    };
    (folder, options)
}

const SQL: &str = "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 100, 1)) AS ages FROM people";

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hosts_of_one_home_answer_half_of_them_attached() {
    let (_folder, options) = people(1000, 1000);
    let options = Options {
        attached: 500,
        ..options
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!((result.homes.targeted, result.homes.accepted), (1000, 1000));
    assert_eq!(
        result.table.rows[0],
        [Value::Integer(1000), Value::Integer(49_500)]
    );
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_whose_stream_was_idle_too_long_attaches_again_and_too_many_are_refused() {
    let (_folder, mut options) = people(120, 3);
    options.attached = 3;
    options.target.attached_idle_ms = 1500;
    let network = Network::start(&options, |_| {}).await.unwrap();
    // Many streams end during this time.
    sleep(Duration::from_secs(4)).await;
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert!(result.homes.accepted >= 80, "{}", result.homes.accepted);
    network.stop().await;

    options.target.attached_idle_ms = 600_000;
    options.target.max_attached = 2;
    let network = Network::start(&options, |_| {}).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!((result.homes.targeted, result.homes.accepted), (120, 80));
    network.stop().await;
}
