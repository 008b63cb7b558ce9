//! Gadget that is zero for digits and flags alone, and its joint randomness (protocol.md §7).

use super::{Digits, SETS};
use dispers_base::{
    field::{self, Dot, Expander},
    labels,
};

/// Evaluates the digit polynomial x·(x−1)···(x−15), which is zero for digits alone.
pub(super) fn digit(x: u64) -> u64 {
    // With u = x·(x − 15), the product of the factors i and 15 − i is u + i·(15 − i): eight multiplications, not
    // fifteen. They form a tree, not a chain, since the processor computes independent products at the same time.
    let u = field::mul(x, field::sub(x, 15));
    let [a, b, c, d, e, f, g] =
        [14, 26, 36, 44, 50, 54, 56].map(|constant| field::add(u, constant));
    let low = field::mul(field::mul(u, a), field::mul(b, c));
    let high = field::mul(field::mul(d, e), field::mul(f, g));
    field::mul(low, high)
}

/// One set of joint randomness: the coefficients of the gadget.
pub(super) struct Joint {
    /// Coefficients α, one per digit wire.
    pub(super) digits: Vec<u64>,
    /// Coefficients γ, one per digit wire.
    pub(super) masks: Vec<u64>,
    /// Coefficients δ, one per flag wire.
    pub(super) flags: Vec<u64>,
    /// Coefficient ε.
    pub(super) row: u64,
}

impl Joint {
    /// Expands the independent sets of coefficients from the seed that follows from all commitments.
    pub(super) fn expand(layout: &Digits, seed: &[u8; 32]) -> [Self; SETS] {
        let mut random = Expander::new(labels::EXPAND_JOINT, seed);
        std::array::from_fn(|_| Self {
            digits: random.elements(layout.digit_wires),
            masks: random.elements(layout.digit_wires),
            flags: random.elements(layout.flag_wires),
            row: random.element(),
        })
    }

    /// Evaluates the gadget for values of the wires, of which the row's is the first.
    pub(super) fn gadget(&self, layout: &Digits, wires: &[u64]) -> u64 {
        let (w, rest) = (wires[0], &wires[1..]);
        let (digits, flags) = rest.split_at(layout.digit_wires);
        let (mut sum, mut masked) = (Dot::default(), Dot::default());
        for ((x, alpha), gamma) in digits.iter().zip(&self.digits).zip(&self.masks) {
            sum.add(digit(*x), *alpha);
            masked.add(*x, *gamma);
        }
        for (y, delta) in flags.iter().zip(&self.flags) {
            sum.add(field::mul(*y, field::sub(*y, w)), *delta);
        }
        self.with_row(sum.total(), masked.total(), w)
    }

    /// Adds the terms that need the row bit `w`: (1 − w)·Σ γ_j·x_j, with the sum `masked`, and ε·(w² − w).
    pub(super) fn with_row(&self, sum: u64, masked: u64, w: u64) -> u64 {
        // Both terms have the factor 1 − w.
        let rest = field::sub(masked, field::mul(self.row, w));
        field::add(sum, field::mul(field::sub(1, w), rest))
    }
}
