//! Shamir's secret sharing over Field64 (protocol.md §8).
//!
//! A secret is the value at 0 of a polynomial of degree at most `needed − 1`; the share of a member is the
//! polynomial's value at the member's number. Any `needed` shares determine the secret, and fewer reveal nothing about
//! it. Lagrange's coefficients depend on the members' numbers only, so they are computed once per set of members.

use dispers_base::{
    field::{self, Dot},
    id::MemberNumber,
};

/// Error for a set of members among which a secret cannot be shared, or from which it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShamirError {
    /// One member is named twice.
    #[error("member {0} is named twice")]
    Twice(MemberNumber),
    /// Fewer members than are needed to read a secret.
    #[error("{needed} members are needed, there are {members}")]
    TooFew {
        /// Number of members that are needed.
        needed: usize,
        /// Number of members that were named.
        members: usize,
    },
    /// The number of needed members is so small that one member alone, or nobody, would determine the secret.
    #[error("at least 2 members must be needed, or one alone would read what is shared")]
    Exposed,
}

/// Coefficients to read secrets from the shares of a fixed set of members.
#[derive(Clone)]
pub struct Interpolation {
    members: usize,
    /// Coefficients of the value at 0, one for each of the first `needed` values.
    at_zero: Vec<u64>,
    /// Coefficients of each further member's value, one for each of the first `needed` values. One row per member.
    others: Vec<Vec<u64>>,
}

impl Interpolation {
    /// Prepares to read shares of the members `points`, in this order, of polynomials of degree at most `needed − 1`.
    ///
    /// # Errors
    /// [`ShamirError`] for a repeated member, too few members, or `needed` 0.
    pub fn new(points: &[MemberNumber], needed: usize) -> Result<Self, ShamirError> {
        let nodes = nodes(points, needed)?;
        if needed == 0 {
            return Err(ShamirError::Exposed);
        }
        let (base, rest) = nodes.split_at(needed);
        Ok(Self {
            members: points.len(),
            at_zero: lagrange(base, 0),
            others: rest.iter().map(|&at| lagrange(base, at)).collect(),
        })
    }

    /// Returns the secret behind `values`, one per member. It follows from the first `needed` values; the others are
    /// not checked.
    ///
    /// # Panics
    /// If there is not one value per point.
    pub fn at_zero(&self, values: &[u64]) -> u64 {
        assert_eq!(values.len(), self.members, "one value per point");
        combine(&self.at_zero, |member| values[member])
    }

    /// Returns whether all `values`, one per member, lie on one polynomial of degree at most `needed − 1`.
    ///
    /// # Panics
    /// If there is not one value per point.
    pub fn consistent(&self, values: &[u64]) -> bool {
        assert_eq!(values.len(), self.members, "one value per point");
        self.read(|member| values[member]).is_some()
    }

    /// Returns the secrets behind `shares`, one array per member; `None` unless the values at every position are
    /// [consistent](Self::consistent).
    ///
    /// # Panics
    /// If there is not one array per point.
    pub fn open_array<const N: usize>(&self, shares: &[[u64; N]]) -> Option<[u64; N]> {
        assert_eq!(shares.len(), self.members, "one array per point");
        let mut secrets = [0; N];
        for (position, secret) in secrets.iter_mut().enumerate() {
            *secret = self.read(|member| shares[member][position])?;
        }
        Some(secrets)
    }

    /// Returns the secrets behind `shares`, one vector per member; `None` unless all vectors have the same length and
    /// the values at every position are [consistent](Self::consistent).
    ///
    /// # Panics
    /// If there is not one vector per point.
    pub fn open<V: AsRef<[u64]>>(&self, shares: &[V]) -> Option<Vec<u64>> {
        assert_eq!(shares.len(), self.members, "one vector per point");
        let length = shares.first()?.as_ref().len();
        if shares.iter().any(|share| share.as_ref().len() != length) {
            return None;
        }
        (0..length)
            .map(|position| self.read(|member| shares[member].as_ref()[position]))
            .collect()
    }

    /// Returns the secret behind the members' values, if all values are consistent.
    fn read(&self, value: impl Fn(usize) -> u64) -> Option<u64> {
        // The first `needed` values fix the polynomial. With exactly `needed` values any are consistent; every value
        // beyond them is a check that catches a wrong share.
        let needed = self.at_zero.len();
        let mut others = self.others.iter().zip(needed..);
        others
            .all(|(row, member)| combine(row, &value) == value(member))
            .then(|| combine(&self.at_zero, &value))
    }
}

