//! Threshold keys: secret scalars of which each member of a committee holds a share.
//!
//! A key is shared by Shamir's sharing over ristretto255's scalars, and every member's public share is published
//! (Feldman). [`deal`] is for trials only: its one dealer knows the whole secret. In a network that protects people
//! the members make their key together, in a ceremony (`dispers_trust::ceremony`, protocol.md §2).

#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::ristretto::Point;
use dispers_base::id::{MemberNumber, Threshold};

/// Key that one dealer made, with the members' shares.
#[derive(Debug)]
pub struct Dealing {
    /// Public key and public shares, for the directory.
    pub public: ThresholdKey,
    /// Secret shares, one per member, in order. Each is for its member only.
    pub secrets: Vec<KeyShare>,
}

/// Draws a fresh key and its shares.
///
/// # Security
/// The caller learns the whole secret key. The directory accepts such a key for a trial network only.
pub fn deal(threshold: Threshold, rng: &mut impl CryptoRng) -> Dealing {
    let polynomial = Polynomial::random(threshold, rng);
    let drawn = "a drawn scalar is zero with probability 2^-252";
    let secrets: Vec<KeyShare> = threshold
        .numbers()
        .map(|number| KeyShare::new(number, *polynomial.at(number)).expect(drawn))
        .collect();
    Dealing {
        public: ThresholdKey {
            threshold,
            key: Point::new(RistrettoPoint::mul_base(polynomial.constant())).expect(drawn),
            shares: secrets.iter().map(|share| share.public).collect(),
        },
        secrets,
    }
}

/// Secret polynomial of degree at most `needed − 1`, zeroized on drop. Its value at a member's number is the member's
/// share.
pub struct Polynomial(Zeroizing<Vec<Scalar>>);

impl Polynomial {
    /// Draws all coefficients at random.
    pub fn random(threshold: Threshold, rng: &mut impl CryptoRng) -> Self {
        let coefficients = (0..threshold.needed()).map(|_| Scalar::random(rng));
        Self(Zeroizing::new(coefficients.collect()))
    }

    /// Draws a polynomial that is zero at 0: all coefficients but the constant are random. A refresh adds such
    /// polynomials, which change every share and keep the key (protocol.md §2).
    pub fn random_of_zero(threshold: Threshold, rng: &mut impl CryptoRng) -> Self {
        let mut polynomial = Self::random(threshold, rng);
        polynomial.0[0].zeroize();
        polynomial
    }

    /// Returns the value at a member's number.
    pub fn at(&self, number: MemberNumber) -> Zeroizing<Scalar> {
        let x = Scalar::from(number.point());
        let mut sum = Zeroizing::new(Scalar::ZERO);
        for coefficient in self.0.iter().rev() {
            *sum = *sum * x + coefficient;
        }
        sum
    }

    /// Returns the value at 0, this polynomial's term of the secret key.
    pub fn constant(&self) -> &Scalar {
        &self.0[0]
    }

    /// Returns the `needed` coefficients, from the constant upwards.
    pub fn coefficients(&self) -> &[Scalar] {
        &self.0
    }
}

/// Error for public shares that do not belong to the key, or to no key with this threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the public shares are not those of one key with this threshold")]
pub struct InconsistentKey;

/// Error for a set of members from which no answer can be recombined, whatever they answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// A member's number is above the committee's size.
    #[error("the committee has no member {member}")]
    UnknownMember {
        /// Number of the member.
        member: MemberNumber,
    },
    /// One member answered twice.
    #[error("member {member} answered twice")]
    RepeatedMember {
        /// Number of the member.
        member: MemberNumber,
    },
    /// Fewer members answered than the threshold requires.
    #[error("{answered} members answered, {needed} are needed")]
    TooFew {
        /// Number of members that are needed.
        needed: usize,
        /// Number of members that answered.
        answered: usize,
    },
}

/// Public part of a threshold key. Every value of this type is consistent: in the exponent, all public shares lie on
/// one polynomial of degree at most `needed − 1`, and its value at 0 is the key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct ThresholdKey {
    threshold: Threshold,
    key: Point,
    shares: Vec<Point>,
}

