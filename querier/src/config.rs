//! Configuration of a querier beyond what every node has.

use std::path::PathBuf;

use serde::Deserialize;

/// Content of a querier's configuration file. `role` is the `[querier]` table.
///
/// `ConfigFile::load(path, "querier")` reads one.
pub type ConfigFile = dispers_node::Config<Config>;

/// The `[querier]` table of the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Folder that stores questions until their answers are opened.
    pub queries: PathBuf,
    /// Life of a query in milliseconds, without the time that owners get to decide. Each round of a training session
    /// after the first adds a tenth of this. The whole is at most seven days.
    pub lifetime_ms: u64,
    /// Fewest aggregators of a committee that must verify each batch. 0 stands for the network's floor. Where a corrupt
    /// aggregator could work with a corrupt home, the committee's threshold plus one is recommended.
    pub min_verified: u8,
    /// Fewest accepted contributions, in thousandths of the homes asked. 0 stands for the network's floor.
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
