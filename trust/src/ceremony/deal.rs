//! Round 2 of a ceremony: each member draws a polynomial, commits to its coefficients in public, and seals one value of
//! it to every member.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::Scalar;
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::knowledge;
use super::{Ceremony, CeremonyError, Enrolments, Knowledge, Purpose};
use dispers_base::{
    encoding::{self, DecodeError},
    id::{MemberNumber, Role},
    keys::SigningKey,
    labels,
    signed::{SignedValue, Statement},
};
use dispers_crypto::{
    dealing::Polynomial,
    envelope::{Context, EnvelopePublicKey, EnvelopeSecretKey, OpenError, Reader, Sealed, reader},
    ristretto::Point,
};

/// Most bytes of an encoded dealing. The largest one, with 255 commitments and 255 sealed shares, takes less than half
/// of that.
const LIMIT: usize = 1 << 20;

/// Part of a dealing that the dealer signs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DealingBody {
    /// Digest of the [`Ceremony`].
    pub ceremony: [u8; 32],
    /// Digest of all enrolments as the dealer saw them. Members that saw different enrolments sign different digests,
    /// and are noticed.
    pub enrolments: [u8; 32],
    /// Number of the dealer.
    pub member: MemberNumber,
    /// Commitments to the coefficients of the polynomial, from the constant upwards. In a refresh the constant, which
    /// is zero, has none.
    pub commitments: Vec<Point>,
    /// Proof that the dealer knows the constant; `None` in a refresh.
    pub knowledge: Option<Knowledge>,
    /// Digest of the sealed shares, in the order of the members that read them.
    pub shares: [u8; 32],
}

impl Statement for DealingBody {
    const LABEL: &'static str = labels::SIGN_DEALING;
}

/// Signed public part of a dealing.
pub type PublicDealing = SignedValue<DealingBody>;

impl DealingBody {
    pub(super) fn statement<'a>(&'a self, constant: &'a Point) -> knowledge::Statement<'a> {
        knowledge::Statement {
            ceremony: &self.ceremony,
            enrolments: &self.enrolments,
            dealer: self.member,
            constant,
        }
    }
}

/// Message of one member to every member. All of it may be public, since each share is sealed for its reader.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MemberDealing {
    /// Part that transcripts keep.
    pub public: PublicDealing,
    pub(super) shares: Vec<SealedShare>,
}

impl MemberDealing {
    /// Encodes the message.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// Decodes a received message, which [`Enrolled::finish`](super::Enrolled::finish) verifies.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else than one dealing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::from_bytes(bytes, LIMIT, "dealing")
    }
}

impl fmt::Debug for MemberDealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberDealing(of member {})", self.public.body.member)
    }
}

/// Returns the digest of sealed shares, in the order of the members that read them.
pub(super) fn digest(shares: &[SealedShare]) -> [u8; 32] {
    encoding::hash(labels::HASH_SEALED_SHARES, &[&encoding::to_bytes(&shares)])
}

