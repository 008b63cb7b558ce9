//! Configuration of a Target Finder beyond what every node has.

use std::path::PathBuf;

use dispers_core::find::Limits;
use serde::Deserialize;

/// Queries of one querier that found homes and have not expired.
const MAX_QUERIES: usize = 1 << 14;

/// The `[target-finder]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The SQLite file with what it certified as a notary, and whom queriers asked.
    pub database: PathBuf,
    /// Certificates that are remembered at the same time; each lives as long as its query.
    #[serde(default = "certificates")]
    pub max_certificates: usize,
    /// Different populations that one querier may ask in a key epoch.
    #[serde(default = "populations")]
    pub max_populations: usize,
    /// Sets of homes that are kept of one querier in a key epoch: a population's set is kept again when it has changed.
    #[serde(default = "sets")]
    pub max_sets: usize,
    /// Homes of all these sets together; each takes 8 bytes. A set that is near a kept one takes what it differs by.
    #[serde(default = "kept_homes")]
    pub max_kept_homes: u64,
    /// Queries of one querier that may be refused in a key epoch for the sizes of sets.
    #[serde(default = "refused")]
    pub max_refused: usize,
}

impl Config {
    /// How much is remembered of one querier in one key epoch.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            profiles: self.max_populations,
            sets: self.max_sets,
            homes: self.max_kept_homes,
            refused: self.max_refused,
            queries: MAX_QUERIES,
        }
    }

    /// The defaults, with this file.
    pub fn new(database: PathBuf) -> Self {
        Self {
            database,
            max_certificates: certificates(),
            max_populations: populations(),
            max_sets: sets(),
            max_kept_homes: kept_homes(),
            max_refused: refused(),
        }
    }
}

fn populations() -> usize {
    256
}

fn sets() -> usize {
    1024
}

/// 4 GB.
fn kept_homes() -> u64 {
    512_000_000
}

fn refused() -> usize {
    50
}

fn certificates() -> usize {
    1 << 16
}
