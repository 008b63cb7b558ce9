//! Watching what a key opens: for tests, and to show people what a role could read.

use std::fmt;
use std::sync::Arc;

/// Sees every envelope that a key opens. A key has none unless it is given one, which only a
/// sandbox or a test does.
pub trait Watcher: Send + Sync {
    /// `ciphertext` opened as `plaintext`; `purpose` is one of the `ENVELOPE_…` labels.
    fn opened(&self, purpose: &'static str, ciphertext: &[u8], plaintext: &[u8]);
}

/// A key's watcher, if it has one.
#[derive(Clone, Default)]
pub(super) struct Watch(pub(super) Option<Arc<dyn Watcher>>);

impl Watch {
    /// Whether anybody watches.
    pub(super) fn is_awake(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn opened(&self, purpose: &'static str, ciphertext: &[u8], plaintext: &[u8]) {
        if let Some(watcher) = &self.0 {
            watcher.opened(purpose, ciphertext, plaintext);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
