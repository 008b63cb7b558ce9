//! From a shape to its circuit (protocol.md §7).

use std::collections::HashMap;
use std::ops::Range;

use super::form::{Affine, Constraint, LinearForm};
use super::{
    Circuit, CircuitError, MAX_CONSTRAINTS, MAX_OUTPUTS, Moment, Output, Place, Shape, Variable,
    rank,
};

impl Circuit {
    /// Compiles `shape`. Every party obtains the same circuit.
    ///
    /// # Errors
    /// [`CircuitError`] for a shape out of bounds, before anything is allocated for it.
    pub fn compile(shape: &Shape) -> Result<Self, CircuitError> {
        shape.check()?;
        let per_group: usize = 1 + shape
            .moments
            .iter()
            .map(|m| shape.outputs_of(m))
            .sum::<usize>();
        let outputs = per_group * usize::from(shape.groups.max(1));
        if outputs > MAX_OUTPUTS {
            return Err(CircuitError::TooManyOutputs { outputs });
        }
        let mut builder = Builder::default();
        let (groups, row) = builder.groups(shape.groups.max(1));
        let variables: Vec<Wires> = shape
            .variables
            .iter()
            .map(|variable| builder.variable(variable, &row))
            .collect();
        let mut sums = Sums {
            builder: &mut builder,
            variables: &variables,
            groups: groups.clone(),
            masked: HashMap::new(),
        };
        // One list per group, begun by its number of rows.
        let mut outputs: Vec<Vec<Output>> = groups
            .map(|bit| vec![Output::new(LinearForm::element(bit), 0)])
            .collect();
        let mut runs = Vec::new();
        let mut guards: HashMap<&[u16], usize> = HashMap::from([(&[][..], 0)]);
        // Counts first: they guard.
        for moment in &shape.moments {
            if let Moment::Product { present, factors } = moment
                && factors.is_empty()
            {
                guards.insert(present, position(shape, moment));
            }
        }
        for moment in &shape.moments {
            let place = position(shape, moment);
            match moment {
                Moment::Product { present, factors } => {
                    let form = sums.product(present, factors);
                    for (outputs, form) in outputs.iter_mut().zip(sums.split(&form)) {
                        outputs.push(Output::new(form, guards[&present[..]]));
                    }
                }
                Moment::Levels { variable, merged } => {
                    let levels = &variables[usize::from(*variable)].levels;
                    for (level, form) in levels.iter().enumerate() {
                        for (outputs, form) in outputs.iter_mut().zip(sums.split(form)) {
                            outputs.push(Output::new(form, place + level));
                        }
                    }
                    if *merged {
                        runs.push(place..place + levels.len());
                    }
                }
            }
        }
        if builder.count > MAX_CONSTRAINTS as u64 {
            return Err(CircuitError::TooManyConstraints {
                constraints: builder.count,
            });
        }
        let stride = per_group;
        let runs = (0..outputs.len()).flat_map(|group| {
            let start = group * stride;
            runs.iter()
                .map(move |run| start + run.start..start + run.end)
        });
        let circuit = Self {
            shape: shape.clone(),
            elements: builder.elements,
            variables: variables.into_iter().map(|wires| wires.place).collect(),
            runs: runs.collect(),
            outputs: outputs
                .into_iter()
                .enumerate()
                .flat_map(|(group, outputs)| {
                    outputs.into_iter().map(move |output| Output {
                        guard: group * stride + output.guard,
                        ..output
                    })
                })
                .collect(),
            constraints: builder.constraints,
            vector: None,
        };
        rank::check(&circuit.constraints, circuit.elements)?;
        Ok(circuit)
    }
}

impl Output {
    fn new(form: LinearForm, guard: usize) -> Self {
        Self { form, guard }
    }
}

/// Where in a group a moment's outputs begin.
fn position(shape: &Shape, of: &Moment) -> usize {
    let before = shape.moments.iter().take_while(|moment| *moment != of);
    1 + before.map(|moment| shape.outputs_of(moment)).sum::<usize>()
}

fn bit_length(max: u64) -> u32 {
    u64::BITS - max.leading_zeros()
}

/// The weights of a level's bits: 1, 2, 4, …, max − (2^(b−1) − 1). They add up to `max`, and every
/// level up to it is a sum of some of them.
pub(super) fn weights(max: u64) -> impl Iterator<Item = u64> {
    let last = bit_length(max).saturating_sub(1);
    let lower = (0..last).map(|bit| 1 << bit);
    lower.chain((max > 0).then(|| max - ((1 << last) - 1)))
}

