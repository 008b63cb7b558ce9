//! Tests that no combination of the numbers of one exact result gives a small count away.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{Moment, Row, Shape, Variable};
use dispers_base::{field, weakness};

const COHORT: i128 = 3;

/// Released numbers of one result, each with what every possible home adds to it.
struct Release {
    numbers: Vec<(Vec<i128>, i128)>,
}

fn encode(circuit: &Circuit, row: &Row) -> Vec<u64> {
    let rows = circuit.as_rows().unwrap();
    rows.encode(Some(row)).unwrap().to_vec()
}

fn outputs(circuit: &Circuit, row: &Row) -> Vec<i128> {
    let elements = encode(circuit, row);
    let outputs = circuit.outputs().iter();
    outputs
        .map(|output| field::signed(output.form.evaluate(&elements)))
        .collect()
}

/// Returns every row that the shape admits.
fn domain(shape: &Shape) -> Vec<Row> {
    let mut levels: Vec<Vec<Option<u64>>> = vec![Vec::new()];
    for variable in &shape.variables {
        let mut values: Vec<Option<u64>> = (0..=variable.max).map(Some).collect();
        values.extend(variable.nullable.then_some(None));
        levels = levels
            .iter()
            .flat_map(|before| {
                values
                    .iter()
                    .map(|value| [before.clone(), vec![*value]].concat())
            })
            .collect();
    }
    (0..usize::from(shape.groups.max(1)))
        .flat_map(|group| {
            levels.iter().map(move |levels| Row {
                group,
                levels: levels.clone(),
            })
        })
        .collect()
}

fn release(circuit: &Circuit, population: &[Row]) -> Release {
    let mut sums = vec![0u64; circuit.outputs().len()];
    for row in population {
        circuit.add_outputs(&encode(circuit, row), &mut sums);
    }
    let openings = circuit.openings(false);
    let opened: Vec<i128> = openings
        .iter()
        .map(|count| field::signed(count.evaluate(&sums)))
        .collect();
    let mask = circuit.opened_mask(false, COHORT, &Facts::default(), &opened);
    let domain: Vec<Vec<i128>> = domain(circuit.as_rows().unwrap().shape())
        .iter()
        .map(|row| outputs(circuit, row))
        .collect();
    let numbers = (0..sums.len()).filter_map(|output| {
        let Rule::Released(run @ 1..) = mask.rule(output) else {
            return None;
        };
        let run = output..output + run;
        let sums: Vec<i128> = sums.iter().map(|sum| field::signed(*sum)).collect();
        Some((
            domain
                .iter()
                .map(|outputs| outputs[run.clone()].iter().sum())
                .collect(),
            sums[run.clone()].iter().sum(),
        ))
    });
    Release {
        numbers: numbers.collect(),
    }
}

impl Release {
    /// Returns the number of people that a combination counts. Returns `None` where it counts no people: where it is
    /// not the same positive number for some homes and 0 for all others.
    fn people(&self, terms: &[(usize, i128)]) -> Option<i128> {
        let mut unit = 0;
        for home in 0..self.numbers.first()?.0.len() {
            let terms = terms.iter();
            let parts = terms.map(|(place, factor)| self.numbers[*place].0[home] * factor);
            match parts.sum::<i128>() {
                0 => {}
                one if one > 0 && (unit == 0 || unit == one) => unit = one,
                _ => return None,
            }
        }
        let terms = terms.iter();
        let all: i128 = terms
            .map(|(place, factor)| self.numbers[*place].1 * factor)
            .sum();
        (unit > 0).then(|| all / unit)
    }

    /// Returns the combination, with the number of people that it counts, if these are a few.
    fn few(&self, terms: Vec<(usize, i128)>) -> Option<(Vec<(usize, i128)>, i128)> {
        let people = self.people(&terms)?;
        is_few(people, COHORT).then_some((terms, people))
    }

