//! From SQL to a table without cryptography: plan, engine, quantiser, sums, decoder.

#![allow(clippy::unwrap_used)]

mod plain;

use std::collections::BTreeMap;
use std::time::Duration;

use dispers_circuit::Circuit;
use dispers_query::{
    catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind},
    local::{FieldValue, LocalQuery},
};
use dispers_sql::{
    decode::{Table, Value},
    plan::{Plan, PlanLimits},
};
use dispers_stack::{
    engine::{Engine, EngineError},
    render::render,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn doctype(name: &str, cardinality: Cardinality, fields: &[(&str, FieldKind, bool)]) -> Doctype {
    Doctype {
        name: name.into(),
        cardinality,
        fields: fields
            .iter()
            .map(|(name, kind, nullable)| Field {
                name: (*name).into(),
                kind: *kind,
                unit: String::new(),
                range: None,
                nullable: *nullable,
            })
            .collect(),
    }
}

fn catalogue() -> Catalogue {
    use FieldKind::{Integer, Real, Text};
    let fields = [
        ("i", Integer, true),
        ("j", Integer, true),
        ("r", Real, true),
        ("s", Text, true),
    ];
    Catalogue {
        doctypes: vec![
            doctype(
                "nhefs",
                Cardinality::One,
                &[
                    ("age", Integer, false),
                    ("sbp", Integer, true),
                    ("sex", Text, false),
                ],
            ),
            doctype("one", Cardinality::One, &fields),
            doctype("many", Cardinality::Many, &fields),
        ],
        concepts: Vec::new(),
    }
}

fn plan(sql: &str) -> Plan {
    Plan::new(sql, &catalogue(), &PlanLimits::default()).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// Runs a plan without cryptography. Groups of fewer than `cohort` homes are withheld.
fn run(plan: &Plan, documents: Vec<(u32, Vec<FieldValue>)>, cohort: u64) -> Table {
    let rng = &mut StdRng::seed_from_u64(5);
    let rows = Engine::open_in_memory()
        .unwrap()
        .evaluate(&plan.local, documents)
        .unwrap();
    let circuit = Circuit::compile(&plan.shape).unwrap();
    let mut sums = vec![0; circuit.outputs().len()];
    for (_, raw) in rows {
        let row = plan.local.row(&raw, rng);
        circuit.add_outputs(
            &circuit.as_rows().unwrap().encode(row.as_ref()).unwrap(),
            &mut sums,
        );
    }
    let mask = circuit.mask(cohort.into(), |guard| sums[guard].into());
    let released: Vec<Option<i128>> = mask
        .apply(&sums)
        .into_iter()
        .map(|sum| sum.map(i128::from))
        .collect();
    plan.decoder.decode(&released, cohort as u32).unwrap()
}

fn nhefs(fields: &[&str]) -> Vec<(u32, Vec<FieldValue>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/nhefs.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let at: Vec<_> = fields
        .iter()
        .map(|f| header.iter().position(|h| h == *f).unwrap())
        .collect();
    let records = reader.records().map(Result::unwrap);
    let value = |text: &str| match (text, text.parse()) {
        ("", _) => FieldValue::Null,
        (_, Ok(number)) => FieldValue::Integer(number),
        (text, Err(_)) => FieldValue::Text(text.into()),
    };
    records
        .enumerate()
        .map(|(home, record)| (home as u32, at.iter().map(|i| value(&record[*i])).collect()))
        .collect()
}

#[test]
fn the_example_gives_the_known_means() {
    let plan = plan(
        "SELECT CASE WHEN age < 40 THEN '25-39' WHEN age < 55 THEN '40-54' ELSE '55+' END AS band,
                COUNT(*) AS homes, COUNT(sbp) AS measured, AVG(clamp(sbp, 80, 230, 1)) AS mean_sbp
         FROM nhefs GROUP BY band",
    );
    let table = run(&plan, nhefs(&plan.local.fields().collect::<Vec<_>>()), 5);
    let known = [
        ("25-39", 628, 120.72),
        ("40-54", 611, 132.12),
        ("55+", 313, 138.09),
    ];
    assert_eq!(table.rows.len(), 3);
    for (row, (band, measured, mean)) in table.rows.iter().zip(known) {
        assert_eq!(row[0], Value::Text(band.into()));
        assert_eq!(row[2], Value::Integer(measured));
        assert!(
            matches!(row[3], Value::Real(v) if (v - mean).abs() < 0.005),
            "{row:?}"
        );
    }
    let homes = table.rows.iter().map(|row| match row[1] {
        Value::Integer(homes) => homes,
        _ => panic!("a count is an integer"),
    });
    assert_eq!(homes.sum::<i128>(), 1629);
}

#[test]
fn a_small_group_is_suppressed() {
    let plan = plan("SELECT domain(sex, 'male', 'none') AS s, COUNT(*) FROM nhefs GROUP BY s");
    let table = run(&plan, nhefs(&["sex"]), 5);
    assert_eq!(table.rows.len(), 2);
    assert_eq!(table.rows[1][0], Value::Null);
    assert_eq!(table.suppressed_groups, [[Value::Text("none".into())]]);
}

/// Queries over `one` and `many`: conditions, keys and measures in all forms.
const QUERIES: &[&str] = &[
    "SELECT COUNT(*) FROM one WHERE i > j",
    "SELECT COUNT(*) FROM one WHERE NOT (i > j AND r < 1)",
    "SELECT COUNT(*) FROM one WHERE i > j OR r < 1 OR s = 'ab'",
    "SELECT COUNT(*) FROM one WHERE i IN (1, 2, NULL) OR j NOT IN (1, 2)",
    "SELECT COUNT(*) FROM one WHERE i NOT IN (1, NULL)",
    "SELECT COUNT(*) FROM one WHERE i BETWEEN j AND 3 OR r NOT BETWEEN -1 AND i",
    "SELECT COUNT(*) FROM one WHERE s LIKE 'a%' OR s LIKE '_B' OR s NOT LIKE '%b%'",
    "SELECT COUNT(*) FROM one WHERE (i > 1) IS TRUE OR (j > 1) IS NOT FALSE",
    "SELECT COUNT(*) FROM one WHERE (i > 1) = (j > 1)",
    "SELECT COUNT(*) FROM one WHERE s IS NULL OR i IS NOT NULL AND NULL",
    "SELECT COUNT(*) FROM one WHERE i = 2.0 AND '1' < j",
    "SELECT COUNT(*) FROM one WHERE s < 'b' AND s >= 'A'",
    "SELECT SUM(clamp(i / j, -9, 9, 1)) FROM one",
    "SELECT SUM(clamp(-7 / i, -9, 9, 1)), SUM(clamp(r / j, -9, 9)) FROM one",
    "SELECT SUM(clamp(i + j * 2 - 1, -9, 9, 1)), COUNT(s), COUNT(i > j) FROM one",
    "SELECT SUM(clamp(i + 0.5, -9, 9)), SUM(clamp(i / 2 + r, -9, 9)) FROM one",
    "SELECT SUM(clamp(CASE WHEN i > 1 THEN j WHEN r > 0 THEN 2.5 END, -9, 9)) FROM one",
    "SELECT SUM(clamp(CASE i WHEN 1 THEN 10 WHEN j THEN 20 ELSE -1 END, -9, 20, 1)) FROM one",
    "SELECT SUM(clamp(COALESCE(i, j, 0), -9, 9, 1)), COUNT(NULLIF(i, j)) FROM one",
    "SELECT SUM(clamp(ABS(i) + ABS(-j), 0, 9, 1)), SUM(clamp(ABS(r), 0, 9)) FROM one",
    "SELECT SUM(clamp(ROUND(r * 2) + FLOOR(r) + CEIL(r), -9, 9)) FROM one",
    "SELECT SUM(clamp(CAST(r AS INTEGER) / 2, -9, 9, 1)) FROM one",
    "SELECT SUM(clamp(CAST(i > j AS INTEGER) + i::real, -9, 9)) FROM one",
    "SELECT SUM(clamp(LENGTH(s), 0, 9, 1)) FROM one WHERE LOWER(s) = 'ab' OR UPPER(s) = 'É'",
    "SELECT COUNT(*) FROM one GROUP BY i > j, domain(s, 'ab', 'é', 'A')",
    "SELECT COUNT(*) FROM one GROUP BY CASE WHEN i > j THEN 'x' WHEN r > 0 THEN s END = 'x'",
    "SELECT COUNT(*) FROM one GROUP BY domain(i + j, 0, 1, 2), i IS NULL",
    "SELECT COUNT(*) FROM one GROUP BY CASE WHEN i < 0 THEN 1 WHEN i < 2 THEN 2 END",
    "SELECT COUNT(*) FROM (SELECT AVG(i) AS a FROM many) AS h WHERE a > 0.5",
    "SELECT SUM(clamp(a, -9, 9)), SUM(clamp(n, 0, 9, 1)), COUNT(m) FROM
     (SELECT AVG(r) AS a, COUNT(*) AS n, MAX(s) AS m FROM many WHERE i >= 0) AS h",
    "SELECT SUM(clamp(spread, 0, 9, 1)) FROM
     (SELECT MAX(i) - MIN(i) AS spread, SUM(j) AS t FROM many) AS h WHERE h.t / 2 > 0",
    "SELECT COUNT(*) FROM (SELECT COUNT(i) AS n, MIN(s) AS m, SUM(r) AS r FROM many) AS h
     GROUP BY n = 0, m < 'b', domain(m, 'A', 'ab')",
    "SELECT SUM(clamp(x, -9, 9)) FROM (SELECT AVG(CASE WHEN i > j THEN r END) AS x FROM many) h",
];

fn documents(query: &LocalQuery, rng: &mut StdRng) -> Vec<(u32, Vec<FieldValue>)> {
    let many = if query.inner.is_some() { 4 } else { 1 };
    let mut documents = Vec::new();
    for home in 0..60 {
        for _ in 0..rng.random_range(0..=many) {
            let values = query.fields.iter().map(|field| match field.kind {
                _ if rng.random_range(0..4) == 0 => FieldValue::Null,
                FieldKind::Integer => FieldValue::Integer(rng.random_range(-3..4)),
                FieldKind::Real => FieldValue::Real(f64::from(rng.random_range(-8..9)) / 4.0),
                FieldKind::Text => {
                    let texts = ["ab", "aB", "A", "b", "é", "", "aab"];
                    FieldValue::Text(texts[rng.random_range(0..texts.len())].into())
                }
            });
            documents.push((home, values.collect()));
        }
    }
    documents
}

#[test]
fn the_engine_agrees_with_a_plain_evaluation() {
    let rng = &mut StdRng::seed_from_u64(11);
    let mut engine = Engine::open_in_memory().unwrap();
    for sql in QUERIES {
        let query = plan(sql).local;
        for _ in 0..5 {
            let documents = documents(&query, rng);
            let expected = plain::evaluate(&query, &documents);
            let found: BTreeMap<_, _> = engine
                .evaluate(&query, documents)
                .unwrap()
                .into_iter()
                .map(|(home, row)| (home, (row.categories, row.values)))
                .collect();
            assert_eq!(found, expected, "{sql}");
        }
    }
}

#[test]
fn postgresql_decides_these_values() {
    // Results that follow from PostgreSQL's documentation of integers, double precision and NULL.
    let cases: &[(&str, Option<f64>)] = &[
        ("-7 / 2 + i", Some(-3.0)),
        ("7 / 2.0 + i", Some(3.5)),
        ("1 / i", None),
        ("ROUND(0.5 + r)", Some(0.0)),
        ("CAST(2.5 + r AS INTEGER)", Some(2.0)),
        ("CAST(-1.5 + r AS INTEGER)", Some(-2.0)),
        ("CASE WHEN i = 0 AND j = 0 THEN 1 ELSE 2 END", Some(2.0)),
        ("CASE j WHEN NULL THEN 1 ELSE 2 END", Some(2.0)),
        ("COALESCE(j, i + 1)", Some(1.0)),
        ("LENGTH('été') + i", Some(3.0)),
        ("CASE WHEN 'a' LIKE 'A' THEN 1 ELSE 0 END", Some(0.0)),
        ("CASE WHEN 'a%' LIKE 'a\\%' THEN 1 ELSE 0 END", Some(1.0)),
    ];
    let mut engine = Engine::open_in_memory().unwrap();
    for (expr, expected) in cases {
        let query = plan(&format!("SELECT SUM(clamp({expr}, -99, 99)) FROM one")).local;
        let document = query.fields().map(|name| match name {
            "i" => FieldValue::Integer(0),
            "r" => FieldValue::Real(0.0),
            _ => FieldValue::Null,
        });
        let rows = engine.evaluate(&query, [(7, document.collect())]).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].1.values, [*expected], "{expr}");
    }
}

