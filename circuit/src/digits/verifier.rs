//! Verifier of digits: a linear map of shares, compiled once per batch (protocol.md §7 and §8).

use super::gadget::Joint;
use super::{Digits, SETS};
use crate::domain::{lagrange, powers, query_point, randomness, root};
use dispers_base::field::Dot;

impl Digits {
    /// Compiles the verifier under the randomness that `seed` expands to.
    pub(crate) fn verifier(&self, seed: &[u8; 32]) -> DigitsVerifier {
        let mut random = randomness(seed);
        let size = 1 << self.log;
        let point = query_point(&mut random, size as u64);
        DigitsVerifier {
            // The weights of the calls are drawn after the point, set by set: all aggregators expand them alike.
            checks: (0..SETS)
                .map(|_| self.check(&random.elements(self.calls())))
                .collect(),
            wire: lagrange(size, point),
            powers: powers(point).take(self.coefficients()).collect(),
            layout: self.clone(),
        }
    }

    /// Returns the factors of the coefficients of a gadget polynomial in the check Σ β_c·G(ω^c), by a coefficient's
    /// place modulo the size of the wires' domain. The calls c stand at 1, 2, …, and `weights` are their β.
    fn check(&self, weights: &[u64]) -> Vec<u64> {
        let root = root(self.log);
        let steps = powers(root).take(1 << self.log);
        steps
            .map(|step| {
                let mut sum = Dot::default();
                for (weight, power) in weights.iter().zip(powers(step).skip(1)) {
                    sum.add(*weight, power);
                }
                sum.total()
            })
            .collect()
    }

    /// Returns whether the message at 0 shows that a proof under this joint randomness is right: the gadget polynomials
    /// are zero at every call, and at the query point they are the gadgets of the wires.
    pub(crate) fn accepts(&self, message: &[u64], joint: &[u8; 32]) -> bool {
        let [check, rest @ ..] = message else {
            return false;
        };
        let (gadgets, wires) = rest.split_at(SETS);
        // Both sets must agree: one set alone could be met by trying 2^64 inputs (protocol.md §7).
        let sets = Joint::expand(self, joint);
        *check == 0
            && sets
                .iter()
                .zip(gadgets)
                .all(|(set, gadget)| set.gadget(self, wires) == *gadget)
    }
}

/// Linear map from a share of an input and its proof to the share's message, under one batch's randomness.
pub(crate) struct DigitsVerifier {
    layout: Digits,
    /// Coefficients of a wire's seed and of its value at each call.
    wire: Vec<u64>,
    /// Powers of the query point.
    powers: Vec<u64>,
    /// For each set, the factors of a gadget polynomial's coefficients in the check.
    checks: Vec<Vec<u64>>,
}

impl DigitsVerifier {
    /// Writes the message of a share of an input and its proof.
    pub(crate) fn write_message(&self, share: &[u64], message: &mut [u64]) {
        let layout = &self.layout;
        let proof = &share[share.len() - layout.proof_len()..];
        let (seeds, gadgets) = proof.split_at(layout.wires());
        let mut check = Dot::default();
        let gadgets = gadgets.chunks_exact(layout.coefficients());
        for ((set, weights), coefficients) in self.checks.iter().enumerate().zip(gadgets) {
            let mut gadget = Dot::default();
            for (place, (coefficient, power)) in coefficients.iter().zip(&self.powers).enumerate() {
                gadget.add(*coefficient, *power);
                check.add(*coefficient, weights[place % weights.len()]);
            }
            message[1 + set] = gadget.total();
        }
        message[0] = check.total();
        let wires = &mut message[1 + SETS..];
        // The row bit is the value of its wire at every call.
        wires[0] = self.at_point(seeds[0], std::iter::repeat(&share[0]));
        let (calls, first) = (layout.calls(), layout.first_digit());
        let digits = share[first..first + layout.digits].chunks(calls);
        let flags = share[1..first].chunks(calls);
        for ((values, seed), wire) in digits.chain(flags).zip(&seeds[1..]).zip(&mut wires[1..]) {
            *wire = self.at_point(*seed, values);
        }
    }

    /// Returns a wire at the query point. Missing values at the last calls are 0.
    fn at_point<'a>(&self, seed: u64, values: impl IntoIterator<Item = &'a u64>) -> u64 {
        let mut sum = Dot::default();
        sum.add(seed, self.wire[0]);
        for (weight, value) in self.wire[1..].iter().zip(values) {
            sum.add(*value, *weight);
        }
        sum.total()
    }
}
