//! Counts of people among a circuit's sums, and how they contain each other (protocol.md §9).

use std::collections::BTreeSet;

use super::{Circuit, Moment};
use crate::field;
use crate::local::{Fact, Facts, Text};

/// A count of people: a linear form over outputs, which aggregators open to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening(Vec<(usize, u64)>);

impl Opening {
    fn output(output: usize) -> Self {
        Self(vec![(output, 1)])
    }

    /// The outputs that the count is made of.
    pub(super) fn outputs(&self) -> impl Iterator<Item = usize> + Clone {
        self.0.iter().map(|(output, _)| *output)
    }

    /// The count, or its share, from the outputs or their shares.
    pub fn evaluate(&self, outputs: &[u64]) -> u64 {
        let term = |(output, weight): &(usize, u64)| field::mul(outputs[*output], *weight);
        self.0.iter().map(term).fold(0, field::add)
    }
}

/// A condition that a product of bits stands for: a variable is not NULL, or has the upper of two levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Atom {
    Present(u16),
    Upper(u16),
}

/// Homes that one count is of, in one group.
#[derive(Debug, Clone)]
pub(super) struct People {
    pub(super) group: usize,
    /// All that holds of them, where that is a product of bits; none for those at some levels of a variable.
    pub(super) atoms: Option<BTreeSet<Atom>>,
    /// What holds of them.
    pub(super) traits: Traits,
    /// Positions of the openings that add up to their number.
    pub(super) openings: Vec<usize>,
    /// Outputs that are withheld where this count must be.
    pub(super) outputs: Vec<usize>,
    /// Whether a count of nobody is withheld like any other below the cohort.
    pub(super) is_guard: bool,
}

/// What holds of some homes.
#[derive(Debug, Clone, Default)]
pub(super) struct Traits {
    /// Everything that is known to hold of each of them.
    follows: Vec<Fact>,
    /// What makes a home one of them: each of these facts, which may also be shown by all of those beside it.
    exactly: Vec<(Fact, Option<Vec<Fact>>)>,
}

impl Traits {
    /// Homes with these levels of a variable.
    pub(super) fn with(mut self, level: Fact) -> Self {
        self.follows.push(level.clone());
        self.exactly.push((level, None));
        self
    }

    fn add(&mut self, fact: Fact, text: Option<&Text>) {
        self.follows.push(fact.clone());
        if let Some(text) = text {
            self.follows.extend(text.follows.iter().cloned());
        }
        let exactly = text.map(|text| text.exactly.clone());
        self.exactly.push((fact, exactly));
    }

    /// Adds the next level of the variable.
    pub(super) fn widen(&mut self) {
        let exactly = self.exactly.iter_mut().map(|(fact, _)| fact);
        for fact in self.follows.iter_mut().chain(exactly) {
            if let Fact::Level(_, _, high) = fact {
                *high += 1;
            }
        }
    }

    /// Homes with any level.
    pub(super) fn without_levels(&self) -> Self {
        let mut all = self.clone();
        let is_level = |fact: &Fact| matches!(fact, Fact::Level(..));
        all.follows.retain(|fact| !is_level(fact));
        all.exactly.retain(|(fact, _)| !is_level(fact));
        all
    }

    /// Returns whether all of these are among `whole`.
    pub(super) fn are_among(&self, whole: &Self) -> bool {
        let shown = |fact: &Fact| self.follows.iter().any(|known| known.implies(fact));
        whole.exactly.iter().all(|(fact, text)| {
            shown(fact) || text.as_ref().is_some_and(|text| text.iter().all(shown))
        })
    }

    /// Returns whether no home is among both.
    pub(super) fn exclude(&self, other: &Self) -> bool {
        let mut facts = self.follows.iter();
        facts.any(|one| other.follows.iter().any(|fact| one.excludes(fact)))
    }
}

/// All counts of people that a circuit's outputs say by themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) openings: Vec<Opening>,
    pub(super) people: Vec<People>,
}

impl Counts {
    fn opening(&mut self, opening: Opening) -> usize {
        let known = self.openings.iter().position(|one| *one == opening);
        known.unwrap_or_else(|| {
            self.openings.push(opening);
            self.openings.len() - 1
        })
    }

    fn add(
        &mut self,
        group: usize,
        atoms: Option<BTreeSet<Atom>>,
        traits: Traits,
        opening: Opening,
        is_guard: bool,
    ) -> &mut People {
        let opening = self.opening(opening);
        self.people.push(People {
            group,
            atoms,
            traits,
            openings: vec![opening],
            outputs: Vec::new(),
            is_guard,
        });
        self.people.last_mut().expect("one was just added")
    }
}

impl Circuit {
    /// The counts of people that aggregators open: the guards, and where the result is exact also sums that are
    /// counts. Each is opened once.
    pub fn openings(&self, noisy: bool) -> Vec<Opening> {
        match noisy {
            true => self.guards().map(Opening::output).collect(),
            false => self.counts(&Facts::default()).openings,
        }
    }

    /// The outputs that guard others, in output order.
    pub(super) fn guards(&self) -> impl Iterator<Item = usize> {
        (0..self.outputs.len()).filter(|&output| self.outputs[output].guard == output)
    }

    /// Every count of people; the guards come first among the openings.
    pub(super) fn counts(&self, facts: &Facts) -> Counts {
        let mut counts = Counts::default();
        for guard in self.guards() {
            counts.opening(Opening::output(guard));
        }
        match self.vector {
            Some(_) => self.sections(&mut counts),
            None => (0..self.groups()).for_each(|group| self.group(group, facts, &mut counts)),
        }
        counts
    }