#[test]
fn strange_data_of_one_home_leaves_the_others_alone() {
    let sql = "SELECT SUM(clamp(i + 1, 0, 9, 1)), SUM(clamp(r * 1e300, 0, 9)), COUNT(s) FROM one";
    let query = plan(sql).local;
    assert_eq!(query.fields().collect::<Vec<_>>(), ["i", "r", "s"]);
    use FieldValue::{Integer, Null, Real, Text};
    let documents = vec![
        (0, vec![Integer(1), Real(0.0), Text("x".into())]),
        (
            1,
            vec![Integer(i64::MAX), Real(1e300), Text("x".repeat(70_000))],
        ),
        (2, vec![Text("1".into()), Real(f64::NAN), Integer(1)]),
        (3, vec![Real(2.0), Integer(0), Text("\0".into())]),
        (4, vec![Real(2.5)]),
        (5, vec![Integer(3), Null, Null, Null, Null]),
        (0, vec![Integer(8), Real(8.0), Null]),
    ];
    let rows = Engine::open_in_memory()
        .unwrap()
        .evaluate(&query, documents)
        .unwrap();
    let values: Vec<_> = rows
        .into_iter()
        .map(|(home, row)| (home, row.values))
        .collect();
    assert_eq!(
        values,
        [
            (0, vec![Some(2.0), Some(0.0), Some(0.0)]),
            (1, vec![None, None, None]),
            (2, vec![None, None, None]),
            (3, vec![Some(3.0), Some(0.0), Some(0.0)]),
            (4, vec![None, None, None]),
            (5, vec![Some(4.0), None, None]),
        ]
    );
}

