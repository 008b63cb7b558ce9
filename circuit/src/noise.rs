//! The circuit of dealt noise: numbers within public bounds, and nothing else (protocol.md §9).
//!
//! Few numbers are proved bit by bit. Many, as a vector's noise has, are proved like a vector: digits in
//! base 16 under joint randomness, their bounds widened to what so many digits hold.

use zeroize::Zeroizing;

use super::compile::weights;
use super::form::{Affine, Constraint, LinearForm};
use super::vector::{DIGIT_BITS, Section, VectorShape};
use super::{Circuit, CircuitError, MAX_NOISE_CONSTRAINTS, MAX_NOISE_DIGITS, Output, Shape};

impl Circuit {
    /// The circuit of one number for each of `bounds`, from −bound to bound. Its outputs are the
    /// numbers plus their bounds, which makes them levels from 0.
    ///
    /// # Errors
    /// [`CircuitError::TooMuchNoise`] when there are too many numbers, or bounds that are not those of
    /// [`noise_bounds`](Self::noise_bounds).
    pub fn noise(bounds: &[u64]) -> Result<Self, CircuitError> {
        if Self::noise_bounds(bounds.to_vec())? != bounds {
            return Err(too_much(bounds));
        }
        if bounds.iter().map(bits).sum::<usize>() > MAX_NOISE_CONSTRAINTS {
            return Self::noise_of_digits(bounds);
        }
        let bit = |element| {
            let bit = LinearForm::element(element);
            Constraint {
                left: bit.clone().into(),
                right: Affine::less_one(bit),
                product: None,
            }
        };
        let mut elements = 0;
        let mut outputs = Vec::with_capacity(bounds.len());
        for (guard, bound) in bounds.iter().enumerate() {
            let first = elements;
            elements += bits(bound);
            outputs.push(Output {
                form: LinearForm::weighted((first..elements).zip(weights(2 * bound))),
                guard,
            });
        }
        // Every element is a wire by itself: the rank is full.
        Ok(Self {
            shape: Shape::summing(0, []),
            elements,
            variables: Vec::new(),
            constraints: (0..elements).map(bit).collect(),
            outputs,
            runs: Vec::new(),
            vector: None,
        })
    }

    /// Many numbers, as a vector of their digits.
    fn noise_of_digits(bounds: &[u64]) -> Result<Self, CircuitError> {
        let digits: usize = bounds.iter().map(digits).sum();
        let shape = VectorShape {
            runs: Vec::new(),
            bits: DIGIT_BITS,
            sections: vec![Section::centred(digits)],
            norm: 0,
        };
        let mut circuit = Self::vector_within(&shape, MAX_NOISE_DIGITS)?;
        // After the row.
        let mut element = 1;
        circuit.outputs.clear();
        for (guard, bound) in bounds.iter().enumerate() {
            let first = element;
            element += self::digits(bound);
            let weights = (0..).map(|place| 1 << (place * u32::from(DIGIT_BITS)));
            circuit.outputs.push(Output {
                form: LinearForm::weighted((first..element).zip(weights)),
                guard,
            });
        }
        Ok(circuit)
    }

    /// The bounds that noise within `bounds` is proved to keep: the same, or where there is much of it, half
    /// of the power of 16 above.
    ///
    /// # Errors
    /// [`CircuitError::TooMuchNoise`] when there are too many numbers, or of too many digits.
    pub fn noise_bounds(mut bounds: Vec<u64>) -> Result<Vec<u64>, CircuitError> {
        let bits: usize = bounds.iter().map(bits).sum();
        if bits > 0 && bits <= MAX_NOISE_CONSTRAINTS {
            return Ok(bounds);
        }
        if bits == 0 || bounds.iter().map(digits).sum::<usize>() > MAX_NOISE_DIGITS {
            return Err(too_much(&bounds));
        }
        for bound in &mut bounds {
            *bound = 1 << (digits(bound) * usize::from(DIGIT_BITS) - 1);
        }
        Ok(bounds)
    }

