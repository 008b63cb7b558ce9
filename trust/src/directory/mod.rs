//! The directory: the trust root (protocol.md §2).
//!
//! One signed file says who takes part, under which keys, and what may be asked. Everybody pins
//! the operators' root keys and takes no key from anywhere else. A [`SignedDirectory`] is what
//! was received; only [`SignedDirectory::verify`] makes a [`Directory`], so holding one proves
//! that the root keys signed it and that it obeys the rules of [`DirectoryBody::check`].

mod changes;
mod epochs;
mod error;
mod rules;
mod signed;
mod size_noise;

pub use changes::{Change, NotNext};
pub use epochs::{EpochKeys, PreviousEpoch};
pub use error::DirectoryError;
pub use signed::{RootKeys, SignedDirectory};
pub use size_noise::{MAX_SIZE_NOISE, half_noise, most_noise};

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::ceremony::Transcript;
use dispers_base::{
    fingerprint::Fingerprint,
    id::{KeyEpoch, MemberNumber, Name, Role, Timestamp},
    keys::VerifyingKey,
};
use dispers_crypto::{
    dealing::ThresholdKey,
    envelope::{EnvelopePublicKey, Suite},
};
use dispers_privacy::{Rho, ledger};
use dispers_query::catalogue::Catalogue;

/// Largest directory, in bytes.
pub const LIMIT: usize = 16 << 20;

/// What the root keys sign.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct DirectoryBody {
    /// The network's name.
    pub network: Name,
    /// For trying only: threshold keys may come from one dealer, who knows them.
    pub trial: bool,
    /// Number of this edition; a higher one replaces it.
    pub epoch: u64,
    /// Valid from.
    pub issued: Timestamp,
    /// Valid until.
    pub expires: Timestamp,
    /// Suite of every envelope key.
    pub suite: Suite,
    /// Epoch of the pseudonym key and of the pools' envelope keys.
    pub key_epoch: KeyEpoch,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The keys that several machines of one role share.
    pub pools: Vec<Pool>,
    /// Hosts of homes. Self-hosted homes enrol under a listed host.
    pub hosts: Vec<Host>,
    /// Who may ask, and what for.
    pub queriers: Vec<QuerierEntry>,
    /// The Concept Indexors' key: k of m.
    pub indexors: ThresholdKey,
    /// The aggregators' keys, t of n each; a committee's number is its position.
    pub committees: Vec<ThresholdKey>,
    /// How the threshold keys were made: for each, one fresh ceremony and its refreshes in order;
    /// none for a key of one dealer.
    pub transcripts: Vec<Transcript>,
    /// Who co-signs the log of manifests.
    pub witnesses: Witnesses,
    /// What no query may go below.
    pub floors: Floors,
    /// What may be asked.
    pub catalogue: Catalogue,
    /// The key epoch before, while queries are still asked under it.
    pub previous: Option<PreviousEpoch>,
}

impl DirectoryBody {
    /// The operators of nodes of these names that run no Conductor.
    pub fn independent<'a>(&self, names: impl Iterator<Item = &'a Name>) -> BTreeSet<&Name> {
        let operator = |name: &Name| {
            let node = self.nodes.iter().find(|node| node.name == *name);
            node.map(|node| &node.operator)
        };
        let mut operators: BTreeSet<&Name> = names.filter_map(operator).collect();
        for node in self.nodes.iter().filter(|n| n.role == Role::Conductor) {
            operators.remove(&node.operator);
        }
        operators
    }

    /// How the key of a role and group was made.
    pub fn transcripts_of(&self, role: Role, group: u16) -> impl Iterator<Item = &Transcript> {
        let of = move |t: &&Transcript| t.ceremony.role == role && t.ceremony.group == group;
        self.transcripts.iter().filter(of)
    }
}

/// Who co-signs the heads of the log.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Witnesses {
    /// Names of nodes. Those of an operator that runs a Conductor do not count.
    pub names: Vec<Name>,
    /// Number of the log: a higher one begins anew, after one that was lost.
    pub log: u32,
    /// How many operators' witnesses must have co-signed a head, at least 2.
    pub needed: u8,
}

impl Witnesses {
    /// All aggregators, of which two operators' are needed.
    pub fn aggregators(nodes: &[Node]) -> Self {
        let aggregators = nodes.iter().filter(|n| n.role == Role::DataAggregator);
        Self {
            names: aggregators.map(|node| node.name.clone()).collect(),
            log: 1,
            needed: 2,
        }
    }
}

