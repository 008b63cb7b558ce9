//! Configuration of a Conductor beyond what every node has.

use std::path::PathBuf;

use serde::Deserialize;

/// The `[conductor]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The SQLite file with subscriptions and queries.
    pub database: Option<PathBuf>,
    /// A query whose conductor has not been heard of for so long is taken up by another, in
    /// milliseconds.
    pub lease_ms: u64,
    /// Homes per batch.
    pub batch_size: u32,
    /// Batches that each committee aggregates at the same time, 1 to 4.
    pub batches_in_flight: usize,
    /// Longest wait for one step of one node, in milliseconds.
    pub step_timeout_ms: u64,
    /// Longest wait for the Target to ask one batch, in milliseconds.
    pub ask_timeout_ms: u64,
    /// Queries that are kept at the same time, done ones until they expire.
    pub max_queries: usize,
    /// Subscription entries that are kept.
    pub max_entries: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: None,
            lease_ms: 10_000,
            batch_size: 50_000,
            batches_in_flight: 2,
            step_timeout_ms: 60_000,
            ask_timeout_ms: 120_000,
            max_queries: 1024,
            max_entries: 50_000_000,
        }
    }
}
