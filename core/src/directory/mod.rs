//! The directory: the trust root (protocol.md §2).
//!
//! Everybody pins the root keys and takes every other key from a directory that enough of them
//! signed. [`SignedDirectory`] is what is stored and sent; [`Directory`] exists only after
//! [`SignedDirectory::verify`].

mod rules;

use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    catalogue::Catalogue,
    dealing::ThresholdKey,
    encoding,
    envelope::{EnvelopePublicKey, Suite},
    id::{KeyEpoch, MemberNumber, Name, Role, Timestamp},
    keys::{Signature, SigningKey, VerifyingKey},
    labels,
};

/// Largest encoded directory, in bytes.
pub const MAX_DIRECTORY: usize = 16 << 20;

/// What the root keys sign.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct DirectoryBody {
    /// The network's name.
    pub network: Name,
    /// Number of this directory; each new one counts up.
    pub epoch: u64,
    /// When it was made.
    pub issued: Timestamp,
    /// Until when it holds.
    pub expires: Timestamp,
    /// The suite of every envelope.
    pub suite: Suite,
    /// Epoch of the pseudonym key and of the pools' keys.
    pub key_epoch: KeyEpoch,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The pools and their envelope keys.
    pub pools: Vec<Pool>,
    /// The hosts of homes.
    pub hosts: Vec<Host>,
    /// Who may ask.
    pub queriers: Vec<QuerierEntry>,
    /// The concept indexors' public key and public shares.
    pub indexors: ThresholdKey,
    /// Each aggregation committee's public key and public shares.
    pub committees: Vec<ThresholdKey>,
    /// What no query may go below.
    pub floors: Floors,
    /// What may be asked.
    pub catalogue: Catalogue,
}

/// A node of the network.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub role: Role,
    /// Who runs it.
    pub operator: Name,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Its TLS key.
    pub tls_key: TlsKey,
    /// Its signing key.
    pub signing_key: VerifyingKey,
    /// Its own envelope key: conductors and concept indexors.
    pub envelope_key: Option<EnvelopePublicKey>,
    /// Partition of a target finder, committee of a data aggregator, else 0.
    pub group: u16,
    /// Place among the concept indexors or in its committee.
    pub member: Option<MemberNumber>,
}

/// Nodes that share an envelope key, so that what is sealed to it outlives a machine.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pool {
    /// Target finder or target.
    pub role: Role,
    /// Partition of a target finder pool, else 0.
    pub partition: u16,
    /// Epoch of the key.
    pub key_epoch: KeyEpoch,
    /// The key.
    pub envelope_key: EnvelopePublicKey,
}

/// A host of homes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Host {
    /// Its name.
    pub name: Name,
    /// Where its stack agent listens, `host:port`.
    pub address: String,
    /// Its TLS key.
    pub tls_key: TlsKey,
    /// Its signing key.
    pub signing_key: VerifyingKey,
}

/// Somebody who may ask.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct QuerierEntry {
    /// Its name.
    pub name: Name,
    /// Its TLS key.
    pub tls_key: TlsKey,
    /// Its signing key.
    pub signing_key: VerifyingKey,
    /// What it may ask for.
    pub purposes: Vec<String>,
}

/// What no query may go below.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Floors {
    /// Fewest people behind a released number.
    pub min_cohort: u32,
    /// Fewest accepted contributions, in thousandths of the homes asked.
    pub answer_rate: u16,
    /// Fewest aggregators that verify a batch.
    pub min_verified: u8,
    /// Most homes that one query may ask.
    pub max_homes: u64,
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct TlsKey(pub [u8; 32]);

/// Who holds a TLS key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A node.
    Node {
        /// Its name.
        name: Name,
        /// Its role.
        role: Role,
    },
    /// A host.
    Host(Name),
    /// A querier.
    Querier(Name),
}

/// The root keys that everybody pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKeys {
    /// The keys.
    pub keys: Vec<VerifyingKey>,
    /// How many must have signed.
    pub needed: usize,
}

/// Why a directory is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Not a directory.
    #[error("the file is no directory of this version, or over 16 MiB")]
    Malformed,
    /// Too few root signatures.
    #[error(
        "{got} of the pinned root keys signed the directory and {needed} are needed: have more operators run `dispers directory sign`"
    )]
    TooFewSignatures {
        /// How many pinned keys signed.
        got: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Its time is over, or has not come.
    #[error("the directory has expired or is not valid yet: fetch or sign a current one")]
    Time,
    /// A structural rule is broken.
    #[error("the directory breaks a rule: {0}")]
    Rule(String),
}