    /// A vector's rows, and for each section the homes that have something there.
    fn sections(&self, counts: &mut Counts) {
        for (output, one) in self.outputs.iter().enumerate() {
            if one.guard != output {
                // Coordinates follow the count of their section, but for the first.
                let people = counts.people.iter_mut().rev();
                let mut people = people.filter(|p| p.outputs.first() == Some(&one.guard));
                if let Some(people) = people.next() {
                    people.outputs.push(output);
                }
                continue;
            }
            // Homes with one document are in one section alone. That is taken of all: it can only withhold more.
            let number = counts.people.len() as u64;
            let mut traits = Traits::default();
            if output > 0 {
                traits = traits.with(Fact::Level(0, number, number));
            }
            let people = counts.add(0, None, traits, Opening::output(output), true);
            people.outputs.push(output);
        }
    }

    fn group(&self, group: usize, facts: &Facts, counts: &mut Counts) {
        let shape = &self.shape;
        let layout = super::Layout::of(shape);
        let start = layout.rows(group);
        let place = |moment: &Moment| {
            layout
                .moment(group, moment)
                .map_or(start, |range| range.start)
        };
        let is_bit = |variable: &u16| shape.variables[usize::from(*variable)].max == 1;
        let traits_of = |atoms: &BTreeSet<Atom>| {
            let mut traits = Traits::default();
            for atom in atoms {
                match atom {
                    Atom::Present(variable) => {
                        traits.add(Fact::Present(*variable), facts.present(*variable));
                    }
                    Atom::Upper(variable) => {
                        traits.add(Fact::Level(*variable, 1, 1), facts.upper(*variable));
                    }
                }
            }
            traits
        };
        // Who a sum is of: those who have all of `present`, and the upper level of every factor of two levels.
        let behind = |present: &[u16], factors: &[u16]| -> BTreeSet<Atom> {
            let upper = factors.iter().filter(|v| is_bit(v)).copied();
            let present = present.iter().copied().map(Atom::Present);
            present.chain(upper.map(Atom::Upper)).collect()
        };
        let first = counts.people.len();
        let everybody = BTreeSet::new();
        let rows = counts.add(
            group,
            Some(everybody),
            Traits::default(),
            Opening::output(start),
            true,
        );
        rows.outputs.push(start);
        let products = || {
            shape.moments.iter().filter_map(|moment| match moment {
                Moment::Product { present, factors } => {
                    Some((place(moment), behind(present, factors), factors))
                }
                Moment::Levels { .. } => None,
            })
        };
        let find = |counts: &Counts, atoms: &BTreeSet<Atom>| {
            let people = counts.people[first..].iter();
            let place = people.clone().position(|p| p.atoms.as_ref() == Some(atoms));
            place.map(|place| first + place)
        };
        for (output, atoms, factors) in products() {
            if factors.iter().all(is_bit) && find(counts, &atoms).is_none() {
                let traits = traits_of(&atoms);
                counts.add(
                    group,
                    Some(atoms),
                    traits,
                    Opening::output(output),
                    factors.is_empty(),
                );
            }
        }
        for (output, atoms, _) in products() {
            if let Some(place) = find(counts, &atoms) {
                counts.people[place].outputs.push(output);
            }
        }
        for moment in &shape.moments {
            match moment {
                Moment::Levels { variable, .. } => {
                    let range = layout.moment(group, moment).unwrap_or(start..start);
                    for (level, output) in (0u64..).zip(range) {
                        let traits = traits_of(&self.present(*variable));
                        let traits = traits.with(Fact::Level(*variable, level, level));
                        let opening = Opening::output(output);
                        let people = counts.add(group, None, traits, opening, true);
                        people.outputs.push(output);
                    }
                }
                Moment::Product { present, factors } => {
                    self.few_levels(group, present, factors, &place, &traits_of, counts);
                }
            }
        }
    }

    /// Who is present where a variable is not NULL.
    pub(super) fn present(&self, variable: u16) -> BTreeSet<Atom> {
        let nullable = self.shape.variables[usize::from(variable)].nullable;
        let present = nullable.then_some(Atom::Present(variable));
        present.into_iter().collect()
    }

    /// The sum and the sum of squares of three or four levels say how many have some of them: with a sum S and
    /// squares Q, levels 1 and 2 are of 2S − Q and (Q − S)/2 homes, and 1 and 2 of four together of (3S − Q)/2.
    fn few_levels(
        &self,
        group: usize,
        present: &[u16],
        factors: &[u16],
        place: &dyn Fn(&Moment) -> usize,
        traits_of: &dyn Fn(&BTreeSet<Atom>) -> Traits,
        counts: &mut Counts,
    ) {
        let [one, other] = *factors else { return };
        let max = self.shape.variables[usize::from(one)].max;
        let of = |factors: Vec<u16>| Moment::Product {
            present: present.to_vec(),
            factors,
        };
        let sum = of(vec![one]);
        if one != other || !self.shape.moments.contains(&sum) {
            return;
        }
        let (sum, squares) = (place(&sum), place(&of(vec![one, one])));
        let half = field::inverse(2);
        let some: &[(u64, u64, u64, u64)] = match max {
            2 => &[(1, 1, 2, field::neg(1)), (2, 2, field::neg(half), half)],
            3 => &[(1, 2, field::mul(3, half), field::neg(half))],
            _ => return,
        };
        for &(low, high, of_sum, of_squares) in some {
            let atoms = present.iter().copied().map(Atom::Present).collect();
            let traits = traits_of(&atoms).with(Fact::Level(one, low, high));
            let opening = Opening(vec![(sum, of_sum), (squares, of_squares)]);
            let people = counts.add(group, None, traits, opening, false);
            people.outputs.push(squares);
        }
    }
}
