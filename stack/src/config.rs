//! Configuration of a stack beyond what every node has.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use crate::{Error, Store, couch, notify, page};

/// Default of `answer-quantum-ms` (protocol.md §6).
pub(crate) const DEFAULT_QUANTUM_MS: u64 = 100;

/// The `[stack]` table of the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// SQLite file with the homes' documents, secrets, subscriptions, rules and history.
    pub database: PathBuf,
    /// True if the stack attaches to the Targets instead of being dialled, for a host that cannot be reached from
    /// outside. The directory then lists an empty address for the host.
    #[serde(default)]
    pub attach: bool,
    /// Number of asks that a dialled stack answers at the same time. Each uses one processor.
    #[serde(default = "two")]
    pub parallel_asks: usize,
    /// Quantum of answers, in milliseconds. An answer leaves at a multiple of it after the ask, so that its time does
    /// not tell what the homes did. 0 lets answers leave at once.
    #[serde(default = "quantum")]
    pub answer_quantum_ms: u64,
    /// Number of exact queries, without noise, that a home answers per querier, doctype and key epoch. 0 stands for
    /// none.
    #[serde(default = "exact")]
    pub exact_queries: usize,
    /// Source of the homes' documents. Without it, they are in the stack's own file.
    pub documents: Option<couch::Config>,
    /// Ways to notify owners who decide each query themselves.
    #[serde(default)]
    pub notify: notify::Config,
    /// Page on which owners see queries and decide. Without it, they decide on the command line only.
    pub page: Option<page::Config>,
}

impl Config {
    /// Opens the stack's file and the source of documents. `resolve` turns configured paths into paths that can be
    /// opened.
    ///
    /// # Errors
    /// [`Error`] that says what to correct.
    pub fn open(&self, resolve: impl Fn(&Path) -> PathBuf) -> Result<Store, Error> {
        let store = Store::open(&resolve(&self.database))?;
        let Some(documents) = &self.documents else {
            return Ok(store);
        };
        let couch = couch::Couch::open(documents.clone().resolved(resolve));
        let couch = couch.map_err(|error| Error::Source(error.to_string()))?;
        Ok(store.with_documents(Arc::new(couch)))
    }
}

/// Default of `exact-queries`. The differences of enough exact queries reveal one home (protocol.md §17).
pub(crate) const DEFAULT_EXACT: usize = 10;

fn exact() -> usize {
    DEFAULT_EXACT
}

fn quantum() -> u64 {
    DEFAULT_QUANTUM_MS
}

fn two() -> usize {
    2
}