impl Enrolments {
    /// Makes the dealing of `member`, who must have enrolled.
    ///
    /// # Errors
    /// [`CeremonyError::NotAMember`] when `signing` is not the member's key.
    pub fn deal(
        &self,
        member: MemberNumber,
        signing: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Result<MemberDealing, CeremonyError> {
        let threshold = self.ceremony.threshold;
        let polynomial = match self.ceremony.purpose {
            Purpose::Fresh => Polynomial::random(threshold, rng),
            // > a refresh deals polynomials that are zero at 0
            Purpose::Refresh { .. } => Polynomial::random_of_zero(threshold, rng),
        };
        self.deal_polynomial(member, &polynomial, signing, rng)
    }

    pub(super) fn deal_polynomial(
        &self,
        member: MemberNumber,
        polynomial: &Polynomial,
        signing: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Result<MemberDealing, CeremonyError> {
        if self.signers.get(member.index()) != Some(&signing.public()) {
            return Err(CeremonyError::NotAMember(member));
        }
        let shares: Vec<SealedShare> = self
            .ceremony
            .threshold
            .numbers()
            .zip(&self.keys)
            .map(|(reader, key)| {
                self.share_context(member, reader)
                    .seal(&polynomial.at(reader), key, rng)
            })
            .collect();
        // A refresh leaves out the commitment to the constant: every reader takes it for zero, so that no dealer can
        // shift the key.
        let coefficients = polynomial.coefficients();
        let committed = &coefficients[coefficients.len() - self.ceremony.commitments()..];
        let drawn = "a drawn scalar is zero with probability 2^-252";
        let mut body = DealingBody {
            ceremony: self.ceremony.digest(),
            enrolments: self.digest,
            member,
            commitments: committed
                .iter()
                .map(|coefficient| Point::new(RistrettoPoint::mul_base(coefficient)).expect(drawn))
                .collect(),
            knowledge: None,
            shares: digest(&shares),
        };
        // Only the constant term goes into the key, so only that term has a proof. It stops a dealer that subtracts the
        // terms of the others from its own (protocol.md §12).
        if self.ceremony.purpose == Purpose::Fresh {
            let constant = body.commitments[0];
            let proof = body.statement(&constant).prove(polynomial.constant(), rng);
            body.knowledge = Some(proof);
        }
        Ok(MemberDealing {
            public: PublicDealing::new(body, signing),
            shares,
        })
    }

    pub(super) fn share_context(&self, dealer: MemberNumber, reader: MemberNumber) -> ShareContext {
        ShareContext::new(&self.ceremony, &self.digest, dealer, reader)
    }
}

/// Share of a dealing, sealed to one member: an encoded `Sealed<R, [u8; 32]>`, where R is the ceremony's role.
pub(super) type SealedShare = Vec<u8>;

/// Context that a sealed share is bound to: the ceremony, the digest of the enrolments, the dealer and the reader.
pub(super) struct ShareContext(Context);

impl ShareContext {
    fn new(
        ceremony: &Ceremony,
        enrolments: &[u8; 32],
        dealer: MemberNumber,
        reader: MemberNumber,
    ) -> Self {
        let binding = (ceremony.digest(), enrolments, dealer, reader);
        Self(Context::new(
            labels::ENVELOPE_CEREMONY,
            ceremony.role,
            &binding,
        ))
    }

    pub(super) fn seal(
        &self,
        share: &Scalar,
        key: &EnvelopePublicKey,
        rng: &mut impl CryptoRng,
    ) -> SealedShare {
        // The reader is a type, and a ceremony knows its role only at run time. `Ceremony::check` admits these two
        // roles alone.
        match self.0.sender {
            Role::ConceptIndexor => self.seal_for::<reader::ConceptIndexor>(share, key, rng),
            _ => self.seal_for::<reader::DataAggregator>(share, key, rng),
        }
    }

    pub(super) fn open(
        &self,
        sealed: &SealedShare,
        key: &EnvelopeSecretKey,
    ) -> Result<Zeroizing<Scalar>, OpenError> {
        match self.0.sender {
            Role::ConceptIndexor => self.open_as::<reader::ConceptIndexor>(sealed, key),
            _ => self.open_as::<reader::DataAggregator>(sealed, key),
        }
    }

    fn seal_for<R: Reader>(
        &self,
        share: &Scalar,
        key: &EnvelopePublicKey,
        rng: &mut impl CryptoRng,
    ) -> SealedShare {
        encoding::to_bytes(&Sealed::<R, [u8; 32]>::seal(
            share.as_bytes(),
            key,
            &self.0,
            rng,
        ))
    }

    fn open_as<R: Reader>(
        &self,
        sealed: &SealedShare,
        key: &EnvelopeSecretKey,
    ) -> Result<Zeroizing<Scalar>, OpenError> {
        // Failing to open is one error, whatever the cause (protocol.md §3).
        let sealed: Sealed<R, [u8; 32]> =
            encoding::from_bytes(sealed, LIMIT, "sealed share").map_err(|_| OpenError)?;
        let bytes = Zeroizing::new(sealed.open(key, &self.0, 64)?);
        Scalar::from_canonical_bytes(*bytes)
            .into_option()
            .map(Zeroizing::new)
            .ok_or(OpenError)
    }
}
