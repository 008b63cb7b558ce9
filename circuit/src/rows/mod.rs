//! Circuit of a query: one row per home, with a group and bounded values (protocol.md §7).

mod compile;
mod encode;
mod layout;
#[cfg(test)]
mod soundness;
mod sums;
#[cfg(test)]
mod tests;
mod wires;

use std::ops::Range;

pub use encode::EncodeError;
pub use layout::Layout;

use crate::constraints::Constraints;
use crate::{Output, Shape};

/// Circuit of a query. A contribution is the group bits, for each variable a presence bit (where NULL is possible) and
/// its level, and committed products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    shape: Shape,
    constraints: Constraints,
    variables: Vec<Place>,
    outputs: Vec<Output>,
    runs: Vec<Range<usize>>,
}

/// Places of a variable's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) presence: Option<usize>,
    pub(crate) bits: Range<usize>,
}

impl Rows {
    /// Returns the shape that this was compiled from.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns the constraints that an input is proved to satisfy.
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    #[cfg(test)]
    pub(crate) fn variables(&self) -> &[Place] {
        &self.variables
    }

    pub(crate) fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub(crate) fn runs(&self) -> &[Range<usize>] {
        &self.runs
    }

    /// Returns the number of group bits. Without GROUP BY there is one group, and its bit is the row bit.
    pub(crate) fn groups(&self) -> usize {
        usize::from(self.shape.groups.max(1))
    }

    /// Returns the largest contribution of one home to the number of rows, then to each moment.
    pub(crate) fn sensitivities(&self) -> Vec<u64> {
        let moments = self.shape.moments.iter();
        let moments = moments.map(|moment| self.shape.largest(moment));
        std::iter::once(1).chain(moments).collect()
    }

    /// Returns the moment of each output: 0 for the number of rows, then from 1 in the order of the shape.
    pub(crate) fn moments_of_outputs(&self) -> Vec<usize> {
        let layout = Layout::of(&self.shape);
        (0..layout.len())
            .map(|output| layout.moment_of(output))
            .collect()
    }
}
