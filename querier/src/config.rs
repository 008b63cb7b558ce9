//! Configuration of a querier beyond what every node has.

use std::path::PathBuf;

use serde::Deserialize;

/// The `[querier]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The folder of questions that wait for their answers.
    pub queries: PathBuf,
    /// Longest life of a query, in milliseconds. A training session has a tenth of it more for each round after
    /// the first, seven days at most.
    pub lifetime_ms: u64,
    /// Fewest aggregators that must verify every batch; the threshold plus one is recommended
    /// where a corrupt aggregator could work with a corrupt home. 0: the network's floor.
    pub min_verified: u8,
    /// Fewest accepted answers, in thousandths of the homes asked. 0: the network's floor.
    pub answer_rate: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queries: "queries".into(),
            lifetime_ms: 3_600_000,
            min_verified: 0,
            answer_rate: 0,
        }
    }
}
