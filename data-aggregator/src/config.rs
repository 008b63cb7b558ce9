//! The Data Aggregator's table of the configuration file.

use std::path::PathBuf;

use serde::Deserialize;

/// The `[data-aggregator]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// SQLite file of the aggregator's offers, queries and privacy budgets.
    pub database: PathBuf,
    /// Most offers that are open at the same time, and most a quarter of them per querier.
    #[serde(default = "offers")]
    pub max_offers: usize,
    /// Most queries that are open at the same time, and most a quarter of them per querier. Four times as many
    /// released queries are kept until they expire.
    #[serde(default = "queries")]
    pub max_queries: usize,
}

impl Config {
    /// Returns the defaults, with this database file.
    pub fn new(database: PathBuf) -> Self {
        Self {
            database,
            max_offers: offers(),
            max_queries: queries(),
        }
    }
}

/// Default of `max-offers`.
fn offers() -> usize {
    1024
}

/// Default of `max-queries`.
fn queries() -> usize {
    256
}
