//! What an exact result must not tell beside what it tells (protocol.md §9).
//!
//! Numbers of one result add up to others: rows less those with a value are those without, and a total less all
//! parts but one is that part. Where such a difference is of fewer people than the cohort, and of some, one of the
//! numbers that it is made of is withheld. Aggregators decide this alike, from the counts that they opened.

use std::collections::{BTreeSet, HashMap};

use super::boolean::{FUNCTIONS, VARIABLES};
use super::mask::Rule;
use super::people::{Atom, Counts, People};
use super::{Circuit, Mask, Moment};
use crate::local::Facts;
use crate::weakness::{self, Weakness};

/// Steps after which a search for parts of a count ends, and the count is withheld.
const STEPS: usize = 20_000;
/// Violations that are listed of one count before something is withheld.
const LISTED: usize = 64;

/// A count that would be released.
struct Known {
    of: People,
    count: i128,
}

impl Circuit {
    /// What is released where the [`openings`](Self::openings) were opened with these values.
    ///
    /// Noisy counts are withheld by themselves alone: what follows from several of them has more noise, and tells
    /// no more than the ε of all allows.
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

    /// Returns whether the number of homes must not be told beside what `mask` releases of an exact result: it would
    /// tell how many have no row, or are in a group that is withheld, where these are few. `opened` are the values
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
                // Its rows would follow.
                return true;
            }
        }
        0 < rest && rest < cohort
    }

    /// What is released of an exact result: no number of fewer people than `cohort`, and none that tells such a
    /// number together with others. `count` gives the count at a position among the
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
            let known = self.known(&counts, &guards, &mask, &count);
            let mut violations = Vec::new();
            for group in 0..self.groups() {
                let of_group = |place: &usize| known[*place].of.group == group;
                let places: Vec<usize> = (0..known.len()).filter(of_group).collect();
                violations.extend(nested(&known, &places, &few));
                violations.extend(combined(&known, &places, &few));
            }
            let cost = |place: usize| {
                let outputs = &known[place].of.outputs;
                match self.is_told_in_steps(outputs) {
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
            let Some(worst) = worst(&known, &violations, &cost) else {
                break;
            };
            let outputs = &known[worst].of.outputs;
            match self.is_told_in_steps(outputs) {
                true => mask.tell(0, in_steps(known[worst].count, cohort)),
                false => mask.withhold(outputs),
            }
        }
        self.withhold_sums_beside_levels(&mut mask);
        self.withhold_sides_beside_scores(&mut mask, cohort, |output| count(guards[&output]));
        mask
    }

    /// Returns whether these are a vector's rows, and can be told in steps of the cohort instead of being withheld:
    /// nothing but a loss is divided by them.
    fn is_told_in_steps(&self, outputs: &[usize]) -> bool {
        self.vector.is_some() && outputs.first() == Some(&0) && outputs.len() <= 2
    }

    /// The counts that the mask leaves, runs of levels as one.
    fn known(
        &self,
        counts: &Counts,
        guards: &HashMap<usize, usize>,
        mask: &Mask,
        count: &impl Fn(usize) -> i128,
    ) -> Vec<Known> {
        let sum = |openings: &[usize]| openings.iter().map(|place| count(*place)).sum();
        let run_of = |output: usize| self.runs.iter().find(|run| run.contains(&output));
        let layout = super::Layout::of(&self.shape);
        let mut known: Vec<Known> = Vec::new();
        let sides = self.sides().unwrap_or_default();
        for people in &counts.people {
            // Of the others only the runs of scores know them.
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
                    known.push(Known {
                        count: sum(&people.openings),
                        of: people.clone(),
                    });
                }
                continue;
            };
            match mask.rule(level) {
                Rule::Withheld | Rule::Told(_) => {}
                Rule::Released(0) => {
                    // Part of the run before it.
                    if let Some(last) = known.last_mut() {
                        last.count += sum(&people.openings);
                        last.of.traits.widen();
                    }
                }
                Rule::Released(_) => known.push(Known {
                    count: sum(&people.openings),
                    of: People {
                        outputs: run.clone().collect(),
                        ..people.clone()
                    },
                }),
            }
        }
        // All levels of a variable together are all who have one.
        for moment in &self.shape.moments {
            let Moment::Levels { variable, .. } = moment else {
                continue;
            };
            for group in 0..layout.groups() {
                let levels = layout.moment(group, moment).unwrap_or_default();
                let released = |level: usize| match mask.rule(level) {
                    Rule::Released(_) => true,
                    Rule::Withheld | Rule::Told(_) => false,
                };
                if levels.clone().all(released) {
                    let atoms = self.present(*variable);
                    let of = counts.people.iter().find(|people| {
                        people.outputs.first() == Some(&levels.start) && people.group == group
                    });
                    let places = levels.clone().map(|level| guards[&level]);
                    known.extend(of.map(|of| Known {
                        count: places.map(count).sum(),
                        of: People {
                            traits: of.traits.without_levels(),
                            atoms: Some(atoms),
                            outputs: levels.collect(),
                            ..of.clone()
                        },
                    }));
                }
            }
        }
        known
    }

    /// The outputs that count who is right and who is wrong about two classes.
    fn sides(&self) -> Option<[usize; 2]> {
        let last = self.runs.last().filter(|_| self.vector.is_some())?;
        Some([last.end, last.end + 1])
    }

    /// How many are right and wrong about two classes is told where both are enough, all scores are released, and those
    /// of either side that are in no run of that side alone are enough, or none.
    fn withhold_sides_beside_scores(
        &self,
        mask: &mut Mask,
        cohort: i128,
        count: impl Fn(usize) -> i128,
    ) {
        let Some(sides) = self.sides() else { return };
        let mut rest = sides.map(&count);
        let mut all = rest.iter().all(|side| *side >= cohort);
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
            mask.withhold(&sides);
        }
    }

    /// Sums of a value, and of its square, tell single levels where few of them were added up or withheld: as many
    /// equations as unknown numbers. A run of five levels or more cannot be told apart by both.
    fn withhold_sums_beside_levels(&self, mask: &mut Mask) {
        let layout = super::Layout::of(&self.shape);
        let moments = &self.shape.moments;
        for moment in moments {
            let Moment::Levels { variable, .. } = moment else {
                continue;
            };
            let of_variable = |other: &&Moment| match other {
                Moment::Product { present, factors } => {
                    !factors.is_empty()
                        && factors.iter().all(|factor| factor == variable)
                        && present.iter().all(|one| one == variable)
                }
                Moment::Levels { .. } => false,
            };
            let sums: Vec<&Moment> = moments.iter().filter(of_variable).collect();
            for group in 0..layout.groups() {
                let output = |moment: &Moment| layout.moment(group, moment);
                let sums = sums.iter().filter_map(|sum| output(sum));
                let sums: Vec<usize> = sums.map(|range| range.start).collect();
                let released = sums.iter().filter(|sum| mask.is_released(**sum)).count();
                let Some(levels) = output(moment).filter(|_| released > 0) else {
                    continue;
                };
                let most = if released > 1 { 4 } else { 2 };
                let merged = self.runs.contains(&levels);
                let unknown = match merged {
                    // A level that is a run of its own is known.
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

/// The largest multiple of the cohort that a count reaches.
fn in_steps(count: i128, cohort: i128) -> u64 {
    u64::try_from(count - count.rem_euclid(cohort.max(1))).unwrap_or(0)
}

/// The count to withhold next: the one that ends most violations for each number that is lost with it, then the
/// largest, the whole rather than its parts: it may be rows that nobody asked for.
fn worst(
    known: &[Known],
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
            .then(known[*a].count.cmp(&known[*b].count))
            .then(a.cmp(b))
    };
    ended.keys().copied().max_by(better)
}

/// Counts of which others are parts that leave a few.
fn nested(known: &[Known], places: &[usize], few: &impl Fn(i128) -> bool) -> Vec<BTreeSet<usize>> {
    let mut nobody: Vec<&BTreeSet<Atom>> = Vec::new();
    for place in places {
        if let Known { of, count: 0 } = &known[*place] {
            nobody.extend(&of.atoms);
        }
    }
    let apart = |one: &People, other: &People| {
        let excluded = one.traits.exclude(&other.traits);
        let both = one.atoms.as_ref().zip(other.atoms.as_ref());
        excluded
            || both.is_some_and(|(one, other)| {
                let both: BTreeSet<Atom> = one.union(other).copied().collect();
                nobody.contains(&&both)
            })
    };
    let mut violations = Vec::new();
    for &whole in places {
        let mut parts: Vec<usize> = places
            .iter()
            .copied()
            .filter(|part| {
                let count = known[*part].count;
                *part != whole
                    && 0 < count
                    && count < known[whole].count
                    && known[*part].of.traits.are_among(&known[whole].of.traits)
            })
            .collect();
        parts.sort_by_key(|part| (std::cmp::Reverse(known[*part].count), *part));
        let mut search = Search {
            known,
            few,
            apart: &apart,
            steps: STEPS,
            chosen: vec![whole],
            found: Vec::new(),
        };
        if !search.over(&parts, known[whole].count) && search.found.is_empty() {
            search.found.push(BTreeSet::from([whole]));
        }
        violations.append(&mut search.found);
    }
    violations
}

/// A search for parts of a count that share nobody.
struct Search<'a, F, A> {
    known: &'a [Known],
    few: &'a F,
    apart: &'a A,
    steps: usize,
    chosen: Vec<usize>,
    found: Vec<BTreeSet<usize>>,
}

impl<F: Fn(i128) -> bool, A: Fn(&People, &People) -> bool> Search<'_, F, A> {
    /// Chooses among `parts`, the largest first, where `left` are in none that was chosen. Returns false if it took
    /// too long.
    fn over(&mut self, parts: &[usize], left: i128) -> bool {
        let mut all: i128 = parts.iter().map(|part| self.known[*part].count).sum();
        for (place, &part) in parts.iter().enumerate() {
            self.steps = match self.steps.checked_sub(1) {
                Some(steps) => steps,
                None => return false,
            };
            // Not even all of them together leave few.
            if left > all && !(self.few)(left - all) || self.found.len() >= LISTED {
                return true;
            }
            let count = self.known[part].count;
            all -= count;
            if count >= left {
                continue;
            }
            self.chosen.push(part);
            if (self.few)(left - count) {
                self.found.push(self.chosen.iter().copied().collect());
            }
            let apart = |other: &usize| (self.apart)(&self.known[part].of, &self.known[*other].of);
            let others: Vec<usize> = parts[place + 1..].iter().copied().filter(apart).collect();
            let done = self.over(&others, left - count);
            self.chosen.pop();
            if !done {
                return false;
            }
        }
        true
    }
}

/// Conditions on presences and bits that counts of one and of two of them decide.
fn combined(
    known: &[Known],
    places: &[usize],
    few: &impl Fn(i128) -> bool,
) -> Vec<BTreeSet<usize>> {
    let by_atoms: HashMap<&BTreeSet<Atom>, usize> = places
        .iter()
        .filter_map(|place| Some((known[*place].of.atoms.as_ref()?, *place)))
        .collect();
    let mut contexts: Vec<(&BTreeSet<Atom>, usize)> = by_atoms
        .iter()
        .map(|(atoms, place)| (*atoms, *place))
        .collect();
    contexts.sort();
    let mut violations = Vec::new();
    for (context, _) in &contexts {
        // Those with one or two more conditions.
        let mut within: HashMap<Vec<Atom>, usize> = HashMap::new();
        let mut atoms: BTreeSet<Atom> = BTreeSet::new();
        for (set, place) in &contexts {
            if set.is_superset(context) && set.len() <= context.len() + 2 {
                let more: Vec<Atom> = set.difference(context).copied().collect();
                atoms.extend(&more);
                within.insert(more, *place);
            }
        }
        if !within.keys().any(|more| more.len() == 2) {
            continue;
        }
        let atoms: Vec<Atom> = atoms.into_iter().collect();
        for variables in 2..=VARIABLES.min(atoms.len()) {
            for chosen in subsets(atoms.len(), variables) {
                let place = |monomial: usize| {
                    let of = (0..variables).filter(|bit| monomial >> bit & 1 == 1);
                    let of: Vec<Atom> = of.map(|bit| atoms[chosen[bit]]).collect();
                    within.get(&of).copied()
                };
                let places: Vec<Option<usize>> = (0..1 << variables).map(place).collect();
                for function in FUNCTIONS.iter().filter(|f| f.variables == variables) {
                    let terms = function.terms.iter();
                    let terms = terms.map(|(monomial, factor)| Some((places[*monomial]?, factor)));
                    let Some(terms) = terms.collect::<Option<Vec<_>>>() else {
                        continue;
                    };
                    let count = terms.iter().map(|(place, f)| known[*place].count * **f);
                    if few(count.sum()) {
                        violations.push(terms.iter().map(|(place, _)| *place).collect());
                    }
                }
            }
        }
    }
    violations
}

/// The subsets of so many of the numbers below `count`.
fn subsets(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut next = (size <= count).then(|| (0..size).collect::<Vec<usize>>());
    std::iter::from_fn(move || {
        let subset = next.clone()?;
        next = (0..size)
            .rev()
            .find(|place| subset[*place] < count - size + place)
            .map(|place| {
                let mut after = subset.clone();
                for (later, number) in after[place..].iter_mut().zip(subset[place] + 1..) {
                    *later = number;
                }
                after
            });
        Some(subset)
    })
}

#[cfg(test)]
mod tests;
