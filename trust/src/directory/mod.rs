//! The directory, which is the root of trust (protocol.md §2).
//!
//! One signed file lists the participants, their keys, and the data that queries may ask for. Every party pins the
//! operators' root keys and takes all other keys from this file alone. A [`SignedDirectory`] is a file as received.
//! Only [`SignedDirectory::verify`] makes a [`Directory`], so that holding a [`Directory`] proves that the root keys
//! signed it and that it obeys the rules of [`DirectoryBody::check`].

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
    hex::Hex,
    id::{KeyEpoch, MemberNumber, Name, Role, Timestamp},
    keys::VerifyingKey,
};
use dispers_crypto::{
    dealing::ThresholdKey,
    envelope::{EnvelopePublicKey, Suite},
};
use dispers_privacy::{Rho, ledger};
use dispers_query::catalogue::Catalogue;

/// Largest size of a directory, in bytes.
pub const LIMIT: usize = 16 << 20;

/// Content of a directory, which the root keys sign.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct DirectoryBody {
    /// Name of the network.
    pub network: Name,
    /// True if the network is a trial. Its threshold keys may come from one dealer, who knows them.
    pub trial: bool,
    /// Number of this edition. An edition with a higher number replaces it.
    pub epoch: u64,
    /// Start of the validity.
    pub issued: Timestamp,
    /// End of the validity.
    pub expires: Timestamp,
    /// Suite of every envelope key.
    pub suite: Suite,
    /// Epoch of the pseudonym key and of the pools' envelope keys.
    pub key_epoch: KeyEpoch,
    /// Nodes of all roles.
    pub nodes: Vec<Node>,
    /// Envelope keys that several nodes of one role share.
    pub pools: Vec<Pool>,
    /// Hosts of homes. A self-hosted home enrols under a listed host.
    pub hosts: Vec<Host>,
    /// Queriers, each with the purposes that it may state.
    pub queriers: Vec<QuerierEntry>,
    /// Threshold key of the concept indexors, k of m.
    pub indexors: ThresholdKey,
    /// Threshold keys of the committees of aggregators, t of n each. A committee's number is its position in this list.
    pub committees: Vec<ThresholdKey>,
    /// Transcripts of the threshold keys: for each key, a fresh ceremony and its refreshes in order. A key of one
    /// dealer has none.
    pub transcripts: Vec<Transcript>,
    /// Witnesses that co-sign the log of manifests.
    pub witnesses: Witnesses,
    /// Limits that every query obeys.
    pub floors: Floors,
    /// Doctypes, fields and concepts that queries may use.
    pub catalogue: Catalogue,
    /// Previous key epoch, while queries are still asked under it.
    pub previous: Option<PreviousEpoch>,
}

impl DirectoryBody {
    /// Returns the operators that run a node with one of these names and no conductor.
    pub fn independent<'a>(&self, names: impl Iterator<Item = &'a Name>) -> BTreeSet<&Name> {
        let nodes = names.filter_map(|name| self.nodes.iter().find(|node| node.name == *name));
        let mut operators: BTreeSet<&Name> = nodes.map(|node| &node.operator).collect();
        // A witness of an operator that also runs a conductor does not count: it could co-sign a second history of its
        // own conductor (protocol.md §16).
        for node in self.nodes.iter().filter(|n| n.role == Role::Conductor) {
            operators.remove(&node.operator);
        }
        operators
    }

    /// Returns the transcripts of the key of a role and group, in the order of the ceremonies.
    pub fn transcripts_of(&self, role: Role, group: u16) -> impl Iterator<Item = &Transcript> {
        let transcripts = self.transcripts.iter();
        transcripts.filter(move |t| t.ceremony.role == role && t.ceremony.group == group)
    }
}

/// Witnesses of the log, which co-sign its heads.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Witnesses {
    /// Names of the nodes that are witnesses. Those of an operator that runs a conductor do not count.
    pub names: Vec<Name>,
    /// Number of the log. A higher number begins an empty log, after the one before was lost.
    pub log: u32,
    /// Number of operators whose witnesses must have co-signed a head; at least 2.
    pub needed: u8,
}

impl Witnesses {
    /// Makes all aggregators of `nodes` witnesses, with those of two operators needed.
    pub fn aggregators(nodes: &[Node]) -> Self {
        let aggregators = nodes.iter().filter(|n| n.role == Role::DataAggregator);
        Self {
            names: aggregators.map(|node| node.name.clone()).collect(),
            log: 1,
            needed: 2,
        }
    }
}

/// Machine with one role.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// Name of the node, unique in the directory.
    pub name: Name,
    /// Role of the node.
    pub role: Role,
    /// Operator that runs the node. Roles that must not collude must not have one operator.
    pub operator: Name,
    /// Address that the node listens on, as `host:port`.
    pub address: String,
    /// TLS key of the node.
    pub tls_key: TlsKey,
    /// Signing key of the node.
    pub signing_key: VerifyingKey,
    /// Envelope key of a concept indexor, or the one that all conductors share; `None` for the other roles.
    pub envelope_key: Option<EnvelopePublicKey>,
    /// Partition of a target finder, committee of an aggregator; 0 for the other roles.
    pub group: u16,
    /// Member number, which is the Shamir point, of a concept indexor or an aggregator.
    pub member: Option<MemberNumber>,
}

/// Fingerprints of an entry's keys, each with the key's name in `dispers keys`.
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

/// Envelope key that all nodes of a role and partition share. Subscriptions, which live for months and outlive a
/// machine, are sealed to it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pool {
    /// Role of the nodes: [`Role::TargetFinder`] with one pool per partition, or [`Role::Target`] with one pool.
    pub role: Role,
    /// Partition of the subscriptions; 0 for the pool of the targets.
    pub partition: u16,
    /// Key epoch of the envelope key.
    pub key_epoch: KeyEpoch,
    /// Public envelope key.
    pub envelope_key: EnvelopePublicKey,
}

