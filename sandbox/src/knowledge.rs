//! Knowledge of each role: the envelopes that it opened or only passed on, from recorded traffic.

use std::collections::{BTreeMap, HashMap, HashSet};

use dispers_base::id::Role;

use crate::recording::{Opened, Recording};

/// Number of bytes by which a ciphertext is recognised, at its beginning and at its end. Ciphertexts are random enough
/// that these bytes do not occur elsewhere by chance.
const MARK: usize = 16;

/// Envelopes of one purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Envelopes {
    /// Number of envelopes.
    pub count: usize,
    /// Number of their sealed bytes.
    pub bytes: usize,
}

impl Envelopes {
    /// Counts one more envelope.
    fn add(&mut self, opened: &Opened) {
        self.count += 1;
        self.bytes += opened.ciphertext.len();
    }
}

/// Bytes and envelopes that the nodes of one role received.
#[derive(Debug, Clone)]
pub struct RoleKnowledge {
    /// The role.
    pub role: Role,
    /// Number of nodes of the role.
    pub nodes: usize,
    /// Number of received bytes, without TLS.
    pub received: usize,
    /// Envelopes that nodes of the role opened, by purpose.
    pub opened: BTreeMap<&'static str, Envelopes>,
    /// Envelopes that passed nodes of the role and that only other roles opened, by purpose.
    pub closed: BTreeMap<&'static str, Envelopes>,
}

/// Knowledge of all roles of one sandbox.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// Roles that have nodes.
    pub roles: Vec<RoleKnowledge>,
    /// Number of envelopes that any node opened.
    pub envelopes: usize,
    /// Number of envelopes that nodes of several roles opened.
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
        // Few positions of a stream begin a mark. Looking up four bytes first rules out most positions cheaply.
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
            // An envelope can lie inside another one, so opened plaintexts are searched like the streams.
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

/// Envelope that some node opened, with the roles of all nodes that opened it.
struct Envelope {
    opened: Opened,
    readers: HashSet<Role>,
}

impl Envelope {
    /// Collects the opened envelopes of all nodes. Equal ciphertexts are one envelope.
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

/// Returns the first and the last bytes of a ciphertext. The frames of the transport may split one of them, but rarely
/// both.
fn marks_of(ciphertext: &[u8]) -> impl Iterator<Item = [u8; MARK]> {
    let first = ciphertext.first_chunk::<MARK>().copied();
    let last = ciphertext.last_chunk::<MARK>().copied();
    first.into_iter().chain(last)
}

/// Returns the first four bytes as a number.
fn prefix(bytes: &[u8]) -> u32 {
    let first = bytes.first_chunk::<4>().copied();
    first.map_or(0, u32::from_le_bytes)
}
