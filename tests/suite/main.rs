//! Tests of whole networks over sockets: their answers, compared with a plain computation, and their failures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod attacks;
mod consent;
mod corpora;
mod couchdb;
mod coverage;
mod documents;
mod failures;
mod fixtures;
mod functions;
mod hosts;
mod knowledge;
mod labels;
mod ledgers;
#[cfg(feature = "full")]
mod observed;
mod page;
mod plain;
mod questions;
mod restarts;
mod sameness;
mod several;
mod training;
mod withdrawal;

use std::{path::PathBuf, sync::Arc};

use dispers_conductor::Log;
use dispers_core::{log::Inclusion, manifest::SignedManifest};
use dispers_crypto::envelope::Suite;
use dispers_node::{Channels, now};
use dispers_querier::QueryResult;
use dispers_sandbox::{Network, Options};

/// Returns the options of a network with the cheaper suite.
fn options(data: Vec<PathBuf>) -> Options {
    Options {
        data,
        suite: Suite::X25519,
        // Most networks of the suite have few homes above the cohort. Tests of sizes set their own noise.
        size_noise: 0,
        ..Options::default()
    }
}

/// Returns the conductor's log, for tests that drive a query in its place.
fn log_of(network: &Network) -> Arc<Log> {
    let node = network.node("conductor").unwrap().clone();
    let store = network.conductor_store().unwrap();
    Arc::new(Log::new(node.clone(), Channels::new(node), store))
}

/// Publishes a manifest in the log, and returns the proof that it is there.
async fn logged(log: &Log, manifest: &SignedManifest) -> Inclusion {
    log.publish(manifest, now().plus(10_000)).await.unwrap()
}

/// Asks one question of a network that is started for this question only.
async fn ask(options: &Options, sql: &str) -> QueryResult {
    let network = Network::start(options, |_| {}).await.unwrap();
    let result = network.ask(sql, None, |_| {}).await;
    network.stop().await;
    result.unwrap()
}
