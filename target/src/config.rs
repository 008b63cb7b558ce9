//! Configuration of a Target beyond what every node has.

use serde::Deserialize;

/// The `[target]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Longest wait for one stack's answer to one batch, in milliseconds. A stack that is slower
    /// is left out of the batch.
    pub stack_timeout_ms: u64,
    /// Stacks that are asked at the same time.
    pub parallel_stacks: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stack_timeout_ms: 60_000,
            parallel_stacks: 64,
        }
    }
}
