//! Counts of people among a circuit's sums, and which count includes which (protocol.md §9).

use std::{collections::BTreeSet, ops::Range};

use super::{Circuit, Layout, Moment};
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
    pub(super) fn outputs(&self) -> impl Iterator<Item = usize> + Clone {
        self.0.iter().map(|(output, _)| *output)
    }

    /// Computes the count from the outputs, or its share from their shares.
    pub fn evaluate(&self, outputs: &[u64]) -> u64 {
        let term = |(output, weight): &(usize, u64)| field::mul(outputs[*output], *weight);
        self.0.iter().map(term).fold(0, field::add)
    }
}

/// Condition that one factor of a product of bits stands for: a variable is not NULL, or has the upper of two levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Atom {
    Present(u16),
    Upper(u16),
}

/// Homes that one count includes, in one group.
#[derive(Debug, Clone)]
pub(super) struct People {
    pub(super) group: usize,
    /// Condition of the homes, where it is a product of bits; `None` for the homes at some levels of a variable.
    pub(super) atoms: Option<BTreeSet<Atom>>,
    /// For the homes at the lower level of a bit: the condition that the bit is not NULL, and the bit.
    pub(super) lower: Option<(BTreeSet<Atom>, Atom)>,
    /// Facts about the homes.
    pub(super) traits: Traits,
    /// Positions of the openings that add up to their number.
    pub(super) openings: Vec<usize>,
    /// Outputs that are withheld with this count.
    pub(super) outputs: Vec<usize>,
    /// True if a count of 0 is withheld like any other below the cohort.
    pub(super) is_guard: bool,
}

/// Facts about some homes.
#[derive(Debug, Clone, Default)]
pub(super) struct Traits {
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

    /// Widens the range of levels by the next level.
    pub(super) fn widen(&mut self) {
        let exactly = self.exactly.iter_mut().map(|(fact, _)| fact);
        for fact in self.follows.iter_mut().chain(exactly) {
            if let Fact::Level(_, _, high) = fact {
                *high += 1;
            }
        }
    }

    /// Returns the same homes without the condition on levels.
    pub(super) fn without_levels(&self) -> Self {
        let mut all = self.clone();
        let is_level = |fact: &Fact| matches!(fact, Fact::Level(..));
        all.follows.retain(|fact| !is_level(fact));
        all.exactly.retain(|(fact, _)| !is_level(fact));
        all
    }

    /// Returns whether the facts show that all of these homes are among `whole`.
    pub(super) fn are_among(&self, whole: &Self) -> bool {
        let shown = |fact: &Fact| self.follows.iter().any(|follows| follows.implies(fact));
        whole.exactly.iter().all(|(fact, text)| {
            shown(fact) || text.as_ref().is_some_and(|text| text.iter().all(shown))
        })
    }

    /// Returns whether the facts show that no home is among both.
    pub(super) fn exclude(&self, other: &Self) -> bool {
        let mut facts = self.follows.iter();
        facts.any(|one| other.follows.iter().any(|fact| one.excludes(fact)))
    }
}

/// Counts of people that follow from a circuit's outputs without the facts of a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) openings: Vec<Opening>,
    pub(super) people: Vec<People>,
}

