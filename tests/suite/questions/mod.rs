//! Tests of random questions over random homes: planner, engine, circuit and decoder are compared with an evaluator
//! that knows none of them.

mod expression;
mod question;
mod random;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use dispers_circuit::Circuit;
use dispers_query::{
    catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind},
    local::FieldValue,
};
use dispers_sql::{
    decode::{Table, Value},
    plan::{Plan, PlanLimits},
};
use dispers_stack::engine::Engine;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::plain::text;
use expression::Row;
use question::{Cell, Inner, Question};
use random::{Columns, Draw, WORDS};

const QUESTIONS: u64 = 1_500;
const COHORT: usize = 4;

fn catalogue() -> Catalogue {
    let field = |name: &str, kind, nullable| Field {
        name: name.into(),
        kind,
        unit: String::new(),
        range: None,
        nullable,
    };
    let doctype = |name: &str, cardinality| Doctype {
        name: name.into(),
        cardinality,
        fields: vec![
            field("a", FieldKind::Integer, true),
            field("b", FieldKind::Integer, false),
            field("r", FieldKind::Real, true),
            field("s", FieldKind::Text, true),
        ],
    };
    Catalogue {
        doctypes: vec![
            doctype("one", Cardinality::One),
            doctype("many", Cardinality::Many),
        ],
        concepts: Vec::new(),
    }
}

fn columns() -> Columns {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Columns {
        integers: names(&["a", "b"]),
        reals: names(&["r"]),
        texts: names(&["s"]),
    }
}

fn document(rng: &mut StdRng) -> Row {
    let mut row = Row::default();
    row.integers.insert("b".into(), rng.random_range(0..8));
    if rng.random_bool(0.8) {
        row.integers.insert("a".into(), rng.random_range(-6..=6));
    }
    if rng.random_bool(0.8) {
        let halves: i32 = rng.random_range(-12..=12);
        row.reals.insert("r".into(), f64::from(halves) / 2.0);
    }
    if rng.random_bool(0.8) {
        let word = WORDS[rng.random_range(0..WORDS.len())];
        row.texts.insert("s".into(), word.into());
    }
    row
}

fn homes(rng: &mut StdRng, many: bool) -> Vec<Vec<Row>> {
    let most = if many { 4 } else { 1 };
    (0..40)
        .map(|_| {
            (0..rng.random_range(0..=most))
                .map(|_| document(rng))
                .collect()
        })
        .collect()
}

/// Draws an inner SELECT. Also returns the columns that it makes.
fn inner(rng: &mut StdRng) -> (Inner, Columns) {
    let functions = ["MIN", "MAX", "SUM", "COUNT"];
    let columns: Vec<_> = (0..rng.random_range(1..=3))
        .map(|index| {
            let function = functions[rng.random_range(0..functions.len())];
            let column = ["a", "b"][rng.random_range(0..2)];
            (function, column, format!("x{index}"))
        })
        .collect();
    let outside = Columns {
        integers: columns.iter().map(|(.., name)| name.clone()).collect(),
        reals: Vec::new(),
        texts: Vec::new(),
    };
    let condition = rng.random_bool(0.5).then(|| {
        let mut draw = Draw {
            rng,
            columns: self::columns(),
        };
        draw.condition(1)
    });
    (Inner { columns, condition }, outside)
}

fn question(rng: &mut StdRng) -> Question {
    let (inner, columns) = match rng.random_bool(0.35) {
        true => {
            let (inner, columns) = inner(rng);
            (Some(inner), columns)
        }
        false => (None, columns()),
    };
    Draw { rng, columns }.question(inner)
}