/// A directory as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedDirectory {
    /// Encoding of a [`DirectoryBody`].
    pub body: Vec<u8>,
    /// Root keys with their signatures over exactly these bytes.
    pub signatures: Vec<(VerifyingKey, Signature)>,
}

impl SignedDirectory {
    /// A directory that nobody has signed yet.
    pub fn new(body: &DirectoryBody) -> Self {
        Self {
            body: encoding::to_bytes(body),
            signatures: Vec::new(),
        }
    }

    /// Adds a root key's signature; one that is there already is not added again.
    pub fn sign(&mut self, key: &SigningKey) {
        let public = key.public();
        if self.signatures.iter().all(|(other, _)| *other != public) {
            let signature = key.sign(labels::SIGN_DIRECTORY, &self.body);
            self.signatures.push((public, signature));
        }
    }

    /// The content, not yet checked: to show it, never to act on it.
    ///
    /// # Errors
    /// [`DirectoryError::Malformed`].
    pub fn unverified(&self) -> Result<DirectoryBody, DirectoryError> {
        encoding::from_bytes(&self.body, MAX_DIRECTORY, "directory")
            .map_err(|_| DirectoryError::Malformed)
    }

    /// Checks signatures, time and rules.
    ///
    /// # Errors
    /// [`DirectoryError`], the first that does not hold.
    pub fn verify(&self, roots: &RootKeys, now: Timestamp) -> Result<Directory, DirectoryError> {
        let mut signed: Vec<&VerifyingKey> = Vec::new();
        for (key, signature) in &self.signatures {
            if roots.keys.contains(key)
                && !signed.contains(&key)
                && key
                    .verify(labels::SIGN_DIRECTORY, &self.body, signature)
                    .is_ok()
            {
                signed.push(key);
            }
        }
        let needed = roots.needed.max(1);
        if signed.len() < needed {
            return Err(DirectoryError::TooFewSignatures {
                got: signed.len(),
                needed,
            });
        }
        let body = self.unverified()?;
        if body.issued.is_ahead_of(now) || body.expires.has_passed(now) {
            return Err(DirectoryError::Time);
        }
        rules::check(&body).map_err(DirectoryError::Rule)?;
        Ok(Directory(body))
    }
}

/// A directory that holds. Made by [`SignedDirectory::verify`] only.
#[derive(Debug, Clone)]
pub struct Directory(DirectoryBody);

impl Deref for Directory {
    type Target = DirectoryBody;

    fn deref(&self) -> &DirectoryBody {
        &self.0
    }
}

impl Directory {
    /// The node of that name.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The nodes of a role, in the directory's order.
    pub fn nodes(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.role == role)
    }

    /// The concept indexor, or the aggregator of a committee, with that number.
    pub fn member(&self, role: Role, group: u16, number: MemberNumber) -> Option<&Node> {
        self.nodes(role)
            .find(|node| node.group == group && node.member == Some(number))
    }

    /// The pool of a role and partition in the current key epoch.
    pub fn pool(&self, role: Role, partition: u16) -> Option<&Pool> {
        self.pools.iter().find(|pool| {
            pool.role == role && pool.partition == partition && pool.key_epoch == self.key_epoch
        })
    }

    /// The host of that name.
    pub fn host(&self, name: &Name) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    /// The querier of that name.
    pub fn querier(&self, name: &Name) -> Option<&QuerierEntry> {
        self.queriers.iter().find(|querier| querier.name == *name)
    }

    /// Who holds a TLS key.
    pub fn peer(&self, key: &TlsKey) -> Option<Peer> {
        let node = self.nodes.iter().find(|node| node.tls_key == *key);
        if let Some(node) = node {
            return Some(Peer::Node {
                name: node.name.clone(),
                role: node.role,
            });
        }
        if let Some(host) = self.hosts.iter().find(|host| host.tls_key == *key) {
            return Some(Peer::Host(host.name.clone()));
        }
        self.queriers
            .iter()
            .find(|querier| querier.tls_key == *key)
            .map(|querier| Peer::Querier(querier.name.clone()))
    }
}
