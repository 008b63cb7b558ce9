//! Round 2: each member's polynomial, committed to in public and sealed value by value.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::Scalar;
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::knowledge::Statement;
use super::{Ceremony, CeremonyError, Enrolments, Knowledge, Purpose};
use dispers_base::{
    encoding::{self, DecodeError},
    id::{MemberNumber, Role},
    keys::{BadSignature, Signature, SigningKey, VerifyingKey},
    labels,
};
use dispers_crypto::{
    dealing::Polynomial,
    envelope::{Context, EnvelopePublicKey, EnvelopeSecretKey, OpenError, Reader, Sealed, reader},
    ristretto::Point,
};

/// Largest dealing: 255 members and commitments take less than half of it.
const LIMIT: usize = 1 << 20;

/// What a dealer signs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DealingBody {
    /// Digest of the [`Ceremony`].
    pub ceremony: [u8; 32],
    /// Digest of all enrolments as the dealer saw them.
    pub enrolments: [u8; 32],
    /// The dealer.
    pub member: MemberNumber,
    /// To the polynomial's coefficients, from the constant upwards; without the constant's in a
    /// refresh.
    pub commitments: Vec<Point>,
    /// That the dealer knows the constant; none in a refresh.
    pub knowledge: Option<Knowledge>,
    /// Digest of the sealed shares, in member order.
    pub shares: [u8; 32],
}

/// The public part of a dealing. The signature covers the canonical encoding of the body, of which
/// there is exactly one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PublicDealing {
    /// What was signed.
    pub body: DealingBody,
    signature: Signature,
}

impl PublicDealing {
    pub(super) fn sign(body: DealingBody, key: &SigningKey) -> Self {
        let signature = key.sign(labels::SIGN_DEALING, &encoding::to_bytes(&body));
        Self { body, signature }
    }

    pub(super) fn verify(&self, signer: &VerifyingKey) -> Result<(), BadSignature> {
        let body = encoding::to_bytes(&self.body);
        signer.verify(labels::SIGN_DEALING, &body, &self.signature)
    }
}

impl DealingBody {
    pub(super) fn statement<'a>(&'a self, constant: &'a Point) -> Statement<'a> {
        Statement {
            ceremony: &self.ceremony,
            enrolments: &self.enrolments,
            dealer: self.member,
            constant,
        }
    }
}

/// What a member sends to every member: public, since each share is sealed.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MemberDealing {
    /// What transcripts keep.
    pub public: PublicDealing,
    pub(super) shares: Vec<SealedShare>,
}

impl MemberDealing {
    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// A received message; [`Enrolled::finish`](super::Enrolled::finish) checks it.
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

/// Digest of sealed shares, in member order.
pub(super) fn digest(shares: &[SealedShare]) -> [u8; 32] {
    encoding::hash(labels::HASH_SEALED_SHARES, &[&encoding::to_bytes(&shares)])
}

impl Enrolments {
    /// Deals as `member`, who must have enrolled.
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
        if self.ceremony.purpose == Purpose::Fresh {
            let constant = body.commitments[0];
            let proof = body.statement(&constant).prove(polynomial.constant(), rng);
            body.knowledge = Some(proof);
        }
        Ok(MemberDealing {
            public: PublicDealing::sign(body, signing),
            shares,
        })
    }

    pub(super) fn share_context(&self, dealer: MemberNumber, reader: MemberNumber) -> ShareContext {
        ShareContext::new(&self.ceremony, &self.digest, dealer, reader)
    }
}

/// A share of a dealing, sealed to one member: a `Sealed<R, [u8; 32]>` whose R is the ceremony's role.
pub(super) type SealedShare = Vec<u8>;

/// What a sealed share is bound to.
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
        let sealed: Sealed<R, [u8; 32]> =
            encoding::from_bytes(sealed, LIMIT, "sealed share").map_err(|_| OpenError)?;
        let bytes = Zeroizing::new(sealed.open(key, &self.0, 64)?);
        Scalar::from_canonical_bytes(*bytes)
            .into_option()
            .map(Zeroizing::new)
            .ok_or(OpenError)
    }
}
