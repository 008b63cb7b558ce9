//! Circuits: what a contribution may be (protocol.md §7).
//!
//! A contribution is a vector of field elements: one-hot group bits, then for each variable a
//! presence bit (where NULL is possible) and the bits of its level, or one bit for each level, and
//! committed products. A home
//! proves in zero knowledge that its vector satisfies the circuit's constraints; the outputs are
//! linear forms of it, so aggregators sum shares of them.
//!
//! **What is proved.** Exactly one group bit is set, or none: a home without a row. Presence bits
//! are masked by the row and level bits by the presence, so that every vector that satisfies the
//! constraints has the outputs of a legal row, or all zeros. The weights of the level bits make
//! nothing above the maximum expressible.

mod boolean;
mod compile;
pub mod contribution;
mod encode;
mod flp;
mod form;
mod given_away;
mod layout;
mod mask;
mod noise;
mod people;
mod rank;
#[cfg(test)]
mod soundness;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transform;
mod vector;
mod verifier;
mod violations;

pub use dispers_query::shape::{
    CircuitError, MAX_BINS, MAX_CONSTRAINTS, MAX_COORDINATES, MAX_LEVELS, MAX_MOMENTS,
    MAX_NOISE_DIGITS, MAX_OUTPUTS, MAX_VARIABLES, Moment, Row, Shape, Variable,
};
pub use encode::EncodeError;
pub use form::LinearForm;
pub use layout::Layout;
pub use mask::Mask;
pub use people::Opening;
pub use vector::{Section, VectorRow, VectorShape};
pub use verifier::{Message, Verifier, accepts};

use std::ops::Range;

use dispers_base::field;
use form::Constraint;

/// Most constraints of the circuit of dealt noise that is proved bit by bit.
pub const MAX_NOISE_CONSTRAINTS: usize = 16_383;

/// What every party compiles from a [`Shape`]: the constraints on a contribution and its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    shape: Shape,
    elements: usize,
    variables: Vec<Place>,
    constraints: Vec<Constraint>,
    outputs: Vec<Output>,
    runs: Vec<Range<usize>>,
    /// How a vector is proved; the constraints are of all others.
    vector: Option<vector::Layout>,
}

/// One sum that aggregators release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The contribution's summand.
    pub form: LinearForm,
    /// Position of the output that counts the people behind this one; a count guards itself.
    pub guard: usize,
}

/// Where a variable's elements lie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    presence: Option<usize>,
    bits: Range<usize>,
}

impl Circuit {
    /// The shape that this was compiled from.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Number of elements of a contribution.
    pub fn input_len(&self) -> usize {
        self.elements
    }

    /// Number of elements of a proof: a seed for each of two wires, then the values of the gadget
    /// polynomial, which has twice the degree of a wire's.
    pub fn proof_len(&self) -> usize {
        if let Some(vector) = &self.vector {
            return vector.proof_len();
        }
        2 + 2 * (self.wire_domain() - 1) + 1
    }

    /// Number of elements that are shared: contribution, then proof.
    pub fn share_len(&self) -> usize {
        self.input_len() + self.proof_len()
    }

    /// Number of elements of a verifier message.
    pub fn message_len(&self) -> usize {
        let vector = self.vector.as_ref();
        vector.map_or(size_of::<Message>() / size_of::<u64>(), |vector| {
            vector.message_len()
        })
    }

    /// Whether a proof is made under joint randomness, to which shares of the input are committed.
    pub fn has_joint_randomness(&self) -> bool {
        self.vector.is_some()
    }

    /// Whether the message at 0 says that a proof under this joint randomness, where there is any, is right.
    pub fn accepts(&self, message: &[u64], joint: &[u8; 32]) -> bool {
        match (&self.vector, <&Message>::try_from(message)) {
            (Some(vector), _) => vector.accepts(message, joint),
            (None, Ok(message)) => accepts(message),
            (None, Err(_)) => false,
        }
    }

    /// Number of multiplications that are proved.
    pub fn constraint_count(&self) -> usize {
        self.constraints.len()
    }

    /// Every output, in the order that [`Shape`] gives.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Ranges of outputs that are released in runs: neighbours are added up until they are enough.
    pub fn runs(&self) -> &[Range<usize>] {
        &self.runs
    }

    /// For the number of rows and then each moment, the largest contribution of one home.
    pub fn sensitivities(&self) -> Vec<u64> {
        if let Some(vector) = &self.vector {
            return vec![vector.sections().count_norm(), vector.sections().norm];
        }
        let moments = self.shape.moments.iter();
        let moments = moments.map(|moment| self.shape.largest(moment));
        std::iter::once(1).chain(moments).collect()
    }

    /// For each output, which of the [`sensitivities`](Self::sensitivities) is its own.
    pub fn moments_of_outputs(&self) -> Vec<usize> {
        if self.vector.is_some() {
            let counts = |(place, output): (usize, &Output)| usize::from(output.guard != place);
            return self.outputs.iter().enumerate().map(counts).collect();
        }
        let layout = Layout::of(&self.shape);
        (0..layout.len())
            .map(|output| layout.moment_of(output))
            .collect()
    }

    /// Adds a share's summand of every output to `sums`. Linear, so the sum of many shares may be
    /// passed at once; only the first [`input_len`](Self::input_len) elements are read.
    ///
    /// # Panics
    /// If the share is shorter than that, or `sums` does not hold one sum per output.
    pub fn add_outputs(&self, share: &[u64], sums: &mut [u64]) {
        assert_eq!(sums.len(), self.outputs.len(), "one sum per output");
        for (sum, output) in sums.iter_mut().zip(&self.outputs) {
            *sum = field::add(*sum, output.form.evaluate(share));
        }
    }

    /// How many homes can be summed before an output might exceed the field and wrap.
    pub fn capacity(&self) -> u64 {
        let largest = match &self.vector {
            // On either side of zero.
            Some(vector) => Some(1 << vector.sections().bits),
            None => self.sensitivities().into_iter().max(),
        };
        (field::MODULUS - 1) / largest.unwrap_or(1).max(1)
    }

    /// Number of group bits: without GROUP BY the row bit, as of a single group.
    fn groups(&self) -> usize {
        usize::from(self.shape.groups.max(1))
    }

    /// Size of the domain on which a wire's seed and values are interpolated.
    fn wire_domain(&self) -> usize {
        (1 + self.constraints.len()).next_power_of_two()
    }
}
