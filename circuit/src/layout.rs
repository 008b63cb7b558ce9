//! Where each output of a circuit stands, as [`Shape`] orders them.

use std::collections::HashMap;
use std::ops::Range;

use super::{Moment, Shape};

/// Positions of the outputs of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    groups: usize,
    stride: usize,
    /// Where in a group each moment's outputs are, and its position among the moments.
    slots: HashMap<Moment, (Range<usize>, usize)>,
    /// For each output of a group its moment, of which the rows are the first.
    moments: Vec<usize>,
}

impl Layout {
    /// The layout of `shape`'s outputs.
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

    /// Number of groups, 1 without GROUP BY.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.groups * self.stride
    }

    /// Never: every group counts its rows.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of rows of `group`, which guards it.
    pub fn rows(&self, group: usize) -> usize {
        group * self.stride
    }

    /// The outputs of a moment in `group`.
    pub fn moment(&self, group: usize, moment: &Moment) -> Option<Range<usize>> {
        let (slot, _) = self.slots.get(moment)?;
        let start = self.rows(group);
        Some(start + slot.start..start + slot.end)
    }

    /// Outputs that are released in runs, of every group.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let merged = |moment: &&Moment| matches!(moment, Moment::Levels { merged: true, .. });
        let moments = move || self.slots.keys().filter(merged);
        (0..self.groups)
            .flat_map(move |group| moments().filter_map(move |moment| self.moment(group, moment)))
    }

    /// Which moment an output is of: 0 for the number of rows, then from 1 as the shape orders them.
    pub fn moment_of(&self, output: usize) -> usize {
        self.moments[output % self.stride]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Variable;
    use super::*;

    #[test]
    fn every_output_has_one_place() {
        let variable = |max, nullable, one_hot| Variable {
            max,
            nullable,
            one_hot,
        };
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
