//! Tests that a home that withdraws is not found by the next query.

use dispers_core::subscription::HomeId;
use dispers_sandbox::{Network, Options};
use dispers_sql::decode::Value;
use dispers_stack::withdraw;

use crate::{options, plain::write};

async fn targeted(network: &Network, condition: &str) -> (u64, Value) {
    let sql = format!("SELECT COUNT(*) AS n FROM people WHERE {condition}");
    let result = network.ask(&sql, None, |_| {}).await.unwrap();
    (result.homes.targeted, result.table.rows[0][0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_takes_effect_for_the_next_query() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    let row = |home: usize| format!("p{home},{}", ["lyon", "paris"][home % 2]);
    write(&path, "home,city", (0..80).map(row));
    let options = Options {
        home_column: Some("home".into()),
        concepts: vec!["city".into()],
        hosts: 2,
        ..options(vec![path])
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    let (all, lyon) = ("concept('home>all')", "concept('city>lyon')");
    assert_eq!(targeted(&network, all).await, (80, Value::Integer(80)));
    assert_eq!(targeted(&network, lyon).await, (40, Value::Integer(40)));

    let mut withdrawn = 0;
    for host in network.hosts() {
        let homes = host.store.homes().unwrap();
        let some: Vec<HomeId> = homes.into_iter().take(4).collect();
        let count = withdraw(&host.relay, &host.store, &some, Some("city>lyon")).await;
        withdrawn += count.unwrap();
    }
    assert!(withdrawn > 0);
    let left = 40 - withdrawn as u64;
    assert_eq!(targeted(&network, lyon).await.0, left);
    assert_eq!(targeted(&network, all).await.0, 80);

    // The homes withdraw from everything: they are in no list, under no concept.
    let host = &network.hosts()[0];
    let homes = host.store.homes().unwrap();
    let gone: Vec<HomeId> = homes.into_iter().take(10).collect();
    withdraw(&host.relay, &host.store, &gone, None)
        .await
        .unwrap();
    assert_eq!(targeted(&network, all).await, (70, Value::Integer(70)));

    // A second withdrawal changes nothing, and an unknown home is named in the error.
    let again = withdraw(&host.relay, &host.store, &gone, None).await;
    assert_eq!(again.unwrap(), 0);
    let nobody = [HomeId("nobody".into())];
    let refused = withdraw(&host.relay, &host.store, &nobody, None).await;
    assert!(refused.unwrap_err().to_string().contains("holds no home"));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_does_not_arrive_holds_at_the_stack() {
    let network = Network::start(&options(Vec::new()), |_| {}).await.unwrap();
    let host = &network.hosts()[0];
    let homes = host.store.homes().unwrap();
    assert!(network.end_node("target").await);
    let refused = withdraw(&host.relay, &host.store, &homes, None).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("the withdrawal failed")
    );
    // No home of the host has a subscription left for which it would answer.
    let epoch = network.directory().key_epoch;
    for home in &homes {
        assert!(host.store.subscriptions(home, epoch).unwrap().is_empty());
    }
    network.stop().await;
}
