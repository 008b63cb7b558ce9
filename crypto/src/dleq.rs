//! Proofs that evaluations were made with the secret behind a known public share.
//!
//! For public share B and pairs (Cᵢ, Dᵢ), the proof by Chaum and Pedersen shows that the discrete logarithm of B to
//! the generator equals that of each Dᵢ to Cᵢ. One proof over random composites covers a whole batch (RFC 9497 §2.2).

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand::CryptoRng;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::{
    dealing::KeyShare,
    ristretto::{Point, Response, hash_to_scalar},
};

/// Largest number of pairs that one proof covers: RFC 9497 numbers them with two bytes.
pub const MAX_PAIRS: usize = 65_535;

/// Error for a proof that does not hold. It is the same for every cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof of equal discrete logarithms does not hold")]
pub struct BadProof;

/// Proof for one batch under one public share: 64 bytes.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proof(Response);

/// Proves that in each pair the second point is the first point times the secret of `share`.
///
/// `context` separates the uses of the proof: RFC 9497's context string, or a label of the protocol. `pairs` holds at
/// most [`MAX_PAIRS`] pairs.
pub(crate) fn prove(
    context: &[u8],
    share: &KeyShare,
    pairs: &[(Point, Point)],
    rng: &mut impl CryptoRng,
) -> Proof {
    let first = first_composite(&weights(context, share.public(), pairs), pairs);
    // The prover knows the key, so one multiplication replaces the sum over all answers (RFC 9497 §2.2.1,
    // ComputeCompositesFast).
    // > Z = k * M
    let second = first * share.secret();
    // A second proof with the same nonce would reveal the share, hence a fresh nonce from the node's own generator.
    let nonce = Zeroizing::new(Scalar::random(rng));
    let challenge = challenge(
        context,
        share.public(),
        [
            first,
            second,
            RistrettoPoint::mul_base(&nonce),
            first * *nonce,
        ],
    );
    Proof(Response {
        challenge,
        response: *nonce - challenge * share.secret(),
    })
}

impl Proof {
    /// Verifies the proof for `pairs` under the public share `public`. All arguments are public, so the arithmetic may
    /// take variable time.
    pub(crate) fn verify(
        &self,
        context: &[u8],
        public: &Point,
        pairs: &[(Point, Point)],
    ) -> Result<(), BadProof> {
        if pairs.len() > MAX_PAIRS {
            return Err(BadProof);
        }
        // The verifier cannot use the prover's short cut, since it does not know the key: it adds up both composites.
        let weights = weights(context, public, pairs);
        let first = first_composite(&weights, pairs);
        let second = RistrettoPoint::vartime_multiscalar_mul(
            &weights,
            pairs.iter().map(|(_, answer)| answer.inner()),
        );
        let (c, s) = (&self.0.challenge, &self.0.response);
        // > t2 = ((s * A) + (c * B))
        let on_generator =
            RistrettoPoint::vartime_double_scalar_mul_basepoint(c, public.inner(), s);
        // > t3 = ((s * M) + (c * Z))
        let on_first = RistrettoPoint::vartime_multiscalar_mul([s, c], [first, second]);
        if challenge(context, public, [first, second, on_generator, on_first]) != *c {
            return Err(BadProof);
        }
        Ok(())
    }
}

/// Computes the weight dᵢ of each pair (RFC 9497 §2.2.1, ComputeComposites).
///
/// Each weight is a hash of the pair, and of the context and public share. So a prover cannot choose wrong answers
/// that cancel out in the composites.
fn weights(context: &[u8], public: &Point, pairs: &[(Point, Point)]) -> Vec<Scalar> {
    // > seedDST = "Seed-" || contextString
    let label_length = u16::try_from(5 + context.len()).expect("contexts are short constants");
    let seed = Sha512::new()
        .chain_update(POINT_LENGTH)
        .chain_update(public.as_bytes())
        .chain_update(label_length.to_be_bytes())
        .chain_update(b"Seed-")
        .chain_update(context)
        .finalize();
    (0u16..)
        .zip(pairs)
        .map(|(index, (element, answer))| {
            let message: [&[u8]; 8] = [
                &SEED_LENGTH,
                &seed,
                &index.to_be_bytes(),
                &POINT_LENGTH,
                element.as_bytes(),
                &POINT_LENGTH,
                answer.as_bytes(),
                b"Composite",
            ];
            hash_to_scalar(&message, &[HASH_TO_SCALAR, context])
        })
        .collect()
}

