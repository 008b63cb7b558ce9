//! Tests that an answer looks the same whatever the home decided or has.

use std::collections::BTreeSet;

use dispers_base::labels;
use dispers_sandbox::{Network, Options};
use dispers_sql::decode::Value;
use dispers_stack::withdraw;

use crate::{options, plain::write};

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_refuses_or_has_nothing_answers_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let people = folder.path().join("people.csv");
    let weight = folder.path().join("weight.csv");
    // There is one home at each host. h0, h3 and h4 match, h4 without an income; h1 fails the condition, and h2 has no
    // such document.
    write(
        &people,
        "home,age,income",
        [
            "h0,50,1000".into(),
            "h1,10,7".into(),
            "h3,60,2000".into(),
            "h4,70,".into(),
        ]
        .into_iter(),
    );
    write(&weight, "home,kg", ["h2,80".to_owned()].into_iter());
    let options = Options {
        home_column: Some("home".into()),
        hosts: 5,
        min_cohort: 2,
        record: true,
        ..options(vec![people, weight])
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    // h3 refuses: it withdrew, and the conductor does not know. The withdrawal was sent to another network's target,
    // which is gone.
    let elsewhere = Network::start(&options, |_| {}).await.unwrap();
    assert!(elsewhere.end_node("target").await);
    let host = &network.hosts()[3];
    let refusing = host.store.homes().unwrap();
    let nowhere = &elsewhere.hosts()[3].relay;
    withdraw(nowhere, &host.store, &refusing, None)
        .await
        .unwrap_err();

    let sql = "SELECT COUNT(*) AS n, COUNT(income) AS paid, VARIANCE(clamp(income, 0, 10000, 1)) \
        AS spread FROM people WHERE age > 18";
    let result = network.ask(sql, None, |_| {}).await.unwrap();
    let homes = &result.homes;
    assert_eq!((homes.asked, homes.answered, homes.accepted), (5, 5, 5));
    // h0 and h4 have a row. Only h0 has an income, which is withheld.
    let row = [Value::Integer(2), Value::Null, Value::Null];
    assert_eq!(result.table.rows, [row]);

    let mut groups = 0;
    for (name, _, record) in network.recording().unwrap().records() {
        let received = record.received();
        let sealed = received.opened.iter();
        let lengths: Vec<usize> = sealed
            .filter(|opened| opened.purpose == labels::ENVELOPE_GROUP)
            .map(|opened| opened.ciphertext.len())
            .collect();
        groups += lengths.len();
        let different: BTreeSet<usize> = lengths.into_iter().collect();
        assert!(different.len() <= 1, "{name} got groups of {different:?}");
    }
    assert_eq!(groups, 5 * 3);
    network.stop().await;
    elsewhere.stop().await;
}