/// One machine of a role.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// Its name, unique in the directory.
    pub name: Name,
    /// Its one role.
    pub role: Role,
    /// Who runs it: what must not collude must not have one operator.
    pub operator: Name,
    /// Where it listens, as `host:port`.
    pub address: String,
    /// Its TLS key.
    pub tls_key: TlsKey,
    /// Its signing key.
    pub signing_key: VerifyingKey,
    /// Its own envelope key, of Concept Indexors; that of all conductors, of a conductor.
    pub envelope_key: Option<EnvelopePublicKey>,
    /// Partition of a Target Finder, committee of an aggregator, else 0.
    pub group: u16,
    /// Shamir point of a Concept Indexor or an aggregator.
    pub member: Option<MemberNumber>,
}

/// Fingerprints of the keys of an entry, by their names in `dispers keys`.
pub type Fingerprints = Vec<(&'static str, Fingerprint)>;

/// Returns the fingerprints of the two keys that every entry has.
fn own(tls_key: &TlsKey, signing_key: &VerifyingKey) -> Fingerprints {
    vec![
        ("tls-key", tls_key.fingerprint()),
        ("signing-key", signing_key.fingerprint()),
    ]
}

impl Node {
    /// Returns the fingerprints of the node's own keys, without the pool's key.
    pub fn fingerprints(&self) -> Fingerprints {
        let mut keys = own(&self.tls_key, &self.signing_key);
        let envelope = self.envelope_key.as_ref();
        keys.extend(envelope.map(|key| ("envelope-key", key.fingerprint())));
        keys
    }
}

impl Host {
    /// Returns the fingerprints of the entry's keys.
    pub fn fingerprints(&self) -> Fingerprints {
        own(&self.tls_key, &self.signing_key)
    }
}

impl QuerierEntry {
    /// Returns the fingerprints of the entry's keys.
    pub fn fingerprints(&self) -> Fingerprints {
        own(&self.tls_key, &self.signing_key)
    }
}

/// The envelope key that all nodes of a role and partition share: what is sealed to it lives for
/// months and outlives a machine.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pool {
    /// [`Role::TargetFinder`], one pool per partition, or [`Role::Target`], one pool.
    pub role: Role,
    /// Partition of the subscriptions; 0 for the Target's pool.
    pub partition: u16,
    /// The directory's.
    pub key_epoch: KeyEpoch,
    /// The key.
    pub envelope_key: EnvelopePublicKey,
}

/// A host of homes, with its stack agent.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Host {
    /// Its name, unique in the directory.
    pub name: Name,
    /// Where the Target dials it, as `host:port`; empty if the stack attaches itself instead.
    pub address: String,
    /// Its TLS key.
    pub tls_key: TlsKey,
    /// Its signing key.
    pub signing_key: VerifyingKey,
}

/// Someone who may ask.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct QuerierEntry {
    /// Its name, unique in the directory.
    pub name: Name,
    /// Its TLS key.
    pub tls_key: TlsKey,
    /// Its signing key.
    pub signing_key: VerifyingKey,
    /// The purposes that its manifests may state.
    pub purposes: Vec<String>,
}

/// Default scale of the noise of sizes, in homes.
pub const SIZE_NOISE: u32 = 2;

/// What no query may go below, whatever its manifest says.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Floors {
    /// Fewest contributions behind a released number; at least 2.
    pub min_cohort: u32,
    /// Accepted of asked contributions for a release, in permille.
    pub answer_rate: u16,
    /// Fewest aggregators that verify: at least t and at most n of every committee.
    pub min_verified: u8,
    /// Most homes that one query may ask.
    pub max_homes: u64,
    /// Whether queries without noise are allowed.
    pub exact: bool,
    /// Budget of a querier for one population in a key epoch, over all aggregators together.
    pub budget: Rho,
    /// Largest δ of a query. Homes also use it to convert the loss of their answers to ε.
    pub max_delta: f64,
    /// Scale of the noise of sizes of sets, in homes. Only a trial network may have 0, which makes sizes exact.
    pub size_noise: u32,
}

/// Default of the largest δ: below one divided by the number of homes of most networks.
pub const DEFAULT_MAX_DELTA: f64 = 1e-5;

/// SHA-256 of a TLS certificate's SubjectPublicKeyInfo. Nothing else of a certificate counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct TlsKey(pub [u8; 32]);

impl TlsKey {
    /// Returns the fingerprint that people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

impl fmt::Display for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsKey({self})")
    }
}

/// Whom a TLS key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A node.
    Node {
        /// Its name.
        name: Name,
        /// Its role.
        role: Role,
    },
    /// A host's stack.
    Host(Name),
    /// A querier.
    Querier(Name),
}

