//! Withholding numbers that would give small counts away in an exact result (protocol.md §9).
//!
//! Numbers of one result add up to others: rows minus rows with a value are rows without one, and a total minus all
//! parts but one is that part. Where such a difference counts some people, but fewer than the cohort, one of its
//! numbers is withheld. All aggregators decide this alike, from the counts that they opened.

mod levels;
mod released;
mod scores;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use crate::mask::Rule;
use crate::violations::{ReleasedCount, is_few, violations};
use crate::{Circuit, Layout, Mask};
use dispers_base::weakness::{self, Weakness};
use dispers_query::local::Facts;

impl Circuit {
    /// Returns the mask of a result whose [`openings`](Self::openings) were opened with the values `opened`.
    ///
    /// Each noisy count is decided separately: a combination of noisy counts has more noise, and reveals no more than
    /// the ε of the query allows.
    ///
    /// # Panics
    /// If there is not one value for each opening.
    pub fn opened_mask(&self, noisy: bool, cohort: i128, facts: &Facts, opened: &[i128]) -> Mask {
        match noisy {
            true => {
                let guards = self.guards().zip(opened);
                let counts: HashMap<usize, i128> = guards.map(|(g, count)| (g, *count)).collect();
                self.mask(cohort, |guard| counts[&guard])
            }
            false => self.exact_mask(cohort, facts, |opening| opened[opening]),
        }
    }

    /// Returns whether the number of homes must be withheld beside an exact result that `mask` releases: it would
    /// reveal the number of homes without a row, or in a withheld group, where these are few. `opened` are the values
    /// of the [`openings`](Self::openings).
    pub fn homes_give_away(&self, mask: &Mask, cohort: i128, homes: u64, opened: &[i128]) -> bool {
        let groups: Vec<usize> = match self {
            Self::Rows(rows) => {
                let layout = Layout::of(rows.shape());
                (0..layout.groups())
                    .map(|group| layout.rows(group))
                    .collect()
            }
            Self::Vector(_) | Self::Noise(_) => vec![0],
        };
        let counts: HashMap<usize, i128> = self.guards().zip(opened.iter().copied()).collect();
        let mut rest = i128::from(homes);
        for (number, rows) in groups.iter().enumerate() {
            let next = groups.get(number + 1).copied();
            let end = next.unwrap_or(self.outputs().len());
            if mask.is_released(*rows) {
                rest -= counts[rows];
            } else if (*rows..end).any(|output| mask.is_released(output)) {
                // Other numbers of the group are released, so its withheld rows would follow.
                return true;
            }
        }
        is_few(rest, cohort)
    }

    /// Returns the mask of an exact result: it releases no number of fewer people than `cohort`, and no numbers that
    /// reveal such a number together. `count` returns the count at a position among the
    /// [`openings`](Self::openings).
    pub(crate) fn exact_mask(
        &self,
        cohort: i128,
        facts: &Facts,
        count: impl Fn(usize) -> i128,
    ) -> Mask {
        let counts = self.counts(facts);
        // The guards come first among the openings.
        let openings: HashMap<usize, usize> = self.guards().zip(0..).collect();
        let mut mask = self.mask(cohort, |guard| count(openings[&guard]));
        if weakness::off(Weakness::CellsGivenAway) {
            return mask;
        }
        // Counts that guard nothing are withheld where they are few. The mask has withheld the guards already.
        for people in counts.people.iter().filter(|people| !people.is_guard) {
            if is_few(
                people.openings.iter().map(|place| count(*place)).sum(),
                cohort,
            ) {
                mask.withhold(&people.outputs);
            }
        }
        // Every pass withholds a count, so that the loop ends. What is withheld can only end violations.
        loop {
            let released = self.released_counts(&counts, &openings, &mask, &count);
            let violations: Vec<BTreeSet<usize>> = (0..self.groups())
                .flat_map(|group| violations(&released, group, cohort))
                .collect();
            let costs: Vec<usize> = released
                .iter()
                .map(|released| self.cost_of_withholding(&released.people.outputs, &mask))
                .collect();
            let Some(worst) = worst(&released, &violations, &costs) else {
                break;
            };
            let outputs = &released[worst].people.outputs;
            match self.is_replaceable(outputs) {
                // The number is computed below, from what is released in the end.
                true => mask.publish(0, 0),
                false => mask.withhold(outputs),
            }
        }
        match self {
            Self::Rows(rows) => rows.withhold_sums_beside_levels(&mut mask),
            Self::Vector(vector) => {
                vector
                    .withhold_sides_or_scores(&mut mask, cohort, |output| count(openings[&output]));
                if let Rule::Public(_) = mask.rule(0) {
                    let rows = vector.released_rows(&mask, |output| count(openings[&output]));
                    mask.publish(0, rows);
                }
            }
            Self::Noise(_) => {}
        }
        mask
    }

    /// Returns the number of groups whose counts are about different homes.
    fn groups(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.groups(),
            Self::Vector(_) | Self::Noise(_) => 1,
        }
    }

    /// Returns the loss when these outputs are withheld, in half numbers.
    fn cost_of_withholding(&self, outputs: &[usize], mask: &Mask) -> usize {
        match self.is_replaceable(outputs) {
            // Replacing the rows loses less than withholding one number does.
            true => 1,
            false => {
                let released = outputs.iter().filter(|output| mask.is_released(**output));
                2 * released.count().max(1)
            }
        }
    }

    /// Returns whether these outputs are a vector's rows, which
    /// [`released_rows`](crate::Vector::released_rows) can replace, so that they need not be withheld: only a loss is
    /// divided by them.
    fn is_replaceable(&self, outputs: &[usize]) -> bool {
        matches!(self, Self::Vector(_)) && outputs.first() == Some(&0) && outputs.len() <= 2
    }
}

/// Returns the place of the count to withhold next: the one that ends the most violations per number that is lost with
/// it, then the largest. The whole goes before its parts, since it may be rows that the query did not select.
fn worst(
    released: &[ReleasedCount],
    violations: &[BTreeSet<usize>],
    costs: &[usize],
) -> Option<usize> {
    let mut ended: HashMap<usize, usize> = HashMap::new();
    for place in violations.iter().flatten() {
        *ended.entry(*place).or_default() += 1;
    }
    ended.keys().copied().max_by(|a, b| {
        // The fractions ended/cost, compared without a division: all aggregators must choose alike.
        let (one, other) = (ended[a] * costs[*b], ended[b] * costs[*a]);
        one.cmp(&other)
            .then(released[*a].count.cmp(&released[*b].count))
            .then(a.cmp(b))
    })
}
