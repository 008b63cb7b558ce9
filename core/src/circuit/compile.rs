//! From a shape to its circuit (protocol.md §7).

use std::ops::Range;

use super::form::{Affine, Constraint, LinearForm};
use super::{
    Circuit, CircuitError, MAX_CONSTRAINTS, MAX_LEVELS, MAX_VARIABLES, Output, Place, Shape,
    Variable, rank,
};

impl Circuit {
    /// Compiles `shape`. Every party obtains the same circuit.
    ///
    /// # Errors
    /// [`CircuitError`] for a shape out of bounds, before anything is allocated for it.
    pub fn compile(shape: &Shape) -> Result<Self, CircuitError> {
        check_bounds(shape)?;
        let mut builder = Builder::default();
        let (groups, row) = builder.groups(shape.groups.max(1));
        let mut per_group: Vec<Vec<Output>> = groups
            .clone()
            .map(|bit| vec![Output::count(LinearForm::element(bit), 0)])
            .collect();
        let variables = shape
            .variables
            .iter()
            .map(|variable| builder.variable(variable, &groups, &row, &mut per_group))
            .collect();

        let stride = per_group[0].len();
        let outputs = per_group.into_iter().enumerate();
        let outputs = outputs.flat_map(|(group, outputs)| {
            outputs.into_iter().map(move |output| Output {
                guard: group * stride + output.guard,
                ..output
            })
        });
        let circuit = Self {
            shape: shape.clone(),
            elements: builder.elements,
            variables,
            outputs: outputs.collect(),
            constraints: builder.constraints,
        };
        rank::check(&circuit.constraints, circuit.elements)?;
        Ok(circuit)
    }
}

impl Output {
    /// A number of people, which guards itself.
    fn count(form: LinearForm, position: usize) -> Self {
        Self {
            form,
            guard: position,
        }
    }
}

fn check_bounds(shape: &Shape) -> Result<(), CircuitError> {
    if shape.variables.len() > MAX_VARIABLES {
        return Err(CircuitError::TooManyVariables {
            variables: shape.variables.len(),
        });
    }
    let large = |variable: &Variable| variable.max >= MAX_LEVELS;
    if let Some(variable) = shape.variables.iter().position(large) {
        return Err(CircuitError::TooManyLevels { variable });
    }
    let constraints = constraint_count(shape);
    if constraints > MAX_CONSTRAINTS as u64 {
        return Err(CircuitError::TooManyConstraints { constraints });
    }
    Ok(())
}

