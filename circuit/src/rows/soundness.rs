//! Tests that nothing but legal rows satisfies a circuit: on small shapes, every input is tried.

use std::collections::HashSet;

use super::Rows;
use crate::{Moment, Row, Shape, Variable};
use dispers_base::field;

/// Returns whether `input` satisfies the constraints.
pub(super) fn constraints_hold(circuit: &Rows, input: &[u64]) -> bool {
    circuit.constraints.list().iter().all(|constraint| {
        let product = constraint.product.map_or(0, |element| input[element]);
        field::mul(
            constraint.left.evaluate(input),
            constraint.right.evaluate(input),
        ) == product
    })
}

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

/// Returns the outputs of an input.
pub(super) fn outputs(circuit: &Rows, input: &[u64]) -> Vec<u64> {
    let outputs = circuit.outputs.iter();
    outputs.map(|output| output.form.evaluate(input)).collect()
}

/// Returns the outputs that the shape's definition gives to `row`.
pub(super) fn defined(shape: &Shape, row: &Row) -> Vec<u64> {
    let mut outputs = Vec::new();
    for group in 0..usize::from(shape.groups.max(1)) {
        let here = u64::from(group == row.group);
        outputs.push(here);
        for moment in &shape.moments {
            match moment {
                Moment::Product { present, factors } => {
                    let whole = present
                        .iter()
                        .all(|variable| level(row, *variable).is_some());
                    let factors = factors
                        .iter()
                        .map(|variable| level(row, *variable).unwrap_or(0));
                    let product = factors.fold(1, field::mul);
                    outputs.push(here * u64::from(whole) * product);
                }
                Moment::Levels { variable, .. } => {
                    let max = shape.variables[usize::from(*variable)].max;
                    let bits =
                        (0..=max).map(|one| here * u64::from(level(row, *variable) == Some(one)));
                    outputs.extend(bits);
                }
            }
        }
    }
    outputs
}

fn level(row: &Row, variable: u16) -> Option<u64> {
    row.levels[usize::from(variable)]
}

/// Returns every legal row of a small shape.
fn rows(shape: &Shape) -> Vec<Row> {
    let groups = 0..usize::from(shape.groups.max(1));
    let mut rows: Vec<Row> = groups
        .map(|group| Row {
            group,
            levels: vec![],
        })
        .collect();
    for variable in &shape.variables {
        let null = variable.nullable.then_some(None);
        let levels: Vec<Option<u64>> = null
            .into_iter()
            .chain((0..=variable.max).map(Some))
            .collect();
        rows = rows
            .iter()
            .flat_map(|row| {
                levels.iter().map(|&level| Row {
                    group: row.group,
                    levels: row.levels.iter().copied().chain([level]).collect(),
                })
            })
            .collect();
    }
    rows
}

/// Tries every assignment of `values` to the elements that are no product. Asserts that the assignments that satisfy
/// the constraints have exactly the outputs of the legal rows and of no row.
fn satisfied_only_by_legal_rows(shape: &Shape, values: &[u64]) {
    let circuit = Rows::compile(shape).unwrap();
    let mut legal: HashSet<Vec<u64>> = rows(shape).iter().map(|row| defined(shape, row)).collect();
    legal.insert(vec![0; circuit.outputs.len()]);

    let products: HashSet<usize> = circuit
        .constraints
        .list()
        .iter()
        .filter_map(|c| c.product)
        .collect();
    let free: Vec<usize> = (0..circuit.constraints.elements())
        .filter(|e| !products.contains(e))
        .collect();
    let mut reached = HashSet::new();
    for assignment in 0..values.len().pow(free.len() as u32) {
        let mut input = vec![0; circuit.constraints.elements()];
        let mut digits = assignment;
        for &element in &free {
            input[element] = values[digits % values.len()];
            digits /= values.len();
        }
        circuit.constraints.commit_products(&mut input);
        if constraints_hold(&circuit, &input) {
            let outputs = outputs(&circuit, &input);
            assert!(
                legal.contains(&outputs),
                "{shape:?}: {input:?} gives {outputs:?}"
            );
            reached.insert(outputs);
            for &product in &products {
                let mut forged = input.clone();
                forged[product] = field::add(forged[product], 1);
                assert!(
                    !constraints_hold(&circuit, &forged),
                    "{shape:?}: {forged:?}"
                );
            }
        }
    }
    assert_eq!(reached, legal, "{shape:?}: every legal row can be written");
}

#[test]
fn whatever_satisfies_the_constraints_is_a_legal_row_or_none() {
    let bits = [0, 1];
    for groups in 0..4 {
        for nullable in [false, true] {
            for max in 0..5 {
                for squared in [false, true] {
                    let shape = shape(groups, &[variable(max, nullable, squared)]);
                    satisfied_only_by_legal_rows(&shape, &bits);
                }
            }
        }
        satisfied_only_by_legal_rows(&shape(groups, &[]), &bits);
        let two = [variable(2, true, true), variable(3, false, true)];
        satisfied_only_by_legal_rows(&shape(groups, &two), &bits);
        let two = [variable(3, true, false), variable(2, true, true)];
        satisfied_only_by_legal_rows(&shape(groups, &two), &bits);
    }
}

#[test]
fn elements_that_are_no_bits_satisfy_nothing() {
    let values = [0, 1, 2, field::neg(1), field::inverse(2)];
    satisfied_only_by_legal_rows(&shape(0, &[variable(2, true, true)]), &values);
    satisfied_only_by_legal_rows(&shape(2, &[variable(2, true, true)]), &values);
    satisfied_only_by_legal_rows(&shape(3, &[variable(3, false, true)]), &values);
    satisfied_only_by_legal_rows(
        &shape(2, &[variable(1, true, false), variable(1, false, true)]),
        &values,
    );
}

fn one_hot(max: u64, nullable: bool) -> Variable {
    Variable {
        max,
        nullable,
        one_hot: true,
    }
}

fn product(present: &[u16], factors: &[u16]) -> Moment {
    Moment::Product {
        present: present.to_vec(),
        factors: factors.to_vec(),
    }
}

#[test]
fn counted_levels_and_products_of_two_are_those_of_legal_rows() {
    for groups in [0, 2, 3] {
        for nullable in [false, true] {
            for merged in [false, true] {
                let variable = 0;
                let levels = Moment::Levels { variable, merged };
                let mut shape = Shape::summing(groups, [(one_hot(3, nullable), true)]);
                shape.moments.push(levels);
                satisfied_only_by_legal_rows(&shape, &[0, 1]);
            }
            // Two variables where both, one or none may be NULL.
            for (one, other) in [(false, false), (nullable, true), (true, nullable)] {
                let mut shape = shape(groups, &[variable(1, one, true), variable(2, other, false)]);
                let present = [one.then_some(0), other.then_some(1)];
                let present: Vec<u16> = present.into_iter().flatten().collect();
                for factors in [&[][..], &[0], &[1], &[0, 1], &[1, 1]] {
                    let moment = product(&present, factors);
                    let nothing = moment == product(&[], &[]);
                    if !nothing && !shape.moments.contains(&moment) {
                        shape.moments.push(moment);
                    }
                }
                satisfied_only_by_legal_rows(&shape, &[0, 1]);
            }
        }
    }
    let odd = [0, 1, 2, field::neg(1)];
    let mut shape = Shape::summing(2, [(one_hot(2, false), false), (one_hot(1, true), false)]);
    let present = vec![1];
    shape.moments.push(product(&present, &[0, 1]));
    shape.moments.push(Moment::Levels {
        variable: 0,
        merged: false,
    });
    satisfied_only_by_legal_rows(&shape, &odd);
}