    /// Returns a combination of at most seven numbers that counts some people, but fewer than the cohort.
    fn given_away(&self, rng: &mut StdRng) -> Option<(Vec<(usize, i128)>, i128)> {
        let count = self.numbers.len();
        let all = (0..count).flat_map(|a| (a..count).map(move |b| (a, b)));
        for (a, b) in all {
            for (one, other) in [(1, -1), (-1, 1), (1, 1), (2, -1), (-1, 2), (-2, 1), (1, -2)] {
                if let Some(found) = self.few(vec![(a, one), (b, other)]) {
                    return Some(found);
                }
            }
        }
        for _ in 0..4000 {
            let size = rng.random_range(3..=7).min(count);
            let mut places: Vec<usize> = (0..count).collect();
            for place in 0..size {
                places.swap(place, rng.random_range(place..count));
            }
            let factors = [1, -1, 1, -1, 2, -2];
            let terms = places[..size].iter();
            let terms = terms.map(|place| (*place, factors[rng.random_range(0..6)]));
            if let Some(found) = self.few(terms.collect()) {
                return Some(found);
            }
        }
        None
    }
}

/// Adds a moment that is not among the others.
fn add(moments: &mut Vec<Moment>, moment: Moment) {
    if !moments.contains(&moment) {
        moments.push(moment);
    }
}

fn nullable_of(variables: &[Variable], numbers: &[u16]) -> Vec<u16> {
    let nullable = numbers.iter().copied();
    nullable
        .filter(|v| variables[usize::from(*v)].nullable)
        .collect()
}

/// Returns random sums of a few random values, in the forms that queries have.
fn shape(rng: &mut StdRng) -> Shape {
    let groups = [0, 0, 2, 3][rng.random_range(0..4)];
    let variables: Vec<Variable> = (0..rng.random_range(1..=3))
        .map(|_| {
            let max = [0, 1, 1, 2, 3, 5][rng.random_range(0..6)];
            Variable {
                max,
                nullable: max == 0 || rng.random_bool(0.5),
                one_hot: max > 0 && rng.random_bool(0.3),
            }
        })
        .collect();
    let mut moments: Vec<Moment> = Vec::new();
    for (number, variable) in (0u16..).zip(&variables) {
        let present = nullable_of(&variables, &[number]);
        if !present.is_empty() {
            add(&mut moments, Moment::count(present.clone()));
        }
        let degree = rng.random_range(0..3);
        for degree in 1..=degree * usize::from(variable.max > 0) {
            add(
                &mut moments,
                Moment::Product {
                    present: present.clone(),
                    factors: vec![number; degree],
                },
            );
        }
        if variable.one_hot {
            add(
                &mut moments,
                Moment::Levels {
                    variable: number,
                    merged: rng.random_bool(0.5),
                },
            );
        }
    }
    // A regression sums the products of two or of all variables.
    let all: Vec<u16> = (0u16..).take(variables.len()).collect();
    if variables.iter().all(|v| v.max > 0) && all.len() > 1 && rng.random_bool(0.5) {
        let together = match rng.random_bool(0.5) {
            true => all.clone(),
            false => vec![all[0], all[1]],
        };
        let present = nullable_of(&variables, &together);
        if !present.is_empty() {
            add(&mut moments, Moment::count(present.clone()));
        }
        for (place, one) in together.iter().enumerate() {
            add(
                &mut moments,
                Moment::Product {
                    present: present.clone(),
                    factors: vec![*one],
                },
            );
            for other in &together[place..] {
                add(
                    &mut moments,
                    Moment::Product {
                        present: present.clone(),
                        factors: vec![*one, *other],
                    },
                );
            }
        }
    }
    Shape {
        groups,
        variables,
        moments,
    }
}

fn population(shape: &Shape, rng: &mut StdRng) -> Vec<Row> {
    let domain = domain(shape);
    // Few kinds of homes make counts equal and differences small.
    let kinds: Vec<usize> = (0..rng.random_range(1..=6))
        .map(|_| rng.random_range(0..domain.len()))
        .collect();
    let mut population: Vec<Row> = (0..rng.random_range(0..40))
        .map(|_| domain[kinds[rng.random_range(0..kinds.len())]].clone())
        .collect();
    // Up to two homes of other kinds.
    for _ in 0..rng.random_range(0..3) {
        population.push(domain[rng.random_range(0..domain.len())].clone());
    }
    population
}

fn case(seed: u64) -> (Circuit, Vec<Row>, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed);
    let circuit = Circuit::compile(&shape(&mut rng)).unwrap();
    let population = population(circuit.as_rows().unwrap().shape(), &mut rng);
    (circuit, population, rng)
}

