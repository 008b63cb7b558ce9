//! Tests of networks with two partitions, two targets and two committees.

use dispers_core::conduct::Phase;
use dispers_querier::{Error, Progress, QueryResult};
use dispers_sandbox::{Network, Options};
use dispers_sql::decode::Value;

use crate::options;

const SQL: &str = "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 120, 1)) AS ages FROM nhefs";

/// Returns options with two partitions, targets and committees. The example's homes make about five batches in each
/// partition.
fn two_of_each() -> Options {
    Options {
        partitions: 2,
        targets: 2,
        committees: 2,
        attached: 1,
        batch_size: 170,
        ..options(Vec::new())
    }
}

async fn network(options: &Options) -> Network {
    Network::start(options, |_| {}).await.unwrap()
}

fn assert_is_everybody(result: &QueryResult) {
    let homes = &result.homes;
    assert_eq!((homes.targeted, homes.asked), (1629, 1629));
    assert_eq!((homes.answered, homes.accepted), (1629, 1629));
    assert_eq!(result.table.rows[0][0], Value::Integer(1629));
    assert_eq!(crate::plain::real(&result.table.rows[0][1]), 71_538.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_give_everybody_s_sums() {
    let network = network(&two_of_each()).await;
    for _ in 0..2 {
        let result = network.ask(SQL, None, |_| {}).await.unwrap();
        assert_is_everybody(&result);
        assert_eq!(result.aggregators.verified, 3);
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_target_is_gone_goes_to_the_other() {
    for target in ["target", "target-2"] {
        let network = network(&two_of_each()).await;
        assert!(network.end_node(target).await);
        let result = network.ask(SQL, None, |_| {}).await.unwrap();
        assert_is_everybody(&result);
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_committee_may_lose_an_aggregator() {
    let network = network(&two_of_each()).await;
    let lost = ["data-aggregator-3", "data-aggregator-2-1"];
    let mut told = Vec::new();
    let result = network
        .ask(SQL, None, |step| {
            if let Progress::Running(status) = step
                && status.phase == Phase::Ask
            {
                for node in lost {
                    network.stop_node(node);
                }
                told = status.missing.clone();
            }
        })
        .await
        .unwrap();
    assert_is_everybody(&result);
    assert_eq!(result.aggregators.verified, 2);
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["3", "1 of committee 1"]);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committee_that_is_gone_fails_the_query_rather_than_half_of_it_passing_for_the_whole() {
    let network = network(&two_of_each()).await;
    let error = network
        .ask(SQL, None, |step| {
            if let Progress::Running(status) = step
                && status.phase == Phase::Ask
            {
                for node in ["data-aggregator-2-1", "data-aggregator-2-2"] {
                    network.stop_node(node);
                }
            }
        })
        .await
        .unwrap_err();
    let Error::Failed(failure) = error else {
        panic!("{error}");
    };
    let words = failure.to_string();
    assert!(words.contains("1 of committee 1"), "{words}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_committee_has_homes_however_large_batches_are() {
    let options = Options {
        committees: 2,
        ..options(Vec::new())
    };
    let network = network(&options).await;
    // Both committees are needed, with one batch each, and each may lose one aggregator.
    assert!(network.end_node("data-aggregator-2-3").await);
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_is_everybody(&result);
    assert_eq!(result.aggregators.verified, 2);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_or_a_committee_below_the_cohort_ends_the_query() {
    let network = network(&two_of_each()).await;
    // Each partition has about 815 homes, and each committee half of them.
    for cohort in [900, 500] {
        let error = network.ask(SQL, Some(cohort), |_| {}).await.unwrap_err();
        let words = error.to_string();
        let expected = format!("minimum cohort of {cohort}");
        assert!(words.contains(&expected), "{words}");
    }
    network.stop().await;
}
