//! Constraints as a fully linear proof system of `prio`, which makes the proofs (protocol.md §7).
//!
//! Each constraint is one call of the gadget `Mul`. The gadget's output minus the committed product must be zero. There
//! is no joint randomness: the soundness error is below 2^-53 per contribution.

use prio::field::{Field64, FieldElement};
use prio::flp::gadgets::Mul;
use prio::flp::{Flp, FlpError, Gadget};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::Constraints;
use crate::form::{Affine, LinearForm};
use dispers_base::field;

impl Constraints {
    /// Proves that `input` satisfies the constraints. The proof of an input that does not satisfy them is one that
    /// verifiers reject.
    ///
    /// # Panics
    /// If `input` does not have the circuit's number of elements.
    ///
    /// # Security
    /// The working memory of the proof system is not wiped.
    pub fn prove(&self, input: &[u64], rng: &mut impl CryptoRng) -> Zeroizing<Vec<u64>> {
        assert_eq!(input.len(), self.elements, "an input of this circuit");
        let input: Vec<Field64> = input.iter().map(|&value| value.into()).collect();
        // A random seed for each wire hides the wire's values at the query point.
        let seeds = [field::random(rng), field::random(rng)].map(Field64::from);
        let proof = Flp::prove(self, &input, &seeds, &[])
            .expect("lengths are those of the circuit and its domain is within the field's");
        Zeroizing::new(proof.into_iter().map(u64::from).collect())
    }
}

impl Flp for Constraints {
    type Field = Field64;

    fn gadget(&self) -> Vec<Box<dyn Gadget<Field64>>> {
        vec![Box::new(Mul::new(self.list.len()))]
    }

    fn num_gadgets(&self) -> usize {
        1
    }

    fn valid(
        &self,
        gadgets: &mut Vec<Box<dyn Gadget<Field64>>>,
        input: &[Field64],
        joint_rand: &[Field64],
        num_shares: usize,
    ) -> Result<Vec<Field64>, FlpError> {
        self.valid_call_check(input, joint_rand)?;
        // Additive shares of a sum each carry their part of a constant. Shamir shares carry the constant in full.
        let part = Field64::from(num_shares as u64).inv();
        self.list
            .iter()
            .map(|constraint| {
                let wires =
                    [&constraint.left, &constraint.right].map(|form| evaluate(form, input, part));
                let output = gadgets[0].eval(&wires)?;
                let product = constraint.product.map(|element| input[element]);
                Ok(output - product.unwrap_or(Field64::zero()))
            })
            .collect()
    }

    fn input_len(&self) -> usize {
        self.elements
    }

    fn proof_len(&self) -> usize {
        self.proof_size()
    }

    fn verifier_len(&self) -> usize {
        self.message_size()
    }

    fn joint_rand_len(&self) -> usize {
        0
    }

    fn eval_output_len(&self) -> usize {
        self.list.len()
    }

    fn prove_rand_len(&self) -> usize {
        2
    }
}

/// Returns the value of a form, with its constant times `part`.
fn evaluate(form: &Affine, input: &[Field64], part: Field64) -> Field64 {
    linear(&form.linear, input) + Field64::from(form.constant) * part
}

fn linear(form: &LinearForm, input: &[Field64]) -> Field64 {
    let terms = form.terms().iter();
    terms.fold(Field64::zero(), |sum, &(index, coefficient)| {
        sum + Field64::from(coefficient) * input[index]
    })
}
