//! Heads of the log, and the proofs that rest on them.

use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{MAX_PROOF, Root, leaf};
use crate::manifest::SignedManifest;
use dispers_base::{
    encoding::{self, Message},
    id::{Name, Role, Timestamp},
    keys::{Signature, SigningKey},
    labels,
    signed::Statement,
};
use dispers_trust::directory::Directory;

/// Largest age of a head that counts as current, in milliseconds: one hour.
pub const FRESH: u64 = 3_600_000;

/// State of the log at one moment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Network of the log.
    pub network: Name,
    /// Number of the log, as the directory gives it.
    pub log: u32,
    /// Size and root hash of the tree.
    pub root: Root,
    /// Time of signing.
    pub time: Timestamp,
}

impl Message for Head {
    const NAME: &'static str = "head";
    const LIMIT: usize = 16 << 10;
}

impl Statement for Head {
    const LABEL: &'static str = labels::SIGN_LOG_HEAD;
}

/// Label of a witness's signature. It differs from that of a Conductor's: a node that is both never signs a head as the
/// other.
const COSIGNED: &str = labels::COSIGN_LOG_HEAD;

/// A head as it was received, with the signatures over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedHead {
    /// Encoding of a [`Head`].
    pub body: Vec<u8>,
    /// Name of the Conductor that signed the head.
    pub conductor: Name,
    /// Signature of the Conductor.
    pub signature: Signature,
    /// Names of the witnesses that co-signed the head, each with its signature.
    pub witnesses: Vec<(Name, Signature)>,
}

impl Message for SignedHead {
    const NAME: &'static str = Head::NAME;
    // A head alone has a few hundred bytes. The rest is for the witnesses' signatures.
    const LIMIT: usize = 16 << 10;
}

/// Reason why a manifest is not shown to be in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The head is malformed, or of another network or log.
    #[error("the head of the log is malformed, or of another network or log")]
    Malformed,
    /// No Conductor of the directory signed it.
    #[error("the head of the log is not signed by a conductor of the directory")]
    Unsigned,
    /// Too few witnesses.
    #[error("{signed} witnesses co-signed the head of the log, {needed} are needed")]
    Unwitnessed {
        /// Number of independent witnesses that co-signed.
        signed: usize,
        /// Number of witnesses that the directory needs.
        needed: usize,
    },
    /// No proof shows that the manifest is in the log.
    #[error("the manifest is not shown to be in the log: nobody asks in secret")]
    Missing,
    /// The proof does not show that the two heads, of different sizes, belong to one log.
    #[error(
        "no proof shows that two heads of the log belong to one history: either the proof is wrong, or the conductor \
         keeps two histories; ask the conductor again, and report it if that fails"
    )]
    Unproved,
    /// Two heads of one size have different roots.
    #[error(
        "two heads of the log contradict each other: the conductor keeps two histories; stop using it, and show both \
         heads to the operators"
    )]
    Forked,
    /// The head was signed too long ago.
    #[error(
        "the head of the log was signed at {0}, more than an hour ago, and may hide later queries: ask the conductor for \
         a new head"
    )]
    Stale(Timestamp),
    /// The head was signed in the future, or before the head that was co-signed last.
    #[error("the time of the head of the log is wrong")]
    Time,
}

impl Head {
    /// Encodes and signs the head. It has no witnesses yet.
    pub fn sign(&self, conductor: &Name, key: &SigningKey) -> SignedHead {
        let body = encoding::to_bytes(self);
        SignedHead {
            signature: key.sign(Self::LABEL, &body),
            body,
            conductor: conductor.clone(),
            witnesses: Vec::new(),
        }
    }
}

