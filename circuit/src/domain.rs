//! Roots of unity whose order is a power of two, and polynomials that are given by their values there.

use dispers_base::{
    field::{self, Expander},
    labels,
};
use prio::field::{Field64, NttFriendlyFieldElement};

/// Returns the root of unity ω of order 2^`log`.
pub(crate) fn root(log: usize) -> u64 {
    Field64::root(log)
        .expect("a circuit's domain is far below 2^20")
        .into()
}

/// Returns the roots of unity of order `size`, a power of two: 1, ω, ω², …
pub(crate) fn roots(size: usize) -> impl Iterator<Item = u64> {
    powers(root(size.ilog2() as usize)).take(size)
}

/// Returns the powers of `base`, from 1 on.
pub(crate) fn powers(base: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(1), move |power| Some(field::mul(*power, base)))
}

/// Starts the randomness that a verifier is compiled under.
pub(crate) fn randomness(seed: &[u8; 32]) -> Expander {
    // One label for the verifiers of both proof systems: a circuit has one proof system, and no two works one seed.
    Expander::new(labels::EXPAND_RANDOMNESS, seed)
}

/// Draws a point that is no root of unity of order `size`.
pub(crate) fn query_point(random: &mut Expander, size: u64) -> u64 {
    loop {
        let candidate = random.element();
        // At a root of unity, a verifier message would contain a wire's value in the clear.
        if field::power(candidate, size) != 1 {
            return candidate;
        }
    }
}

/// Returns coefficients that give a polynomial's value at `point` from its values at the roots of unity of order
/// `size`: (point^size − 1)/size · ω^i/(point − ω^i). The point must be none of the roots.
pub(crate) fn lagrange(size: usize, point: u64) -> Vec<u64> {
    let scale = field::mul(
        field::sub(field::power(point, size as u64), 1),
        field::inverse(size as u64),
    );
    roots(size)
        .map(|root| {
            let quotient = field::mul(root, field::inverse(field::sub(point, root)));
            field::mul(scale, quotient)
        })
        .collect()
}

/// Number-theoretic transform between a polynomial's coefficients and its values at the roots of unity of one order.
pub(crate) struct Transform {
    /// Powers of ω below half the order.
    roots: Vec<u64>,
    size: usize,
}

impl Transform {
    /// Prepares the transform of order 2^`log`.
    pub(crate) fn new(log: usize) -> Self {
        let size = 1 << log;
        Self {
            roots: roots(size).take(size / 2).collect(),
            size,
        }
    }

    /// Turns coefficients into values, in place.
    fn forward(&self, values: &mut [u64]) {
        let log = self.size.ilog2();
        for place in 0..self.size {
            let other = place.reverse_bits() >> (usize::BITS - log);
            if place < other {
                values.swap(place, other);
            }
        }
        self.butterflies(values, 1);
    }

    /// Writes the values of a polynomial that has fewer coefficients than there are points.
    pub(crate) fn extend(&self, coefficients: &[u64], values: &mut [u64]) {
        let (log, each) = (coefficients.len().ilog2(), self.size / coefficients.len());
        for (place, block) in values.chunks_exact_mut(each).enumerate() {
            // The missing coefficients are 0, so that the first butterflies only copy: a block is filled at once.
            let other = place.reverse_bits() >> (usize::BITS - log);
            block.fill(coefficients[other]);
        }
        self.butterflies(values, each);
    }

    /// Merges transformed blocks of `half` values until one block is left.
    fn butterflies(&self, values: &mut [u64], mut half: usize) {
        while half < self.size {
            let stride = self.size / (2 * half);
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                let roots = self.roots.iter().step_by(stride);
                for ((a, b), root) in low.iter_mut().zip(high).zip(roots) {
                    let turned = field::mul(*b, *root);
                    *b = field::sub(*a, turned);
                    *a = field::add(*a, turned);
                }
            }
            half *= 2;
        }
    }

    /// Turns values into coefficients, in place.
    pub(crate) fn inverse(&self, values: &mut [u64]) {
        self.forward(values);
        values[1..].reverse();
        let scale = field::inverse(self.size as u64);
        for value in values {
            *value = field::mul(*value, scale);
        }
    }
}
