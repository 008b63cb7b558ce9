//! Configuration of a Target Finder beyond what every node has.

use serde::Deserialize;

/// The `[target-finder]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Certificates that are remembered at the same time; each lives as long as its query.
    pub max_certificates: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_certificates: 1 << 16,
        }
    }
}
