//! Combinations of released counts from which a small count follows (protocol.md §9).

use std::collections::{BTreeSet, HashMap};

use super::boolean::{FUNCTIONS, Function, VARIABLES};
use super::people::{Atom, People};

/// Steps after which a search for parts of a count ends, and the count is withheld. The parts are subsets, so that
/// their number can be exponential; every aggregator stops at the same step.
const STEPS: usize = 20_000;

/// Violations that are listed for one count before something is withheld. More only cost time: the loop of
/// [`exact_mask`](super::Circuit::exact_mask) searches again after each withheld count.
const LISTED: usize = 64;

/// Count that would be released, with the people whom it counts.
pub(super) struct ReleasedCount {
    pub(super) people: People,
    pub(super) count: i128,
}

/// Returns the sets of counts of one group, as places in `released`, from which a count follows that is `few`.
pub(super) fn violations(
    released: &[ReleasedCount],
    group: usize,
    few: &impl Fn(i128) -> bool,
) -> Vec<BTreeSet<usize>> {
    let places: Vec<usize> = (0..released.len())
        .filter(|place| released[*place].people.group == group)
        .collect();
    let mut violations = nested(released, &places, few);
    violations.extend(combined(released, &places, few));
    violations
}

/// Returns each count with parts of it that share nobody and leave a few: the rest would follow by subtraction.
fn nested(
    released: &[ReleasedCount],
    places: &[usize],
    few: &impl Fn(i128) -> bool,
) -> Vec<BTreeSet<usize>> {
    let mut nobody: Vec<&BTreeSet<Atom>> = Vec::new();
    for place in places {
        if let ReleasedCount { people, count: 0 } = &released[*place] {
            nobody.extend(&people.atoms);
        }
    }
    // Two conditions also share nobody where the released count of both together is 0.
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
            few,
            apart: &apart,
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
struct Search<'a, F, A> {
    released: &'a [ReleasedCount],
    few: &'a F,
    apart: &'a A,
    /// Steps before the search gives up.
    steps: usize,
    /// The whole, and the parts that were chosen so far.
    chosen: Vec<usize>,
    /// Choices that leave a few.
    found: Vec<BTreeSet<usize>>,
}

impl<F: Fn(i128) -> bool, A: Fn(&People, &People) -> bool> Search<'_, F, A> {
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
            if left > all && !(self.few)(left - all) || self.found.len() >= LISTED {
                return true;
            }
            let count = self.released[part].count;
            all -= count;
            if count >= left {
                continue;
            }
            self.chosen.push(part);
            if (self.few)(left - count) {
                self.found.push(self.chosen.iter().copied().collect());
            }
            let apart = |other: &usize| {
                (self.apart)(&self.released[part].people, &self.released[*other].people)
            };
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

/// Returns the sets of counts from which the number of homes that meet a condition of degree two follows, where these
/// are a few.
fn combined(
    released: &[ReleasedCount],
    places: &[usize],
    few: &impl Fn(i128) -> bool,
) -> Vec<BTreeSet<usize>> {
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
                let place = |monomial: usize| {
                    let bits = (0..variables).filter(|bit| monomial >> bit & 1 == 1);
                    let factors: Vec<Atom> = bits.map(|bit| atoms[chosen[bit]]).collect();
                    within.get(&factors).copied()
                };
                let places: Vec<Option<usize>> = (0..1 << variables).map(place).collect();
                let lower = |variable: usize| lower.get(&atoms[chosen[variable]]).copied();
                for function in FUNCTIONS.iter().filter(|f| f.variables == variables) {
                    let Some(terms) = resolve(function, &places, lower) else {
                        continue;
                    };
                    let count = terms.iter().map(|(place, f)| released[*place].count * *f);
                    if few(count.sum()) {
                        violations.push(terms.iter().map(|(place, _)| *place).collect());
                    }
                }
            }
        }
    }
    violations
}

/// Returns the released counts, with factors, from which the number of homes that meet a function follows: those of its
/// monomials. Where some of these are withheld, the homes at the lower level of a bit stand for all homes less those at
/// the upper one.
fn resolve(
    function: &Function,
    places: &[Option<usize>],
    lower: impl Fn(usize) -> Option<usize>,
) -> Option<Vec<(usize, i128)>> {
    let of_monomials = |skipped: &[usize]| {
        let terms = function.terms.iter();
        terms
            .filter(|(monomial, _)| !skipped.contains(monomial))
            .map(|(monomial, factor)| Some((places[*monomial]?, *factor)))
            .collect::<Option<Vec<_>>>()
    };
    if let Some(terms) = of_monomials(&[]) {
        return Some(terms);
    }
    let factor_of = |wanted: usize| {
        let mut terms = function.terms.iter();
        terms
            .find(|(monomial, _)| *monomial == wanted)
            .map(|(_, factor)| *factor)
    };
    let of_all = factor_of(0)?;
    (0..function.variables).find_map(|variable| {
        let upper = 1 << variable;
        let place = lower(variable).filter(|_| factor_of(upper) == Some(-of_all))?;
        let mut terms = of_monomials(&[0, upper])?;
        terms.push((place, of_all));
        Some(terms)
    })
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
    use super::super::people::Traits;
    use super::*;
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
        let one = |count: i128| count == 1;
        assert!(!nested(&released, &places, &one).is_empty());
    }

    #[test]
    fn subsets_are_all_and_each_once() {
        let subsets = |count, size| subsets(count, size).collect::<Vec<_>>();
        assert_eq!(subsets(3, 2), [vec![0, 1], vec![0, 2], vec![1, 2]]);
        assert_eq!(subsets(2, 3).len(), 0);
        assert_eq!(subsets(7, 4).len(), 35);
    }
}
