//! The Target Finder's table of the configuration file.

use std::path::PathBuf;

use dispers_core::find::Limits;
use serde::Deserialize;

/// Most remembered queries of one querier that found homes and have not expired.
const MAX_QUERIES: usize = 1 << 14;

/// The `[target-finder]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// SQLite file with the notary's certificates, and the sets of homes that queriers asked.
    pub database: PathBuf,
    /// Most certificates that are kept at the same time. Each is kept until its query expires.
    #[serde(default = "certificates")]
    pub max_certificates: usize,
    /// Most different populations that one querier may ask in a key epoch.
    #[serde(default = "populations")]
    pub max_populations: usize,
    /// Most sets of homes that are stored per querier and key epoch. A population's set is stored again when it
    /// changes.
    #[serde(default = "sets")]
    pub max_sets: usize,
    /// Most homes of all these sets together, at 8 bytes each. A set near a stored one takes only the homes by which
    /// they differ.
    #[serde(default = "kept_homes")]
    pub max_kept_homes: u64,
    /// Most queries of one querier that are refused for the sizes of sets in a key epoch.
    #[serde(default = "refused")]
    pub max_refused: usize,
}

impl Config {
    /// Returns the limits of what is remembered of one querier in one key epoch.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            profiles: self.max_populations,
            sets: self.max_sets,
            homes: self.max_kept_homes,
            refused: self.max_refused,
            queries: MAX_QUERIES,
        }
    }

    /// Returns the defaults, with this database file.
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

/// Default of `max-populations`.
fn populations() -> usize {
    256
}

/// Default of `max-sets`.
fn sets() -> usize {
    1024
}

/// Default of `max-kept-homes`, which takes 4 GB of disk.
fn kept_homes() -> u64 {
    512_000_000
}

/// Default of `max-refused`. A refusal tells the querier something about the sizes of sets, so this bounds what it can
/// learn from refused queries (protocol.md §6).
fn refused() -> usize {
    50
}

/// Default of `max-certificates`.
fn certificates() -> usize {
    1 << 16
}
