//! Polynomials at the roots of unity of a power of two, and their coefficients.

use dispers_base::field;

/// Values at the roots of unity of order 2^log, and coefficients.
pub(super) struct Transform {
    /// ω^0, ω^1, … up to half the order.
    roots: Vec<u64>,
    size: usize,
}

impl Transform {
    pub(super) fn new(log: usize) -> Self {
        let (size, root) = (1 << log, super::verifier::root(log));
        let powers = std::iter::successors(Some(1), |power| Some(field::mul(*power, root)));
        Self {
            roots: powers.take(size / 2).collect(),
            size,
        }
    }

    /// From coefficients to values, in place.
    pub(super) fn forward(&self, values: &mut [u64]) {
        let log = self.size.ilog2();
        for place in 0..self.size {
            let other = place.reverse_bits() >> (usize::BITS - log);
            if place < other {
                values.swap(place, other);
            }
        }
        self.turn(values, 1);
    }

    /// From the coefficients of a polynomial to its values at all points, of which there are more.
    pub(super) fn extend(&self, coefficients: &[u64], values: &mut [u64]) {
        let (log, each) = (coefficients.len().ilog2(), self.size / coefficients.len());
        for (place, block) in values.chunks_exact_mut(each).enumerate() {
            // As if all other coefficients were there, and 0.
            let other = place.reverse_bits() >> (usize::BITS - log);
            block.fill(coefficients[other]);
        }
        self.turn(values, each);
    }

    /// The butterflies from blocks of so many.
    fn turn(&self, values: &mut [u64], mut half: usize) {
        while half < self.size {
            let stride = self.size / (2 * half);
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((a, b), root) in low
                    .iter_mut()
                    .zip(high)
                    .zip(self.roots.iter().step_by(stride))
                {
                    let turned = field::mul(*b, *root);
                    *b = field::sub(*a, turned);
                    *a = field::add(*a, turned);
                }
            }
            half *= 2;
        }
    }

    /// From values to coefficients, in place.
    pub(super) fn inverse(&self, values: &mut [u64]) {
        self.forward(values);
        values[1..].reverse();
        let scale = field::inverse(self.size as u64);
        for value in values {
            *value = field::mul(*value, scale);
        }
    }
}