impl ThresholdKey {
    /// Checks and makes a key. `shares` holds one point per member, in order.
    ///
    /// # Errors
    /// [`InconsistentKey`] for another number of shares, or shares of another key or threshold.
    pub fn new(
        threshold: Threshold,
        key: Point,
        shares: Vec<Point>,
    ) -> Result<Self, InconsistentKey> {
        if shares.len() != threshold.members() {
            return Err(InconsistentKey);
        }
        // The key and the first needed − 1 shares fix the polynomial; the other shares must lie on it. Otherwise
        // different quorums would recombine different values.
        let needed = threshold.needed();
        let fixed: Vec<u8> = (0..).take(needed).collect();
        let fixed_values: Vec<&RistrettoPoint> = std::iter::once(&key)
            .chain(&shares[..needed - 1])
            .map(Point::inner)
            .collect();
        let consistent = threshold.numbers().skip(needed - 1).all(|number| {
            let expected = RistrettoPoint::vartime_multiscalar_mul(
                lagrange(&fixed, number.point()),
                fixed_values.iter().copied(),
            );
            expected == *shares[number.index()].inner()
        });
        if !consistent {
            return Err(InconsistentKey);
        }
        Ok(Self {
            threshold,
            key,
            shares,
        })
    }

    /// Returns the threshold: the number of members that are needed, and the number of all members.
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// Returns the public key.
    pub fn key(&self) -> &Point {
        &self.key
    }

    /// Returns the public share of a member; `None` if the committee has no such member.
    pub fn share(&self, member: MemberNumber) -> Option<&Point> {
        self.shares.get(member.index())
    }

    /// Returns the coefficients that recombine the answers of the first `needed` of `members`, in their order.
    ///
    /// # Errors
    /// [`QuorumError`] if any of `members` does not exist or is repeated, or if there are fewer than `needed`.
    pub fn recombination(&self, members: &[MemberNumber]) -> Result<Vec<Scalar>, QuorumError> {
        for (position, &member) in members.iter().enumerate() {
            if self.share(member).is_none() {
                return Err(QuorumError::UnknownMember { member });
            }
            // An answer that is repeated adds nothing: it must not count as a second member's.
            if members[..position].contains(&member) {
                return Err(QuorumError::RepeatedMember { member });
            }
        }
        let needed = self.threshold.needed();
        if members.len() < needed {
            return Err(QuorumError::TooFew {
                needed,
                answered: members.len(),
            });
        }
        let points: Vec<u8> = members[..needed].iter().map(|m| m.point()).collect();
        Ok(lagrange(&points, 0))
    }
}

impl BorshDeserialize for ThresholdKey {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let threshold = Threshold::deserialize_reader(reader)?;
        let key = Point::deserialize_reader(reader)?;
        let shares = Vec::deserialize_reader(reader)?;
        // Decoding makes the key with `new`, so that every received key is consistent.
        Self::new(threshold, key, shares).map_err(borsh::io::Error::other)
    }
}

/// Error for bytes that are not a key share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key share")]
pub struct InvalidKeyShare;

/// One member's share of a threshold key, zeroized on drop.
pub struct KeyShare {
    number: MemberNumber,
    secret: Scalar,
    public: Point,
}

impl KeyShare {
    /// Number of bytes of a stored share.
    pub const LENGTH: usize = 33;

    /// Reads a share from the bytes that [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`InvalidKeyShare`] for another length, member 0, zero, or a scalar that is not reduced.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKeyShare> {
        let (&number, secret) = bytes.split_first().ok_or(InvalidKeyShare)?;
        let number = MemberNumber::new(number).map_err(|_| InvalidKeyShare)?;
        let secret = Zeroizing::new(<[u8; 32]>::try_from(secret).map_err(|_| InvalidKeyShare)?);
        let secret = Scalar::from_canonical_bytes(*secret).into_option();
        secret
            .and_then(|secret| Self::new(number, secret))
            .ok_or(InvalidKeyShare)
    }

    /// Returns the bytes to store: the member's number (1 byte), then the scalar (32 bytes).
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LENGTH]> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        bytes[0] = self.number.point();
        bytes[1..].copy_from_slice(self.secret.as_bytes());
        bytes
    }

    /// Returns the number of the member that this share belongs to.
    pub fn number(&self) -> MemberNumber {
        self.number
    }

    /// Returns the public share, as the directory lists it.
    pub fn public(&self) -> &Point {
        &self.public
    }

    /// Makes a share; `None` for a zero scalar, with which every evaluation would be the identity.
    pub fn new(number: MemberNumber, secret: Scalar) -> Option<Self> {
        Some(Self {
            number,
            public: Point::new(RistrettoPoint::mul_base(&secret))?,
            secret,
        })
    }

    /// Returns the secret scalar.
    pub fn secret(&self) -> &Scalar {
        &self.secret
    }
}

