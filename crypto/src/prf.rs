//! Threshold PRF, from which a committee derives the randomness *r* of each work (protocol.md §8).
//!
//! Everybody derives a point from the work (query, round, batch, attempt). The point times the committee's secret key
//! gives the randomness. It is the same whichever members answer, and unknown to fewer than `needed` members.
//!
//! # Security
//! A member hashes the work itself. It evaluates no element that it received: otherwise a peer could send the point of
//! another work, and learn that work's randomness before its contributions are frozen.

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use rand::CryptoRng;

use crate::{
    dealing::{KeyShare, QuorumError, ThresholdKey},
    dleq::{self, BadProof, Proof},
    ristretto::{Point, hash_to_group},
};
use dispers_base::{
    encoding,
    id::{MemberNumber, Work},
    labels,
};

/// Error of recombining shares of the randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrfError {
    /// A member's share is wrong: that member is at fault.
    #[error("member {member} gave a wrong share of the randomness")]
    WrongShare {
        /// Member that gave the share.
        member: MemberNumber,
    },
    /// The shares cannot be recombined.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

/// Context of the proofs of shares.
const PROOF: &[u8] = labels::PROOF_DLEQ.as_bytes();

/// One member's share of the randomness of one work, with the proof that it was made with the member's key share.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PrfShare {
    element: Point,
    proof: Proof,
}

impl PrfShare {
    /// Verifies the share against the public share of the member that gave it.
    ///
    /// # Errors
    /// [`BadProof`] if the share is of other work or was made with another key.
    pub fn verify(&self, public: &Point, work: &Work) -> Result<(), BadProof> {
        self.proof
            .verify(PROOF, public, &[(input(work), self.element)])
    }
}

/// Computes this member's share of the randomness of `work`.
pub fn evaluate(share: &KeyShare, work: &Work, rng: &mut impl CryptoRng) -> PrfShare {
    let input = input(work);
    let element = input
        .times(share.secret())
        .expect("neither input nor share is zero in a group of prime order");
    let proof = dleq::prove(PROOF, share, &[(input, element)], rng);
    PrfShare { element, proof }
}

/// Verifies the shares, and recombines the first `needed` of them into the 32-byte seed of `work`'s randomness.
///
/// # Errors
/// [`PrfError::Quorum`] if the members are too few, repeated or unknown, which is checked first.
/// [`PrfError::WrongShare`] naming the first member, in the given order, with a wrong share.
pub fn combine(
    key: &ThresholdKey,
    work: &Work,
    shares: &[(MemberNumber, PrfShare)],
) -> Result<[u8; 32], PrfError> {
    let members: Vec<MemberNumber> = shares.iter().map(|(member, _)| *member).collect();
    let coefficients = key.recombination(&members)?;
    // Also the shares that are not needed are verified, so that a wrong share is named wherever it stands.
    for (member, share) in shares {
        let public = key
            .share(*member)
            .ok_or(QuorumError::UnknownMember { member: *member })?;
        share
            .verify(public, work)
            .map_err(|BadProof| PrfError::WrongShare { member: *member })?;
    }
    let elements = shares[..coefficients.len()]
        .iter()
        .map(|(_, share)| share.element.inner());
    let value = RistrettoPoint::vartime_multiscalar_mul(&coefficients, elements);
    // The hash makes uniform bytes of a point, and binds them to the key and the work.
    Ok(encoding::hash(
        labels::HASH_PRF,
        &[
            key.key().as_bytes(),
            &encoding::to_bytes(work),
            value.compress().as_bytes(),
        ],
    ))
}

fn input(work: &Work) -> Point {
    // A hash to the group, so that nobody knows the discrete logarithm of the point. Whoever knew it could compute the
    // PRF's value from the public key alone.
    let encoded = encoding::to_bytes(work);
    Point::new(hash_to_group(&[&encoded], &[labels::PRF_INPUT.as_bytes()]))
        .expect("a hash is the identity with probability 2^-252")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::dealing::{
        Dealing,
        testing::{dealt, subsets},
    };
    use dispers_base::id::{BatchId, QueryId};

    fn work() -> Work {
        Work {
            query: QueryId([5; 32]),
            round: 0,
            batch: BatchId {
                partition: 1,
                committee: 0,
                number: 2,
            },
            attempt: 3,
        }
    }

    fn shares(dealing: &Dealing, work: &Work) -> Vec<(MemberNumber, PrfShare)> {
        let mut rng = StdRng::seed_from_u64(9);
        dealing
            .secrets
            .iter()
            .map(|share| (share.number(), evaluate(share, work, &mut rng)))
            .collect()
    }

    #[test]
    fn the_seed_is_the_same_whichever_members_answer_and_in_any_order() {
        let dealing = dealt(3, 5);
        let all = shares(&dealing, &work());
        let expected = combine(&dealing.public, &work(), &all).unwrap();
        for subset in subsets(5, 3) {
            let mut some: Vec<_> = subset.iter().map(|&i| all[i].clone()).collect();
            assert_eq!(combine(&dealing.public, &work(), &some), Ok(expected));
            some.reverse();
            assert_eq!(combine(&dealing.public, &work(), &some), Ok(expected));
        }
    }

    #[test]
    fn other_work_has_another_seed() {
        let dealing = dealt(2, 3);
        let seed = |work: &Work| combine(&dealing.public, work, &shares(&dealing, work)).unwrap();
        let mut others = [work(); 5];
        others[0].query = QueryId([6; 32]);
        others[1].round = 1;
        others[2].batch.partition = 2;
        others[3].batch.number = 1;
        others[4].attempt = 4;
        for other in others {
            assert_ne!(seed(&other), seed(&work()));
        }
    }

    #[test]
    fn a_share_of_other_work_or_of_another_member_names_who_gave_it() {
        let dealing = dealt(2, 3);
        let right = shares(&dealing, &work());
        let mut other = work();
        other.attempt += 1;
        let wrong = shares(&dealing, &other);
        for bad in [wrong[1].1.clone(), right[2].1.clone()] {
            let mut given = right.clone();
            given[1].1 = bad;
            let member = given[1].0;
            assert_eq!(
                combine(&dealing.public, &work(), &given),
                Err(PrfError::WrongShare { member })
            );
        }
    }

    #[test]
    fn too_few_or_repeated_shares_give_nothing() {
        let dealing = dealt(2, 3);
        let right = shares(&dealing, &work());
        for given in [&right[..1], &[right[0].clone(), right[0].clone()], &[]] {
            assert!(matches!(
                combine(&dealing.public, &work(), given),
                Err(PrfError::Quorum(_))
            ));
        }
    }
}