/// Computes the system's answer without its cryptography: every home's row is encoded, and the sums are masked.
fn answer(plan: &Plan, homes: &[Vec<Row>], rng: &mut StdRng) -> Table {
    let circuit = Circuit::compile(&plan.local.shape()).unwrap();
    let fields: Vec<&str> = plan.local.fields().collect();
    let value = |row: &Row, field: &str| match field {
        "r" => row
            .reals
            .get(field)
            .map_or(FieldValue::Null, |r| FieldValue::Real(*r)),
        "s" => row
            .texts
            .get(field)
            .map_or(FieldValue::Null, |s| FieldValue::Text(s.clone())),
        _ => row
            .integers
            .get(field)
            .map_or(FieldValue::Null, |i| FieldValue::Integer(*i)),
    };
    let documents = (0u32..).zip(homes).flat_map(|(home, documents)| {
        let fields = &fields;
        documents
            .iter()
            .map(move |row| (home, fields.iter().map(|field| value(row, field)).collect()))
    });
    let documents: Vec<(u32, Vec<FieldValue>)> = documents.collect();
    let rows = Engine::open_in_memory()
        .unwrap()
        .evaluate(&plan.local, documents);
    let mut sums = vec![0; circuit.outputs().len()];
    for (_, raw) in rows.unwrap() {
        let row = plan.local.row(&raw, rng);
        circuit.add_outputs(
            &circuit.as_rows().unwrap().encode(row.as_ref()).unwrap(),
            &mut sums,
        );
    }
    let mask = circuit.mask(COHORT as i128, |guard| sums[guard].into());
    let outputs = mask.apply(&sums);
    let outputs: Vec<Option<i128>> = outputs.iter().map(|sum| sum.map(i128::from)).collect();
    plan.decoder.decode(&outputs, COHORT as u32).unwrap()
}

fn compare(question: &Question, table: &Table, homes: &[Vec<Row>]) {
    let expected = question.answer(homes, COHORT);
    let keys = question.keys.len();
    let mut released: BTreeMap<Vec<String>, (usize, &[Value])> = BTreeMap::new();
    for (place, row) in table.rows.iter().enumerate() {
        released.insert(
            row[..keys].iter().map(text).collect(),
            (place, &row[keys..]),
        );
    }
    let found: Vec<_> = released.keys().collect();
    assert_eq!(found, expected.rows.keys().collect::<Vec<_>>());
    for (key, cells) in &expected.rows {
        let (place, row) = &released[key];
        for (index, cell) in cells.iter().enumerate() {
            let name = format!("c{index}");
            let withheld = table.withheld.contains(&(*place, name));
            match (cell, &row[index]) {
                (Cell::Withheld, Value::Null) => assert!(withheld, "{key:?} c{index}"),
                (Cell::Null, Value::Null) => assert!(!withheld, "{key:?} c{index}"),
                (Cell::Number(expected), Value::Integer(got)) => {
                    assert_eq!(*got as f64, *expected, "{key:?} c{index}");
                }
                (Cell::Number(expected), Value::Real(got)) => {
                    let near = (got - expected).abs() <= 1e-9 * expected.abs().max(1.0);
                    assert!(near, "{key:?} c{index}: {got}, not {expected}");
                }
                (Cell::Near(expected), Value::Real(got)) => {
                    let resolution = table.resolutions[*place][keys + index].unwrap();
                    let near = (got - expected).abs() <= resolution + 1e-9;
                    assert!(
                        near,
                        "{key:?} c{index}: {got} ±{resolution}, not {expected}"
                    );
                }
                (expected, got) => panic!("{key:?} c{index}: {got:?}, not {expected:?}"),
            }
        }
    }
    let suppressed: Vec<Vec<String>> = table
        .suppressed_groups
        .iter()
        .map(|group| group.iter().map(text).collect())
        .collect();
    assert!(
        suppressed
            .iter()
            .all(|group| !expected.rows.contains_key(group))
    );
    assert!(
        expected
            .suppressed
            .iter()
            .all(|group| suppressed.contains(group))
    );
}

/// Answers the question of a seed both ways. Returns whether it could be asked.
fn check(seed: u64) -> bool {
    let mut rng = StdRng::seed_from_u64(seed);
    let question = question(&mut rng);
    let homes = homes(&mut rng, question.inner.is_some());
    let sql = question.to_string();
    let plan = match Plan::new(&sql, &catalogue(), &PlanLimits::default()) {
        Ok(plan) => plan,
        // A question is refused only for a reason in this list.
        Err(error) => {
            let words = error.to_string();
            let known = [
                "multiplications",
                "groups",
                "no bounded set",
                "too deep",
                "constant",
            ];
            assert!(
                known.iter().any(|word| words.contains(word)),
                "{words}: {sql}"
            );
            return false;
        }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        compare(&question, &answer(&plan, &homes, &mut rng), &homes);
    }));
    assert!(outcome.is_ok(), "seed {seed}: {sql}");
    true
}

#[test]
fn random_questions_have_the_answers_of_a_plain_evaluation() {
    let asked = (0..QUESTIONS).filter(|seed| check(*seed)).count();
    assert!(
        asked * 10 > QUESTIONS as usize * 9,
        "only {asked} could be asked"
    );
}
