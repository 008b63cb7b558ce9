//! Counts of people that a mask releases, or that follow from released counts alone.

use std::collections::HashMap;

use crate::mask::Rule;
use crate::people::{Counts, People};
use crate::violations::ReleasedCount;
use crate::{Circuit, Layout, Mask, Moment, Rows};

impl Circuit {
    /// Returns the counts that `mask` releases, each run of levels as one count. `openings` has the place of each guard
    /// among the opened counts.
    pub(super) fn released_counts(
        &self,
        counts: &Counts,
        openings: &HashMap<usize, usize>,
        mask: &Mask,
        count: &impl Fn(usize) -> i128,
    ) -> Vec<ReleasedCount> {
        let mut released: Vec<ReleasedCount> = Vec::new();
        for people in &counts.people {
            let first = people.outputs.first().copied();
            // `withhold_sides_or_scores` decides the two sides: they overlap with nothing but the runs of scores.
            if first.is_some_and(|first| self.is_side(first)) {
                continue;
            }
            let number = people.openings.iter().map(|place| count(*place)).sum();
            let level = first.filter(|_| people.atoms.is_none());
            let run = level.and_then(|level| self.runs().iter().find(|run| run.contains(&level)));
            let (Some(run), Some(level)) = (run, level) else {
                let places = people.openings.iter();
                let mut needed = places.flat_map(|place| counts.openings[*place].outputs());
                if needed.all(|output| mask.is_released(output)) {
                    released.push(ReleasedCount {
                        people: people.clone(),
                        count: number,
                    });
                }
                continue;
            };
            match mask.rule(level) {
                Rule::Withheld | Rule::Public(_) => {}
                Rule::Released(0) => {
                    // The level belongs to the run that the count before it began.
                    if let Some(last) = released.last_mut() {
                        last.count += number;
                        last.people.traits.widen();
                        last.people.lower = None;
                    }
                }
                Rule::Released(_) => released.push(ReleasedCount {
                    people: People {
                        outputs: run.clone().collect(),
                        ..people.clone()
                    },
                    count: number,
                }),
            }
        }
        if let Self::Rows(rows) = self {
            let sums = rows.sums_of_levels(counts, mask, |output| count(openings[&output]));
            released.extend(sums);
        }
        released
    }

    /// Returns whether the output is the count of right or of wrong predictions of a vector with scores.
    fn is_side(&self, output: usize) -> bool {
        match self {
            Self::Vector(vector) => vector.sides().is_some_and(|sides| sides.contains(&output)),
            Self::Rows(_) | Self::Noise(_) => false,
        }
    }
}

impl Rows {
    /// Returns the number of homes that have a value, for each variable whose levels are all released: the levels add
    /// up to it. `count` returns the count at an output.
    fn sums_of_levels(
        &self,
        counts: &Counts,
        mask: &Mask,
        count: impl Fn(usize) -> i128,
    ) -> Vec<ReleasedCount> {
        let layout = Layout::of(self.shape());
        let mut sums = Vec::new();
        for moment in &self.shape().moments {
            let Moment::Levels { variable, .. } = moment else {
                continue;
            };
            for group in 0..layout.groups() {
                let mut levels = layout.moment(group, moment).unwrap_or_default();
                let outputs = levels.clone();
                // Also a level that an earlier run includes, which is released with 0 outputs.
                if !levels.all(|level| matches!(mask.rule(level), Rule::Released(_))) {
                    continue;
                }
                let lowest = counts.people.iter().find(|people| {
                    people.outputs.first() == Some(&outputs.start) && people.group == group
                });
                sums.extend(lowest.map(|lowest| ReleasedCount {
                    people: People {
                        traits: lowest.traits.without_levels(),
                        atoms: Some(self.present(*variable)),
                        lower: None,
                        outputs: outputs.clone().collect(),
                        ..lowest.clone()
                    },
                    count: outputs.map(&count).sum(),
                }));
            }
        }
        sums
    }
}
