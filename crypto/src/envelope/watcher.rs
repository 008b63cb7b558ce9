//! Watchers of what a key opens, for tests and to show people what a role could read.

use std::fmt;
use std::sync::Arc;

/// Observer of every envelope that a key opens. A key has no watcher unless the caller sets one, which only the
/// sandbox and tests do.
pub trait Watcher: Send + Sync {
    /// Receives a ciphertext that opened, with its plaintext. `purpose` is one of the `ENVELOPE_…` labels.
    fn opened(&self, purpose: &'static str, ciphertext: &[u8], plaintext: &[u8]);
}

/// Watcher of a key, if it has one.
#[derive(Clone, Default)]
pub(super) struct Watch(pub(super) Option<Arc<dyn Watcher>>);

impl Watch {
    /// Returns whether there is a watcher.
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
