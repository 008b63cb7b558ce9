//! Dealings for tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

/// Deals a key from a constant seed.
pub fn dealt(needed: u8, members: u8) -> Dealing {
    let threshold = Threshold::new(needed, members).unwrap();
    deal(threshold, &mut StdRng::seed_from_u64(7))
}

impl Polynomial {
    /// Returns the polynomial with the opposite coefficients.
    pub fn negated(&self) -> Self {
        let coefficients = self.0.iter().map(|coefficient| -coefficient);
        Self(Zeroizing::new(coefficients.collect()))
    }
}

/// Returns all choices of `size` out of `members` members, as positions from 0.
pub fn subsets(members: u8, size: u32) -> impl Iterator<Item = Vec<usize>> {
    (0u32..1 << members)
        .filter(move |set| set.count_ones() == size)
        .map(move |set| {
            (0..usize::from(members))
                .filter(|i| set >> i & 1 == 1)
                .collect()
        })
}

/// Recombines the secret key from the shares of these members.
pub fn recombined(dealing: &Dealing, members: &[usize]) -> Scalar {
    let shares = || members.iter().map(|&i| &dealing.secrets[i]);
    let numbers: Vec<_> = shares().map(KeyShare::number).collect();
    let coefficients = dealing.public.recombination(&numbers).unwrap();
    coefficients
        .iter()
        .zip(shares())
        .map(|(coefficient, share)| coefficient * share.secret())
        .sum()
}