impl Drop for KeyShare {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyShare(of member {})", self.number)
    }
}

/// Returns Lagrange's coefficients: they give a polynomial's value at `x` from its values at `points`, which must
/// differ.
fn lagrange(points: &[u8], x: u8) -> Vec<Scalar> {
    let x = Scalar::from(x);
    let scalars: Vec<Scalar> = points.iter().map(|&point| Scalar::from(point)).collect();
    scalars
        .iter()
        .map(|own| {
            let (mut numerator, mut denominator) = (Scalar::ONE, Scalar::ONE);
            for other in scalars.iter().filter(|other| *other != own) {
                numerator *= x - other;
                denominator *= own - other;
            }
            numerator * denominator.invert()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::testing::{dealt, recombined, subsets};
    use super::*;
    use dispers_base::encoding::{from_bytes, to_bytes};

    #[test]
    fn any_needed_shares_recombine_to_the_key() {
        for (needed, members) in [(1, 1), (2, 3), (3, 5), (5, 5)] {
            let dealing = dealt(needed, members);
            for subset in subsets(members, needed.into()) {
                let secret = recombined(&dealing, &subset);
                assert_eq!(
                    RistrettoPoint::mul_base(&secret),
                    *dealing.public.key().inner()
                );
            }
        }
    }

    #[test]
    fn a_dealt_key_decodes_and_a_changed_one_does_not() {
        let key = dealt(3, 5).public;
        let decode = |key: &ThresholdKey| from_bytes::<ThresholdKey>(&to_bytes(key), 500, "key");
        assert_eq!(decode(&key), Ok(key.clone()));

        let mut swapped = key.clone();
        swapped.shares.swap(0, 4);
        let mut another_key = key.clone();
        another_key.key = key.shares[0];
        let mut another_share = key.clone();
        another_share.shares[4] = key.key;
        let mut short = key.clone();
        short.shares.pop();
        let mut lower = key.clone();
        lower.threshold = Threshold::new(2, 5).unwrap();
        for bad in [swapped, another_key, another_share, short, lower] {
            assert!(decode(&bad).is_err());
        }
    }

    #[test]
    fn a_quorum_has_enough_members_that_exist_and_differ() {
        let key = dealt(2, 3).public;
        let [one, two, four] = [1, 2, 4].map(|number| MemberNumber::new(number).unwrap());
        assert_eq!(
            key.recombination(&[one, four]),
            Err(QuorumError::UnknownMember { member: four })
        );
        assert_eq!(
            key.recombination(&[two, two]),
            Err(QuorumError::RepeatedMember { member: two })
        );
        assert_eq!(
            key.recombination(&[two]),
            Err(QuorumError::TooFew {
                needed: 2,
                answered: 1
            })
        );
    }

    #[test]
    fn a_stored_share_is_the_same_share() {
        let dealing = dealt(2, 3);
        let share = &dealing.secrets[1];
        let again = KeyShare::from_bytes(&share.to_bytes()[..]).unwrap();
        assert_eq!(
            again.public(),
            dealing.public.share(again.number()).unwrap()
        );
        assert_eq!(format!("{share:?}"), "KeyShare(of member 2)");

        let mut zero = [0; 33];
        zero[0] = 1;
        let mut unnumbered = *share.to_bytes();
        unnumbered[0] = 0;
        for bad in [&zero[..], &unnumbered, &[0xff; 33], &[1; 32], &[]] {
            assert!(KeyShare::from_bytes(bad).is_err());
        }
    }
}
