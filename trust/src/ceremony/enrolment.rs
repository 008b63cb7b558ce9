//! Round 1: who takes part, and under which envelope key.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{Ceremony, CeremonyError, Fault};
use dispers_base::{
    encoding::{self, DecodeError},
    id::MemberNumber,
    keys::{Signature, SigningKey, VerifyingKey},
    labels,
};
use dispers_crypto::envelope::{EnvelopePublicKey, EnvelopeSecretKey, Suite};

/// Largest enrolment.
const LIMIT: usize = 4096;

/// What a member signs to take part.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EnrolmentBody {
    /// Digest of the [`Ceremony`].
    pub ceremony: [u8; 32],
    /// Who takes part.
    pub member: MemberNumber,
    /// Fresh, for this ceremony only.
    pub key: EnvelopePublicKey,
}

/// A signed enrolment. The signature covers the canonical encoding of the body, of which there is
/// exactly one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Enrolment {
    /// What was signed.
    pub body: EnrolmentBody,
    signature: Signature,
}

impl Enrolment {
    pub(super) fn sign(body: EnrolmentBody, key: &SigningKey) -> Self {
        let signature = key.sign(labels::SIGN_ENROLMENT, &encoding::to_bytes(&body));
        Self { body, signature }
    }

    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// A received message; [`Enrolments::new`] checks it.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else than one enrolment.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::from_bytes(bytes, LIMIT, "enrolment")
    }

    fn fault(
        &self,
        ceremony: &Ceremony,
        digest: &[u8; 32],
        signer: &VerifyingKey,
    ) -> Option<Fault> {
        let body = encoding::to_bytes(&self.body);
        if signer
            .verify(labels::SIGN_ENROLMENT, &body, &self.signature)
            .is_err()
        {
            return Some(Fault::Signature);
        }
        if self.body.ceremony != *digest {
            return Some(Fault::OtherCeremony);
        }
        (self.body.key.suite() != ceremony.suite).then_some(Fault::Suite)
    }
}

impl Ceremony {
    /// Takes part as `member`: what to keep until the end, and what to send to every member.
    ///
    /// # Errors
    /// [`CeremonyError`] for a ceremony that makes no sense, and when `signing` is not the member's
    /// key among `signers`.
    pub fn enrol(
        &self,
        signers: &[VerifyingKey],
        member: MemberNumber,
        signing: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Enrolled, Enrolment), CeremonyError> {
        self.check(signers)?;
        if signers.get(member.index()) != Some(&signing.public()) {
            return Err(CeremonyError::NotAMember(member));
        }
        let secret = EnvelopeSecretKey::generate(self.suite, rng);
        let ceremony = self.digest();
        let body = EnrolmentBody {
            ceremony,
            member,
            key: secret.public(),
        };
        let enrolled = Enrolled {
            ceremony,
            member,
            secret,
        };
        Ok((enrolled, Enrolment::sign(body, signing)))
    }
}

/// Bytes that are no ceremony secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ceremony secret")]
pub struct InvalidEnrolled;

/// What a member keeps between enrolment and finish; zeroized when dropped. Whoever has it can open
/// the shares that were dealt to the member: it is erased at the end.
pub struct Enrolled {
    pub(super) ceremony: [u8; 32],
    pub(super) member: MemberNumber,
    pub(super) secret: EnvelopeSecretKey,
}

impl Enrolled {
    /// Bytes of a stored secret.
    pub const LENGTH: usize = 66;

    /// Whose it is.
    pub fn member(&self) -> MemberNumber {
        self.member
    }

    /// The bytes to store: digest of the ceremony, member, suite, secret.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LENGTH]> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        bytes[..32].copy_from_slice(&self.ceremony);
        bytes[32] = self.member.point();
        bytes[33] = match self.secret.suite() {
            Suite::XWing => 0,
            Suite::X25519 => 1,
        };
        bytes[34..].copy_from_slice(&self.secret.to_seed_bytes()[..]);
        bytes
    }

    /// The secret of stored bytes.
    ///
    /// # Errors
    /// [`InvalidEnrolled`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidEnrolled> {
        let (ceremony, rest) = bytes.split_first_chunk().ok_or(InvalidEnrolled)?;
        let (&[member, suite], secret) = rest.split_first_chunk().ok_or(InvalidEnrolled)?;
        let suite = match suite {
            0 => Suite::XWing,
            1 => Suite::X25519,
            _ => return Err(InvalidEnrolled),
        };
        Ok(Self {
            ceremony: *ceremony,
            member: MemberNumber::new(member).map_err(|_| InvalidEnrolled)?,
            secret: EnvelopeSecretKey::from_bytes(suite, secret).map_err(|_| InvalidEnrolled)?,
        })
    }
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrolled(member {})", self.member)
    }
}

/// The verified enrolments of every member: one that exists can be dealt for.
#[derive(Debug, Clone)]
pub struct Enrolments {
    pub(super) ceremony: Ceremony,
    /// In member order, as the keys.
    pub(super) signers: Vec<VerifyingKey>,
    pub(super) keys: Vec<EnvelopePublicKey>,
    /// Equal for all members that saw the same enrolments.
    pub(super) digest: [u8; 32],
}

impl Enrolments {
    /// Verifies what the members sent. `signers` are the members' signing keys in order, from where
    /// the directory takes them.
    ///
    /// # Errors
    /// [`CeremonyError`] for a ceremony that makes no sense, or naming whose enrolment is wrong.
    pub fn new(
        ceremony: Ceremony,
        signers: Vec<VerifyingKey>,
        mut enrolments: Vec<Enrolment>,
    ) -> Result<Self, CeremonyError> {
        ceremony.check(&signers)?;
        let mut culprits = Vec::new();
        let senders: Vec<_> = enrolments.iter().map(|e| e.body.member).collect();
        ceremony.attendance(&senders, &mut culprits);
        let digest = ceremony.digest();
        for enrolment in &enrolments {
            let member = enrolment.body.member;
            let signer = signers.get(member.index());
            let fault = signer.and_then(|signer| enrolment.fault(&ceremony, &digest, signer));
            culprits.extend(fault.map(|fault| fault.of(member)));
        }
        if !culprits.is_empty() {
            return Err(CeremonyError::Enrolments { culprits });
        }
        enrolments.sort_by_key(|enrolment| enrolment.body.member);
        let encoded = encoding::to_bytes(&enrolments);
        Ok(Self {
            ceremony,
            signers,
            keys: enrolments.into_iter().map(|e| e.body.key).collect(),
            digest: encoding::hash(labels::HASH_ENROLMENTS, &[&encoded]),
        })
    }
}
