//! Circuit of dealt noise: numbers within public bounds, and nothing else (protocol.md §9).
//!
//! Few numbers are proved bit by bit. Many numbers, such as a vector's noise, are proved like a vector: as digits in
//! base 16 under joint randomness, with their bounds widened to the range that the digits hold.

use zeroize::Zeroizing;

use crate::circuit::System;
use crate::constraints::Constraints;
use crate::digits::Digits;
use crate::levels::{DIGIT_BITS, digit_weights, weights, write_bits, write_digits};
use crate::{Circuit, CircuitError, LinearForm, MAX_NOISE_DIGITS, Output};

/// Largest number of constraints of noise that is proved bit by bit.
pub const MAX_NOISE_CONSTRAINTS: usize = 16_383;

/// Circuit of one aggregator's noise. The outputs are the numbers plus their bounds, which makes them levels from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DealtNoise {
    bounds: Vec<u64>,
    proof: Proof,
    outputs: Vec<Output>,
}

/// Proof that the numbers are within their bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Bits(Constraints),
    Digits(Digits),
}

impl DealtNoise {
    /// Makes the circuit of numbers whose bits are few.
    fn of_bits(bounds: &[u64]) -> Self {
        let mut outputs = Vec::with_capacity(bounds.len());
        let mut elements = 0;
        for (guard, bound) in bounds.iter().enumerate() {
            let first = elements;
            elements += bits(bound);
            let form = LinearForm::weighted((first..elements).zip(weights(2 * bound)));
            outputs.push(Output { form, guard });
        }
        Self {
            bounds: bounds.to_vec(),
            proof: Proof::Bits(Constraints::of_bits(elements)),
            outputs,
        }
    }

    /// Makes the circuit of many numbers.
    fn of_digits(bounds: &[u64]) -> Self {
        let layout = Digits::new(bounds.iter().map(digits).sum(), 0);
        let mut outputs = Vec::with_capacity(bounds.len());
        let mut element = layout.first_digit();
        for (guard, bound) in bounds.iter().enumerate() {
            let first = element;
            element += digits(bound);
            let form = LinearForm::weighted((first..element).zip(digit_weights()));
            outputs.push(Output { form, guard });
        }
        Self {
            bounds: bounds.to_vec(),
            proof: Proof::Digits(layout),
            outputs,
        }
    }

    pub(crate) fn system(&self) -> System<'_> {
        match &self.proof {
            Proof::Bits(constraints) => System::Constraints(constraints),
            Proof::Digits(digits) => System::Digits(digits),
        }
    }

    pub(crate) fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Returns the highest level of each number.
    pub(crate) fn sensitivities(&self) -> Vec<u64> {
        self.bounds.iter().map(|bound| 2 * bound).collect()
    }
}

impl Circuit {
    /// Makes the circuit of one number for each of `bounds`, from −bound to bound.
    ///
    /// # Errors
    /// [`CircuitError::TooMuchNoise`] when there are too many numbers, or bounds that are not those of
    /// [`noise_bounds`](Self::noise_bounds).
    pub fn noise(bounds: &[u64]) -> Result<Self, CircuitError> {
        if Self::noise_bounds(bounds.to_vec())? != bounds {
            return Err(too_much(bounds));
        }
        Ok(Self::Noise(match are_few(bounds) {
            true => DealtNoise::of_bits(bounds),
            false => DealtNoise::of_digits(bounds),
        }))
    }

    /// Returns the bounds that noise within `bounds` is proved to keep: the same bounds for few numbers. For many
    /// numbers each bound becomes half of a power of 16 that is no smaller than the bound.
    ///
    /// # Errors
    /// [`CircuitError::TooMuchNoise`] when there are too many numbers, or numbers of too many digits.
    pub fn noise_bounds(mut bounds: Vec<u64>) -> Result<Vec<u64>, CircuitError> {
        if bounds.iter().all(|bound| bits(bound) == 0) {
            return Err(too_much(&bounds));
        }
        if are_few(&bounds) {
            return Ok(bounds);
        }
        if bounds.iter().map(digits).sum::<usize>() > MAX_NOISE_DIGITS {
            return Err(too_much(&bounds));
        }
        // Digits prove no other range. Wider bounds cost privacy nothing: honest noise is drawn as before.
        for bound in &mut bounds {
            *bound = 1 << (digits(bound) * usize::from(DIGIT_BITS) - 1);
        }
        Ok(bounds)
    }

    /// Encodes numbers as the elements of a contribution to the circuit of [`noise`](Self::noise) with the same
    /// `bounds`. Numbers beyond their bounds are clamped; missing ones are encoded by zeros.
    pub fn encode_noise(bounds: &[u64], noise: &[i64]) -> Zeroizing<Vec<u64>> {
        match are_few(bounds) {
            true => encode_bits(bounds, noise),
            false => encode_digits(bounds, noise),
        }
    }
}

