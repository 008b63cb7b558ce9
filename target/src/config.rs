//! The Target's table of the configuration file.

use serde::Deserialize;

/// The `[target]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Longest wait for one stack's answer to one batch, in milliseconds. The homes of a slower stack are missing from
    /// the batch.
    pub stack_timeout_ms: u64,
    /// Most stacks that one batch asks at the same time.
    pub parallel_stacks: usize,
    /// Most stacks that may be attached at the same time.
    pub max_attached: usize,
    /// Longest time that an attached stack's stream stays open without an ask, in milliseconds. A stack whose stream
    /// ended attaches again.
    pub attached_idle_ms: u64,
    /// Most bytes of sealed subscriptions that one host may upload at once, and as many again within a month.
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
