//! Transcripts: the signed commitments of every member, from which anybody verifies how a threshold key was made.
//!
//! Transcripts leave out the sealed shares: they would else be public for as long as the key lives, for whoever breaks
//! the envelopes one day (protocol.md §15). They leave out the enrolments too, since every dealing names their digest.

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::traits::{Identity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar};

use super::{Ceremony, CeremonyError, Culprit, Fault, PublicDealing, Purpose, key_name};
use dispers_base::{
    encoding::{self, DecodeError},
    id::MemberNumber,
    keys::VerifyingKey,
};
use dispers_crypto::{dealing::ThresholdKey, ristretto::Point};

/// Most bytes of an encoded transcript. The largest one, of 255 members with 255 commitments each, takes about half of
/// that.
const LIMIT: usize = 4 << 20;

/// Public part of one ceremony.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transcript {
    /// Parameters of the ceremony.
    pub ceremony: Ceremony,
    /// Dealings, one of each member.
    pub dealings: Vec<PublicDealing>,
}

/// Returns the key that a fresh ceremony and the refreshes after it lead to. `signers` are the members' signing keys,
/// in member order.
///
/// # Errors
/// [`CeremonyError`] for the first transcript that does not hold or does not follow from the one
/// before it.
pub fn trace(
    transcripts: &[Transcript],
    signers: &[VerifyingKey],
) -> Result<ThresholdKey, CeremonyError> {
    let (fresh, refreshes) = transcripts
        .split_first()
        .ok_or(CeremonyError::Previous("there is no transcript"))?;
    refreshes
        .iter()
        .try_fold(fresh.verify(signers, None)?, |key, refresh| {
            refresh.verify(signers, Some(&key))
        })
}

impl Transcript {
    /// Collects the unverified dealings of a ceremony's members, in any order.
    pub fn new(ceremony: Ceremony, mut dealings: Vec<PublicDealing>) -> Self {
        dealings.sort_by_key(|dealing| dealing.body.member);
        Self { ceremony, dealings }
    }