impl Pool {
    /// Returns the role and partition, which name the pool within a key epoch.
    fn place(&self) -> (Role, u16) {
        (self.role, self.partition)
    }
}
/// Host of homes, with its stack.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Host {
    /// Name of the host, unique in the directory.
    pub name: Name,
    /// Address that the target dials, as `host:port`; empty if the stack attaches itself instead.
    pub address: String,
    /// TLS key of the host.
    pub tls_key: TlsKey,
    /// Signing key of the host.
    pub signing_key: VerifyingKey,
}

/// Querier that may ask.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct QuerierEntry {
    /// Name of the querier, unique in the directory.
    pub name: Name,
    /// TLS key of the querier.
    pub tls_key: TlsKey,
    /// Signing key of the querier.
    pub signing_key: VerifyingKey,
    /// Purposes that the querier's manifests may state.
    pub purposes: Vec<String>,
}

/// Default scale of the noise of sizes, in homes.
pub const SIZE_NOISE: u32 = 2;

/// Limits that every query obeys, whatever its manifest says.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Floors {
    /// Fewest contributions behind a released number; at least 2.
    pub min_cohort: u32,
    /// Fewest accepted contributions for a release, in thousandths of the homes asked.
    pub answer_rate: u16,
    /// Fewest aggregators that verify; at least t and at most n of every committee.
    pub min_verified: u8,
    /// Most homes that one query may ask.
    pub max_homes: u64,
    /// True if queries without noise are allowed.
    pub exact: bool,
    /// Budget of a querier for one population in a key epoch, over all aggregators together.
    pub budget: Rho,
    /// Largest δ of a query. Homes also use it to convert the loss of their answers to ε.
    pub max_delta: f64,
    /// Scale of the noise of sizes of sets, in homes. Only a trial network may have 0, which makes sizes exact.
    pub size_noise: u32,
}

/// Default of the largest δ. It is below one divided by the number of homes of most networks.
pub const DEFAULT_MAX_DELTA: f64 = 1e-5;

/// SHA-256 of a TLS certificate's SubjectPublicKeyInfo. No other part of a certificate is used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct TlsKey(pub [u8; 32]);

impl TlsKey {
    /// Returns the fingerprint of the key, which people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

impl fmt::Display for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsKey({self})")
    }
}

/// Owner of a TLS key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A node of the network.
    Node {
        /// Name of the node.
        name: Name,
        /// Role of the node.
        role: Role,
    },
    /// The stack of the host with this name.
    Host(Name),
    /// The querier with this name.
    Querier(Name),
}

impl Peer {
    /// Returns the name in the directory.
    pub fn name(&self) -> &Name {
        match self {
            Self::Node { name, .. } | Self::Host(name) | Self::Querier(name) => name,
        }
    }

    /// Returns the role. A host has the role [`Role::Stack`].
    pub fn role(&self) -> Role {
        match self {
            Self::Node { role, .. } => *role,
            Self::Host(_) => Role::Stack,
            Self::Querier(_) => Role::Querier,
        }
    }
}

/// Verified directory: enough root keys signed it, it was valid at the time of the verification, and its body obeys the
/// rules.
#[derive(Debug, Clone)]
pub struct Directory {
    body: DirectoryBody,
    entries: HashMap<Name, Position>,
    peers: HashMap<TlsKey, Peer>,
}

/// Position of an entry in one of the body's lists.
#[derive(Debug, Clone, Copy)]
enum Position {
    Node(usize),
    Host(usize),
    Querier(usize),
}

impl Directory {
    /// Indexes a body that was verified and checked, so that names and TLS keys are unique.
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

    /// Returns the content that was signed.
    pub fn body(&self) -> &DirectoryBody {
        &self.body
    }

    /// Returns whether the directory is too old to be used at `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.body.expires.has_passed(now)
    }

    /// Returns the node with this name.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        match self.entries.get(name)? {
            Position::Node(index) => self.body.nodes.get(*index),
            _ => None,
        }
    }

    /// Returns the nodes of a role, in the directory's order.
    pub fn nodes(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.body.nodes.iter().filter(move |node| node.role == role)
    }

    /// Returns the envelope key that all conductors share.
    pub fn conductor_key(&self) -> &EnvelopePublicKey {
        self.nodes(Role::Conductor)
            .find_map(|node| node.envelope_key.as_ref())
            .expect("a verified directory has a conductor, which has an envelope key")
    }

    /// Returns the node that holds a Shamir point: a concept indexor (group 0) or an aggregator of committee `group`.
    pub fn member(&self, role: Role, group: u16, number: MemberNumber) -> Option<&Node> {
        self.nodes(role)
            .find(|node| node.group == group && node.member == Some(number))
    }

    /// Returns the pool of a role and partition (0 for the targets' pool).
    pub fn pool(&self, role: Role, partition: u16) -> Option<&Pool> {
        self.body
            .pools
            .iter()
            .find(|pool| pool.place() == (role, partition))
    }

    /// Returns the number of partitions of the subscriptions, at least 1. Partitions are numbered from 0.
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

    /// Returns the host with this name.
    pub fn host(&self, name: &Name) -> Option<&Host> {
        match self.entries.get(name)? {
            Position::Host(index) => self.body.hosts.get(*index),
            _ => None,
        }
    }

    /// Returns the querier with this name.
    pub fn querier(&self, name: &Name) -> Option<&QuerierEntry> {
        match self.entries.get(name)? {
            Position::Querier(index) => self.body.queriers.get(*index),
            _ => None,
        }
    }

    /// Returns the owner of a TLS key.
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
