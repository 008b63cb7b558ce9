//! Counts of people among a circuit's sums, and which count includes which (protocol.md §9).

use std::collections::BTreeSet;

mod rows;
mod sums;

use crate::{Circuit, Vector};
use dispers_base::field;
use dispers_query::local::{Fact, Facts, Text};

/// Count of people: a linear form over outputs, which aggregators open to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening(Vec<(usize, u64)>);

impl Opening {
    fn output(output: usize) -> Self {
        Self(vec![(output, 1)])
    }

    /// Returns the outputs of the linear form.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = usize> + Clone {
        self.0.iter().map(|(output, _)| *output)
    }

    /// Computes the count from the outputs, or its share from their shares.
    pub fn evaluate(&self, outputs: &[u64]) -> u64 {
        self.0.iter().fold(0, |sum, (output, weight)| {
            field::add(sum, field::mul(outputs[*output], *weight))
        })
    }
}

/// Condition that one factor of a product of bits stands for: a variable is not NULL, or has the upper of two levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Atom {
    /// The variable is not NULL.
    Present(u16),
    /// The variable has the upper of its two levels.
    Upper(u16),
}

/// Homes that one count includes, in one group.
#[derive(Debug, Clone)]
pub(crate) struct People {
    pub(crate) group: usize,
    /// Condition of the homes, where it is a product of bits; `None` for the homes at some levels of a variable.
    pub(crate) atoms: Option<BTreeSet<Atom>>,
    /// For the homes at the lower level of a bit: the condition that the bit is not NULL, and the bit.
    pub(crate) lower: Option<(BTreeSet<Atom>, Atom)>,
    /// Facts about the homes.
    pub(crate) traits: Traits,
    /// Positions of the openings that add up to their number.
    pub(crate) openings: Vec<usize>,
    /// Outputs that are withheld with this count.
    pub(crate) outputs: Vec<usize>,
    /// True if a count of 0 is withheld like any other below the cohort.
    pub(crate) is_guard: bool,
}

/// Facts about some homes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traits {
    /// Facts that hold for each of the homes.
    follows: Vec<Fact>,
    /// Facts that together define the homes. Beside each are facts that imply it if all of them hold.
    exactly: Vec<(Fact, Option<Vec<Fact>>)>,
}

impl Traits {
    /// Collects the facts about the homes that meet all `atoms`.
    fn of(atoms: &BTreeSet<Atom>, facts: &Facts) -> Self {
        let mut traits = Self::default();
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
    }

    /// Narrows the homes to those with these levels of a variable.
    pub(crate) fn with(mut self, level: Fact) -> Self {
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

    /// Widens the range of levels by the next level.
    pub(crate) fn widen(&mut self) {
        let exactly = self.exactly.iter_mut().map(|(fact, _)| fact);
        for fact in self.follows.iter_mut().chain(exactly) {
            if let Fact::Level(_, _, high) = fact {
                *high += 1;
            }
        }
    }

    /// Returns the same homes without the condition on levels.
    pub(crate) fn without_levels(&self) -> Self {
        let mut all = self.clone();
        all.follows.retain(|fact| !matches!(fact, Fact::Level(..)));
        all.exactly
            .retain(|(fact, _)| !matches!(fact, Fact::Level(..)));
        all
    }

    /// Returns whether the facts show that all of these homes are among `whole`.
    pub(crate) fn are_among(&self, whole: &Self) -> bool {
        whole.exactly.iter().all(|(fact, text)| {
            let text = text.as_ref();
            self.imply(fact) || text.is_some_and(|text| text.iter().all(|fact| self.imply(fact)))
        })
    }

    fn imply(&self, fact: &Fact) -> bool {
        self.follows.iter().any(|follows| follows.implies(fact))
    }

    /// Returns whether the facts show that no home is among both.
    pub(crate) fn exclude(&self, other: &Self) -> bool {
        let mut facts = self.follows.iter();
        facts.any(|one| other.follows.iter().any(|fact| one.excludes(fact)))
    }
}

/// Counts of people that follow from a circuit's outputs without the facts of a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) openings: Vec<Opening>,
    pub(crate) people: Vec<People>,
}

impl Counts {
    fn opening(&mut self, opening: Opening) -> usize {
        // A count that is opened twice would cost a second opening for nothing (protocol.md §9).
        let place = self.openings.iter().position(|one| *one == opening);
        place.unwrap_or_else(|| {
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
            lower: None,
            traits,
            openings: vec![opening],
            outputs: Vec::new(),
            is_guard,
        });
        self.people.last_mut().expect("one was just added")
    }

    /// Returns the place of the people with exactly this condition, from the place `first` on.
    fn place(&self, first: usize, atoms: &BTreeSet<Atom>) -> Option<usize> {
        let mut people = self.people[first..].iter();
        let place = people.position(|people| people.atoms.as_ref() == Some(atoms));
        place.map(|place| first + place)
    }
}

impl Circuit {
    /// Returns the counts of people that aggregators open, each once: the guards, and for an exact result also the sums
    /// that are counts.
    pub fn openings(&self, noisy: bool) -> Vec<Opening> {
        match noisy {
            true => self.guards().map(Opening::output).collect(),
            false => self.counts(&Facts::default()).openings,
        }
    }

    /// Returns the outputs that guard others, in output order.
    pub(crate) fn guards(&self) -> impl Iterator<Item = usize> {
        let outputs = self.outputs().iter().enumerate();
        outputs.filter_map(|(place, output)| (output.guard == place).then_some(place))
    }

    /// Returns every count of people; the guards come first among the openings.
    pub(crate) fn counts(&self, facts: &Facts) -> Counts {
        let mut counts = Counts::default();
        for guard in self.guards() {
            counts.opening(Opening::output(guard));
        }
        match self {
            Self::Rows(rows) => rows.count_people(facts, &mut counts),
            Self::Vector(vector) => vector.count_people(&mut counts),
            // Noise counts nobody.
            Self::Noise(_) => {}
        }
        counts
    }
}

impl Vector {
    /// Adds a vector's rows, and for each section the count of homes with a value there.
    fn count_people(&self, counts: &mut Counts) {
        for (output, one) in self.outputs().iter().enumerate() {
            if one.guard != output {
                // A coordinate is withheld with the count of its section, which was added before it.
                let people = counts.people.iter_mut().rev();
                let mut people = people.filter(|p| p.outputs.first() == Some(&one.guard));
                if let Some(people) = people.next() {
                    people.outputs.push(output);
                }
                continue;
            }
            // Sections are treated as disjoint, which is exact for homes with one document. For others it can only
            // withhold more.
            let number = counts.people.len() as u64;
            let mut traits = Traits::default();
            if output > 0 {
                traits = traits.with(Fact::Level(0, number, number));
            }
            let people = counts.add(0, None, traits, Opening::output(output), true);
            people.outputs.push(output);
        }
    }
}
