//! Tests of the defences that keep a querier from learning about a few homes from the difference of two answers.

use std::path::PathBuf;

use dispers_base::encoding::decode;
use dispers_conductor::Store as _;
use dispers_core::manifest::SignedManifest;
use dispers_querier::PrivacyLoss;
use dispers_sandbox::{Network, Options};
use dispers_sql::decode::Value;
use tempfile::TempDir;

use crate::{options, plain::write};

/// Writes a file of 60 homes: all in city 1, all but two of them in street 1, and 30 of them in house 1.
fn people() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    let row = |home: usize| {
        let (street, house) = (u8::from(home >= 2), u8::from(home < 30));
        format!("h{home},1,{street},{house},{home}")
    };
    write(&path, "home,city,street,house,x", (0..60).map(row));
    (folder, path)
}

fn with_concepts(path: PathBuf) -> Options {
    Options {
        home_column: Some("home".into()),
        concepts: ["city", "street", "house"].map(str::to_owned).into(),
        ..options(vec![path])
    }
}

async fn count(network: &Network, condition: &str) -> Result<Value, String> {
    let sql = format!("SELECT COUNT(*) AS n FROM people WHERE {condition}");
    let result = network.ask(&sql, None, |_| {}).await;
    let table = result.map_err(|error| error.to_string())?.table;
    Ok(table.rows.first().map_or(Value::Null, |row| row[0].clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_population_that_differs_from_an_earlier_one_by_a_few_is_refused() {
    let (_folder, path) = people();
    let network = Network::start(&with_concepts(path), |_| {}).await.unwrap();
    let (city, street, house) = (
        "concept('city>1')",
        "concept('street>1')",
        "concept('house>1')",
    );
    assert_eq!(count(&network, city).await, Ok(Value::Integer(60)));
    // A set of all homes but two is too near.
    let refused = count(&network, street).await.unwrap_err();
    assert!(refused.contains("may not be asked"), "{refused}");
    let also = count(&network, &format!("{city} AND {street}"))
        .await
        .unwrap_err();
    assert_eq!(also, refused);
    // The same homes may be asked again, but not by another profile: it would show that both profiles mean the same
    // homes.
    assert_eq!(count(&network, city).await, Ok(Value::Integer(60)));
    let same = format!("{city} OR {street}");
    assert_eq!(count(&network, &same).await, Err(refused.clone()));
    // This set differs by 30 homes.
    assert_eq!(count(&network, house).await, Ok(Value::Integer(30)));
    // The set is near the second population, though not near the first.
    let near = format!("{house} AND {street}");
    assert!(count(&network, &near).await.is_err());
    // A query with noise is compared with the same sets.
    let loss = Some(PrivacyLoss {
        epsilon: 1.0,
        delta: None,
    });
    let sql = format!("SELECT COUNT(*) AS n FROM people WHERE {street}");
    let question = network.question(&sql, None, loss);
    assert!(network.querier().ask(&question).await.is_err());
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_find_that_is_refused_is_in_the_log() {
    let (_folder, path) = people();
    let options = Options {
        min_cohort: 2,
        size_noise: dispers_trust::directory::SIZE_NOISE,
        ..with_concepts(path)
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    let sql = "SELECT COUNT(*) AS n FROM people";
    // With the noise, all homes together are never enough for a cohort of their number.
    let refused = network.ask(sql, Some(60), |_| {}).await.unwrap_err();
    assert!(
        refused.to_string().contains("may not be asked"),
        "{refused}"
    );
    let store = network.conductor_store().unwrap();
    let logged = store.logged(1, 0, 10).await.unwrap();
    assert_eq!(logged.len(), 1);
    let signed: SignedManifest = decode(&logged[0]).unwrap();
    let manifest = signed.unverified().unwrap();
    assert_eq!(manifest.min_cohort, 60);
    // The numbers of homes beside a noisy answer are noisy too.
    let loss = Some(PrivacyLoss {
        epsilon: 10.0,
        delta: None,
    });
    let question = network.question(sql, None, loss);
    let homes = network.querier().ask(&question).await.unwrap().homes;
    assert!(
        homes.about && (4..60).contains(&homes.targeted),
        "{homes:?}"
    );
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finder_remembers_whom_a_querier_asked_across_a_restart() {
    let (_folder, path) = people();
    let state = tempfile::tempdir().unwrap();
    let options = Options {
        state: Some(state.path().to_path_buf()),
        ..with_concepts(path)
    };
    let mut network = Network::start(&options, |_| {}).await.unwrap();
    assert_eq!(
        count(&network, "concept('city>1')").await,
        Ok(Value::Integer(60))
    );
    network.restart_node("target-finder").await.unwrap();
    let refused = count(&network, "concept('street>1')").await.unwrap_err();
    assert!(refused.contains("may not be asked"), "{refused}");
    assert_eq!(
        count(&network, "concept('city>1')").await,
        Ok(Value::Integer(60))
    );
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_answers_ten_exact_queries_of_a_querier_and_noisy_ones_without_end() {
    let (_folder, path) = people();
    let network = Network::start(&options(vec![path]), |_| {}).await.unwrap();
    for limit in 0..10 {
        // Each condition makes another query, so that a querier could subtract the answers from each other.
        let condition = format!("x >= {limit}");
        let expected = Value::Integer(60 - limit);
        assert_eq!(count(&network, &condition).await, Ok(expected));
    }
    // The homes now behave like homes that refuse: they contribute, and nothing is counted.
    let sql = "SELECT COUNT(*) AS n FROM people WHERE x >= 10";
    let result = network.ask(sql, None, |_| {}).await.unwrap();
    assert_eq!(result.homes.accepted, 60);
    assert_eq!(result.table.rows.len(), 0);
    assert_eq!(result.table.suppressed_groups.len(), 1);
    let loss = Some(PrivacyLoss {
        epsilon: 10.0,
        delta: None,
    });
    let question = network.question(sql, None, loss);
    let noisy = network.querier().ask(&question).await.unwrap();
    assert_eq!(noisy.table.rows.len(), 1);
    network.stop().await;
}