    /// Encodes the transcript for storage.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// Decodes a stored transcript, without verifying it.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else than one transcript.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        encoding::from_bytes(bytes, LIMIT, "transcript")
    }

    /// Verifies the transcript and returns the key that the ceremony made. `signers` are the members' signing keys in
    /// member order, and `previous` is the key that a refresh refreshed.
    ///
    /// # Errors
    /// [`CeremonyError`], with the name of every member whose dealing is wrong.
    pub fn verify(
        &self,
        signers: &[VerifyingKey],
        previous: Option<&ThresholdKey>,
    ) -> Result<ThresholdKey, CeremonyError> {
        self.ceremony.check(signers)?;
        self.ceremony.check_previous(previous)?;
        let culprits = self.culprits(signers, self.common_enrolments(signers));
        if !culprits.is_empty() {
            return Err(CeremonyError::Dealings { culprits });
        }
        self.sum(previous)
    }

    /// Returns the members whose dealing is wrong, with at most one fault for each message.
    pub(super) fn culprits(
        &self,
        signers: &[VerifyingKey],
        enrolments: Option<[u8; 32]>,
    ) -> Vec<Culprit> {
        let mut culprits = Vec::new();
        let senders: Vec<_> = self.dealings.iter().map(|d| d.body.member).collect();
        self.ceremony.attendance(&senders, &mut culprits);
        let digest = self.ceremony.digest();
        for dealing in &self.dealings {
            let member = dealing.body.member;
            // `attendance` has already named a member without a signing key as unknown.
            let Some(signer) = signers.get(member.index()) else {
                continue;
            };
            let fault = self.fault(dealing, signer, &digest, enrolments);
            culprits.extend(fault.map(|fault| fault.of(member)));
        }
        culprits
    }

    fn fault(
        &self,
        dealing: &PublicDealing,
        signer: &VerifyingKey,
        ceremony: &[u8; 32],
        enrolments: Option<[u8; 32]>,
    ) -> Option<Fault> {
        // The signature comes first: without it the other faults are not the member's.
        if dealing.verify(signer).is_err() {
            return Some(Fault::Signature);
        }
        let body = &dealing.body;
        if body.ceremony != *ceremony {
            return Some(Fault::OtherCeremony);
        }
        if Some(body.enrolments) != enrolments {
            return Some(Fault::OtherEnrolments);
        }
        let (expected, found) = (self.ceremony.commitments(), body.commitments.len());
        // The number of commitments is checked before the proof, which reads the first of them.
        if found != expected {
            return Some(Fault::Commitments { expected, found });
        }
        let known = match (self.ceremony.purpose, &body.knowledge) {
            (Purpose::Fresh, Some(proof)) => {
                body.statement(&body.commitments[0]).is_proved_by(proof)
            }
            (Purpose::Refresh { .. }, None) => true,
            _ => false,
        };
        (!known).then_some(Fault::Knowledge)
    }

    /// Returns the digest of enrolments that more than half of the dealings name. Only dealings that their members
    /// signed for this ceremony count. Without such a majority nobody can tell who is wrong, and every dealing is at
    /// fault.
    fn common_enrolments(&self, signers: &[VerifyingKey]) -> Option<[u8; 32]> {
        let ceremony = self.ceremony.digest();
        let signed = self.dealings.iter().filter(|dealing| {
            let signer = signers.get(dealing.body.member.index());
            dealing.body.ceremony == ceremony
                && signer.is_some_and(|signer| dealing.verify(signer).is_ok())
        });
        let digests: Vec<_> = signed.map(|dealing| dealing.body.enrolments).collect();
        digests
            .iter()
            .copied()
            // More than half: two digests cannot both have that, so that the order of the dealings decides nothing.
            .find(|digest| {
                2 * digests.iter().filter(|other| *other == digest).count() > digests.len()
            })
    }

    /// Returns the key that verified dealings add up to.
    pub(super) fn sum(
        &self,
        previous: Option<&ThresholdKey>,
    ) -> Result<ThresholdKey, CeremonyError> {
        let count = self.ceremony.commitments();
        let sums: Vec<RistrettoPoint> = (0..count)
            .map(|power| {
                let summands = self
                    .dealings
                    .iter()
                    .map(|d| *d.body.commitments[power].inner());
                summands.sum()
            })
            .collect();
        let threshold = self.ceremony.threshold;
        let key = match previous {
            Some(previous) => Some(*previous.key()),
            None => sums.first().and_then(|sum| Point::new(*sum)),
        };
        let shares = threshold.numbers().map(|number| {
            // A refresh adds a polynomial to that of the key, so that its values add to the public shares.
            let before = previous.and_then(|key| key.share(number)).map(Point::inner);
            let before = before.copied().unwrap_or_else(RistrettoPoint::identity);
            Point::new(before + value(&self.ceremony, &sums, number))
        });
        let shares: Option<Vec<Point>> = shares.collect();
        let (key, shares) = key.zip(shares).ok_or(CeremonyError::Cancelled)?;
        Ok(ThresholdKey::new(threshold, key, shares)
            .expect("the values of one polynomial belong to one key"))
    }
}

/// Returns the value, in the exponent, of a polynomial at a member's number. `commitments` are those to its
/// coefficients.
pub(super) fn value(
    ceremony: &Ceremony,
    commitments: &[RistrettoPoint],
    number: MemberNumber,
) -> RistrettoPoint {
    let x = Scalar::from(number.point());
    // > a refresh deals polynomials that are zero at 0
    // Its commitments therefore begin with the coefficient of x.
    let lowest = match ceremony.purpose {
        Purpose::Fresh => Scalar::ONE,
        Purpose::Refresh { .. } => x,
    };
    let powers = std::iter::successors(Some(lowest), |power| Some(power * x));
    let powers: Vec<Scalar> = powers.take(commitments.len()).collect();
    RistrettoPoint::vartime_multiscalar_mul(&powers, commitments)
}

impl Ceremony {
    /// Verifies that `previous` is the key that this ceremony refreshes, and is absent for a fresh key.
    ///
    /// # Errors
    /// [`CeremonyError::Previous`] otherwise.
    pub(super) fn check_previous(
        &self,
        previous: Option<&ThresholdKey>,
    ) -> Result<(), CeremonyError> {
        match (self.purpose, previous) {
            (Purpose::Fresh, None) => Ok(()),
            (Purpose::Fresh, Some(_)) => {
                Err(CeremonyError::Previous("this ceremony makes a fresh key"))
            }
            (Purpose::Refresh { .. }, None) => {
                Err(CeremonyError::Previous("this ceremony refreshes a key"))
            }
            (Purpose::Refresh { previous: name }, Some(key)) => {
                if key.threshold() != self.threshold || key_name(key) != name {
                    return Err(CeremonyError::Previous(
                        "this ceremony refreshes another key or other shares",
                    ));
                }
                Ok(())
            }
        }
    }
}
