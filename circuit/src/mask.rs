//! Which sums are released, and which are added up before (protocol.md §9).

use std::ops::Range;

use super::Circuit;
use dispers_base::field;

/// What is released of a circuit's outputs, as the guard counts decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask(Vec<Rule>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Withheld,
    /// The sum of so many outputs from here on, 1 for this one alone; 0 for one that was added to an
    /// earlier one.
    Released(usize),
    /// A public number instead of the sum, since the sum would give other numbers away.
    Public(u64),
}

impl Circuit {
    /// What is released where at least `cohort` people must stand behind each number; `count` gives the
    /// guard count at an output's position.
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
            let runs = match self.vector {
                Some(_) => halved(&counts, cohort),
                None => runs(&counts, cohort),
            };
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
    pub(super) fn rule(&self, output: usize) -> Rule {
        self.0[output]
    }

    /// Returns whether the output is released, by itself or as the first of a run.
    pub(super) fn is_released(&self, output: usize) -> bool {
        matches!(self.0[output], Rule::Released(count) if count > 0)
    }

    pub(super) fn publish(&mut self, output: usize, number: u64) {
        self.0[output] = Rule::Public(number);
    }

    pub(super) fn withhold(&mut self, outputs: &[usize]) {
        for output in outputs {
            self.0[*output] = Rule::Withheld;
        }
    }

    /// The sums that are released, where they are: that of a run stands at its first output.
    pub fn apply(&self, sums: &[u64]) -> Vec<Option<u64>> {
        let one = |(place, rule): (usize, &Rule)| match *rule {
            Rule::Withheld | Rule::Released(0) => None,
            Rule::Public(number) => Some(number),
            Rule::Released(count) => {
                let run = &sums[place..place + count];
                Some(run.iter().fold(0, |sum, &one| field::add(sum, one)))
            }
        };
        self.0.iter().enumerate().map(one).collect()
    }
}

/// Cuts counts in order into runs of at least `cohort`, none where all together are fewer.
///
/// From both ends at once, so that the first run ends where the cohort's smallest value is reached and
/// the last begins where its largest is. What is left in the middle joins the run before it.
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

/// How many counts it takes to reach `cohort`, at least one.
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

    use super::super::{Moment, Shape, Variable};
    use super::*;

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
            // Only what is left in the middle can take away from a run, by noise alone.
            if counts.iter().all(|count| *count >= 0) {
                let sum = |run: &Range<usize>| counts[run.clone()].iter().sum::<i128>();
                prop_assert!(runs.iter().all(|run| sum(run) >= cohort));
                prop_assert_eq!(runs.is_empty(), counts.iter().sum::<i128>() < cohort);
                if let [first, .., last] = runs.as_slice() {
                    let before = counts[..first.end - 1].iter().sum::<i128>();
                    let after = counts[last.start + 1..].iter().sum::<i128>();
                    // Unless the middle was added to it, the first run ends at the cohort's smallest.
                    prop_assert!(runs.len() == 2 || before < cohort);
                    prop_assert!(after < cohort);
                }
            }
        }
    }

    #[test]
    fn few_are_withheld_alone_or_added_to_their_neighbours() {
        let variable = Variable {
            max: 3,
            nullable: false,
            one_hot: true,
        };
        let levels = |merged| {
            let mut shape = Shape::summing(0, [(variable.clone(), false)]);
            shape.moments.push(Moment::Levels {
                variable: 0,
                merged,
            });
            Circuit::compile(&shape).unwrap()
        };
        let sums = [14, 23, 4, 2, 1, 7];
        let released = |merged, cohort| {
            let mask = levels(merged).mask(cohort, |output| sums[output].into());
            mask.apply(&sums)
        };
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
