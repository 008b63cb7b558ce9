//! Tests of compiled shapes.

use crate::{
    Circuit, CircuitError, Layout, MAX_LEVELS, MAX_VARIABLES, Moment, Rows, Shape, Variable,
};
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

fn constraints(shape: &Shape) -> usize {
    Rows::compile(shape).unwrap().constraints().count()
}

fn product(present: &[u16], factors: &[u16]) -> Moment {
    Moment::Product {
        present: present.to_vec(),
        factors: factors.to_vec(),
    }
}

#[test]
fn what_two_moments_have_in_common_is_multiplied_once() {
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
    let circuit = Rows::compile(&shape(2, &variables)).unwrap();
    let guards: Vec<usize> = circuit
        .outputs()
        .iter()
        .map(|output| output.guard)
        .collect();
    assert_eq!(guards, [0, 1, 0, 0, 4, 4, 4, 7, 8, 7, 7, 11, 11, 11]);
    let layout = Layout::of(circuit.shape());
    assert_eq!(layout.rows(1), 7);
    assert_eq!(layout.moment(1, &Moment::count(vec![0])), Some(8..9));
    for (degree, place) in (0..3).zip(11..) {
        let moment = product(&[2], &vec![2; degree]);
        assert_eq!(layout.moment(1, &moment), Some(place..place + 1));
    }
}

fn refusal(groups: u16, variables: &[(Variable, bool)]) -> Option<CircuitError> {
    Circuit::compile(&shape(groups, variables)).err()
}

#[test]
fn shapes_out_of_bounds_are_refused() {
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

fn capacity(max: u64, squared: bool) -> u64 {
    let shape = shape(0, &[variable(3, true, true), variable(max, false, squared)]);
    Circuit::compile(&shape).unwrap().capacity()
}

#[test]
fn capacity_is_where_the_largest_output_reaches_the_field() {
    assert_eq!(capacity(MAX_LEVELS - 1, true), 1);
    assert_eq!(
        capacity(MAX_LEVELS - 1, false),
        (field::MODULUS - 1) / (MAX_LEVELS - 1)
    );
    assert_eq!(capacity(0, true), (field::MODULUS - 1) / 9);
}

/// Returns whether these moments of a nullable, a nullable one-hot and another variable are refused.
fn refuses(moments: &[Moment]) -> bool {
    let (plain, _) = variable(9, true, false);
    let one_hot = Variable {
        one_hot: true,
        ..plain.clone()
    };
    let shape = Shape {
        groups: 0,
        variables: vec![plain, one_hot, variable(9, false, false).0],
        moments: moments.to_vec(),
    };
    Circuit::compile(&shape).err() == Some(CircuitError::Moments)
}

fn levels(variable: u16) -> Moment {
    Moment::Levels {
        variable,
        merged: true,
    }
}

fn count(present: &[u16]) -> Moment {
    product(present, &[])
}

#[test]
fn moments_that_do_not_fit_their_variables_are_refused() {
    assert!(!refuses(&[count(&[0]), product(&[0], &[0, 2]), levels(1)]));
    assert!(!refuses(&[product(&[], &[2, 2])]));
    // The guard is missing, a factor is not among the present variables, or a present variable is never NULL.
    assert!(refuses(&[product(&[0], &[0])]));
    assert!(refuses(&[product(&[], &[0])]));
    assert!(refuses(&[count(&[2])]));
    assert!(refuses(&[count(&[0, 0])]));
    assert!(refuses(&[count(&[1, 0])]));
    // Nothing is summed, three factors, another order, a moment twice, a variable that does not count levels or does
    // not exist.
    assert!(refuses(&[count(&[])]));
    assert!(refuses(&[product(&[], &[2, 2, 2])]));
    assert!(refuses(&[count(&[0]), product(&[0], &[2, 0])]));
    assert!(refuses(&[levels(1), levels(1)]));
    assert!(refuses(&[levels(0)]));
    assert!(refuses(&[levels(3)]));
    assert!(refuses(&[product(&[], &[3])]));
}
