//! Proof of a dealer that it knows the constant term of its dealing.
//!
//! This is Schnorr's proof, bound to the ceremony, the enrolments and the dealer. Without the proof the last dealer
//! could subtract the others' commitments from its own and leave a key that it alone knows, or copy another's dealing.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand::CryptoRng;
use zeroize::Zeroizing;

use dispers_base::{id::MemberNumber, labels};
use dispers_crypto::ristretto::{Point, Response, hash_to_scalar};

/// Statement that a proof is about and bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) ceremony: &'a [u8; 32],
    pub(super) enrolments: &'a [u8; 32],
    pub(super) dealer: MemberNumber,
    /// Commitment to the constant term.
    pub(super) constant: &'a Point,
}

impl Statement<'_> {
    fn challenge(&self, nonce: &RistrettoPoint) -> Scalar {
        // Every part has a fixed length, so that two different statements never hash the same bytes.
        let message: [&[u8]; 5] = [
            self.ceremony,
            self.enrolments,
            &[self.dealer.point()],
            self.constant.as_bytes(),
            &nonce.compress().0,
        ];
        hash_to_scalar(&message, &[labels::PROOF_DEALING.as_bytes()])
    }

    pub(super) fn prove(&self, secret: &Scalar, rng: &mut impl CryptoRng) -> Knowledge {
        // Variable time is safe here: a verifier handles public values only.
        let nonce = Zeroizing::new(Scalar::random(rng));
        let challenge = self.challenge(&RistrettoPoint::mul_base(&nonce));
        Knowledge(Response {
            challenge,
            response: *nonce - challenge * secret,
        })
    }

    pub(super) fn is_proved_by(&self, proof: &Knowledge) -> bool {
        let (c, s) = (&proof.0.challenge, &proof.0.response);
        let nonce =
            RistrettoPoint::vartime_double_scalar_mul_basepoint(c, self.constant.inner(), s);
        self.challenge(&nonce) == *c
    }
}

/// Proof of knowledge of one dealing's constant term.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Knowledge(Response);

impl fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Knowledge")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_proof_holds_for_its_dealer_ceremony_and_commitment_only() {
        let mut rng = StdRng::seed_from_u64(3);
        let secret = Scalar::random(&mut rng);
        let constant = Point::new(RistrettoPoint::mul_base(&secret)).unwrap();
        let other = Point::new(RistrettoPoint::mul_base(&Scalar::random(&mut rng))).unwrap();
        let number = |number| MemberNumber::new(number).unwrap();
        let statement = Statement {
            ceremony: &[1; 32],
            enrolments: &[2; 32],
            dealer: number(1),
            constant: &constant,
        };
        let proof = statement.prove(&secret, &mut rng);
        assert!(statement.is_proved_by(&proof));
        let wrong = [
            Statement {
                ceremony: &[3; 32],
                ..statement
            },
            Statement {
                enrolments: &[3; 32],
                ..statement
            },
            Statement {
                dealer: number(2),
                ..statement
            },
            Statement {
                constant: &other,
                ..statement
            },
        ];
        assert!(
            wrong
                .iter()
                .all(|statement| !statement.is_proved_by(&proof))
        );
        let guess = statement.prove(&Scalar::ONE, &mut rng);
        assert!(!statement.is_proved_by(&guess));
    }
}
