//! Proof of digits, made by the home (protocol.md §7).

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::gadget::{Joint, digit};
use super::{DEGREE, Digits, SETS};
use crate::domain::Transform;
use crate::levels::DIGIT_BITS;
use dispers_base::field::{self, Dot};

impl Digits {
    /// Proves that `input` is legal, under the joint randomness that `joint` expands to. The proof of an input that is
    /// not legal is one that verifiers reject.
    ///
    /// # Panics
    /// If `input` does not have the circuit's number of elements.
    pub(crate) fn prove(
        &self,
        input: &[u64],
        joint: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> Zeroizing<Vec<u64>> {
        assert_eq!(input.len(), self.elements(), "an input of this circuit");
        let sets = Joint::expand(self, joint);
        // The gadget polynomial has 16 times the degree of a wire's, so it is computed by its values on a domain 16
        // times as large.
        let (small, large) = (1 << self.log, DEGREE << self.log);
        let inward = Transform::new(self.log);
        let outward = Transform::new(self.log + usize::from(DIGIT_BITS));
        let mut proof = Zeroizing::new(Vec::with_capacity(self.proof_len()));
        let mut row = zeros(large);
        let coefficients = self.wire(&inward, |_| input[0], &mut proof, rng);
        outward.extend(&coefficients, &mut row);
        let mut values = zeros(large);
        let mut sums = Zeroizing::new(vec![[Dot::default(); SETS]; large]);
        // Σ γ_j·x_j is linear in the wires: its coefficients are added up, and transformed once.
        let mut masked = vec![zeros(small); SETS];
        for wire in 0..self.digit_wires + self.flag_wires {
            let elements = |call| self.element(wire, call).map_or(0, |place| input[place]);
            let coefficients = self.wire(&inward, elements, &mut proof, rng);
            outward.extend(&coefficients, &mut values);
            let weights = if let Some(flag) = wire.checked_sub(self.digit_wires) {
                for (y, w) in values.iter_mut().zip(row.iter()) {
                    *y = field::mul(*y, field::sub(*y, *w));
                }
                sets.each_ref().map(|set| set.flags[flag])
            } else {
                for x in values.iter_mut() {
                    *x = digit(*x);
                }
                for (set, masked) in sets.iter().zip(&mut masked) {
                    for (sum, coefficient) in masked.iter_mut().zip(coefficients.iter()) {
                        let term = field::mul(set.masks[wire], *coefficient);
                        *sum = field::add(*sum, term);
                    }
                }
                sets.each_ref().map(|set| set.digits[wire])
            };
            for (sums, value) in sums.iter_mut().zip(values.iter()) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    sum.add(*value, weight);
                }
            }
        }
        for (number, (set, masked)) in sets.iter().zip(&masked).enumerate() {
            outward.extend(masked, &mut values);
            for ((value, w), sums) in values.iter_mut().zip(row.iter()).zip(sums.iter()) {
                *value = set.with_row(sums[number].total(), *value, *w);
            }
            outward.inverse(&mut values);
            proof.extend_from_slice(&values[..self.coefficients()]);
        }
        proof
    }

    /// Draws the seed of a wire, which hides the wire's values, and adds it to the proof. Returns the coefficients of
    /// the wire's polynomial, which has the value `element` of each call at the call's point.
    fn wire(
        &self,
        inward: &Transform,
        element: impl Fn(usize) -> u64,
        proof: &mut Vec<u64>,
        rng: &mut impl CryptoRng,
    ) -> Zeroizing<Vec<u64>> {
        let seed = field::random(rng);
        proof.push(seed);
        let mut values = zeros(1 << self.log);
        values[0] = seed;
        for (call, value) in values[1..].iter_mut().enumerate() {
            *value = element(call);
        }
        inward.inverse(&mut values);
        values
    }
}

fn zeros(count: usize) -> Zeroizing<Vec<u64>> {
    Zeroizing::new(vec![0; count])
}
