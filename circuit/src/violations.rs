//! Combinations of released counts from which a small count follows (protocol.md §9).

use std::collections::{BTreeSet, HashMap};

use crate::boolean::{FUNCTIONS, Function, VARIABLES};
use crate::people::{Atom, People};

/// Steps after which a search for parts of a count ends, and the count is withheld. The parts are subsets, so that
/// their number can be exponential; every aggregator stops at the same step.
const STEPS: usize = 20_000;

/// Violations that are listed for one count before something is withheld. More only cost time: the loop of
/// [`exact_mask`](crate::Circuit::exact_mask) searches again after each withheld count.
const LISTED: usize = 64;

/// Count that would be released, with the people whom it counts.
pub(crate) struct ReleasedCount {
    pub(crate) people: People,
    pub(crate) count: i128,
}

/// Returns whether a number counts some people, but fewer than the cohort.
pub(crate) fn is_few(number: i128, cohort: i128) -> bool {
    0 < number && number < cohort
}

/// Returns the sets of counts of one group, as places in `released`, from which a count of a few people follows.
pub(crate) fn violations(
    released: &[ReleasedCount],
    group: usize,
    cohort: i128,
) -> Vec<BTreeSet<usize>> {
    let places: Vec<usize> = (0..released.len())
        .filter(|place| released[*place].people.group == group)
        .collect();
    let mut violations = nested(released, &places, cohort);
    violations.extend(combined(released, &places, cohort));
    violations
}

/// Returns each count with parts of it that share nobody and leave a few: the rest would follow by subtraction.
fn nested(released: &[ReleasedCount], places: &[usize], cohort: i128) -> Vec<BTreeSet<usize>> {
    let mut nobody: Vec<&BTreeSet<Atom>> = Vec::new();
    for place in places {
        if let ReleasedCount { people, count: 0 } = &released[*place] {
            nobody.extend(&people.atoms);
        }
    }
    let mut violations = Vec::new();
    for &whole in places {
        let mut parts: Vec<usize> = places
            .iter()
            .copied()
            .filter(|part| {
                let count = released[*part].count;
                *part != whole
                    && 0 < count
                    && count < released[whole].count
                    && released[*part]
                        .people
                        .traits
                        .are_among(&released[whole].people.traits)
            })
            .collect();
        parts.sort_by_key(|part| (std::cmp::Reverse(released[*part].count), *part));
        let mut search = Search {
            released,
            cohort,
            nobody: &nobody,
            steps: STEPS,
            chosen: vec![whole],
            found: Vec::new(),
        };
        if !search.over(&parts, released[whole].count) && search.found.is_empty() {
            search.found.push(BTreeSet::from([whole]));
        }
        violations.append(&mut search.found);
    }
    violations
}

/// Search for parts of a count that share nobody.
struct Search<'a> {
    released: &'a [ReleasedCount],
    cohort: i128,
    /// Conditions that nobody meets, by a released count of 0.
    nobody: &'a [&'a BTreeSet<Atom>],
    /// Steps before the search gives up.
    steps: usize,
    /// The whole, and the parts that were chosen so far.
    chosen: Vec<usize>,
    /// Choices that leave a few.
    found: Vec<BTreeSet<usize>>,
}

impl Search<'_> {
    /// Chooses among `parts`, the largest first, where `left` people are in no chosen part. Returns false if the
    /// search ran out of steps.
    fn over(&mut self, parts: &[usize], left: i128) -> bool {
        let mut all: i128 = parts.iter().map(|part| self.released[*part].count).sum();
        for (place, &part) in parts.iter().enumerate() {
            self.steps = match self.steps.checked_sub(1) {
                Some(steps) => steps,
                None => return false,
            };
            // Even all remaining parts together leave more than a few.
            if left > all && !is_few(left - all, self.cohort) || self.found.len() >= LISTED {
                return true;
            }
            let count = self.released[part].count;
            all -= count;
            if count >= left {
                continue;
            }
            self.chosen.push(part);
            if is_few(left - count, self.cohort) {
                self.found.push(self.chosen.iter().copied().collect());
            }
            let others = parts[place + 1..].iter().copied();
            let others: Vec<usize> = others
                .filter(|other| self.are_apart(part, *other))
                .collect();
            let done = self.over(&others, left - count);
            self.chosen.pop();
            if !done {
                return false;
            }
        }
        true
    }

    /// Returns whether two counts share nobody: facts exclude it, or the released count of both conditions is 0.
    fn are_apart(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.released[one].people, &self.released[other].people);
        let both = one.atoms.as_ref().zip(other.atoms.as_ref());
        one.traits.exclude(&other.traits)
            || both.is_some_and(|(one, other)| {
                let both: BTreeSet<Atom> = one.union(other).copied().collect();
                self.nobody.contains(&&both)
            })
    }
}