    /// The elements of numbers within the bounds that this circuit was made for; others are clamped to
    /// them.
    pub fn encode_noise(&self, bounds: &[u64], noise: &[i64]) -> Zeroizing<Vec<u64>> {
        let mut elements = Zeroizing::new(vec![0; self.elements]);
        let mut first = 0;
        let level = |number: i64, bound: u64, highest: u64| {
            (i128::from(number) + i128::from(bound)).clamp(0, highest.into()) as u64
        };
        if self.has_joint_randomness() {
            elements[0] = 1;
            first = 1;
            for (bound, &number) in bounds.iter().zip(noise) {
                let mut level = level(number, *bound, 2 * bound - 1);
                for element in &mut elements[first..first + digits(bound)] {
                    *element = level % (1 << DIGIT_BITS);
                    level >>= DIGIT_BITS;
                }
                first += digits(bound);
            }
            return elements;
        }
        for (&bound, &number) in bounds.iter().zip(noise) {
            let highest = 2 * bound;
            let mut level = level(number, bound, highest);
            let weights: Vec<u64> = weights(highest).collect();
            for (place, weight) in weights.iter().enumerate().rev() {
                let reach = (1u64 << place) - 1;
                if level > reach {
                    elements[first + place] = 1;
                    level -= weight;
                }
            }
            first += weights.len();
        }
        elements
    }
}

/// Number of bits of a number from −bound to bound.
fn bits(bound: &u64) -> usize {
    weights(2 * bound).count()
}

/// Number of digits of a number from −bound to below bound; of ±bound where that is no power of 2.
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

    use super::super::{Verifier, accepts};
    use super::*;
    use dispers_base::field;

    #[test]
    fn noise_within_its_bounds_is_proved_and_nothing_else() {
        let bounds = [5, 0, 1 << 40];
        let circuit = Circuit::noise(&bounds).unwrap();
        let verifier = Verifier::compile(&circuit, &[7; 32]);
        let mut rng = StdRng::seed_from_u64(1);
        for noise in [[-5, 0, 0], [5, 0, -(1 << 40)], [3, 0, 123_456_789]] {
            let input = circuit.encode_noise(&bounds, &noise);
            let proof = circuit.prove(&input, &mut rng);
            assert!(accepts(
                &verifier.message(&[&input[..], &proof[..]].concat())
            ));
            let mut outputs = vec![0; 3];
            circuit.add_outputs(&input, &mut outputs);
            for ((output, bound), noise) in outputs.iter().zip(bounds).zip(noise) {
                let value = field::signed(field::sub(*output, bound));
                assert_eq!(value, i128::from(noise));
            }
            for element in 0..circuit.input_len() {
                let mut forged = input.to_vec();
                forged[element] = field::add(forged[element], 2);
                let proof = circuit.prove(&forged, &mut rng);
                assert!(!accepts(
                    &verifier.message(&[&forged[..], &proof[..]].concat())
                ));
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
        let input = circuit.encode_noise(&bounds, &noise);
        let mut outputs = vec![0; 2000];
        circuit.add_outputs(&input, &mut outputs);
        for ((output, bound), noise) in outputs.iter().zip(&bounds).zip(&noise) {
            let value = field::signed(field::sub(*output, *bound));
            assert_eq!(value, i128::from(*noise));
        }
        let joint = [3; 32];
        let verifier = Verifier::compile(&circuit, &[7; 32]);
        let mut rng = StdRng::seed_from_u64(1);
        let mut accepted = |input: &[u64]| {
            let proof = circuit.prove_vector(input, &joint, &mut rng);
            let mut message = vec![0; circuit.message_len()];
            verifier.write_message(&[input, &proof[..]].concat(), &mut message);
            circuit.accepts(&message, &joint)
        };
        assert!(accepted(&input));
        for element in [0, 1, 17, circuit.input_len() - 1] {
            let mut forged = input.to_vec();
            forged[element] = field::add(forged[element], 16);
            assert!(!accepted(&forged));
        }
    }

    #[test]
    fn noise_beyond_a_circuit_is_refused() {
        assert!(Circuit::noise(&[]).is_err());
        assert!(Circuit::noise(&vec![1 << 40; MAX_NOISE_DIGITS / 10]).is_err());
        assert!(Circuit::noise(&[1 << 40; 380]).is_ok());
        // Not the bounds of so much noise.
        assert!(Circuit::noise(&[1 << 40; 400]).is_err());
        assert!(Circuit::noise(&[1 << 43; 400]).is_ok());
    }
}