/// How many constraints the circuit of `shape` has, known without building it. They bound its
/// elements and outputs too.
fn constraint_count(shape: &Shape) -> u64 {
    let groups = u64::from(shape.groups.max(1));
    let one_hot = groups + u64::from(groups > 1);
    let of_variable = |variable: &Variable| {
        let levels = u64::from(variable.max > 0);
        u64::from(variable.nullable) * groups
            + u64::from(bit_length(variable.max))
            + levels * (groups - 1)
            + levels * u64::from(variable.squared) * groups
    };
    one_hot + shape.variables.iter().map(of_variable).sum::<u64>()
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

#[derive(Default)]
struct Builder {
    elements: usize,
    constraints: Vec<Constraint>,
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

    /// Adds a variable's elements and constraints, and to each group its outputs.
    fn variable(
        &mut self,
        variable: &Variable,
        groups: &Range<usize>,
        row: &LinearForm,
        outputs: &mut [Vec<Output>],
    ) -> Place {
        let presence = variable.nullable.then(|| self.allocate(1).start);
        let mask = match presence {
            Some(bit) => {
                self.masked_bit(bit, row);
                LinearForm::element(bit)
            }
            None => row.clone(),
        };
        let bits = self.allocate(weights(variable.max).count());
        for bit in bits.clone() {
            self.masked_bit(bit, &mask);
        }
        let level = LinearForm::weighted(bits.clone().zip(weights(variable.max)));

        let mut guard = 0;
        let mut append = |forms: Vec<LinearForm>, guard: Option<usize>| {
            let position = outputs[0].len();
            for (outputs, form) in outputs.iter_mut().zip(forms) {
                let guard = guard.unwrap_or(position);
                outputs.push(Output { form, guard });
            }
            position
        };
        if presence.is_some() {
            guard = append(self.split(&mask, groups), None);
        }
        let sums = self.split(&level, groups);
        if variable.max > 0 {
            append(sums.clone(), Some(guard));
        }
        if variable.squared {
            let squares = sums
                .into_iter()
                .map(|sum| match variable.max {
                    // Level 0 is the only one.
                    0 => sum,
                    // bit·level·level = bit·level².
                    _ => LinearForm::element(self.product(sum, level.clone())),
                })
                .collect();
            append(squares, Some(guard));
        }
        Place { presence, bits }
    }

    /// The parts of `total` that fall to each group: group bit · total.
    ///
    /// The last needs no product. `total` is a sum of bits masked by the row, so it is zero without
    /// a row, and with one the group bits add up to 1: the parts add up to the total.
    fn split(&mut self, total: &LinearForm, groups: &Range<usize>) -> Vec<LinearForm> {
        if total.terms().is_empty() {
            return vec![LinearForm::default(); groups.len()];
        }
        let mut last = total.clone();
        let mut parts = Vec::with_capacity(groups.len());
        for bit in groups.start..groups.end - 1 {
            let part = self.product(LinearForm::element(bit), total.clone());
            let part = LinearForm::element(part);
            last = last.minus(&part);
            parts.push(part);
        }
        parts.push(last);
        parts
    }

    /// bit · (bit − mask) = 0: with a mask of 1 a bit, with a mask of 0 nothing but 0.
    fn masked_bit(&mut self, bit: usize, mask: &LinearForm) {
        let bit = LinearForm::element(bit);
        self.zero(bit.clone(), bit.minus(mask).into());
    }

    fn zero(&mut self, left: LinearForm, right: Affine) {
        self.constraints.push(Constraint {
            left: left.into(),
            right,
            product: None,
        });
    }

    /// Commits the product of two forms as an element.
    fn product(&mut self, left: LinearForm, right: LinearForm) -> usize {
        let product = self.allocate(1).start;
        self.constraints.push(Constraint {
            left: left.into(),
            right: right.into(),
            product: Some(product),
        });
        product
    }

    fn allocate(&mut self, count: usize) -> Range<usize> {
        let start = self.elements;
        self.elements += count;
        start..self.elements
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::circuit::Layout;
    use crate::field;

    fn variable(max: u64, nullable: bool, squared: bool) -> Variable {
        Variable {
            max,
            nullable,
            squared,
        }
    }

    fn shape(groups: u16, variables: &[Variable]) -> Shape {
        Shape {
            groups,
            variables: variables.to_vec(),
        }
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
    fn the_number_of_constraints_is_known_beforehand() {
        for groups in 0..5 {
            for max in [0, 1, 2, 255, MAX_LEVELS - 1] {
                for (nullable, squared) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let variable = variable(max, nullable, squared);
                    let shape = shape(groups, &[variable.clone(), variable]);
                    let circuit = Circuit::compile(&shape).unwrap();
                    assert_eq!(circuit.constraints.len() as u64, constraint_count(&shape));
                }
            }
        }
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
        let layout = Layout::of(circuit.shape());
        assert_eq!(layout.rows(1), 7);
        assert_eq!(layout.present(1, 0), Some(8));
        assert_eq!(layout.sum(1, 0), None);
        assert_eq!(layout.present(0, 1), None);
        assert_eq!(layout.sum(0, 1), Some(2));
        assert_eq!(layout.squares(0, 1), Some(3));
        assert_eq!(layout.present(1, 2), Some(11));
        assert_eq!(layout.sum(1, 2), Some(12));
        assert_eq!(layout.squares(1, 2), Some(13));
        assert_eq!(layout.squares(0, 3), None);
    }

    #[test]
    fn shapes_out_of_bounds_are_refused() {
        let refusal =
            |groups, variables: &[Variable]| Circuit::compile(&shape(groups, variables)).err();
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
        assert_eq!(refusal(510, &[]), None);
        assert_eq!(
            refusal(511, &[]),
            Some(CircuitError::TooManyConstraints { constraints: 512 })
        );
        let large = vec![variable(MAX_LEVELS - 1, true, true); MAX_VARIABLES];
        assert!(matches!(
            refusal(u16::MAX, &large),
            Some(CircuitError::TooManyConstraints { .. })
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
}