/// A variable's elements and what they mean.
struct Wires {
    place: Place,
    /// The largest level.
    max: u64,
    /// 1 where it is not NULL; a row that cannot leave it NULL is not looked at.
    presence: Option<LinearForm>,
    /// Its level, 0 where it is NULL.
    level: LinearForm,
    /// One bit per level, of a one-hot variable.
    levels: Vec<LinearForm>,
}

#[derive(Default)]
struct Builder {
    elements: usize,
    constraints: Vec<Constraint>,
    /// Number of constraints, also of those beyond the largest number, which are not built.
    count: u64,
}

impl Builder {
    /// The group bits, of which one is set or none, and their sum: whether there is a row.
    fn groups(&mut self, groups: u16) -> (Range<usize>, LinearForm) {
        let bits = self.allocate(usize::from(groups));
        let row = LinearForm::weighted(bits.clone().map(|bit| (bit, 1)));
        for bit in bits.clone() {
            let bit = LinearForm::element(bit);
            self.zero(bit.clone(), Affine::less_one(bit));
        }
        if groups > 1 {
            self.zero(row.clone(), Affine::less_one(row.clone()));
        }
        (bits, row)
    }

    fn variable(&mut self, variable: &Variable, row: &LinearForm) -> Wires {
        match variable.one_hot {
            true => self.one_hot(variable, row),
            false => self.binary(variable, row),
        }
    }

    /// A presence bit where NULL is possible, and the bits of the level.
    fn binary(&mut self, variable: &Variable, row: &LinearForm) -> Wires {
        let presence = variable.nullable.then(|| self.allocate(1).start);
        if let Some(bit) = presence {
            self.masked_bit(&LinearForm::element(bit), row);
        }
        let mask = presence.map_or(row.clone(), LinearForm::element);
        let bits = self.allocate(weights(variable.max).count());
        for bit in bits.clone() {
            self.masked_bit(&LinearForm::element(bit), &mask);
        }
        Wires {
            max: variable.max,
            presence: presence.map(LinearForm::element),
            level: LinearForm::weighted(bits.clone().zip(weights(variable.max))),
            levels: Vec::new(),
            place: Place { presence, bits },
        }
    }

    /// One bit per level. Where NULL is impossible exactly one is set in a row, so the last level is
    /// what the others leave of the row, and has no element; otherwise at most one is.
    fn one_hot(&mut self, variable: &Variable, row: &LinearForm) -> Wires {
        let levels = variable.max as usize + 1;
        let bits = self.allocate(levels - usize::from(!variable.nullable));
        let mut forms: Vec<LinearForm> = bits.clone().map(LinearForm::element).collect();
        let sum = LinearForm::weighted(bits.clone().map(|bit| (bit, 1)));
        if !variable.nullable {
            forms.push(row.clone().minus(&sum));
        }
        for form in &forms {
            self.masked_bit(form, row);
        }
        if variable.nullable {
            self.masked_bit(&sum, row);
        }
        let zero = LinearForm::default();
        let level = (0u64..).zip(&forms);
        Wires {
            max: variable.max,
            presence: variable.nullable.then_some(sum),
            level: level.fold(zero, |level, (weight, form)| level.plus(form, weight)),
            levels: forms,
            place: Place {
                presence: None,
                bits,
            },
        }
    }

    /// bit · (bit − mask) = 0: with a mask of 1 a bit, with a mask of 0 nothing but 0.
    fn masked_bit(&mut self, bit: &LinearForm, mask: &LinearForm) {
        self.zero(bit.clone(), bit.clone().minus(mask).into());
    }

    fn zero(&mut self, left: LinearForm, right: Affine) {
        self.constrain(left, right, None);
    }

    /// Commits the product of two forms as an element.
    fn product(&mut self, left: LinearForm, right: LinearForm) -> LinearForm {
        let product = self.allocate(1).start;
        self.constrain(left, right.into(), Some(product));
        LinearForm::element(product)
    }

    fn constrain(&mut self, left: LinearForm, right: Affine, product: Option<usize>) {
        self.count += 1;
        if self.constraints.len() < MAX_CONSTRAINTS {
            self.constraints.push(Constraint {
                left: left.into(),
                right,
                product,
            });
        }
    }

    fn allocate(&mut self, count: usize) -> Range<usize> {
        let start = self.elements;
        self.elements += count;
        start..self.elements
    }
}

/// Builds what is summed, each product once.
struct Sums<'a> {
    builder: &'a mut Builder,
    variables: &'a [Wires],
    groups: Range<usize>,
    /// The joint presence of some variables, or a level where all of them are present.
    masked: HashMap<(Option<u16>, Vec<u16>), LinearForm>,
}

