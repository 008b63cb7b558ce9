//! Constraints of degree two on the elements of an input, and the proof that an input satisfies them (protocol.md §7).

mod flp;
mod rank;
mod verifier;

use dispers_base::field;

pub use verifier::{ConstraintsVerifier, Message, accepts};

use crate::CircuitError;
use crate::form::{Affine, LinearForm};

/// Constraint left · right = product, where the product is a committed element, or zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Constraint {
    pub(crate) left: Affine,
    pub(crate) right: Affine,
    pub(crate) product: Option<usize>,
}

/// Constraints that an input must satisfy. Together they depend on every element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    elements: usize,
    list: Vec<Constraint>,
}

impl Constraints {
    /// Collects constraints on inputs of `elements` elements.
    ///
    /// # Errors
    /// [`CircuitError::Unchecked`] if the constraints leave a direction of the input unchecked.
    pub(crate) fn new(elements: usize, list: Vec<Constraint>) -> Result<Self, CircuitError> {
        rank::check(&list, elements)?;
        Ok(Self { elements, list })
    }

    /// Makes the constraints that say of each element that it is 0 or 1.
    pub(crate) fn of_bits(elements: usize) -> Self {
        let list = (0..elements)
            .map(LinearForm::element)
            .map(|bit| Constraint {
                left: bit.clone().into(),
                right: Affine::less_one(bit),
                product: None,
            });
        // No check of the rank: every element is a wire by itself.
        Self {
            elements,
            list: list.collect(),
        }
    }

    #[cfg(test)]
    pub(crate) fn list(&self) -> &[Constraint] {
        &self.list
    }

    /// Returns the number of constraints: of multiplications that are proved.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Returns the number of elements of an input.
    pub(crate) fn elements(&self) -> usize {
        self.elements
    }

    /// Returns the number of elements of a proof: a seed for each of two wires, then the values of the gadget
    /// polynomial, which has twice the degree of a wire's.
    pub(crate) fn proof_size(&self) -> usize {
        2 + 2 * (self.wire_domain() - 1) + 1
    }

    /// Returns the number of elements of a verifier message.
    pub(crate) fn message_size(&self) -> usize {
        size_of::<Message>() / size_of::<u64>()
    }

    /// Returns the size of the domain on which a wire's seed and values are interpolated.
    fn wire_domain(&self) -> usize {
        // One point for the seed, then one for each constraint.
        (1 + self.list.len()).next_power_of_two()
    }

    /// Sets every committed product from the elements before it.
    pub(crate) fn commit_products(&self, elements: &mut [u64]) {
        for constraint in &self.list {
            if let Some(product) = constraint.product {
                let (left, right) = (&constraint.left, &constraint.right);
                elements[product] = field::mul(left.evaluate(elements), right.evaluate(elements));
            }
        }
    }
}
