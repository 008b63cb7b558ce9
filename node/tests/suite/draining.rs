//! Tests of health, and of a node that stops while something runs.

use std::time::Duration;

use dispers_node::{TlsIdentity, tls::connect};
use tokio::time::timeout;
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    network::Network,
    service::{PATIENCE, Served, call},
};

const TOTALS: &str = "/dispers.v1.Conductor/Totals";
const SUBMIT: &str = "/dispers.v1.Conductor/Submit";

fn whole() -> HealthCheckRequest {
    HealthCheckRequest {
        service: String::new(),
    }
}

#[tokio::test]
async fn health_is_told_to_whoever_is_listed_and_to_nobody_else() {
    let network = Network::new();
    let served = Served::start(&network, PATIENCE).await;
    for listed in ["da1", "host", "querier"] {
        let mut health = HealthClient::new(served.channel(&network, listed));
        let told = health.check(whole()).await.unwrap().into_inner();
        assert_eq!(told.status, ServingStatus::Serving as i32, "{listed}");
    }
    let key = network.keys("c").tls.key();
    let stranger = TlsIdentity::generate();
    let channel = connect(&served.address.to_string(), key, &stranger, None).unwrap();
    assert!(HealthClient::new(channel).check(whole()).await.is_err());
}

#[tokio::test]
async fn a_node_that_stops_ends_what_runs_and_begins_nothing() {
    let network = Network::new();
    let mut served = Served::start(&network, PATIENCE).await;
    let channel = served.channel(&network, "querier");
    let mut health = HealthClient::new(served.channel(&network, "da1"));
    let mut watch = health.watch(whole()).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status, ServingStatus::Serving as i32);

    let query = served.activity.query();
    let held = tokio::spawn(call(channel.clone(), TOTALS));
    let (method, answer) = served.arrived().await;
    assert_eq!(method, "Totals");

    served.stop();
    let stopping = timeout(PATIENCE, watch.message()).await.unwrap();
    let stopping = stopping.unwrap().unwrap();
    assert_eq!(stopping.status, ServingStatus::NotServing as i32);
    let told = health.check(whole()).await.unwrap().into_inner();
    assert_eq!(told.status, ServingStatus::NotServing as i32);

    // A request that begins something is refused, and did not reach the service.
    let refused = call(channel.clone(), SUBMIT).await;
    assert_eq!(refused, Some(Code::Unavailable));
    // A step of a running query is taken.
    let step = tokio::spawn(call(channel, TOTALS));
    let (method, answer_step) = served.arrived().await;
    assert_eq!(method, "Totals");
    answer_step.send(()).unwrap();
    assert_eq!(step.await.unwrap(), Some(Code::Ok));

    answer.send(()).unwrap();
    assert_eq!(held.await.unwrap(), Some(Code::Ok));
    assert!(!served.ended.is_finished(), "a query runs");
    drop(query);
    let ended = timeout(PATIENCE / 2, served.ended).await;
    ended.expect("nothing runs").unwrap().unwrap();
}

#[tokio::test]
async fn what_outlasts_the_drain_is_not_waited_for() {
    let network = Network::new();
    let mut served = Served::start(&network, Duration::from_millis(10)).await;
    let held = tokio::spawn(call(served.channel(&network, "querier"), TOTALS));
    let (_, answer) = served.arrived().await;
    let _query = served.activity.query();
    served.stop();
    let ended = timeout(PATIENCE, served.ended).await;
    ended.expect("it does not wait").unwrap().unwrap();
    assert!(!held.is_finished());
    drop(answer);
}

#[tokio::test]
async fn a_node_that_is_started_again_begins_things_again() {
    let network = Network::new();
    let mut served = Served::start(&network, Duration::ZERO).await;
    served.stop();
    timeout(PATIENCE, &mut served.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(served.activity.is_draining());

    let served = Served::start_again(&network, served.activity.clone()).await;
    let submitted = tokio::spawn(call(served.channel(&network, "querier"), SUBMIT));
    let (method, answer) = served.arrived().await;
    assert_eq!(method, "Submit");
    answer.send(()).unwrap();
    assert_eq!(submitted.await.unwrap(), Some(Code::Ok));
}