#[test]
fn sums_of_a_home_s_documents_are_exact_or_null() {
    let sql = "SELECT SUM(clamp(t, 0, 9)), COUNT(n) FROM
               (SELECT SUM(i) - 9007199254740993 AS t, SUM(j) AS n FROM many) AS h";
    let query = plan(sql).local;
    use FieldValue::Integer;
    let documents = [9_007_199_254_740_992, 1].map(|i| (1, vec![Integer(i), Integer(i64::MAX)]));
    let rows = Engine::open_in_memory()
        .unwrap()
        .evaluate(&query, documents)
        .unwrap();
    assert_eq!(rows[0].1.values, [Some(0.0), None]);
}

#[test]
fn nothing_of_the_query_reaches_the_statements() {
    let query = plan(
        "SELECT COUNT(*), COUNT(marker) FROM
         (SELECT MAX(s) AS marker FROM many WHERE i > 424242 AND s LIKE 'xyzzy') AS h
         WHERE marker <> 'xyzzy' GROUP BY domain(marker, 'xyzzy'' OR 1')",
    );
    let statements = render(&query.local);
    let text = format!(
        "{} {} {}",
        statements.create, statements.insert, statements.select
    );
    for secret in ["xyzzy", "424242", "marker", "many", "'"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!(statements.parameters.len(), 4);
}

#[test]
fn the_deepest_and_longest_queries_run() {
    let mut engine = Engine::open_in_memory().unwrap();
    for condition in [
        format!("{}i{} > 1", "ABS(".repeat(40), ")".repeat(40)),
        "i + ".repeat(60) + "1 > 2",
        "i = 1 OR ".repeat(500) + "i = 2",
        format!("i IN ({}1)", "1, ".repeat(500)),
        format!("CASE {} ELSE 1 END = 1", "WHEN i = 2 THEN 1 ".repeat(200)),
        format!("COALESCE({}1) = 1", "i, ".repeat(400)),
    ] {
        let query = plan(&format!("SELECT COUNT(*) FROM one WHERE {condition}")).local;
        engine
            .evaluate(&query, [(1, vec![FieldValue::Integer(2)])])
            .unwrap_or_else(|e| panic!("{condition}: {e}"));
    }
}

#[test]
fn a_query_that_takes_too_long_is_stopped_and_the_engine_stays_usable() {
    let query = plan(&format!(
        "SELECT COUNT(*) FROM one WHERE {}i = 2",
        "i = 1 OR ".repeat(400)
    ));
    let documents = || (0..2000).map(|home| (home, vec![FieldValue::Integer(3)]));
    let mut engine = Engine::with_time_limit(Duration::ZERO).unwrap();
    for _ in 0..2 {
        let stopped = engine.evaluate(&query.local, documents());
        assert!(matches!(stopped, Err(EngineError::TooLong)));
    }
    let mut engine = Engine::open_in_memory().unwrap();
    assert!(
        engine
            .evaluate(&query.local, documents())
            .unwrap()
            .is_empty()
    );
}
