//! Configuration of a Concept Indexor beyond what every node has.

use serde::Deserialize;

/// The `[concept-indexor]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Concepts that one host or querier may have evaluated in an hour. A client may test concepts
    /// online, so this bounds how fast a vocabulary can be searched.
    pub concepts_per_hour: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concepts_per_hour: 10_000,
        }
    }
}