/// Adds up the first points with their weights.
///
/// > M = di * Ci + M
fn first_composite(weights: &[Scalar], pairs: &[(Point, Point)]) -> RistrettoPoint {
    RistrettoPoint::vartime_multiscalar_mul(
        weights,
        pairs.iter().map(|(element, _)| element.inner()),
    )
}

/// Computes RFC 9497's challenge over B and the points M, Z, t2, t3.
fn challenge(context: &[u8], public: &Point, points: [RistrettoPoint; 4]) -> Scalar {
    let [m, z, t2, t3] = points.map(|point| point.compress().0);
    let message: [&[u8]; 11] = [
        &POINT_LENGTH,
        public.as_bytes(),
        &POINT_LENGTH,
        &m,
        &POINT_LENGTH,
        &z,
        &POINT_LENGTH,
        &t2,
        &POINT_LENGTH,
        &t3,
        b"Challenge",
    ];
    hash_to_scalar(&message, &[HASH_TO_SCALAR, context])
}

const HASH_TO_SCALAR: &[u8] = b"HashToScalar-";
const POINT_LENGTH: [u8; 2] = 32u16.to_be_bytes();
const SEED_LENGTH: [u8; 2] = 64u16.to_be_bytes();

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::{dealing::testing::dealt, ristretto::hash_to_group};
    use dispers_base::encoding::{from_bytes, to_bytes};

    const CONTEXT: &[u8] = b"test";

    fn pairs(share: &KeyShare, count: u8) -> Vec<(Point, Point)> {
        (0..count)
            .map(|i| {
                let element = Point::new(hash_to_group(&[&[i]], &[CONTEXT])).unwrap();
                (element, element.times(share.secret()).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_proof_holds_for_its_batch_share_and_context_only() {
        let secrets = dealt(2, 2).secrets;
        let right = pairs(&secrets[0], 3);
        let proof = prove(CONTEXT, &secrets[0], &right, &mut StdRng::seed_from_u64(1));
        let public = secrets[0].public();
        assert_eq!(proof.verify(CONTEXT, public, &right), Ok(()));

        assert!(proof.verify(b"tset", public, &right).is_err());
        assert!(proof.verify(CONTEXT, secrets[1].public(), &right).is_err());
        assert!(proof.verify(CONTEXT, public, &right[..2]).is_err());
        let mut wrong = right.clone();
        wrong[2].1 = pairs(&secrets[1], 3)[2].1;
        assert!(proof.verify(CONTEXT, public, &wrong).is_err());
        // Two swapped answers have the same plain sum, so only the weights reveal the swap.
        let mut swapped = right.clone();
        (swapped[0].1, swapped[1].1) = (right[1].1, right[0].1);
        assert!(proof.verify(CONTEXT, public, &swapped).is_err());
    }

    #[test]
    fn a_proof_of_a_wrong_answer_does_not_hold() {
        let secrets = dealt(2, 2).secrets;
        let wrong = pairs(&secrets[1], 1);
        let proof = prove(CONTEXT, &secrets[0], &wrong, &mut StdRng::seed_from_u64(1));
        assert!(proof.verify(CONTEXT, secrets[0].public(), &wrong).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_flipped_bit_breaks_a_proof(bit in 0..512usize) {
            let share = &dealt(1, 1).secrets[0];
            let pairs = pairs(share, 1);
            let proof = prove(CONTEXT, share, &pairs, &mut StdRng::seed_from_u64(1));
            let mut bytes = to_bytes(&proof);
            prop_assert_eq!(&from_bytes::<Proof>(&bytes, 65, "proof").unwrap(), &proof);
            bytes[1 + bit / 8] ^= 1 << (bit % 8);
            if let Ok(changed) = from_bytes::<Proof>(&bytes, 65, "proof") {
                prop_assert!(changed.verify(CONTEXT, share.public(), &pairs).is_err());
            }
        }
    }
}
