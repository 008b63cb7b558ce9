//! Counts of people among the sums of a query: rows, products of bits, and counted levels (protocol.md §9).

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Atom, Counts, Opening, Traits};
use crate::{Layout, Moment, Rows};
use dispers_base::field;
use dispers_query::local::{Fact, Facts};

impl Rows {
    /// Adds every count of people of every group.
    pub(super) fn count_people(&self, facts: &Facts, counts: &mut Counts) {
        for group in 0..self.groups() {
            self.count_people_of(group, facts, counts);
        }
    }

    fn count_people_of(&self, group: usize, facts: &Facts, counts: &mut Counts) {
        let rows = Layout::of(self.shape()).rows(group);
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
        for moment in &self.shape().moments {
            match moment {
                Moment::Levels { variable, .. } => {
                    if self.is_bit(*variable) {
                        self.lower_of_products(group, *variable, facts, first, counts);
                    }
                    let nullable = self.shape().variables[usize::from(*variable)].nullable;
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
        let products = self
            .shape()
            .moments
            .iter()
            .filter_map(|moment| match moment {
                Moment::Product { present, factors } => {
                    let output = self.moment(group, moment).start;
                    Some((output, self.summed_over(present, factors), factors))
                }
                Moment::Levels { .. } => None,
            });
        let products: Vec<(usize, BTreeSet<Atom>, &Vec<u16>)> = products.collect();
        for (output, atoms, factors) in &products {
            // A product of bits is a bit, so that its sum is a number of homes.
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

    /// Adds, for each product of bits with `bit`, the homes that have its other factors and the lower level of `bit`:
    /// the product without `bit` minus the product. They are part of the homes with the lower level, which are counted
    /// where the levels of `bit` are. `first` is the place of the group's rows among the people.
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
            let whole = counts.openings[counts.people[whole].openings[0]].0.iter();
            let product = counts.openings[product].0.iter();
            let less = product.map(|(output, weight)| (*output, field::neg(*weight)));
            let opening = Opening(whole.copied().chain(less).collect());
            let traits = Traits::of(&others, facts).with(Fact::Level(bit, 0, 0));
            let people = counts.add(group, None, traits, opening, false);
            people.outputs.extend(outputs);
        }
    }

    /// Returns the outputs of a moment; none, at the group's rows, where the layout has no such moment.
    pub(super) fn moment(&self, group: usize, moment: &Moment) -> Range<usize> {
        let layout = Layout::of(self.shape());
        let rows = layout.rows(group);
        layout.moment(group, moment).unwrap_or(rows..rows)
    }

    pub(super) fn is_bit(&self, variable: u16) -> bool {
        self.shape().variables[usize::from(variable)].max == 1
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
    pub(crate) fn present(&self, variable: u16) -> BTreeSet<Atom> {
        let nullable = self.shape().variables[usize::from(variable)].nullable;
        let present = nullable.then_some(Atom::Present(variable));
        present.into_iter().collect()
    }
}
