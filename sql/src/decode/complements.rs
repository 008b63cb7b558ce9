//! Tests of queries in which one released number would give away another, over small populations.

use rand::{SeedableRng, rngs::StdRng};

use super::evaluate::evaluate;
use super::{Table, Value};
use crate::plan::{Plan, PlanLimits};
use dispers_base::{
    field,
    weakness::{Weakness, without},
};
use dispers_circuit::Circuit;
use dispers_query::{
    catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind},
    local::RawRow,
};

const COHORT: u32 = 20;
const FIELDS: [&str; 3] = ["age", "hiv", "dep"];

/// Values of a home in the order of [`FIELDS`].
type Home = [Option<i128>; 3];

/// Returns 240 homes: ages 20 to 59, six of each; `hiv` is 1 except for 3 homes; `dep` is missing for 3.
fn homes() -> Vec<Home> {
    (0..240)
        .map(|home| {
            let hiv = i128::from(!(10..13).contains(&home));
            let dep = (!(100..103).contains(&home)).then_some(home % 7);
            [Some(20 + home / 6), Some(hiv), dep]
        })
        .collect()
}

fn ask(sql: &str, homes: &[Home]) -> Table {
    let field = |name: &&str| Field {
        name: (*name).into(),
        kind: FieldKind::Integer,
        unit: String::new(),
        range: None,
        nullable: *name == "dep",
    };
    let catalogue = Catalogue {
        doctypes: vec![Doctype {
            name: "people".into(),
            cardinality: Cardinality::One,
            fields: FIELDS.iter().map(field).collect(),
        }],
        concepts: Vec::new(),
    };
    let plan = Plan::new(sql, &catalogue, &PlanLimits::default()).unwrap();
    let circuit = Circuit::compile(&plan.shape).unwrap();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut sums = vec![0; circuit.outputs().len()];
    for home in homes {
        let named: Vec<Value> = plan
            .local
            .fields()
            .map(|name| {
                let place = FIELDS.iter().position(|field| *field == name).unwrap();
                home[place].map_or(Value::Null, Value::Integer)
            })
            .collect();
        let value = |expr: &dispers_query::local::Expr| evaluate(expr, &named).value;
        let category = |key: &dispers_query::local::Key| {
            let value = value(&key.expr);
            key.categories
                .iter()
                .position(|category| Value::from(category) == value)
        };
        let number = |value: Value| match value {
            Value::Null => None,
            value => Some(value.number().unwrap_or(1.0)),
        };
        let measures = plan.local.measures.iter();
        let raw = RawRow {
            categories: plan.local.keys.iter().map(category).collect(),
            values: measures
                .map(|measure| number(value(&measure.expr)))
                .collect(),
        };
        let row = plan.local.row(&raw, rng);
        circuit.add_outputs(
            &circuit.as_rows().unwrap().encode(row.as_ref()).unwrap(),
            &mut sums,
        );
    }
    let openings = circuit.openings(false);
    let opened: Vec<i128> = openings
        .iter()
        .map(|count| field::signed(count.evaluate(&sums)))
        .collect();
    let mask = circuit.opened_mask(false, COHORT.into(), &plan.local.facts(), &opened);
    let released = mask.apply(&sums);
    let numbers: Vec<Option<i128>> = released.iter().map(|sum| sum.map(i128::from)).collect();
    plan.decoder.decode(&numbers, COHORT).unwrap()
}

/// Returns the values of the first row; NULL where a number was withheld.
fn row(sql: &str) -> Vec<Value> {
    ask(sql, &homes()).rows.first().cloned().unwrap_or_default()
}

fn integers(sql: &str) -> Vec<Option<i128>> {
    let integer = |value: &Value| match value {
        Value::Integer(value) => Some(*value),
        Value::Real(value) => Some(value.round() as i128),
        _ => None,
    };
    row(sql).iter().map(integer).collect()
}

#[test]
fn a_count_less_a_sum_of_bits_is_no_way_to_few_people() {
    let sql = "SELECT COUNT(*) - SUM(clamp(hiv,0,1,1)) AS z, COUNT(*) FILTER (WHERE hiv=0) AS w FROM people";
    assert_eq!(integers(sql), [None, None]);
    without(Weakness::CellsGivenAway, || {
        assert_eq!(integers(sql), [Some(3), None])
    });
    // The same holds for a sum over the homes that do not have it.
    assert_eq!(
        integers("SELECT SUM(clamp(1 - hiv, 0, 1, 1)) AS s, COUNT(*) AS n FROM people"),
        [None, Some(240)]
    );
}

