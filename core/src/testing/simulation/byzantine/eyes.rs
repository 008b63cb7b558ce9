//! What each role opens, searched for what it must never learn (protocol.md §1).

use std::sync::{Arc, Mutex};

use crate::envelope::Watcher;
use crate::testing::Home;

/// The first thing that somebody read and must not have.
#[derive(Clone, Default)]
pub(super) struct Leak(Arc<Mutex<Option<String>>>);

/// Sees what the keys of one role open.
struct Eyes {
    role: &'static str,
    /// What must not be in it.
    forbidden: Vec<Vec<u8>>,
    leak: Leak,
}

impl Watcher for Eyes {
    fn opened(&self, purpose: &'static str, _ciphertext: &[u8], plaintext: &[u8]) {
        let holds = |marker: &Vec<u8>| {
            let mut windows = plaintext.windows(marker.len());
            windows.any(|window| window == marker.as_slice())
        };
        if self.forbidden.iter().any(holds) {
            let mut leak = self.leak.0.lock().expect("no watcher panics");
            leak.get_or_insert(format!(
                "a {} reads in {purpose} what it must not",
                self.role
            ));
        }
    }
}

fn tags(homes: &[Home]) -> Vec<Vec<u8>> {
    homes.iter().map(|home| home.tag.0.to_vec()).collect()
}

fn keys(homes: &[Home]) -> Vec<Vec<u8>> {
    let keys = homes.iter().map(|home| home.key.as_bytes().to_vec());
    keys.collect()
}

fn names(homes: &[Home]) -> Vec<Vec<u8>> {
    let names = homes.iter().map(|home| home.id.0.clone().into_bytes());
    names.collect()
}

impl Leak {
    fn eyes(&self, role: &'static str, forbidden: Vec<Vec<u8>>) -> Arc<dyn Watcher> {
        Arc::new(Eyes {
            role,
            forbidden,
            leak: self.clone(),
        })
    }

    /// Sees a finder: it knows tags, and no home by its name.
    pub(super) fn finder(&self, homes: &[Home]) -> Arc<dyn Watcher> {
        self.eyes("target finder", names(homes))
    }

    /// Sees a target: it knows homes by their names, and no tag or key of theirs.
    pub(super) fn target(&self, homes: &[Home]) -> Arc<dyn Watcher> {
        self.eyes("target", [tags(homes), keys(homes)].concat())
    }

    /// Sees an aggregator: it knows nothing of homes.
    pub(super) fn aggregator(&self, homes: &[Home]) -> Arc<dyn Watcher> {
        let forbidden = [names(homes), tags(homes), keys(homes)].concat();
        self.eyes("data aggregator", forbidden)
    }

    /// Returns what was read and must not have been.
    pub(super) fn found(&self) -> Result<(), String> {
        let leak = self.0.lock().expect("no watcher panics");
        leak.clone().map_or(Ok(()), Err)
    }
}