impl Peer {
    /// Its name.
    pub fn name(&self) -> &Name {
        match self {
            Self::Node { name, .. } | Self::Host(name) | Self::Querier(name) => name,
        }
    }

    /// Its role; a host is a [`Role::Stack`].
    pub fn role(&self) -> Role {
        match self {
            Self::Node { role, .. } => *role,
            Self::Host(_) => Role::Stack,
            Self::Querier(_) => Role::Querier,
        }
    }
}

/// A directory that was verified: signed by enough root keys, valid now, and in order.
#[derive(Debug, Clone)]
pub struct Directory {
    body: DirectoryBody,
    entries: HashMap<Name, Position>,
    peers: HashMap<TlsKey, Peer>,
}

/// Where an entry stands in the body's lists.
#[derive(Debug, Clone, Copy)]
enum Position {
    Node(usize),
    Host(usize),
    Querier(usize),
}

impl Directory {
    /// For a body that was verified and checked: names and TLS keys are unique.
    fn new(body: DirectoryBody) -> Self {
        let mut entries = HashMap::new();
        let mut peers = HashMap::new();
        for (index, node) in body.nodes.iter().enumerate() {
            let (name, role) = (node.name.clone(), node.role);
            entries.insert(name.clone(), Position::Node(index));
            peers.insert(node.tls_key, Peer::Node { name, role });
        }
        for (index, host) in body.hosts.iter().enumerate() {
            entries.insert(host.name.clone(), Position::Host(index));
            peers.insert(host.tls_key, Peer::Host(host.name.clone()));
        }
        for (index, querier) in body.queriers.iter().enumerate() {
            entries.insert(querier.name.clone(), Position::Querier(index));
            peers.insert(querier.tls_key, Peer::Querier(querier.name.clone()));
        }
        Self {
            body,
            entries,
            peers,
        }
    }

    /// What was signed.
    pub fn body(&self) -> &DirectoryBody {
        &self.body
    }

    /// Whether the directory is too old to be used at `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.body.expires.has_passed(now)
    }

    /// The node of that name.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        match self.entries.get(name)? {
            Position::Node(index) => self.body.nodes.get(*index),
            _ => None,
        }
    }

    /// The nodes of a role, in the directory's order.
    pub fn nodes(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.body.nodes.iter().filter(move |node| node.role == role)
    }

    /// The envelope key that all conductors share.
    pub fn conductor_key(&self) -> &EnvelopePublicKey {
        self.nodes(Role::Conductor)
            .find_map(|node| node.envelope_key.as_ref())
            .expect("a verified directory has a conductor, which has an envelope key")
    }

    /// The node that holds a Shamir point: a Concept Indexor (group 0) or an aggregator.
    pub fn member(&self, role: Role, group: u16, number: MemberNumber) -> Option<&Node> {
        self.nodes(role)
            .find(|node| node.group == group && node.member == Some(number))
    }

    /// The pool of a role and partition (0 for the Target's).
    pub fn pool(&self, role: Role, partition: u16) -> Option<&Pool> {
        self.body
            .pools
            .iter()
            .find(|pool| pool.role == role && pool.partition == partition)
    }

    /// How many partitions the subscriptions have, at least 1; they are numbered from 0.
    pub fn partitions(&self) -> u16 {
        let pools = self.body.pools.iter();
        let count = pools.filter(|pool| pool.role == Role::TargetFinder).count();
        u16::try_from(count).expect("partitions are numbered by a u16")
    }

    /// Returns the budget of a querier for one population in a key epoch at each aggregator of a committee. With it,
    /// the directory's budget holds whichever aggregators take part. Returns 0 for an unknown committee.
    pub fn budget_of(&self, committee: u16) -> Rho {
        let key = self.body.committees.get(usize::from(committee));
        let floors = &self.body.floors;
        key.map_or(Rho(0), |key| {
            ledger::limit(floors.budget, floors.min_verified, key.threshold())
        })
    }

    /// The host of that name.
    pub fn host(&self, name: &Name) -> Option<&Host> {
        match self.entries.get(name)? {
            Position::Host(index) => self.body.hosts.get(*index),
            _ => None,
        }
    }

    /// The querier of that name.
    pub fn querier(&self, name: &Name) -> Option<&QuerierEntry> {
        match self.entries.get(name)? {
            Position::Querier(index) => self.body.queriers.get(*index),
            _ => None,
        }
    }

    /// Whom a TLS key belongs to.
    pub fn peer(&self, key: &TlsKey) -> Option<&Peer> {
        self.peers.get(key)
    }
}

impl Deref for Directory {
    type Target = DirectoryBody;

    fn deref(&self) -> &DirectoryBody {
        &self.body
    }
}

#[cfg(test)]
mod tests;
