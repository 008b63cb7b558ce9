//! Circuit of a vector: many bounded coordinates under one row bit, which training adds up (protocol.md §7).

mod shape;
#[cfg(test)]
mod tests;

use std::ops::Range;

use dispers_base::field;
use zeroize::Zeroizing;

pub use shape::{Section, VectorRow, VectorShape};

use crate::digits::Digits;
use crate::levels::{digit_weights, write_digits};
use crate::{CircuitError, LinearForm, Output};

/// Circuit of a vector. A contribution is the row bit, a flag for each section but the first, and the digits of each
/// coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    shape: VectorShape,
    digits: Digits,
    outputs: Vec<Output>,
    runs: Vec<Range<usize>>,
}

impl Vector {
    /// Compiles the circuit.
    ///
    /// # Errors
    /// [`CircuitError::Vector`] for a vector without coordinates, or beyond the bounds.
    pub fn compile(shape: &VectorShape) -> Result<Self, CircuitError> {
        shape.check()?;
        let (coordinates, each) = (shape.len(), shape.digits_each());
        let digits = Digits::new(coordinates * each, shape.sections.len() - 1);
        let mut outputs = Vec::with_capacity(shape.sections.len() + coordinates);
        // For each section, the place of the output that counts it.
        let mut guards = Vec::with_capacity(shape.sections.len());
        let mut digit = digits.first_digit();
        for (number, section) in shape.sections.iter().enumerate() {
            // The row bit is element 0, and the flag of each later section is the element of its number.
            let guard = outputs.len();
            outputs.push(Output {
                form: LinearForm::element(number),
                guard,
            });
            guards.push(guard);
            for place in 0..section.len() {
                let weights = (digit..digit + each).zip(digit_weights());
                // Subtracted where the flag is set only, so that a home without the section adds 0.
                let middle = (number, field::neg(shape.middle()));
                let middle = (place < section.centred).then_some(middle);
                outputs.push(Output {
                    form: LinearForm::weighted(weights.chain(middle)),
                    guard,
                });
                digit += each;
            }
        }
        // The sections of a run have no coordinates, so that each is one output.
        let runs = shape.runs.iter().map(|run| {
            let start = guards[run.start];
            start..start + run.len()
        });
        Ok(Self {
            runs: runs.collect(),
            shape: shape.clone(),
            digits,
            outputs,
        })
    }

    /// Encodes a vector as the elements of a contribution; all zeros without a row. A level that is too high becomes
    /// the highest.
    ///
    /// # Panics
    /// If the row does not have the sections of the shape.
    pub fn encode(&self, row: Option<&VectorRow>) -> Zeroizing<Vec<u64>> {
        let mut elements = Zeroizing::new(vec![0; self.digits.elements()]);
        let Some(row) = row else {
            return elements;
        };
        let (sections, each) = (&self.shape.sections, self.shape.digits_each());
        assert_eq!(row.sections.len(), sections.len(), "the shape's sections");
        elements[0] = 1;
        let highest = self.largest_level() - 1;
        let mut place = self.digits.first_digit();
        for (number, (section, levels)) in sections.iter().zip(&row.sections).enumerate() {
            let end = place + section.len() * each;
            if let Some(levels) = levels {
                assert_eq!(levels.len(), section.len(), "one level per coordinate");
                elements[number] = 1;
                let digits = elements[place..end].chunks_exact_mut(each);
                // Digits have no encoding of a higher level. A clamped level keeps the rest of the vector.
                for (digits, level) in digits.zip(levels) {
                    write_digits((*level).min(highest), digits);
                }
            }
            place = end;
        }
        elements
    }

    /// Returns the public description that this was compiled from.
    pub fn shape(&self) -> &VectorShape {
        &self.shape
    }

    /// Returns the layout of the elements in the proof.
    pub(crate) fn digits(&self) -> &Digits {
        &self.digits
    }

    pub(crate) fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub(crate) fn runs(&self) -> &[Range<usize>] {
        &self.runs
    }

    /// Returns the norms that noise must cover: of the counts, and of the coordinates.
    pub(crate) fn sensitivities(&self) -> Vec<u64> {
        vec![self.shape.count_norm(), self.shape.norm]
    }

    /// Returns for each output 0 if it is a count, and 1 if it is a coordinate.
    pub(crate) fn moments_of_outputs(&self) -> Vec<usize> {
        let outputs = self.outputs.iter().enumerate();
        outputs
            .map(|(place, output)| usize::from(output.guard != place))
            .collect()
    }

    /// Returns a bound for the distance of a coordinate's level from zero, on either side.
    pub(crate) fn largest_level(&self) -> u64 {
        1 << self.shape.bits
    }
}
