//! What each role could read, from recorded traffic.

use std::collections::{BTreeMap, HashMap, HashSet};

use dispers_base::id::Role;

use crate::recording::{Opened, Recording};

/// Bytes of a ciphertext by which it is recognised: its first and its last.
const MARK: usize = 16;

/// Envelopes of one purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Envelopes {
    /// How many.
    pub count: usize,
    /// Their sealed bytes together.
    pub bytes: usize,
}

impl Envelopes {
    fn add(&mut self, opened: &Opened) {
        self.count += 1;
        self.bytes += opened.ciphertext.len();
    }
}

/// What all nodes of one role received, and what of it they could read.
#[derive(Debug, Clone)]
pub struct RoleKnowledge {
    /// The role.
    pub role: Role,
    /// How many nodes it has.
    pub nodes: usize,
    /// Bytes that they received, TLS removed.
    pub received: usize,
    /// What they opened, by purpose.
    pub opened: BTreeMap<&'static str, Envelopes>,
    /// What passed them and stayed closed, though somebody else opened it, by purpose.
    pub closed: BTreeMap<&'static str, Envelopes>,
}

/// What everybody could read in one sandbox.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// Each role that received anything.
    pub roles: Vec<RoleKnowledge>,
    /// How many envelopes were opened by anybody.
    pub envelopes: usize,
    /// How many of them by nodes of more than one role.
    pub read_by_several_roles: usize,
}

impl Knowledge {
    /// Evaluates a recording.
    pub fn new(recording: &Recording) -> Self {
        let all = Envelope::all(recording);
        let mut marks: HashMap<[u8; MARK], usize> = HashMap::new();
        for (index, envelope) in all.iter().enumerate() {
            for mark in marks_of(&envelope.opened.ciphertext) {
                marks.insert(mark, index);
            }
        }
        // Most positions of a stream start no mark, and this tells them cheaply.
        let prefixes: HashSet<u32> = marks.keys().map(|mark| prefix(mark)).collect();
        let mut roles: BTreeMap<Role, RoleKnowledge> = BTreeMap::new();
        for (_, role, record) in recording.records() {
            let received = record.received();
            let known = roles.entry(role).or_insert_with(|| RoleKnowledge {
                role,
                nodes: 0,
                received: 0,
                opened: BTreeMap::new(),
                closed: BTreeMap::new(),
            });
            known.nodes += 1;
            known.received += received.connections.values().map(Vec::len).sum::<usize>();
            let plaintexts = received.opened.iter().map(|opened| &opened.plaintext);
            let mut seen: HashSet<usize> = HashSet::new();
            for bytes in received.connections.values().chain(plaintexts) {
                for window in bytes.windows(MARK) {
                    if prefixes.contains(&prefix(window))
                        && let Some(index) = marks.get(window)
                    {
                        seen.insert(*index);
                    }
                }
            }
            for index in seen {
                let envelope = &all[index];
                let side = if envelope.readers.contains(&role) {
                    &mut known.opened
                } else {
                    &mut known.closed
                };
                let of_purpose = side.entry(envelope.opened.purpose).or_default();
                of_purpose.add(&envelope.opened);
            }
        }
        Self {
            roles: roles.into_values().collect(),
            envelopes: all.len(),
            read_by_several_roles: all.iter().filter(|e| e.readers.len() > 1).count(),
        }
    }
}

/// An envelope that somebody opened.
struct Envelope {
    opened: Opened,
    readers: HashSet<Role>,
}

impl Envelope {
    fn all(recording: &Recording) -> Vec<Self> {
        let mut found: HashMap<Vec<u8>, Self> = HashMap::new();
        for (_, role, record) in recording.records() {
            for opened in &record.received().opened {
                let envelope = found.entry(opened.ciphertext.clone());
                let envelope = envelope.or_insert_with(|| Self {
                    opened: opened.clone(),
                    readers: HashSet::new(),
                });
                envelope.readers.insert(role);
            }
        }
        found.into_values().collect()
    }
}

/// Either end: where one is torn apart by the transport's frames, the other is not.
fn marks_of(ciphertext: &[u8]) -> impl Iterator<Item = [u8; MARK]> {
    let first = ciphertext.first_chunk::<MARK>().copied();
    let last = ciphertext.last_chunk::<MARK>().copied();
    first.into_iter().chain(last)
}

fn prefix(bytes: &[u8]) -> u32 {
    let first = bytes.first_chunk::<4>().copied();
    first.map_or(0, u32::from_le_bytes)
}