fn encode_bits(bounds: &[u64], noise: &[i64]) -> Zeroizing<Vec<u64>> {
    let mut elements = Zeroizing::new(vec![0; bounds.iter().map(bits).sum()]);
    let mut first = 0;
    for (bound, number) in bounds.iter().zip(noise) {
        let (end, highest) = (first + bits(bound), 2 * bound);
        let level = level(*number, *bound, highest);
        write_bits(level, highest, &mut elements[first..end]);
        first = end;
    }
    elements
}

fn encode_digits(bounds: &[u64], noise: &[i64]) -> Zeroizing<Vec<u64>> {
    let layout = Digits::new(bounds.iter().map(digits).sum(), 0);
    let mut elements = Zeroizing::new(vec![0; layout.elements()]);
    elements[0] = 1;
    let mut first = layout.first_digit();
    for (bound, number) in bounds.iter().zip(noise) {
        let end = first + digits(bound);
        // Digits hold no more than 2·bound − 1: the range has one number fewer on the upper side.
        let level = level(*number, *bound, 2 * bound - 1);
        write_digits(level, &mut elements[first..end]);
        first = end;
    }
    elements
}

/// Returns a number as a level from 0, clamped to `highest`.
fn level(number: i64, bound: u64, highest: u64) -> u64 {
    (i128::from(number) + i128::from(bound)).clamp(0, highest.into()) as u64
}

/// Returns whether numbers within these bounds are proved bit by bit.
fn are_few(bounds: &[u64]) -> bool {
    bounds.iter().map(bits).sum::<usize>() <= MAX_NOISE_CONSTRAINTS
}

/// Returns the number of bits of a number from −bound to bound.
fn bits(bound: &u64) -> usize {
    weights(2 * bound).count()
}

/// Returns the number of digits of a number from −bound to bound; without the bound itself if 2·bound is a power of 2.
fn digits(bound: &u64) -> usize {
    let bits = (2 * bound.max(&1) - 1).ilog2() + 1;
    bits.div_ceil(DIGIT_BITS.into()) as usize
}

fn too_much(bounds: &[u64]) -> CircuitError {
    CircuitError::TooMuchNoise {
        outputs: bounds.len(),
        digits: bounds.iter().map(digits).sum(),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::testing::proves;
    use dispers_base::field;

    #[test]
    fn noise_within_its_bounds_is_proved_and_nothing_else() {
        let bounds = [5, 0, 1 << 40];
        let circuit = Circuit::noise(&bounds).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        for noise in [[-5, 0, 0], [5, 0, -(1 << 40)], [3, 0, 123_456_789]] {
            let input = Circuit::encode_noise(&bounds, &noise);
            assert!(proves(&circuit, &input, &mut rng));
            let mut outputs = vec![0; 3];
            circuit.add_outputs(&input, &mut outputs);
            for ((output, bound), noise) in outputs.iter().zip(bounds).zip(noise) {
                let value = field::signed(field::sub(*output, bound));
                assert_eq!(value, i128::from(noise));
            }
            for element in 0..circuit.input_len() {
                let mut forged = input.to_vec();
                forged[element] = field::add(forged[element], 2);
                assert!(!proves(&circuit, &forged, &mut rng));
            }
        }
    }

    #[test]
    fn much_noise_is_proved_like_a_vector_and_nothing_else() {
        let mut wanted = vec![1000; 2000];
        wanted[..4].copy_from_slice(&[1, 8, 1 << 40, 0]);
        let bounds = Circuit::noise_bounds(wanted.clone()).unwrap();
        assert_eq!(bounds[..5], [8, 8, 1 << 43, 8, 2048]);
        assert_eq!(Circuit::noise_bounds(bounds.clone()).unwrap(), bounds);
        let circuit = Circuit::noise(&bounds).unwrap();
        assert!(circuit.has_joint_randomness());
        let mut noise = vec![-17; 2000];
        noise[..5].copy_from_slice(&[-8, 7, -123_456_789_012, 0, 1000]);
        let input = Circuit::encode_noise(&bounds, &noise);
        let mut outputs = vec![0; 2000];
        circuit.add_outputs(&input, &mut outputs);
        for ((output, bound), noise) in outputs.iter().zip(&bounds).zip(&noise) {
            let value = field::signed(field::sub(*output, *bound));
            assert_eq!(value, i128::from(*noise));
        }
        let mut rng = StdRng::seed_from_u64(1);
        assert!(proves(&circuit, &input, &mut rng));
        for element in [0, 1, 17, circuit.input_len() - 1] {
            let mut forged = input.to_vec();
            forged[element] = field::add(forged[element], 16);
            assert!(!proves(&circuit, &forged, &mut rng));
        }
    }

    #[test]
    fn noise_beyond_a_circuit_is_refused() {
        assert!(Circuit::noise(&[]).is_err());
        assert!(Circuit::noise(&vec![1 << 40; MAX_NOISE_DIGITS / 10]).is_err());
        assert!(Circuit::noise(&[1 << 40; 380]).is_ok());
        // Bounds that are not half of a power of 16 are refused where there is much noise.
        assert!(Circuit::noise(&[1 << 40; 400]).is_err());
        assert!(Circuit::noise(&[1 << 43; 400]).is_ok());
    }
}
