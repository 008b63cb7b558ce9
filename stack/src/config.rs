//! Configuration of a stack beyond what every node has.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use crate::{Error, Store, couch, notify, page};

/// Where `answer-quantum-ms` is left out.
pub(crate) const DEFAULT_QUANTUM_MS: u64 = 100;

/// The `[stack]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The SQLite file with the homes' documents, secrets and subscriptions.
    pub database: PathBuf,
    /// Attach to the Target instead of being dialled: for a host that cannot be reached from
    /// outside. The directory then lists an empty address for it.
    #[serde(default)]
    pub attach: bool,
    /// Asks that are answered at the same time; each uses one processor.
    #[serde(default = "two")]
    pub parallel_asks: usize,
    /// Answers leave at multiples of this after the ask, in milliseconds, so that their time does
    /// not tell what the homes did. 0: at once.
    #[serde(default = "quantum")]
    pub answer_quantum_ms: u64,
    /// Exact queries, without noise, that a home answers one querier, of a doctype and in a key epoch; 0
    /// for none.
    #[serde(default = "exact")]
    pub exact_queries: usize,
    /// Where the homes' documents are, unless they are in the stack's own file.
    pub documents: Option<couch::Config>,
    /// How owners who decide each time are told.
    #[serde(default)]
    pub notify: notify::Config,
    /// Where owners see and decide; nowhere but on the command line if it is left out.
    pub page: Option<page::Config>,
}

impl Config {
    /// Opens the stack's file, and the source of documents. `resolve` gives paths as they can be opened.
    ///
    /// # Errors
    /// [`Error`] that says what to mend.
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

/// Where `exact-queries` is left out.
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
