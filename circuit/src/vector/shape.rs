//! Public description of a vector, and a home's vector.

use std::ops::Range;

use crate::levels::DIGIT_BITS;
use crate::{CircuitError, MAX_COORDINATES};

/// Largest number of sections of a vector.
pub(super) const MAX_SECTIONS: usize = 1024;
/// Largest number of bits of a coordinate.
const MAX_COORDINATE_BITS: u8 = 24;

/// Public description of a vector's circuit.
///
/// The outputs are, in order: the number of rows; then for each section its number of flags and each of its
/// coordinates. The first section has no flag, since the rows are its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorShape {
    /// Bits of a coordinate, a multiple of 4.
    pub bits: u8,
    /// Coordinates of each section.
    pub sections: Vec<Section>,
    /// Ranges of sections without coordinates that are released in runs, each half separately where both halves reach
    /// the cohort: none, or the scores of two classes. Two sections follow the ranges: one counts the homes in the
    /// lower half of the first range or the upper half of the second, the other counts all other homes.
    pub runs: Vec<Range<usize>>,
    /// Length of the longest vector of an honest home, in levels as they are summed. Noise must cover it.
    pub norm: u64,
}

/// Coordinates of a section: first the centred, then the counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Number of coordinates with values on either side of zero. They are summed in levels from the middle of their
    /// range, so that a negative sum is above half of the field.
    pub centred: usize,
    /// Number of coordinates that are zero for most homes. They are summed in levels from the lower end of their range.
    pub counted: usize,
}

impl Section {
    /// Makes a section of centred coordinates alone.
    pub fn centred(centred: usize) -> Self {
        Self {
            centred,
            counted: 0,
        }
    }

    /// Returns the number of coordinates, or `None` if it overflows.
    fn checked_len(&self) -> Option<usize> {
        self.centred.checked_add(self.counted)
    }

    /// Returns the number of coordinates.
    pub fn len(&self) -> usize {
        self.centred + self.counted
    }

    /// Returns whether there are no coordinates.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl VectorShape {
    /// Returns the level in the middle of the range, from which centred coordinates are summed.
    pub fn middle(&self) -> u64 {
        1 << (self.bits - 1)
    }

    /// Returns the number of coordinates.
    pub fn len(&self) -> usize {
        self.sections.iter().map(Section::len).sum()
    }

    /// Returns whether there are no coordinates.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of digits of a coordinate.
    pub(super) fn digits_each(&self) -> usize {
        usize::from(self.bits / DIGIT_BITS)
    }

    /// Returns the length of the longest vector of counts, of the rows and every flag, rounded up. Noise must cover it.
    pub(super) fn count_norm(&self) -> u64 {
        let counts = self.sections.len() as u64;
        counts.isqrt() + u64::from(counts.isqrt().pow(2) < counts)
    }

    /// Checks all bounds, before anything is allocated for the circuit.
    ///
    /// # Errors
    /// [`CircuitError::Vector`] for a shape out of bounds.
    pub(super) fn check(&self) -> Result<(), CircuitError> {
        // A stranger's shape may have lengths whose sum overflows.
        let coordinates = self.sections.iter().try_fold(0usize, |sum, section| {
            sum.checked_add(section.checked_len()?)
        });
        let fits = coordinates.is_some_and(|sum| (1..=MAX_COORDINATES).contains(&sum))
            && (1..=MAX_SECTIONS).contains(&self.sections.len())
            && (DIGIT_BITS..=MAX_COORDINATE_BITS).contains(&self.bits)
            && self.bits.is_multiple_of(DIGIT_BITS)
            && self.has_runs_of_counts();
        fits.then_some(()).ok_or(CircuitError::Vector)
    }

    /// Returns whether the runs are none, or two ranges of sections that are counts, followed by two sections.
    fn has_runs_of_counts(&self) -> bool {
        let last = self.runs.last();
        matches!(self.runs.len(), 0 | 2)
            && last.is_none_or(|run| run.end + 2 == self.sections.len())
            && self.runs.iter().all(|run| {
                let sections = self.sections.get(run.clone());
                run.start > 0 && sections.is_some_and(|all| all.iter().all(Section::is_empty))
            })
    }
}

/// Vector of one home. A home without a row contributes all zeros.
pub struct VectorRow {
    /// Levels of each section, one per coordinate; `None` where the section's flag is not set.
    pub sections: Vec<Option<Vec<u64>>>,
}
