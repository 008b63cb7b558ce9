//! Withholding numbers that would give small counts away in an exact result (protocol.md §9).
//!
//! Numbers of one result add up to others: rows minus rows with a value are rows without one, and a total minus all
//! parts but one is that part. Where such a difference counts some people, but fewer than the cohort, one of its
//! numbers is withheld. All aggregators decide this alike, from the counts that they opened.

use std::collections::{BTreeSet, HashMap};

use super::mask::Rule;
use super::people::{Counts, People};
use super::violations::{ReleasedCount, violations};
use super::{Circuit, Mask, Moment};
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
        let groups: Vec<usize> = match self.vector {
            Some(_) => vec![0],
            None => {
                let layout = super::Layout::of(&self.shape);
                (0..layout.groups())
                    .map(|group| layout.rows(group))
                    .collect()
            }
        };
        let counts: HashMap<usize, i128> = self.guards().zip(opened.iter().copied()).collect();
        let mut rest = i128::from(homes);
        for (number, rows) in groups.iter().enumerate() {
            let end = groups
                .get(number + 1)
                .copied()
                .unwrap_or(self.outputs.len());
            if mask.is_released(*rows) {
                rest -= counts[rows];
            } else if (*rows..end).any(|output| mask.is_released(output)) {
                // Other numbers of the group are released, so its withheld rows would follow.
                return true;
            }
        }
        0 < rest && rest < cohort
    }

    /// Returns the mask of an exact result: it releases no number of fewer people than `cohort`, and no numbers that
    /// reveal such a number together. `count` returns the count at a position among the
    /// [`openings`](Self::openings).
    pub(super) fn exact_mask(
        &self,
        cohort: i128,
        facts: &Facts,
        count: impl Fn(usize) -> i128,
    ) -> Mask {
        let counts = self.counts(facts);
        let guards: HashMap<usize, usize> = (0..).zip(self.guards()).map(|(o, g)| (g, o)).collect();
        let mut mask = self.mask(cohort, |guard| count(guards[&guard]));
        if weakness::off(Weakness::CellsGivenAway) {
            return mask;
        }
        let few = |number: i128| 0 < number && number < cohort;
        for people in counts.people.iter().filter(|people| !people.is_guard) {
            if few(people.openings.iter().map(|place| count(*place)).sum()) {
                mask.withhold(&people.outputs);
            }
        }
        loop {
            let released = self.released(&counts, &guards, &mask, &count);
            let violations: Vec<BTreeSet<usize>> = (0..self.groups())
                .flat_map(|group| violations(&released, group, &few))
                .collect();
            let cost = |place: usize| {
                let outputs = &released[place].people.outputs;
                match self.is_replaceable(outputs) {
                    // Replacing the rows loses less than withholding one number does.
                    true => 1,
                    false => {
                        2 * outputs
                            .iter()
                            .filter(|o| mask.is_released(**o))
                            .count()
                            .max(1)
                    }
                }
            };
            let Some(worst) = worst(&released, &violations, &cost) else {
                break;
            };
            let outputs = &released[worst].people.outputs;
            match self.is_replaceable(outputs) {
                // The number is computed below, from what is released in the end.
                true => mask.publish(0, 0),
                false => mask.withhold(outputs),
            }
        }
        self.withhold_sums_beside_levels(&mut mask);
        self.withhold_sides_or_scores(&mut mask, cohort, |output| count(guards[&output]));
        if let Rule::Public(_) = mask.rule(0) {
            let rows = self.released_rows(&mask, |output| count(guards[&output]));
            mask.publish(0, rows);
        }
        mask
    }

    /// Returns the number of homes in the released sections of a vector, which replaces its rows. It follows from the
    /// released numbers, so that it reveals nothing more, and is below the rows by less than the cohort.
    fn released_rows(&self, mask: &Mask, count: impl Fn(usize) -> i128) -> u64 {
        let sides = self.sides().unwrap_or_default();
        let is_released = |output: &usize| matches!(mask.rule(*output), Rule::Released(_));
        let sections = self.guards().filter(|output| *output > 0);
        let sections = sections.filter(|output| self.sides().is_none() || !sides.contains(output));
        let sections: i128 = sections.filter(is_released).map(&count).sum();
        let both = self.sides().is_some() && sides.iter().all(is_released);
        let sides = both.then(|| sides.iter().map(|side| count(*side)).sum());
        u64::try_from(sections.max(sides.unwrap_or(0))).unwrap_or(0)
    }

    /// Returns whether these outputs are a vector's rows, which [`released_rows`](Self::released_rows) can replace, so that
    /// they need not be withheld: only a loss is divided by them.
    fn is_replaceable(&self, outputs: &[usize]) -> bool {
        self.vector.is_some() && outputs.first() == Some(&0) && outputs.len() <= 2
    }

    /// Returns the counts that `mask` releases, each run of levels as one count.
    fn released(
        &self,
        counts: &Counts,
        guards: &HashMap<usize, usize>,
        mask: &Mask,
        count: &impl Fn(usize) -> i128,
    ) -> Vec<ReleasedCount> {
        let sum = |openings: &[usize]| openings.iter().map(|place| count(*place)).sum();
        let run_of = |output: usize| self.runs.iter().find(|run| run.contains(&output));
        let layout = super::Layout::of(&self.shape);
        let mut released: Vec<ReleasedCount> = Vec::new();
        let sides = self.sides().unwrap_or_default();
        for people in &counts.people {
            // `withhold_sides_or_scores` decides these two: they overlap with nothing but the runs of scores.
            let is_side = people
                .outputs
                .first()
                .is_some_and(|first| sides.contains(first));
            if self.sides().is_some() && is_side {
                continue;
            }
            let needed = people
                .openings
                .iter()
                .flat_map(|o| counts.openings[*o].outputs());
            let level = people.outputs.first().copied();
            let run = level.filter(|_| people.atoms.is_none()).and_then(run_of);
            let (Some(run), Some(level)) = (run, level) else {
                if needed.clone().all(|output| mask.is_released(output)) {
                    released.push(ReleasedCount {
                        people: people.clone(),
                        count: sum(&people.openings),
                    });
                }
                continue;
            };
            match mask.rule(level) {
                Rule::Withheld | Rule::Public(_) => {}
                Rule::Released(0) => {
                    // The level belongs to the run that the count before it began.
                    if let Some(last) = released.last_mut() {
                        last.count += sum(&people.openings);
                        last.people.traits.widen();
                        last.people.lower = None;
                    }
                }
                Rule::Released(_) => released.push(ReleasedCount {
                    people: People {
                        outputs: run.clone().collect(),
                        ..people.clone()
                    },
                    count: sum(&people.openings),
                }),
            }
        }
        // The levels of a variable add up to the homes that have a value.
        for moment in &self.shape.moments {
            let Moment::Levels { variable, .. } = moment else {
                continue;
            };
            for group in 0..layout.groups() {
                let levels = layout.moment(group, moment).unwrap_or_default();
                // Also 0 outputs, for a level that an earlier run includes.
                let in_a_run = |level: usize| matches!(mask.rule(level), Rule::Released(_));
                if levels.clone().all(in_a_run) {
                    let atoms = self.present(*variable);
                    let lowest = counts.people.iter().find(|people| {
                        people.outputs.first() == Some(&levels.start) && people.group == group
                    });
                    let places = levels.clone().map(|level| guards[&level]);
                    released.extend(lowest.map(|lowest| ReleasedCount {
                        people: People {
                            traits: lowest.traits.without_levels(),
                            atoms: Some(atoms),
                            lower: None,
                            outputs: levels.collect(),
                            ..lowest.clone()
                        },
                        count: places.map(count).sum(),
                    }));
                }
            }
        }
        released
    }

    /// Returns the outputs that count right and wrong predictions of two classes, if the vector has scores.
    fn sides(&self) -> Option<[usize; 2]> {
        let last = self.runs.last().filter(|_| self.vector.is_some())?;
        Some([last.end, last.end + 1])
    }

    /// Withholds the counts of right and wrong predictions of two classes, unless both reach the cohort. If they do, the
    /// scores are withheld unless all of them are released, and the homes of each side outside the runs of that side
    /// alone are none or reach the cohort.
    ///
    /// The scores go rather than the two counts: from few homes follows a useful accuracy, and no useful curve.
    fn withhold_sides_or_scores(
        &self,
        mask: &mut Mask,
        cohort: i128,
        count: impl Fn(usize) -> i128,
    ) {
        let Some(sides) = self.sides() else { return };
        let mut rest = sides.map(&count);
        if rest.iter().any(|side| *side < cohort) {
            mask.withhold(&sides);
            return;
        }
        let mut all = true;
        for (class, range) in self.runs.iter().enumerate() {
            let middle = range.start + range.len() / 2;
            let mut released = false;
            for output in range.clone() {
                let Rule::Released(run @ 1..) = mask.rule(output) else {
                    continue;
                };
                released = true;
                let upper = output >= middle;
                if upper || output + run <= middle {
                    let people: i128 = (output..output + run).map(&count).sum();
                    rest[usize::from(upper != (class == 1))] -= people;
                }
            }
            all &= released;
        }
        if !all || rest.iter().any(|rest| 0 < *rest && *rest < cohort) {
            for range in &self.runs {
                mask.withhold(&range.clone().collect::<Vec<usize>>());
            }
        }
    }

    /// Withholds the sum of a value, and of its square, beside levels that they would reveal: where few levels were
    /// merged or withheld, there are as many equations as unknown numbers.
    fn withhold_sums_beside_levels(&self, mask: &mut Mask) {
        let layout = super::Layout::of(&self.shape);
        let moments = &self.shape.moments;
        for moment in moments {
            let Moment::Levels { variable, .. } = moment else {
                continue;
            };
            let is_power = |other: &&Moment| match other {
                Moment::Product { present, factors } => {
                    !factors.is_empty()
                        && factors.iter().all(|factor| factor == variable)
                        && present.iter().all(|one| one == variable)
                }
                Moment::Levels { .. } => false,
            };
            let sums: Vec<&Moment> = moments.iter().filter(is_power).collect();
            for group in 0..layout.groups() {
                let output = |moment: &Moment| layout.moment(group, moment);
                let sums = sums.iter().filter_map(|sum| output(sum));
                let sums: Vec<usize> = sums.map(|range| range.start).collect();
                let released = sums.iter().filter(|sum| mask.is_released(**sum)).count();
                let Some(levels) = output(moment).filter(|_| released > 0) else {
                    continue;
                };
                // Unknown levels that the sums may reveal: both sums leave five or more in one run undetermined.
                let most = if released > 1 { 4 } else { 2 };
                let merged = self.runs.contains(&levels);
                let unknown = match merged {
                    // A level that is a run of its own is not unknown.
                    true => levels
                        .map(|level| match mask.rule(level) {
                            Rule::Released(count) => count,
                            _ => 0,
                        })
                        .max()
                        .filter(|longest| *longest > 1),
                    false => {
                        let withheld = levels.filter(|level| mask.rule(*level) == Rule::Withheld);
                        Some(withheld.count()).filter(|withheld| *withheld > 0)
                    }
                };
                if unknown.is_some_and(|unknown| unknown <= most) {
                    mask.withhold(&sums);
                }
            }
        }
    }
}

/// Returns the place of the count to withhold next: the one that ends the most violations per number that is lost with
/// it, then the largest. The whole goes before its parts, since it may be rows that the query did not select.
fn worst(
    released: &[ReleasedCount],
    violations: &[BTreeSet<usize>],
    cost: &impl Fn(usize) -> usize,
) -> Option<usize> {
    let mut ended: HashMap<usize, usize> = HashMap::new();
    for place in violations.iter().flatten() {
        *ended.entry(*place).or_default() += 1;
    }
    let better = |a: &usize, b: &usize| {
        let (one, other) = (ended[a] * cost(*b), ended[b] * cost(*a));
        one.cmp(&other)
            .then(released[*a].count.cmp(&released[*b].count))
            .then(a.cmp(b))
    };
    ended.keys().copied().max_by(better)
}
#[cfg(test)]
mod tests;
