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
    /// Stacks that may be attached at the same time.
    pub max_attached: usize,
    /// How long an attached stack may go unasked, in milliseconds; then its stream ends, and it attaches
    /// anew where it is still there.
    pub attached_idle_ms: u64,
    /// Bytes of sealed subscriptions that one host may upload at once, and again within a month.
    pub upload_quota_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stack_timeout_ms: 60_000,
            parallel_stacks: 64,
            max_attached: 20_000,
            attached_idle_ms: 3_600_000,
            upload_quota_bytes: 2 << 30,
        }
    }
}
