//! Where each output of a circuit stands, as [`Shape`] orders them.

use super::Shape;

/// Positions of the outputs of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    groups: usize,
    stride: usize,
    slots: Vec<Slot>,
}

/// Positions of one variable's outputs within a group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    present: Option<usize>,
    sum: Option<usize>,
    squares: Option<usize>,
}

impl Layout {
    /// The layout of `shape`'s outputs.
    pub fn of(shape: &Shape) -> Self {
        let mut next = 1;
        let mut place = |wanted: bool| {
            wanted.then(|| {
                next += 1;
                next - 1
            })
        };
        let slots = shape
            .variables
            .iter()
            .map(|variable| Slot {
                present: place(variable.nullable),
                sum: place(variable.max > 0),
                squares: place(variable.squared),
            })
            .collect();
        Self {
            groups: usize::from(shape.groups).max(1),
            stride: next,
            slots,
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

    /// The number of non-NULL values of `variable`, if it may be NULL.
    pub fn present(&self, group: usize, variable: usize) -> Option<usize> {
        Some(self.rows(group) + self.slots.get(variable)?.present?)
    }

    /// The sum of levels of `variable`, unless only its presence counts.
    pub fn sum(&self, group: usize, variable: usize) -> Option<usize> {
        Some(self.rows(group) + self.slots.get(variable)?.sum?)
    }

    /// The sum of squared levels of `variable`, if its shape asks for it.
    pub fn squares(&self, group: usize, variable: usize) -> Option<usize> {
        Some(self.rows(group) + self.slots.get(variable)?.squares?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Variable;
    use super::*;

    #[test]
    fn every_output_has_one_place() {
        let variable = |max, nullable, squared| Variable {
            max,
            nullable,
            squared,
        };
        let layout = Layout::of(&Shape {
            groups: 2,
            variables: vec![
                variable(0, true, false),
                variable(9, false, true),
                variable(9, true, false),
            ],
        });
        let mut places = Vec::new();
        for group in 0..layout.groups() {
            places.push(layout.rows(group));
            for v in 0..3 {
                places.extend(layout.present(group, v));
                places.extend(layout.sum(group, v));
                places.extend(layout.squares(group, v));
            }
        }
        assert_eq!(places, (0..layout.len()).collect::<Vec<_>>());
        assert_eq!(layout.present(0, 1), None);
        assert_eq!(layout.sum(0, 3), None);
    }

    #[test]
    fn without_group_by_there_is_one_group() {
        let layout = Layout::of(&Shape {
            groups: 0,
            variables: Vec::new(),
        });
        assert_eq!((layout.groups(), layout.len()), (1, 1));
    }
}