impl Counts {
    fn opening(&mut self, opening: Opening) -> usize {
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
    pub(super) fn guards(&self) -> impl Iterator<Item = usize> {
        (0..self.outputs.len()).filter(|&output| self.outputs[output].guard == output)
    }

    /// Returns every count of people; the guards come first among the openings.
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

    /// Adds a vector's rows, and for each section the count of homes with a value there.
    fn sections(&self, counts: &mut Counts) {
        for (output, one) in self.outputs.iter().enumerate() {
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

    fn group(&self, group: usize, facts: &Facts, counts: &mut Counts) {
        let rows = Layout::of(&self.shape).rows(group);
        let everybody = Some(BTreeSet::new());
        let first = counts.people.len();
        let people = counts.add(
            group,
            everybody,
            Traits::default(),
            Opening::output(rows),
            true,
        );
        people.outputs.push(rows);
        self.products(group, facts, first, counts);
        for moment in &self.shape.moments {
            match moment {
                Moment::Levels { variable, .. } => {
                    if self.is_bit(*variable) {
                        self.lower_of_products(group, *variable, facts, first, counts);
                    }
                    let nullable = self.shape.variables[usize::from(*variable)].nullable;
                    let present: &[u16] = if nullable { &[*variable] } else { &[] };
                    for (level, output) in (0u64..).zip(self.moment(group, moment)) {
                        let traits = Traits::of(&self.present(*variable), facts);
                        let traits = traits.with(Fact::Level(*variable, level, level));
                        let opening = Opening::output(output);
                        let is_bit = self.is_bit(*variable);
                        let upper = is_bit && level == 1;
                        let atoms = upper.then(|| self.summed_over(present, &[*variable]));
                        let people = counts.add(group, atoms, traits, opening, true);
                        if is_bit && level == 0 {
                            people.lower = Some((self.present(*variable), Atom::Upper(*variable)));
                        }
                        people.outputs.push(output);
                    }
                }
                Moment::Product { present, factors } => {
                    self.few_levels(group, present, factors, facts, counts);
                    self.sum_beside_levels(group, present, factors, counts);
                }
            }
        }
    }

    /// Adds the products that are counts, and assigns every product to the count of the homes that it sums over.
    /// `first` is the place of the group's rows among the people.
    fn products(&self, group: usize, facts: &Facts, first: usize, counts: &mut Counts) {
        let products = self.shape.moments.iter().filter_map(|moment| match moment {
            Moment::Product { present, factors } => {
                let output = self.moment(group, moment).start;
                Some((output, self.summed_over(present, factors), factors))
            }
            Moment::Levels { .. } => None,
        });
        let products: Vec<(usize, BTreeSet<Atom>, &Vec<u16>)> = products.collect();
        for (output, atoms, factors) in &products {
            let is_count = factors.iter().all(|factor| self.is_bit(*factor));
            if is_count && counts.place(first, atoms).is_none() {
                counts.add(
                    group,
                    Some(atoms.clone()),
                    Traits::of(atoms, facts),
                    Opening::output(*output),
                    factors.is_empty(),
                );
            }
        }
        for (output, atoms, _) in &products {
            if let Some(place) = counts.place(first, atoms) {
                counts.people[place].outputs.push(*output);
            }
        }
    }

    /// Adds, for each product of bits with `bit`, the homes that have its other factors and the lower level of `bit`: the
    /// product without `bit` minus the product. They are part of the homes with the lower level, which are counted where
    /// the levels of `bit` are. `first` is the place of the group's rows among the people.
    fn lower_of_products(
        &self,
        group: usize,
        bit: u16,
        facts: &Facts,
        first: usize,
        counts: &mut Counts,
    ) {
        let upper = Atom::Upper(bit);
        let products = counts.people[first..].iter();
        let products = products.filter_map(|product| {
            let mut others = product.atoms.clone()?;
            others
                .remove(&upper)
                .then_some((others, product.openings[0], product.outputs.clone()))
        });
        for (others, product, outputs) in products.collect::<Vec<_>>() {
            let Some(whole) = counts.place(first, &others) else {
                continue;
            };
            let minus = field::neg(1);
            let whole = counts.openings[counts.people[whole].openings[0]].0.iter();
            let product = counts.openings[product].0.iter();
            let less = product.map(|(output, weight)| (*output, field::mul(*weight, minus)));
            let opening = Opening(whole.copied().chain(less).collect());
            let traits = Traits::of(&others, facts).with(Fact::Level(bit, 0, 0));
            let people = counts.add(group, None, traits, opening, false);
            people.outputs.extend(outputs);
        }
    }

    /// Returns the outputs of a moment; none, at the group's rows, where the layout has no such moment.
    fn moment(&self, group: usize, moment: &Moment) -> Range<usize> {
        let layout = Layout::of(&self.shape);
        let rows = layout.rows(group);
        layout.moment(group, moment).unwrap_or(rows..rows)
    }

    fn is_bit(&self, variable: u16) -> bool {
        self.shape.variables[usize::from(variable)].max == 1
    }

    /// Returns the condition of the homes that a product sums over: all of `present`, and the upper level of every
    /// factor of two levels, since the lower one adds 0.
    fn summed_over(&self, present: &[u16], factors: &[u16]) -> BTreeSet<Atom> {
        let bits = factors
            .iter()
            .copied()
            .filter(|factor| self.is_bit(*factor));
        let present = present.iter().copied().map(Atom::Present);
        present.chain(bits.map(Atom::Upper)).collect()
    }

    /// Returns the condition that a variable is not NULL: none for one that never is.
    pub(super) fn present(&self, variable: u16) -> BTreeSet<Atom> {
        let nullable = self.shape.variables[usize::from(variable)].nullable;
        let present = nullable.then_some(Atom::Present(variable));
        present.into_iter().collect()
    }

    /// Adds the counts that follow from the sum P of a variable of three levels over the homes that meet a condition b: a
    /// bit, values that are not NULL, or both. Beside it are the number B of these homes, and the numbers L0 and L2 of
    /// homes with the lowest and the highest level among the same homes or more. Then B + L2 − P homes meet b and have the
    /// lowest level, or do not meet it and have the highest; and L0 − B + P the opposite. L0 and L2 may follow from sums, as
    /// in [`few_levels`](Self::few_levels). With other numbers of levels nothing follows: the sum would have to be linear
    /// in the level and yet differ by at most one between the two values of the condition.
    fn sum_beside_levels(
        &self,
        group: usize,
        present: &[u16],
        factors: &[u16],
        counts: &mut Counts,
    ) {
        let max = |variable: u16| self.shape.variables[usize::from(variable)].max;
        let (bits, variable): (&[u16], u16) = match factors {
            [variable] if max(*variable) == 2 => (&[], *variable),
            [bit, variable] if (max(*bit), max(*variable)) == (1, 2) => (&factors[..1], *variable),
            [variable, bit] if (max(*bit), max(*variable)) == (1, 2) => (&factors[1..], *variable),
            _ => return,
        };
        let rows = Layout::of(&self.shape).rows(group);
        let sum_of = |present: &[u16], factors: &[u16]| {
            let moment = Moment::Product {
                present: present.to_vec(),
                factors: factors.to_vec(),
            };
            match present.is_empty() && factors.is_empty() {
                true => Some(rows),
                false => {
                    let is_summed = self.shape.moments.contains(&moment);
                    is_summed.then(|| self.moment(group, &moment).start)
                }
            }
        };
        let Some((of_condition, of_both)) = sum_of(present, bits).zip(sum_of(present, factors))
        else {
            return;
        };
        let (half, minus) = (field::inverse(2), field::neg(1));
        let three_halves = field::mul(3, half);
        let own = self.present(variable).len();
        let mut levels: Vec<[Vec<(usize, u64)>; 2]> = Vec::new();
        for moment in &self.shape.moments {
            match moment {
                // Among the same homes, the counts are those at the levels themselves.
                Moment::Levels { variable: of, .. }
                    if *of == variable && (!bits.is_empty() || present.len() > own) =>
                {
                    let range = self.moment(group, moment);
                    levels.push([vec![(range.start, 1)], vec![(range.start + 2, 1)]]);
                }
                Moment::Product {
                    present: wider,
                    factors: squares,
                } if *squares == [variable, variable]
                    && wider.iter().all(|one| present.contains(one))
                    && (!bits.is_empty() || wider.len() < present.len()) =>
                {
                    let (rows, sum) = (sum_of(wider, &[]), sum_of(wider, &[variable]));
                    if let Some((rows, sum)) = rows.zip(sum) {
                        let squares = self.moment(group, moment).start;
                        levels.push([
                            vec![(rows, 1), (sum, field::neg(three_halves)), (squares, half)],
                            vec![(sum, field::neg(half)), (squares, half)],
                        ]);
                    }
                }
                _ => {}
            }
        }
        for [lowest, highest] in levels {
            for (level, of_condition_weight, of_both_weight) in
                [(highest, 1, minus), (lowest, minus, 1)]
            {
                let both = [
                    (of_condition, of_condition_weight),
                    (of_both, of_both_weight),
                ];
                let opening = Opening([level, both.to_vec()].concat());
                let people = counts.add(group, None, Traits::default(), opening, false);
                people.outputs.push(of_both);
            }
        }
    }

    /// Adds the counts that follow from the sum S and the sum of squares Q of a variable. With three levels, 2S − Q homes
    /// have level 1 and (Q − S)/2 have level 2; with four levels, (3S − Q)/2 homes have level 1 or 2.
    fn few_levels(
        &self,
        group: usize,
        present: &[u16],
        factors: &[u16],
        facts: &Facts,
        counts: &mut Counts,
    ) {
        let [one, other] = *factors else { return };
        let max = self.shape.variables[usize::from(one)].max;
        let product = |factors: Vec<u16>| Moment::Product {
            present: present.to_vec(),
            factors,
        };
        let sum = product(vec![one]);
        if one != other || !self.shape.moments.contains(&sum) {
            return;
        }
        let squares = self.moment(group, &product(vec![one, one])).start;
        let sum = self.moment(group, &sum).start;
        let half = field::inverse(2);
        let followed: &[(u64, u64, u64, u64)] = match max {
            2 => &[(1, 1, 2, field::neg(1)), (2, 2, field::neg(half), half)],
            3 => &[(1, 2, field::mul(3, half), field::neg(half))],
            _ => return,
        };
        for &(low, high, of_sum, of_squares) in followed {
            let atoms = present.iter().copied().map(Atom::Present).collect();
            let traits = Traits::of(&atoms, facts).with(Fact::Level(one, low, high));
            let opening = Opening(vec![(sum, of_sum), (squares, of_squares)]);
            let people = counts.add(group, None, traits, opening, false);
            people.outputs.push(squares);
        }
    }
}
