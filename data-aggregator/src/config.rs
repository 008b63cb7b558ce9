//! Configuration of a Data Aggregator beyond what every node has.

use serde::Deserialize;

/// The `[data-aggregator]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Offers that may be open at the same time.
    pub max_offers: usize,
    /// Queries that may be open at the same time.
    pub max_queries: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_offers: 1024,
            max_queries: 256,
        }
    }
}
