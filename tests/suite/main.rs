//! Whole networks over sockets: their answers against a plain computation, and their failures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod attacks;
mod consent;
mod corpora;
mod coverage;
mod documents;
mod failures;
mod functions;
mod hosts;
mod knowledge;
mod ledgers;
mod observed;
mod page;
mod plain;
mod questions;
mod restarts;
mod sameness;
mod several;
mod withdrawal;

use std::path::PathBuf;

use dispers_core::envelope::Suite;
use dispers_querier::QueryResult;
use dispers_sandbox::{Network, Options};

/// A network with the cheaper suite.
fn options(data: Vec<PathBuf>) -> Options {
    Options {
        data,
        suite: Suite::X25519,
        ..Options::default()
    }
}

/// Asks one question of a network that lives as long as the question.
async fn ask(options: &Options, sql: &str) -> QueryResult {
    let network = Network::start(options, |_| {}).await.unwrap();
    let result = network.ask(sql, None, |_| {}).await;
    network.stop().await;
    result.unwrap()
}