/// Returns Σ coefficient · value over the first members, one per coefficient.
fn combine(coefficients: &[u64], value: impl Fn(usize) -> u64) -> u64 {
    let mut dot = Dot::default();
    for (member, &coefficient) in coefficients.iter().enumerate() {
        dot.add(coefficient, value(member));
    }
    dot.total()
}

/// Coefficients to share secrets among a fixed set of members.
///
/// The shares of the first `needed − 1` members are uniform, so that they can be expanded from a seed. The shares of
/// the other members follow from these and the secret.
pub struct Sharing {
    uniform: usize,
    /// Coefficients of each further member's share: that of the secret, then those of the uniform shares. One row per
    /// member.
    others: Vec<Vec<u64>>,
}

impl Sharing {
    /// Prepares to share among the members `points`, in this order, so that any `needed` of them can read.
    ///
    /// # Errors
    /// [`ShamirError`] for a repeated member, too few members, or `needed` below 2.
    pub fn new(points: &[MemberNumber], needed: usize) -> Result<Self, ShamirError> {
        let nodes = nodes(points, needed)?;
        if needed < 2 {
            return Err(ShamirError::Exposed);
        }
        let (uniform, rest) = nodes.split_at(needed - 1);
        // The secret, which is the value at 0, and `needed − 1` uniform values fix the polynomial.
        let base: Vec<u64> = std::iter::once(0).chain(uniform.iter().copied()).collect();
        Ok(Self {
            uniform: uniform.len(),
            others: rest.iter().map(|&at| lagrange(&base, at)).collect(),
        })
    }

    /// Returns the number of members, the first in order, for which the caller chooses uniform shares.
    pub fn uniform(&self) -> usize {
        self.uniform
    }

    /// Returns the shares of `secret` for the other members, in order, given the `uniform` shares of the first members.
    ///
    /// # Panics
    /// If there are not [`uniform`](Self::uniform) shares of the length of `secret`.
    pub fn complete<'a>(
        &'a self,
        secret: &'a [u64],
        uniform: &'a [&'a [u64]],
    ) -> impl Iterator<Item = Vec<u64>> + 'a {
        assert_eq!(uniform.len(), self.uniform, "one share per first member");
        assert!(uniform.iter().all(|share| share.len() == secret.len()));
        self.others.iter().map(move |row| {
            let shares = (0..secret.len()).map(|position| {
                let mut dot = Dot::default();
                dot.add(row[0], secret[position]);
                for (&coefficient, share) in row[1..].iter().zip(uniform) {
                    dot.add(coefficient, share[position]);
                }
                dot.total()
            });
            shares.collect()
        })
    }
}

/// Checks the members, and returns their numbers as field elements.
fn nodes(points: &[MemberNumber], needed: usize) -> Result<Vec<u64>, ShamirError> {
    // Values at one point twice fix no more of a polynomial than once.
    for (position, point) in points.iter().enumerate() {
        if points[..position].contains(point) {
            return Err(ShamirError::Twice(*point));
        }
    }
    if points.len() < needed {
        return Err(ShamirError::TooFew {
            needed,
            members: points.len(),
        });
    }
    Ok(points.iter().map(|p| u64::from(p.point())).collect())
}

