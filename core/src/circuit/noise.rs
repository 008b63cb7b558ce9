//! The circuit of dealt noise: numbers within public bounds, and nothing else (protocol.md §9).

use zeroize::Zeroizing;

use super::compile::weights;
use super::form::{Affine, Constraint, LinearForm};
use super::{Circuit, CircuitError, MAX_NOISE_CONSTRAINTS, Output, Shape};

impl Circuit {
    /// The circuit of one number for each of `bounds`, from −bound to bound. Its outputs are the
    /// numbers plus their bounds, which makes them levels from 0.
    ///
    /// # Errors
    /// [`CircuitError::TooMuchNoise`] when there are too many numbers, or of too many bits.
    pub fn noise(bounds: &[u64]) -> Result<Self, CircuitError> {
        Self::check_noise(bounds)?;
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

    /// # Errors
    /// [`CircuitError::TooMuchNoise`] where [`noise`](Self::noise) would fail.
    pub fn check_noise(bounds: &[u64]) -> Result<(), CircuitError> {
        let constraints: usize = bounds.iter().map(bits).sum();
        if constraints == 0 || constraints > MAX_NOISE_CONSTRAINTS {
            return Err(CircuitError::TooMuchNoise {
                outputs: bounds.len(),
                constraints,
            });
        }
        Ok(())
    }

    /// The elements of numbers within the bounds that this circuit was made for; others are clamped to
    /// them.
    pub fn encode_noise(&self, bounds: &[u64], noise: &[i64]) -> Zeroizing<Vec<u64>> {
        let mut elements = Zeroizing::new(vec![0; self.elements]);
        let mut first = 0;
        for (&bound, &number) in bounds.iter().zip(noise) {
            let highest = 2 * bound;
            let mut level =
                (i128::from(number) + i128::from(bound)).clamp(0, highest.into()) as u64;
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::{Verifier, accepts};
    use super::*;
    use crate::field;

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
    fn noise_beyond_a_circuit_is_refused() {
        assert!(Circuit::noise(&[]).is_err());
        assert!(Circuit::noise(&[1 << 40; 400]).is_err());
        assert!(Circuit::noise(&[1 << 40; 380]).is_ok());
    }
}
