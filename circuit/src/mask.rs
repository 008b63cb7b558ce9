//! Mask of a result: sums that are released, withheld, or added up with their neighbours (protocol.md §9).

use std::ops::Range;

use crate::Circuit;
use dispers_base::field;

/// Mask over a circuit's outputs, as the guard counts decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(Vec<Rule>);

/// Rule for one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing is released.
    Withheld,
    /// The sum of this number of outputs, from this output on, is released: 1 for this output alone, and 0 for an
    /// output that is part of an earlier sum.
    Released(usize),
    /// A public number is released instead of the sum, since the sum would give other numbers away.
    Public(u64),
}

impl Circuit {
    /// Returns the mask that releases numbers of at least `cohort` people each. `count` returns the guard count at an
    /// output's position.
    pub fn mask(&self, cohort: i128, count: impl Fn(usize) -> i128) -> Mask {
        let mut rules: Vec<Rule> = self
            .outputs()
            .iter()
            .map(|output| match count(output.guard) >= cohort {
                true => Rule::Released(1),
                false => Rule::Withheld,
            })
            .collect();
        for range in self.runs() {
            let counts: Vec<i128> = range.clone().map(&count).collect();
            let rules = &mut rules[range.clone()];
            let runs = match self {
                Self::Vector(_) => halved(&counts, cohort),
                Self::Rows(_) | Self::Noise(_) => runs(&counts, cohort),
            };
            // A level whose count is too small by itself is released as part of its run.
            rules.fill(match runs.is_empty() {
                true => Rule::Withheld,
                false => Rule::Released(0),
            });
            for run in runs {
                rules[run.start] = Rule::Released(run.len());
            }
        }
        Mask(rules)
    }
}

impl Mask {
    /// Returns the rule for an output.
    pub(crate) fn rule(&self, output: usize) -> Rule {
        self.0[output]
    }

    /// Returns whether the output is released, by itself or as the first of a run.
    pub(crate) fn is_released(&self, output: usize) -> bool {
        matches!(self.0[output], Rule::Released(count) if count > 0)
    }

    /// Releases `number` instead of the output.
    pub(crate) fn publish(&mut self, output: usize, number: u64) {
        self.0[output] = Rule::Public(number);
    }

    /// Withholds outputs.
    pub(crate) fn withhold(&mut self, outputs: &[usize]) {
        for output in outputs {
            self.0[*output] = Rule::Withheld;
        }
    }

    /// Returns for each output the number that is released there. The sum of a run stands at its first output.
    pub fn apply(&self, sums: &[u64]) -> Vec<Option<u64>> {
        let rules = self.0.iter().enumerate();
        let numbers = rules.map(|(place, rule)| match *rule {
            Rule::Withheld | Rule::Released(0) => None,
            Rule::Public(number) => Some(number),
            Rule::Released(count) => {
                let run = &sums[place..place + count];
                Some(run.iter().fold(0, |sum, &one| field::add(sum, one)))
            }
        });
        numbers.collect()
    }
}

/// Cuts counts in order into runs of at least `cohort`. Returns no run if all counts together are fewer.
///
/// Runs are cut from both ends at once. So the first run ends at the level up to which the smallest values number the
/// cohort, and the last begins where the largest do. Counts that are left in the middle join the run before them.
fn runs(counts: &[i128], cohort: i128) -> Vec<Range<usize>> {
    let (mut low, mut high) = (0, counts.len());
    let (mut left, mut right) = (Vec::new(), Vec::new());
    while let Some(end) = reach(counts[low..high].iter(), cohort) {
        left.push(low..low + end);
        low += end;
        let Some(length) = reach(counts[low..high].iter().rev(), cohort) else {
            break;
        };
        right.push(high - length..high);
        high -= length;
    }
    if let Some(last) = left.last_mut() {
        last.end = high;
    }
    left.extend(right.into_iter().rev());
    left
}

