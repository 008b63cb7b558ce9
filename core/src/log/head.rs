//! Heads of the log, and what they prove.

use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{MAX_HEAD, MAX_PROOF, Root, leaf};
use crate::manifest::SignedManifest;
use dispers_base::{
    encoding,
    id::{Name, Role, Timestamp},
    keys::{Signature, SigningKey},
    labels,
};
use dispers_trust::directory::Directory;

/// Largest age of a head that counts as current, in milliseconds: one hour.
pub const FRESH: u64 = 3_600_000;

/// The log at one moment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Whose log.
    pub network: Name,
    /// Which of its logs, as the directory numbers them.
    pub log: u32,
    /// Its size and hash.
    pub root: Root,
    /// When it was signed.
    pub time: Timestamp,
}

/// A head as it was received, with the signatures over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedHead {
    /// Encoding of a [`Head`].
    pub body: Vec<u8>,
    /// The Conductor that signed it.
    pub conductor: Name,
    /// Its signature.
    pub signature: Signature,
    /// The witnesses that co-signed it, each with its signature.
    pub witnesses: Vec<(Name, Signature)>,
}

/// Why a manifest is not shown to be in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Not a head, or another network's.
    #[error("the head of the log is malformed, or of another network or log")]
    Malformed,
    /// No Conductor of the directory signed it.
    #[error("the head of the log is not signed by a conductor of the directory")]
    Unsigned,
    /// Too few witnesses.
    #[error("{signed} witnesses co-signed the head of the log, {needed} are needed")]
    Unwitnessed {
        /// How many did.
        signed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The manifest is not in it.
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
    /// Signed in the future, or before what was co-signed.
    #[error("the time of the head of the log is wrong")]
    Time,
}

impl Head {
    /// Encodes and signs.
    pub fn sign(&self, conductor: &Name, key: &SigningKey) -> SignedHead {
        let body = encoding::to_bytes(self);
        SignedHead {
            signature: key.sign(labels::SIGN_LOG_HEAD, &body),
            body,
            conductor: conductor.clone(),
            witnesses: Vec::new(),
        }
    }
}

impl SignedHead {
    /// What it says, if a Conductor of the directory signed it; witnesses are not looked at.
    ///
    /// # Errors
    /// [`LogError::Malformed`], [`LogError::Unsigned`].
    pub fn signed(&self, directory: &Directory) -> Result<Head, LogError> {
        let head: Head = encoding::from_bytes(&self.body, MAX_HEAD, "log head")
            .map_err(|_| LogError::Malformed)?;
        if (&head.network, head.log) != (&directory.network, directory.witnesses.log) {
            return Err(LogError::Malformed);
        }
        directory
            .node(&self.conductor)
            .filter(|node| node.role == Role::Conductor)
            .ok_or(LogError::Unsigned)?
            .signing_key
            .verify(labels::SIGN_LOG_HEAD, &self.body, &self.signature)
            .map_err(|_| LogError::Unsigned)?;
        Ok(head)
    }

    /// A witness's signature; [`Witnessed`](super::Witnessed) decides whether to give it.
    pub fn cosign(&self, key: &SigningKey) -> Signature {
        key.sign(labels::COSIGN_LOG_HEAD, &self.body)
    }

    /// Whether this is the signature of a witness of the directory.
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
                key.verify(labels::COSIGN_LOG_HEAD, &self.body, signature)
                    .is_ok()
            })
    }

    /// Checks that a Conductor and enough witnesses of the directory signed it.
    ///
    /// # Errors
    /// [`LogError`], the first rule that is broken.
    pub fn verify(&self, directory: &Directory) -> Result<VerifiedHead, LogError> {
        let head = self.signed(directory)?;
        // More are no use, and cost as much each.
        let most = directory.witnesses.names.len();
        let signed = self
            .witnesses
            .iter()
            .take(most)
            .filter(|(name, signature)| self.is_cosigned(name, signature, directory));
        // Two nodes of one operator are one witness.
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

/// A head that a Conductor and enough witnesses signed. Made by [`SignedHead::verify`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHead(Head);

impl VerifiedHead {
    /// Checks that the head was signed within the last [`FRESH`], with an allowance for differing clocks.
    ///
    /// An old head has the same valid signatures as a new one. Without this check, a conductor could show an old state
    /// of the log forever.
    ///
    /// # Errors
    /// [`LogError::Stale`], [`LogError::Time`].
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

/// Shows that a manifest is in the log.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Inclusion {
    /// The head that covers it.
    pub head: SignedHead,
    /// Its place in the log.
    pub index: u64,
    /// The hashes beside its way to the root.
    pub path: Vec<u8>,
}

impl Inclusion {
    /// Checks that exactly this manifest is in the log of the head, and the head's signatures.
    ///
    /// # Errors
    /// [`LogError`], the first rule that is broken.
    pub fn verify(
        &self,
        manifest: &SignedManifest,
        directory: &Directory,
    ) -> Result<VerifiedHead, LogError> {
        if self.path.len() > MAX_PROOF || self.head.body.len() > MAX_HEAD {
            return Err(LogError::Malformed);
        }
        let head = self.head.verify(directory)?;
        match head.root.includes(&leaf(manifest), self.index, &self.path) {
            true => Ok(head),
            false => Err(LogError::Missing),
        }
    }
}