/// Returns the sets of counts from which the number of homes that meet a condition of degree two follows, where these
/// are a few.
fn combined(released: &[ReleasedCount], places: &[usize], cohort: i128) -> Vec<BTreeSet<usize>> {
    let by_atoms: HashMap<&BTreeSet<Atom>, usize> = places
        .iter()
        .filter_map(|place| Some((released[*place].people.atoms.as_ref()?, *place)))
        .collect();
    let mut counts: Vec<(&BTreeSet<Atom>, usize)> = by_atoms
        .iter()
        .map(|(atoms, place)| (*atoms, *place))
        .collect();
    counts.sort();
    let lower: Vec<(&BTreeSet<Atom>, Atom, usize)> = places
        .iter()
        .filter_map(|place| {
            let (present, bit) = released[*place].people.lower.as_ref()?;
            Some((present, *bit, *place))
        })
        .collect();
    let contexts = counts.iter().map(|(context, _)| *context);
    let contexts: BTreeSet<_> = contexts
        .chain(lower.iter().map(|(present, ..)| *present))
        .collect();
    let mut violations = Vec::new();
    for context in contexts {
        // Counts with at most two more conditions than the context, by these conditions.
        let mut within: HashMap<Vec<Atom>, usize> = HashMap::new();
        let mut atoms: BTreeSet<Atom> = BTreeSet::new();
        for (set, place) in &counts {
            if set.is_superset(context) && set.len() <= context.len() + 2 {
                let more: Vec<Atom> = set.difference(context).copied().collect();
                atoms.extend(&more);
                within.insert(more, *place);
            }
        }
        if !within.keys().any(|more| more.len() == 2) {
            continue;
        }
        let lower: HashMap<Atom, usize> = lower
            .iter()
            .filter(|(present, ..)| *present == context)
            .map(|(_, bit, place)| (*bit, *place))
            .collect();
        atoms.extend(lower.keys());
        let atoms: Vec<Atom> = atoms.into_iter().collect();
        for variables in 2..=VARIABLES.min(atoms.len()) {
            for chosen in subsets(atoms.len(), variables) {
                let chosen: Vec<Atom> = chosen.iter().map(|atom| atoms[*atom]).collect();
                let places: Vec<Option<usize>> = (0..1usize << variables)
                    .map(|monomial| {
                        let bits = (0..variables).filter(|bit| monomial >> bit & 1 == 1);
                        let factors: Vec<Atom> = bits.map(|bit| chosen[bit]).collect();
                        within.get(&factors).copied()
                    })
                    .collect();
                let lower: Vec<Option<usize>> =
                    chosen.iter().map(|bit| lower.get(bit).copied()).collect();
                for function in FUNCTIONS.iter().filter(|f| f.variables == variables) {
                    let Some(terms) = resolve(function, &places, &lower) else {
                        continue;
                    };
                    let count = terms.iter().map(|(place, f)| released[*place].count * *f);
                    if is_few(count.sum(), cohort) {
                        violations.push(terms.iter().map(|(place, _)| *place).collect());
                    }
                }
            }
        }
    }
    violations
}

/// Returns the released counts, with factors, from which the number of homes that meet a function follows: those of its
/// monomials, as listed in `places`. Where some of these are withheld, the homes at the lower level of a bit, listed in
/// `lower`, stand for all homes less those at the upper level.
fn resolve(
    function: &Function,
    places: &[Option<usize>],
    lower: &[Option<usize>],
) -> Option<Vec<(usize, i128)>> {
    if let Some(terms) = without(function, places, &[]) {
        return Some(terms);
    }
    let of_all = function.factor(0)?;
    lower.iter().enumerate().find_map(|(variable, place)| {
        let upper = 1 << variable;
        let place = place.filter(|_| function.factor(upper) == Some(-of_all))?;
        let mut terms = without(function, places, &[0, upper])?;
        terms.push((place, of_all));
        Some(terms)
    })
}

/// Returns the released counts of a function's monomials, with factors, without the `skipped` monomials.
fn without(
    function: &Function,
    places: &[Option<usize>],
    skipped: &[usize],
) -> Option<Vec<(usize, i128)>> {
    let terms = function.terms.iter();
    terms
        .filter(|(monomial, _)| !skipped.contains(monomial))
        .map(|(monomial, factor)| Some((places[*monomial]?, *factor)))
        .collect()
}

/// Returns the subsets of `size` of the numbers below `count`.
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
mod tests {
    use super::*;
    use crate::people::Traits;
    use dispers_query::local::Fact;

    fn counting(count: i128, traits: Traits) -> ReleasedCount {
        ReleasedCount {
            people: People {
                group: 0,
                atoms: None,
                lower: None,
                traits,
                openings: Vec::new(),
                outputs: Vec::new(),
                is_guard: true,
            },
            count,
        }
    }

    #[test]
    fn a_search_that_takes_too_long_withholds_the_whole() {
        let mut released: Vec<ReleasedCount> = (0..60)
            .map(|level| {
                counting(
                    101 + 2 * i128::from(level),
                    Traits::default().with(Fact::Level(0, level, level)),
                )
            })
            .collect();
        released.push(counting(3001, Traits::default()));
        let places: Vec<usize> = (0..released.len()).collect();
        assert!(!nested(&released, &places, 2).is_empty());
    }

    #[test]
    fn subsets_are_all_and_each_once() {
        let pairs: Vec<_> = subsets(3, 2).collect();
        assert_eq!(pairs, [vec![0, 1], vec![0, 2], vec![1, 2]]);
        assert_eq!(subsets(2, 3).count(), 0);
        assert_eq!(subsets(7, 4).count(), 35);
    }
}