/// Cuts runs like [`runs`], and separately in each half of the counts where both halves reach `cohort`.
fn halved(counts: &[i128], cohort: i128) -> Vec<Range<usize>> {
    let middle = counts.len() / 2;
    let (low, high) = counts.split_at(middle);
    let (mut left, right) = (runs(low, cohort), runs(high, cohort));
    // A half without a run would be withheld in whole. As one range, something of both is released.
    if left.is_empty() || right.is_empty() {
        return runs(counts, cohort);
    }
    left.extend(
        right
            .into_iter()
            .map(|run| run.start + middle..run.end + middle),
    );
    left
}

/// Returns the smallest number of counts, at least one, that reaches `cohort`.
fn reach<'a>(counts: impl Iterator<Item = &'a i128>, cohort: i128) -> Option<usize> {
    let mut sum = 0;
    for (place, count) in counts.enumerate() {
        sum += count;
        if sum >= cohort {
            return Some(place + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Moment, Shape, Variable};

    #[test]
    fn runs_are_cut_from_both_ends() {
        assert_eq!(runs(&[5, 5, 5, 5], 5), [0..1, 1..2, 2..3, 3..4]);
        assert_eq!(runs(&[1, 9, 0, 0, 2, 9, 1], 5), [0..5, 5..7]);
        assert_eq!(runs(&[3, 3, 0, 3, 3], 5), [0..3, 3..5]);
        assert!(runs(&[1, 1, 1], 5).is_empty());
        assert_eq!(runs(&[1, 7, 1, 0, 2, 9], 5), [0..5, 5..6]);
        assert_eq!(halved(&[1, 9, 0, 0, 2, 9], 5), [0..3, 3..6]);
        assert_eq!(halved(&[1, 9, 2, 0, 2, 1], 5), [0..2, 2..6]);
        assert!(runs(&[], 5).is_empty());
    }

    proptest! {
        #[test]
        fn no_run_is_below_the_cohort_and_all_are_covered_or_none(
            counts in prop::collection::vec(-3i128..9, 0..20),
            cohort in 1i128..12,
        ) {
            let runs = runs(&counts, cohort);
            let covered: Vec<usize> = runs.iter().cloned().flatten().collect();
            if !runs.is_empty() {
                prop_assert_eq!(covered, (0..counts.len()).collect::<Vec<_>>());
            }
            // Only negative counts, which noise alone makes, can make a run smaller than the cohort.
            if counts.iter().all(|count| *count >= 0) {
                for run in &runs {
                    prop_assert!(counts[run.clone()].iter().sum::<i128>() >= cohort);
                }
                prop_assert_eq!(runs.is_empty(), counts.iter().sum::<i128>() < cohort);
                if let [first, .., last] = runs.as_slice() {
                    let before = counts[..first.end - 1].iter().sum::<i128>();
                    let after = counts[last.start + 1..].iter().sum::<i128>();
                    // Of two runs, the first has the middle added.
                    prop_assert!(runs.len() == 2 || before < cohort);
                    prop_assert!(after < cohort);
                }
            }
        }
    }

    /// Returns what is released of levels with 23, 4, 2, 1 and 7 homes.
    fn released(merged: bool, cohort: i128) -> Vec<Option<u64>> {
        let variable = Variable {
            max: 3,
            nullable: false,
            one_hot: true,
        };
        let mut shape = Shape::summing(0, [(variable, false)]);
        shape.moments.push(Moment::Levels {
            variable: 0,
            merged,
        });
        let circuit = Circuit::compile(&shape).unwrap();
        let sums = [14, 23, 4, 2, 1, 7];
        let mask = circuit.mask(cohort, |output| sums[output].into());
        mask.apply(&sums)
    }

    #[test]
    fn few_are_withheld_alone_or_added_to_their_neighbours() {
        assert_eq!(
            released(false, 3),
            [Some(14), Some(23), Some(4), None, None, Some(7)]
        );
        assert_eq!(
            released(true, 3),
            [Some(14), Some(23), Some(4), Some(3), None, Some(7)]
        );
        assert_eq!(released(true, 15), [None; 6]);
        assert_eq!(
            released(true, 14),
            [Some(14), Some(23), Some(14), None, None, None]
        );
    }
}