impl SignedHead {
    /// Decodes the head and verifies that a Conductor of the directory signed it. Does not look at the witnesses.
    ///
    /// # Errors
    /// [`LogError::Malformed`] or [`LogError::Unsigned`].
    pub fn signed(&self, directory: &Directory) -> Result<Head, LogError> {
        let head: Head = encoding::decode(&self.body).map_err(|_| LogError::Malformed)?;
        // A log that was lost is followed by one with another number (protocol.md §16): a head of the old log proves
        // nothing about the new one.
        if (&head.network, head.log) != (&directory.network, directory.witnesses.log) {
            return Err(LogError::Malformed);
        }
        directory
            .node(&self.conductor)
            .filter(|node| node.role == Role::Conductor)
            .ok_or(LogError::Unsigned)?
            .signing_key
            .verify(Head::LABEL, &self.body, &self.signature)
            .map_err(|_| LogError::Unsigned)?;
        Ok(head)
    }

    /// Signs the head as a witness. [`Witnessed`](super::Witnessed) decides whether a witness may.
    pub fn cosign(&self, key: &SigningKey) -> Signature {
        key.sign(COSIGNED, &self.body)
    }

    /// Returns whether `signature` is that of `witness`, which the directory must list as a witness.
    pub fn is_cosigned(
        &self,
        witness: &Name,
        signature: &Signature,
        directory: &Directory,
    ) -> bool {
        let node = directory.node(witness);
        directory.witnesses.names.contains(witness)
            && node.is_some_and(|node| {
                let key = &node.signing_key;
                key.verify(COSIGNED, &self.body, signature).is_ok()
            })
    }

    /// Verifies that a Conductor and enough witnesses of the directory signed the head.
    ///
    /// # Errors
    /// [`LogError`] for the first broken rule.
    pub fn verify(&self, directory: &Directory) -> Result<VerifiedHead, LogError> {
        let head = self.signed(directory)?;
        // The list comes from a stranger, and each entry costs a verification. More entries than witnesses are useless.
        let most = directory.witnesses.names.len();
        let signed = self
            .witnesses
            .iter()
            .take(most)
            .filter(|(name, signature)| self.is_cosigned(name, signature, directory));
        // Two nodes of one operator count as one witness, since one party decides for both.
        let signed = directory.independent(signed.map(|(name, _)| name));
        let needed = usize::from(directory.witnesses.needed);
        match signed.len() >= needed {
            true => Ok(VerifiedHead(head)),
            false => Err(LogError::Unwitnessed {
                signed: signed.len(),
                needed,
            }),
        }
    }
}

/// A head that a Conductor and enough witnesses signed. Only [`SignedHead::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHead(Head);

impl VerifiedHead {
    /// Checks that the head was signed within the last [`FRESH`], with an allowance for differing clocks.
    ///
    /// An old head has the same valid signatures as a new one. Without this check, a conductor could show an old state
    /// of the log forever.
    ///
    /// # Errors
    /// [`LogError::Stale`] for an old head, [`LogError::Time`] for one from the future.
    pub fn check_fresh(&self, now: Timestamp) -> Result<(), LogError> {
        if self.0.time.is_ahead_of(now) {
            return Err(LogError::Time);
        }
        match self.0.time.plus(FRESH).has_passed(now) {
            true => Err(LogError::Stale(self.0.time)),
            false => Ok(()),
        }
    }
}

impl Deref for VerifiedHead {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.0
    }
}

/// Proof that a manifest is in the log.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Inclusion {
    /// Head of a tree that includes the manifest.
    pub head: SignedHead,
    /// Index of the manifest's leaf.
    pub index: u64,
    /// Hashes beside the way from the leaf to the root.
    pub path: Vec<u8>,
}

impl Inclusion {
    /// Verifies the head's signatures, and that exactly this manifest, signature included, is in the log of the head.
    ///
    /// # Errors
    /// [`LogError`] for the first broken rule.
    pub fn verify(
        &self,
        manifest: &SignedManifest,
        directory: &Directory,
    ) -> Result<VerifiedHead, LogError> {
        if self.path.len() > MAX_PROOF || self.head.body.len() > Head::LIMIT {
            return Err(LogError::Malformed);
        }
        let head = self.head.verify(directory)?;
        match head.root.includes(&leaf(manifest), self.index, &self.path) {
            true => Ok(head),
            false => Err(LogError::Missing),
        }
    }
}