/// Returns Lagrange's coefficients: they give a polynomial's value at `at` from its values at `nodes`, which must
/// differ.
fn lagrange(nodes: &[u64], at: u64) -> Vec<u64> {
    let coefficients = nodes.iter().map(|&node| {
        let others = nodes.iter().filter(|&&other| other != node);
        let (above, below) = others.fold((1, 1), |(above, below), &other| {
            (
                field::mul(above, field::sub(at, other)),
                field::mul(below, field::sub(node, other)),
            )
        });
        field::mul(above, field::inverse(below))
    });
    coefficients.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn members(numbers: &[u8]) -> Vec<MemberNumber> {
        numbers
            .iter()
            .map(|&n| MemberNumber::new(n).unwrap())
            .collect()
    }

    fn share(secret: &[u64], points: &[MemberNumber], needed: usize, seed: u64) -> Vec<Vec<u64>> {
        let mut rng = StdRng::seed_from_u64(seed);
        let sharing = Sharing::new(points, needed).unwrap();
        let uniform: Vec<Vec<u64>> = (0..sharing.uniform())
            .map(|_| secret.iter().map(|_| field::random(&mut rng)).collect())
            .collect();
        let views: Vec<&[u64]> = uniform.iter().map(Vec::as_slice).collect();
        let others: Vec<Vec<u64>> = sharing.complete(secret, &views).collect();
        uniform.into_iter().chain(others).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_needed_shares_give_the_secret(
            (members_count, needed) in (3usize..8).prop_flat_map(|n| (Just(n), 2..=n)),
            secret in prop::collection::vec(0..field::MODULUS, 1..4),
            chosen in prop::sample::subsequence((0usize..8).collect::<Vec<_>>(), 2..=8),
            seed: u64,
        ) {
            let points = members(&[1, 2, 5, 9, 77, 200, 254, 255][..members_count]);
            let shares = share(&secret, &points, needed, seed);
            let chosen: Vec<usize> = chosen.into_iter().filter(|&i| i < members_count).rev().collect();
            let at: Vec<MemberNumber> = chosen.iter().map(|&i| points[i]).collect();
            let of: Vec<&[u64]> = chosen.iter().map(|&i| shares[i].as_slice()).collect();
            match Interpolation::new(&at, needed) {
                Ok(interpolation) => prop_assert_eq!(interpolation.open(&of), Some(secret)),
                Err(error) => prop_assert_eq!(
                    error,
                    ShamirError::TooFew { needed, members: at.len() }
                ),
            }
        }
    }

    #[test]
    fn one_wrong_share_among_more_than_needed_is_noticed() {
        let points = members(&[1, 2, 3, 4]);
        let interpolation = Interpolation::new(&points, 3).unwrap();
        let shares = share(&[42], &points, 3, 1);
        let values: Vec<u64> = shares.iter().map(|share| share[0]).collect();
        assert!(interpolation.consistent(&values));
        assert_eq!(interpolation.at_zero(&values), 42);
        let arrays: Vec<[u64; 2]> = values.iter().map(|&value| [value, 7]).collect();
        assert_eq!(interpolation.open_array(&arrays), Some([42, 7]));
        for wrong in 0..4 {
            let mut values = values.clone();
            values[wrong] = field::add(values[wrong], 1);
            assert!(!interpolation.consistent(&values));
            let vectors: Vec<[u64; 1]> = values.iter().map(|&value| [value]).collect();
            assert_eq!(interpolation.open(&vectors), None);
            assert_eq!(interpolation.open_array(&vectors), None);
        }
    }

    #[test]
    fn fewer_than_needed_shares_fit_every_secret() {
        let points = members(&[1, 2, 3]);
        let uniform: &[u64] = &[5];
        let sharing = Sharing::new(&points, 2).unwrap();
        for secret in [0, 1, field::MODULUS - 1] {
            let others: Vec<Vec<u64>> = sharing.complete(&[secret], &[uniform]).collect();
            let values = [uniform[0], others[0][0], others[1][0]];
            assert_eq!(
                Interpolation::new(&points, 2).unwrap().at_zero(&values),
                secret
            );
        }
    }

    #[test]
    fn vectors_of_different_lengths_do_not_open() {
        let interpolation = Interpolation::new(&members(&[1, 2]), 2).unwrap();
        assert_eq!(interpolation.open(&[vec![1, 2], vec![1]]), None);
    }

    #[test]
    fn unusable_points_are_refused() {
        let two = MemberNumber::new(2).unwrap();
        let repeated = members(&[1, 2, 2]);
        assert_eq!(
            Sharing::new(&repeated, 2).err(),
            Some(ShamirError::Twice(two))
        );
        assert_eq!(
            Interpolation::new(&repeated, 2).err(),
            Some(ShamirError::Twice(two))
        );
        let points = members(&[1, 2]);
        let too_few = ShamirError::TooFew {
            needed: 3,
            members: 2,
        };
        assert_eq!(Sharing::new(&points, 3).err(), Some(too_few));
        assert_eq!(Sharing::new(&points, 1).err(), Some(ShamirError::Exposed));
        assert_eq!(
            Interpolation::new(&points, 0).err(),
            Some(ShamirError::Exposed)
        );
    }
}
