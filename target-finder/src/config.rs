//! Configuration of a Target Finder beyond what every node has.

use std::path::PathBuf;

use serde::Deserialize;

/// The `[target-finder]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The SQLite file with what it certified as a notary, and whom queriers asked.
    pub database: PathBuf,
    /// Certificates that are remembered at the same time; each lives as long as its query.
    #[serde(default = "certificates")]
    pub max_certificates: usize,
    /// Different populations that one querier may ask in a key epoch; a million homes take 8 MB each.
    #[serde(default = "populations")]
    pub max_populations: usize,
}

impl Config {
    /// The defaults, with this file.
    pub fn new(database: PathBuf) -> Self {
        Self {
            database,
            max_certificates: certificates(),
            max_populations: populations(),
        }
    }
}

fn populations() -> usize {
    256
}

fn certificates() -> usize {
    1 << 16
}
