//! Round 1 of a ceremony: each member signs a fresh envelope key to take part.

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
    signed::Statement,
};
use dispers_crypto::envelope::{EnvelopePublicKey, EnvelopeSecretKey, Suite};

/// Most bytes of an encoded enrolment. An X-Wing key takes 1,216 of them.
const LIMIT: usize = 4096;

/// Part of an enrolment that the member signs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EnrolmentBody {
    /// Digest of the [`Ceremony`].
    pub ceremony: [u8; 32],
    /// Number of the member that takes part.
    pub member: MemberNumber,
    /// Envelope key that was generated for this ceremony alone.
    pub key: EnvelopePublicKey,
}

impl Statement for EnrolmentBody {
    const LABEL: &'static str = labels::SIGN_ENROLMENT;
}

/// Signed enrolment of one member. The signature covers the canonical encoding of the body, of which there is exactly
/// one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Enrolment {
    /// Part that the signature covers.
    pub body: EnrolmentBody,
    signature: Signature,
}

impl Enrolment {
    pub(super) fn sign(body: EnrolmentBody, key: &SigningKey) -> Self {
        let signature = key.sign(EnrolmentBody::LABEL, &encoding::to_bytes(&body));
        Self { body, signature }
    }

    /// Encodes the message.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// Decodes a received message, which [`Enrolments::new`] verifies.
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
        // The signature comes first: a body that the member did not sign says nothing about the member's other faults.
        let body = encoding::to_bytes(&self.body);
        if signer
            .verify(EnrolmentBody::LABEL, &body, &self.signature)
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
    /// Enrols `member`. Returns the secret, which the member keeps until [`Enrolled::finish`], and the message for
    /// every member.
    ///
    /// `signers` are the signing keys of all members, in member order.
    ///
    /// # Errors
    /// [`CeremonyError`] if [`Ceremony::check`] refuses the ceremony, or if `signing` is not the key of `member` among
    /// `signers`.
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

/// Error for bytes that are no ceremony secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ceremony secret")]
pub struct InvalidEnrolled;

/// Secret of a member between enrolment and finish, zeroized when dropped. It opens the shares that were dealt to the
/// member, so the member erases its stored form at the end of the ceremony.
pub struct Enrolled {
    pub(super) ceremony: [u8; 32],
    pub(super) member: MemberNumber,
    pub(super) secret: EnvelopeSecretKey,
}

impl Enrolled {
    /// Length of a stored secret in bytes.
    pub const LENGTH: usize = 66;

    /// Returns the number of the member that enrolled.
    pub fn member(&self) -> MemberNumber {
        self.member
    }

    /// Encodes the secret for storage: digest of the ceremony (32 bytes), member (1), suite (1), seed of the envelope
    /// key (32).
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

    /// Decodes what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`InvalidEnrolled`] for any other bytes.
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

/// Verified enrolments of every member. A value of this type is what a member deals for.
#[derive(Debug, Clone)]
pub struct Enrolments {
    pub(super) ceremony: Ceremony,
    /// Signing keys of the members, in member order like `keys`.
    pub(super) signers: Vec<VerifyingKey>,
    pub(super) keys: Vec<EnvelopePublicKey>,
    /// Digest of the enrolments, equal for all members that received the same ones.
    pub(super) digest: [u8; 32],
}

impl Enrolments {
    /// Verifies the enrolments of all members. `signers` are the members' signing keys in member order, from the
    /// directory.
    ///
    /// # Errors
    /// [`CeremonyError`] if [`Ceremony::check`] refuses the ceremony, or with the name of every member whose enrolment
    /// is wrong.
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
        // Messages arrive in any order. Sorting makes the digest the same for every member that received the same
        // enrolments.
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