/// Returns how many cases are tried: the same few, or as many random ones as `GIVEN_AWAY_CASES` says.
///
/// About one of 8,000 random results of these shapes still gives a small count away (protocol.md §13), so that a run of
/// random cases may fail at any time.
fn cases() -> ProptestConfig {
    let wanted = std::env::var("GIVEN_AWAY_CASES").ok();
    match wanted.and_then(|cases| cases.parse().ok()) {
        Some(cases) => ProptestConfig::with_cases(cases),
        None => ProptestConfig {
            rng_seed: RngSeed::Fixed(7),
            ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 1000 })
        },
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_combination_of_the_numbers_of_one_result_counts_fewer_people_than_the_cohort(
        seed in any::<u64>(),
    ) {
        let (circuit, population, mut rng) = case(seed);
        let release = release(&circuit, &population);
        let found = release.given_away(&mut rng);
        prop_assert!(
            found.is_none(),
            "{found:?} of {:?}: {:?}",
            circuit.as_rows().unwrap().shape(),
            release.numbers.iter().map(|number| number.1).collect::<Vec<_>>()
        );
    }
}

#[test]
fn results_that_gave_a_count_away_before_give_none_away() {
    for seed in [
        3964799546891839192,
        15812918146606747088,
        13388740823317475886,
    ] {
        let (circuit, population, mut rng) = case(seed);
        let found = release(&circuit, &population).given_away(&mut rng);
        assert!(
            found.is_none(),
            "{seed}: {found:?} of {:?}",
            circuit.as_rows().unwrap().shape()
        );
    }
}

#[test]
fn without_the_rule_many_results_give_counts_away() {
    let given_away = (0..60u64).filter(|seed| {
        let (circuit, population, mut rng) = case(*seed);
        weakness::without(Weakness::CellsGivenAway, || {
            release(&circuit, &population)
                .given_away(&mut rng)
                .is_some()
        })
    });
    assert!(given_away.count() > 5);
}

#[test]
fn a_difference_of_nobody_withholds_nothing() {
    let variables = [(0, false), (9, true), (1, false)].map(|(max, squared)| {
        let variable = Variable {
            max,
            nullable: true,
            one_hot: false,
        };
        (variable, squared)
    });
    let shape = Shape::summing(0, variables);
    let circuit = Circuit::compile(&shape).unwrap();
    let row = Row {
        group: 0,
        levels: vec![Some(0), Some(5), Some(1)],
    };
    assert_eq!(
        release(&circuit, &vec![row; 7]).numbers.len(),
        circuit.outputs().len()
    );
}

fn row(group: usize, level: Option<u64>) -> Row {
    let levels = vec![level];
    Row { group, levels }
}

#[test]
fn what_costs_fewest_numbers_is_withheld() {
    let variable = Variable {
        max: 9,
        nullable: true,
        one_hot: false,
    };
    // Of 10 rows 9 have a value: the number of rows is withheld, not the mean.
    let circuit = Circuit::compile(&Shape::summing(0, [(variable, false)])).unwrap();
    let mut population = vec![row(0, Some(4)); 9];
    population.push(row(0, None));
    let released: Vec<i128> = release(&circuit, &population)
        .numbers
        .iter()
        .map(|n| n.1)
        .collect();
    assert_eq!(released, [9, 36]);
}

/// Returns whether the number of homes is withheld beside a result with six homes in one group and `others` in the
/// other.
fn gives_away(others: usize, homes: u64) -> bool {
    let variable = Variable {
        max: 9,
        nullable: false,
        one_hot: false,
    };
    let circuit = Circuit::compile(&Shape::summing(2, [(variable, false)])).unwrap();
    let mut sums = vec![0u64; circuit.outputs().len()];
    let first = std::iter::repeat_n(row(0, Some(4)), 6);
    for row in first.chain(std::iter::repeat_n(row(1, Some(4)), others)) {
        circuit.add_outputs(&encode(&circuit, &row), &mut sums);
    }
    let openings = circuit.openings(false);
    let opened = openings.iter().map(|count| count.evaluate(&sums).into());
    let opened: Vec<i128> = opened.collect();
    let mask = circuit.opened_mask(false, COHORT, &Facts::default(), &opened);
    circuit.homes_give_away(&mask, COHORT, homes, &opened)
}

#[test]
fn the_number_of_homes_is_not_told_where_it_tells_how_few_have_no_row() {
    // Every home has a row, or enough homes have none.
    assert!(!gives_away(4, 10) && !gives_away(4, 13));
    assert!(gives_away(4, 12));
    // One group is suppressed, and every home has a row.
    assert!(gives_away(2, 8) && !gives_away(2, 9));
}