#[test]
fn rows_and_values_are_not_told_together_where_a_few_have_none() {
    assert_eq!(
        integers("SELECT COUNT(*) AS n, COUNT(dep) AS m FROM people"),
        [None, Some(237)]
    );
    // A mean counts as two numbers, so that the number of rows is withheld instead.
    assert_eq!(
        integers("SELECT COUNT(*) AS n, AVG(clamp(dep,0,6,1)) AS m FROM people"),
        [None, Some(3)]
    );
    // Every home has an age.
    assert_eq!(
        integers("SELECT COUNT(*) AS n, COUNT(age) AS m FROM people"),
        [Some(240), Some(240)]
    );
}

#[test]
fn parts_of_a_whole_are_not_all_told_but_one() {
    let parts = "SELECT COUNT(*) FILTER (WHERE dep < 3) AS a, COUNT(*) FILTER (WHERE dep >= 3) AS b, \
                 COUNT(*) AS n FROM people";
    let released = integers(parts);
    assert_eq!(
        released.iter().filter(|value| value.is_none()).count(),
        1,
        "{released:?}"
    );
    // 12 homes have age 38 or 39, and 6 of these have age 38.
    let nested = "SELECT COUNT(*) FILTER (WHERE age < 38) AS a, COUNT(*) FILTER (WHERE age < 39) AS b, \
                  COUNT(*) FILTER (WHERE age < 45) AS c FROM people";
    let released = integers(nested);
    assert!(
        released[0].is_none() != released[1].is_none(),
        "{released:?}"
    );
    assert_eq!(released[2], Some(150));
    // Two counts may be close if neither includes the other.
    let apart = "SELECT COUNT(*) FILTER (WHERE age < 40) AS a, COUNT(*) FILTER (WHERE dep < 4) AS b FROM people";
    assert!(integers(apart).iter().all(Option::is_some));
}

#[test]
fn a_share_of_nearly_all_is_withheld() {
    assert_eq!(row("SELECT SHARE(hiv = 1) AS s FROM people"), [Value::Null]);
    assert!(
        row("SELECT SHARE(age < 40) AS s FROM people")[0]
            .number()
            .is_some()
    );
    let filtered = "SELECT COUNT(dep) AS a, COUNT(dep) FILTER (WHERE hiv = 1) AS b FROM people";
    // The counts differ by few homes, so the whole is withheld rather than its part.
    assert_eq!(integers(filtered), [None, Some(234)]);
}

#[test]
fn a_rare_value_does_not_follow_from_the_frequent_ones() {
    let homes: Vec<Home> = (0..100)
        .map(|home| {
            [
                Some(i128::from(home < 50) + 2 * i128::from(home >= 97)),
                Some(1),
                None,
            ]
        })
        .collect();
    // 50 homes have level 1, 47 level 0 and 3 level 2.
    let first_row = |sql: &str| ask(sql, &homes).rows[0].clone();
    let sql = "SELECT MODE(clamp(age, 0, 2, 1)) AS m, COUNT(*) AS n FROM people";
    assert_eq!(first_row(sql), [Value::Real(1.0), Value::Null]);
    // Three levels, their sum and their sum of squares are four equations for three unknown numbers.
    let sql =
        "SELECT AVG(clamp(age, 0, 2, 1)) AS a, VARIANCE(clamp(age, 0, 2, 1)) AS v FROM people";
    assert_eq!(first_row(sql)[1], Value::Null);
    assert!(first_row(sql)[0].number().is_some());
}

#[test]
fn a_condition_and_its_opposite_are_seen_however_they_are_written() {
    // Both conditions together hold for all but three homes.
    for (one, other) in [
        ("dep < 3", "dep >= 3"),
        ("dep < 3", "NOT dep < 3"),
        ("dep < 3", "3 <= dep"),
        ("dep IN (0, 1, 2)", "dep BETWEEN 3 AND 6"),
        (
            "dep < 3 OR dep IS NULL AND age < 0",
            "NOT (dep < 3 OR dep IS NULL AND age < 0)",
        ),
        ("age < 40 AND dep IS NOT NULL", "age >= 40"),
        ("age <= 39 AND NOT (dep IS NULL)", "age >= 40"),
    ] {
        let sql = format!(
            "SELECT COUNT(*) FILTER (WHERE {one}) AS a, COUNT(*) FILTER (WHERE {other}) AS b, COUNT(*) AS n \
             FROM people"
        );
        let released = integers(&sql);
        let withheld = released.iter().filter(|value| value.is_none()).count();
        assert_eq!(withheld, 1, "{one}: {released:?}");
    }
}