impl Sums<'_> {
    fn product(&mut self, present: &[u16], factors: &[u16]) -> LinearForm {
        match *factors {
            [] => self.present(present),
            [factor] => self.level(factor, present),
            [one, other, ..] => {
                let others = present.iter().filter(|p| **p != one && **p != other);
                let left = match others.count() {
                    // Each level is 0 where it is NULL.
                    0 => self.level(one, &[one]),
                    _ => self.level(one, present),
                };
                let wires = &self.variables[usize::from(other)];
                match one == other && wires.max == 1 {
                    // The square of a bit is the bit.
                    true => left,
                    false => self.builder.product(left, wires.level.clone()),
                }
            }
        }
    }

    /// 1 where none of `present`, of which there is at least one, is NULL.
    fn present(&mut self, present: &[u16]) -> LinearForm {
        let (last, before) = match present {
            [] => return LinearForm::default(),
            [before @ .., last] => (*last, before),
        };
        let bit = self.variables[usize::from(last)].presence.clone();
        let bit = bit.unwrap_or_default();
        if before.is_empty() {
            return bit;
        }
        let key = (None, present.to_vec());
        if let Some(known) = self.masked.get(&key) {
            return known.clone();
        }
        let rest = self.present(before);
        let form = self.builder.product(rest, bit);
        self.masked.insert(key, form.clone());
        form
    }

    /// The level of `factor` where none of `present` is NULL.
    fn level(&mut self, factor: u16, present: &[u16]) -> LinearForm {
        let level = self.variables[usize::from(factor)].level.clone();
        if present.iter().all(|other| *other == factor) {
            return level;
        }
        let key = (Some(factor), present.to_vec());
        if let Some(known) = self.masked.get(&key) {
            return known.clone();
        }
        let all = self.present(present);
        let form = self.builder.product(all, level);
        self.masked.insert(key, form.clone());
        form
    }

    /// The parts of `total` that fall to each group: group bit · total.
    ///
    /// The last needs no product. `total` is zero without a row, and with one the group bits add up
    /// to 1: the parts add up to the total.
    fn split(&mut self, total: &LinearForm) -> Vec<LinearForm> {
        let mut last = total.clone();
        let mut parts = Vec::with_capacity(self.groups.len());
        for bit in self.groups.start..self.groups.end - 1 {
            let part = self
                .builder
                .product(LinearForm::element(bit), total.clone());
            last = last.minus(&part);
            parts.push(part);
        }
        parts.push(last);
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{Layout, MAX_LEVELS, MAX_VARIABLES};
    use dispers_base::field;

    fn variable(max: u64, nullable: bool, squared: bool) -> (Variable, bool) {
        let one_hot = false;
        let variable = Variable {
            max,
            nullable,
            one_hot,
        };
        (variable, squared)
    }

    fn shape(groups: u16, variables: &[(Variable, bool)]) -> Shape {
        Shape::summing(groups, variables.iter().cloned())
    }

    #[test]
    fn weights_reach_every_level_up_to_the_maximum_and_none_above() {
        for max in 0..70 {
            let weights: Vec<u64> = weights(max).collect();
            assert_eq!(weights.iter().sum::<u64>(), max);
            let sums: HashSet<u64> = (0..1u64 << weights.len())
                .map(|set| {
                    let chosen = weights
                        .iter()
                        .enumerate()
                        .filter(|(bit, _)| set >> bit & 1 == 1);
                    chosen.map(|(_, weight)| weight).sum()
                })
                .collect();
            assert_eq!(sums, (0..=max).collect());
        }
        assert_eq!(weights(MAX_LEVELS - 1).count(), 32);
    }

    #[test]
    fn what_two_moments_have_in_common_is_multiplied_once() {
        let constraints = |shape: &Shape| Circuit::compile(shape).unwrap().constraints.len();
        let product = |present: &[u16], factors: &[u16]| Moment::Product {
            present: present.to_vec(),
            factors: factors.to_vec(),
        };
        let variables = [variable(100, true, false), variable(100, true, false)];
        let mut pair = shape(0, &variables);
        // One row bit, and of each variable a presence bit and seven bits.
        assert_eq!(constraints(&pair), 1 + 2 * 8);
        for factors in [&[][..], &[0], &[1], &[0, 0], &[0, 1], &[1, 1]] {
            pair.moments.push(product(&[0, 1], factors));
        }
        // The joint presence, two levels where both are present, two squares and the product.
        assert_eq!(constraints(&pair), 1 + 2 * 8 + 1 + 2 + 3);
        pair.groups = 3;
        // Three group bits and their sum; each of ten sums is split with two products.
        assert_eq!(constraints(&pair), 4 + 2 * 8 + 6 + 10 * 2);
        // A bit is its own square.
        assert_eq!(constraints(&shape(0, &[variable(1, false, true)])), 2);
    }

    #[test]
    fn every_output_is_guarded_by_the_count_of_its_people() {
        let variables = [
            variable(0, true, false),
            variable(9, false, true),
            variable(9, true, true),
        ];
        let circuit = Circuit::compile(&shape(2, &variables)).unwrap();
        let guards: Vec<usize> = circuit
            .outputs()
            .iter()
            .map(|output| output.guard)
            .collect();
        assert_eq!(guards, [0, 1, 0, 0, 4, 4, 4, 7, 8, 7, 7, 11, 11, 11]);
        let present = vec![2];
        let of = |degree| Moment::Product {
            present: present.clone(),
            factors: vec![2; degree],
        };
        let layout = Layout::of(circuit.shape());
        assert_eq!(layout.rows(1), 7);
        assert_eq!(layout.moment(1, &Moment::count(vec![0])), Some(8..9));
        for (degree, place) in (0..3).zip(11..) {
            assert_eq!(layout.moment(1, &of(degree)), Some(place..place + 1));
        }
    }

    #[test]
    fn shapes_out_of_bounds_are_refused() {
        let refusal = |groups, variables: &[(Variable, bool)]| {
            Circuit::compile(&shape(groups, variables)).err()
        };
        assert_eq!(
            refusal(
                0,
                &[
                    variable(1, false, false),
                    variable(MAX_LEVELS, false, false)
                ]
            ),
            Some(CircuitError::TooManyLevels { variable: 1 })
        );
        assert_eq!(refusal(0, &[variable(MAX_LEVELS - 1, true, true)]), None);
        assert_eq!(
            refusal(0, &vec![variable(1, false, false); MAX_VARIABLES + 1]),
            Some(CircuitError::TooManyVariables { variables: 65 })
        );
        assert_eq!(refusal(1022, &[]), None);
        assert_eq!(
            refusal(1023, &[]),
            Some(CircuitError::TooManyConstraints { constraints: 1024 })
        );
        let large = vec![variable(MAX_LEVELS - 1, true, true); MAX_VARIABLES];
        assert!(matches!(
            refusal(20, &large),
            Some(CircuitError::TooManyConstraints { .. })
        ));
        assert!(matches!(
            refusal(u16::MAX, &large),
            Some(CircuitError::TooManyOutputs { .. })
        ));
    }

    #[test]
    fn capacity_is_where_the_largest_output_reaches_the_field() {
        let capacity = |max, squared| {
            let shape = shape(0, &[variable(3, true, true), variable(max, false, squared)]);
            Circuit::compile(&shape).unwrap().capacity()
        };
        assert_eq!(capacity(MAX_LEVELS - 1, true), 1);
        assert_eq!(
            capacity(MAX_LEVELS - 1, false),
            (field::MODULUS - 1) / (MAX_LEVELS - 1)
        );
        assert_eq!(capacity(0, true), (field::MODULUS - 1) / 9);
    }

    #[test]
    fn moments_that_do_not_fit_their_variables_are_refused() {
        let (plain, _) = variable(9, true, false);
        let one_hot = Variable {
            one_hot: true,
            ..plain.clone()
        };
        let refuses = |moments: &[Moment]| {
            let shape = Shape {
                groups: 0,
                variables: vec![plain.clone(), one_hot.clone(), variable(9, false, false).0],
                moments: moments.to_vec(),
            };
            Circuit::compile(&shape).err() == Some(CircuitError::Moments)
        };
        let product = |present: &[u16], factors: &[u16]| Moment::Product {
            present: present.to_vec(),
            factors: factors.to_vec(),
        };
        let levels = |variable| Moment::Levels {
            variable,
            merged: true,
        };
        let count = |present: &[u16]| product(present, &[]);
        assert!(!refuses(&[count(&[0]), product(&[0], &[0, 2]), levels(1)]));
        assert!(!refuses(&[product(&[], &[2, 2])]));
        // Its guard is missing, one of its variables may be NULL, or may not.
        assert!(refuses(&[product(&[0], &[0])]));
        assert!(refuses(&[product(&[], &[0])]));
        assert!(refuses(&[count(&[2])]));
        assert!(refuses(&[count(&[0, 0])]));
        assert!(refuses(&[count(&[1, 0])]));
        // Nothing, three factors, in another order, twice, of no variable.
        assert!(refuses(&[count(&[])]));
        assert!(refuses(&[product(&[], &[2, 2, 2])]));
        assert!(refuses(&[count(&[0]), product(&[0], &[2, 0])]));
        assert!(refuses(&[levels(1), levels(1)]));
        assert!(refuses(&[levels(0)]));
        assert!(refuses(&[levels(3)]));
        assert!(refuses(&[product(&[], &[3])]));
    }
}
