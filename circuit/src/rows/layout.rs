//! Positions of the outputs of a query's circuit, in the order of its [`Shape`].

use std::collections::HashMap;
use std::ops::Range;

use crate::{Moment, Shape};

/// Positions of the outputs of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    groups: usize,
    stride: usize,
    /// For each moment, the range of its outputs in a group, and its number.
    slots: HashMap<Moment, (Range<usize>, usize)>,
    /// For each output of a group the number of its moment; the rows have number 0.
    moments: Vec<usize>,
}

impl Layout {
    /// Lays out the outputs of `shape`.
    pub fn of(shape: &Shape) -> Self {
        let mut moments = vec![0];
        let mut slots = HashMap::new();
        for (number, moment) in (1..).zip(&shape.moments) {
            let start = moments.len();
            moments.resize(start + shape.outputs_of(moment), number);
            slots.insert(moment.clone(), (start..moments.len(), number));
        }
        Self {
            groups: usize::from(shape.groups).max(1),
            stride: moments.len(),
            slots,
            moments,
        }
    }

    /// Returns the number of groups, 1 without GROUP BY.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Returns the number of outputs.
    pub fn len(&self) -> usize {
        self.groups * self.stride
    }

    /// Returns false: every group counts its rows.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns the output that is the number of rows of `group`.
    pub fn rows(&self, group: usize) -> usize {
        group * self.stride
    }

    /// Returns the outputs of a moment in `group`; `None` for a moment that the shape does not have.
    pub fn moment(&self, group: usize, moment: &Moment) -> Option<Range<usize>> {
        let (slot, _) = self.slots.get(moment)?;
        let start = self.rows(group);
        Some(start + slot.start..start + slot.end)
    }

    /// Returns the outputs that are released in runs, of every group.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let merged = self
            .slots
            .keys()
            .filter(|moment| matches!(moment, Moment::Levels { merged: true, .. }));
        merged.flat_map(move |moment| {
            (0..self.groups).filter_map(move |group| self.moment(group, moment))
        })
    }

    /// Returns the number of an output's moment: 0 for the number of rows, then from 1 in the order of the shape.
    pub fn moment_of(&self, output: usize) -> usize {
        self.moments[output % self.stride]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variable;

    fn variable(max: u64, nullable: bool, one_hot: bool) -> Variable {
        Variable {
            max,
            nullable,
            one_hot,
        }
    }

    #[test]
    fn every_output_has_one_place() {
        let mut shape = Shape::summing(
            2,
            [
                (variable(0, true, false), false),
                (variable(9, false, false), true),
                (variable(3, true, true), false),
            ],
        );
        shape.moments.push(Moment::Levels {
            variable: 2,
            merged: true,
        });
        let layout = Layout::of(&shape);
        let mut places = Vec::new();
        for group in 0..layout.groups() {
            places.push(layout.rows(group));
            for (number, moment) in (1..).zip(&shape.moments) {
                for place in layout.moment(group, moment).unwrap() {
                    assert_eq!(layout.moment_of(place), number);
                    places.push(place);
                }
            }
        }
        assert_eq!(places, (0..layout.len()).collect::<Vec<_>>());
        assert_eq!(layout.len(), 2 * (1 + 1 + 2 + 2 + 4));
        assert_eq!(layout.moment(0, &Moment::count(vec![1])), None);
    }

    #[test]
    fn without_group_by_there_is_one_group() {
        let layout = Layout::of(&Shape::summing(0, []));
        assert_eq!((layout.groups(), layout.len()), (1, 1));
    }
}
