//! A search of the plaintexts that each role opens for data that the role must never learn (protocol.md §1).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::testing::Home;
use dispers_crypto::envelope::Watcher;

/// First forbidden value that a role read.
#[derive(Clone, Default)]
pub(super) struct Leak(Arc<Mutex<Option<String>>>);

/// Watcher of the plaintexts that one role's keys open.
struct Eyes {
    role: &'static str,
    /// Values that must not be in a plaintext, by their first two bytes.
    forbidden: BTreeMap<[u8; 2], Vec<Vec<u8>>>,
    /// True for each byte with which a forbidden value begins.
    begins: [bool; 256],
    leak: Leak,
}

impl Watcher for Eyes {
    fn opened(&self, purpose: &'static str, _ciphertext: &[u8], plaintext: &[u8]) {
        let begins = |at: &usize| self.begins[usize::from(plaintext[*at])];
        let holds = |at: usize| {
            let rest = &plaintext[at..];
            let first = rest.first_chunk();
            let markers = first.and_then(|first: &[u8; 2]| self.forbidden.get(first));
            markers.is_some_and(|markers| markers.iter().any(|marker| rest.starts_with(marker)))
        };
        if (0..plaintext.len()).filter(begins).any(holds) {
            let mut leak = self.leak.0.lock().expect("no watcher panics");
            leak.get_or_insert(format!(
                "a {} reads in {purpose} what it must not",
                self.role
            ));
        }
    }
}

/// Values that identify homes: tags, keys and names.
#[derive(Default)]
pub(super) struct Markers {
    tags: Vec<Vec<u8>>,
    keys: Vec<Vec<u8>>,
    names: Vec<Vec<u8>>,
}

impl Markers {
    pub(super) fn of(homes: &[Home]) -> Self {
        let mut markers = Self::default();
        for home in homes {
            markers.tags.push(home.tag.0.to_vec());
            markers.keys.push(home.key.as_bytes().to_vec());
            markers.names.push(home.id.0.clone().into_bytes());
        }
        markers
    }

    /// Adds the values that identify the homes in another key epoch.
    pub(super) fn add(&mut self, other: Self) {
        self.tags.extend(other.tags);
        self.keys.extend(other.keys);
    }
}

impl Leak {
    fn eyes(&self, role: &'static str, markers: Vec<Vec<u8>>) -> Arc<dyn Watcher> {
        let mut forbidden: BTreeMap<[u8; 2], Vec<Vec<u8>>> = BTreeMap::new();
        let mut begins = [false; 256];
        for marker in markers {
            let first = *marker.first_chunk().expect("a marker has several bytes");
            begins[usize::from(first[0])] = true;
            forbidden.entry(first).or_default().push(marker);
        }
        Arc::new(Eyes {
            role,
            forbidden,
            begins,
            leak: self.clone(),
        })
    }

    /// Watches a finder. It may read tags, but no home's name.
    pub(super) fn finder(&self, markers: &Markers) -> Arc<dyn Watcher> {
        self.eyes("target finder", markers.names.clone())
    }

    /// Watches a target. It may read homes' names, but no tag or key of a home.
    pub(super) fn target(&self, markers: &Markers) -> Arc<dyn Watcher> {
        let forbidden = [markers.tags.clone(), markers.keys.clone()].concat();
        self.eyes("target", forbidden)
    }

    /// Watches an aggregator. It may read nothing that identifies a home.
    pub(super) fn aggregator(&self, markers: &Markers) -> Arc<dyn Watcher> {
        let of_homes = [markers.tags.clone(), markers.keys.clone()].concat();
        let forbidden = [of_homes, markers.names.clone()].concat();
        self.eyes("data aggregator", forbidden)
    }

    /// Returns the first forbidden value that was read, as an error.
    pub(super) fn found(&self) -> Result<(), String> {
        let leak = self.0.lock().expect("no watcher panics");
        leak.clone().map_or(Ok(()), Err)
    }
}
