//! Configuration of a Data Aggregator beyond what every node has.

use std::path::PathBuf;

use serde::Deserialize;

/// The `[data-aggregator]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The SQLite file with its offers and queries.
    pub database: PathBuf,
    /// Offers that may be open at the same time.
    #[serde(default = "offers")]
    pub max_offers: usize,
    /// Most queries that are open at the same time, and most a quarter of them per querier. Four times as many
    /// released queries are kept until they expire.
    #[serde(default = "queries")]
    pub max_queries: usize,
}

impl Config {
    /// The defaults, with this file.
    pub fn new(database: PathBuf) -> Self {
        Self {
            database,
            max_offers: offers(),
            max_queries: queries(),
        }
    }
}

fn offers() -> usize {
    1024
}

fn queries() -> usize {
    256
}
