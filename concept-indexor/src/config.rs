//! The Concept Indexor's table of the configuration file.

use serde::Deserialize;

/// The `[concept-indexor]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Most concepts that one host or querier may have evaluated in an hour. A requester can guess concepts and
    /// compare their pseudonyms, so this bounds how fast it can search a vocabulary.
    pub concepts_per_hour: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concepts_per_hour: 10_000,
        }
    }
}
