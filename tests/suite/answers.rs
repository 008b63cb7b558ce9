//! Tests of the answers of whole networks, each compared with a plain computation over the same file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dispers_sandbox::Options;
use dispers_sql::decode::Value;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use crate::{
    ask, options,
    plain::{Document, Sums, assert_same, by_home, documents, number, real, rows, write},
};

/// Writes a file of 400 homes of one document: a city or none, an age, an income or none.
fn people() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    let mut rng = StdRng::seed_from_u64(1);
    let row = |home: usize| {
        let city = ["lyon", "paris", "nice", ""][rng.random_range(0..4)];
        let age = rng.random_range(0..100);
        let income = match rng.random_range(0..4) {
            0 => String::new(),
            _ => format!("{:.2}", rng.random_range(0.0..9_000.0)),
        };
        format!("p{home},{city},{age},{income},{}", rng.random_range(0..2))
    };
    write(&path, "home,city,age,income,smoker", (0..400).map(row));
    (folder, path)
}

/// Writes a file of 150 homes of one to six documents.
fn heartrate() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heartrate.csv");
    let mut rng = StdRng::seed_from_u64(2);
    let mut lines = Vec::new();
    for home in 0..150 {
        for _ in 0..rng.random_range(1..=6) {
            let day = rng.random_range(1..=30);
            let bpm = match rng.random_range(0..6) {
                0 => String::new(),
                _ => rng.random_range(40..180).to_string(),
            };
            lines.push(format!("h{home},2026-10-{day:02},{bpm}"));
        }
    }
    write(&path, "home,day,bpm", lines.into_iter());
    (folder, path)
}

fn nhefs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nhefs.csv")
}

/// Creates a network with the smallest cohort, so that a few homes without a value withhold nothing.
fn small(data: Vec<PathBuf>) -> Options {
    Options {
        min_cohort: 2,
        ..options(data)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_aggregate_of_the_example_is_exact() {
    let sql = "SELECT domain(sex, 'female', 'male') AS who, quit = 1 AS stopped, COUNT(*), \
        COUNT(cholesterol), SUM(clamp(cholesterol, 50, 500, 1)), AVG(clamp(cholesterol, 50, 500, 1)), \
        VARIANCE(clamp(cholesterol, 50, 500, 1)), VAR_SAMP(clamp(cholesterol, 50, 500, 1)), \
        VAR_POP(clamp(cholesterol, 50, 500, 1)), STDDEV(clamp(cholesterol, 50, 500, 1)), \
        STDDEV_SAMP(clamp(cholesterol, 50, 500, 1)), STDDEV_POP(clamp(cholesterol, 50, 500, 1)) \
        FROM nhefs WHERE age BETWEEN 30 AND 60 AND cholesterol IS NOT NULL GROUP BY who, stopped";
    let result = ask(&small(Vec::new()), sql).await;

    let mut expected: BTreeMap<String, Sums> = BTreeMap::new();
    for one in documents(&nhefs()) {
        let age = number(&one, "age").unwrap();
        // In one group, only a single person has no value. Rows and values together would reveal that person, so that
        // the query leaves out people without a value.
        let cholesterol = number(&one, "cholesterol");
        if (30.0..=60.0).contains(&age) && cholesterol.is_some() {
            let key = format!("{}/{}", one["sex"], one["quit"] == "1");
            let group = expected.entry(key).or_default();
            group.add(cholesterol.map(|c| c.clamp(50.0, 500.0)));
        }
    }
    let released = rows(&result.table, 2);
    assert_eq!(released.len(), 4);
    for (key, sums) in expected {
        let row = &released[&key];
        let variance = (sums.variance(1.0), sums.variance(0.0));
        let values = [
            sums.rows.into(),
            sums.count().into(),
            sums.sum(),
            sums.mean(),
            variance.0,
            variance.0,
            variance.1,
            variance.0.sqrt(),
            variance.0.sqrt(),
            variance.1.sqrt(),
        ];
        for (got, expected) in row.iter().zip(values) {
            assert_same(real(got), expected);
        }
    }
    // Homes whose sex is neither would be a group of their own, but there are none.
    assert_eq!(result.table.suppressed_groups.len(), 2);
    assert_eq!(result.homes.accepted, 1629);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_values_make_a_group_and_leave_aggregates() {
    let (_folder, path) = people();
    let sql = "SELECT domain(city, 'lyon', 'paris', 'nice') AS place, COUNT(*) AS n, \
        COUNT(income) AS paid, AVG(clamp(income, 0, 9000, 0.01)) AS mean, \
        SUM(clamp(CASE WHEN smoker = 1 THEN age ELSE 0 END, 0, 99, 1)) AS smoked \
        FROM people GROUP BY place";
    let result = ask(&small(vec![path.clone()]), sql).await;

    let mut expected: BTreeMap<String, (Sums, f64)> = BTreeMap::new();
    for one in documents(&path) {
        let city = one.get("city").map_or("null", String::as_str);
        let group = expected.entry(city.to_owned()).or_default();
        group.0.add(number(&one, "income"));
        if one["smoker"] == "1" {
            group.1 += number(&one, "age").unwrap();
        }
    }
    let released = rows(&result.table, 1);
    assert_eq!(released.len(), 4);
    for (city, (sums, smoked)) in expected {
        let row: Vec<f64> = released[&city].iter().map(real).collect();
        assert_eq!(row[..2], [f64::from(sums.rows), f64::from(sums.count())]);
        assert_same(row[2], sums.mean());
        assert_same(row[3], smoked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_choose_who_is_asked() {
    let (_folder, path) = people();
    let mut options = options(vec![path.clone()]);
    options.home_column = Some("home".into());
    options.concepts = vec!["city".into(), "smoker".into()];
    let all = documents(&path);
    let chosen = |matches: &dyn Fn(&Document) -> bool| {
        let mut sums = Sums::default();
        let homes = all.iter().filter(|one| matches(one));
        homes.for_each(|one| sums.add(number(one, "age")));
        sums
    };
    let lives = |one: &Document, city: &str| one.get("city").is_some_and(|c| c == city);
    let smokes = |one: &Document| one["smoker"] == "1";
    let cases: [(&str, Sums); 4] = [
        (
            "concept('city>lyon') AND NOT concept('smoker>1')",
            chosen(&|one| lives(one, "lyon") && !smokes(one)),
        ),
        (
            "(concept('city>lyon') OR concept('city>nice')) AND concept('smoker>1')",
            chosen(&|one| (lives(one, "lyon") || lives(one, "nice")) && smokes(one)),
        ),
        (
            "NOT (concept('city>lyon') OR concept('city>nice') OR concept('city>paris'))",
            chosen(&|one| !one.contains_key("city")),
        ),
        ("concept('home>all')", chosen(&|_| true)),
    ];
    let network = dispers_sandbox::Network::start(&options, |_| {})
        .await
        .unwrap();
    for (profile, expected) in cases {
        let sql = format!(
            "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 120, 1)) AS s FROM people WHERE {profile}"
        );
        let result = network.ask(&sql, None, |_| {}).await.unwrap();
        let row: Vec<f64> = result.table.rows[0].iter().map(real).collect();
        assert_eq!(row, [f64::from(expected.rows), expected.sum()], "{profile}");
        // No other home was asked.
        assert_eq!(result.homes.asked, u64::from(expected.rows), "{profile}");
    }
    // A condition that the home evaluates itself does not change which homes are asked.
    let sql = "SELECT COUNT(*) AS n FROM people WHERE concept('smoker>1') AND age >= 50";
    let result = network.ask(sql, None, |_| {}).await.unwrap();
    let old = chosen(&|one| smokes(one) && number(one, "age") >= Some(50.0)).rows;
    assert_eq!(result.table.rows[0], [Value::Integer(old.into())]);
    assert_eq!(result.homes.accepted, u64::from(chosen(&smokes).rows));
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_documents_of_a_home_become_one_row() {
    let (_folder, path) = heartrate();
    let options = Options {
        home_column: Some("home".into()),
        aggregators: 5,
        threshold: 3,
        hosts: 3,
        attached: 1,
        batch_size: 60,
        ..small(vec![path.clone()])
    };
    let sql = "SELECT COUNT(*), COUNT(low), SUM(clamp(low, 0, 250, 1)), AVG(clamp(high, 0, 250, 1)), \
        SUM(clamp(total, 0, 2000, 1)), AVG(clamp(n, 0, 10, 1)), AVG(clamp(mean, 0, 250)) \
        FROM (SELECT MIN(bpm) AS low, MAX(bpm) AS high, SUM(bpm) AS total, COUNT(bpm) AS n, \
        AVG(bpm) AS mean FROM heartrate WHERE day >= '2026-10-11') AS home";
    let result = ask(&options, sql).await;

    let mut columns: [Sums; 5] = Default::default();
    for home in by_home(documents(&path), "home") {
        let found: Vec<&Document> = home
            .iter()
            .filter(|one| one["day"].as_str() >= "2026-10-11")
            .collect();
        // A home without a matching document has no row.
        if found.is_empty() {
            continue;
        }
        let bpm: Vec<f64> = found.iter().filter_map(|one| number(one, "bpm")).collect();
        let of = |value: f64| (!bpm.is_empty()).then_some(value);
        let total: f64 = bpm.iter().sum();
        columns[0].add(of(bpm.iter().copied().fold(f64::INFINITY, f64::min)));
        columns[1].add(of(bpm.iter().copied().fold(0.0, f64::max)));
        columns[2].add(of(total));
        columns[3].add(Some(bpm.len() as f64));
        columns[4].add(of(total / bpm.len() as f64));
    }
    let [low, high, total, n, mean] = columns;
    let row: Vec<f64> = result.table.rows[0].iter().map(real).collect();
    assert_eq!(row[..2], [f64::from(low.rows), f64::from(low.count())]);
    assert_same(row[2], low.sum());
    assert_same(row[3], high.mean());
    assert_same(row[4], total.sum());
    assert_same(row[5], n.mean());
    // Without a step, each value is rounded at random to one of 4,096 levels. The rounding is unbiased, so that the
    // mean of this many values is within one step of the true mean, except with negligible probability.
    assert!((row[6] - mean.mean()).abs() < 250.0 / 4095.0, "{row:?}");
    assert_eq!(result.homes.accepted, 150);
    assert_eq!(
        (result.aggregators.needed, result.aggregators.verified),
        (3, 5)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_doctypes_of_a_home_are_asked_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (people, weight) = (
        folder.path().join("people.csv"),
        folder.path().join("weight.csv"),
    );
    write(
        &people,
        "home,age",
        (0..60).map(|home| format!("h{home},{home}")),
    );
    write(
        &weight,
        "home,kg",
        (0..40).map(|home| format!("h{home},{}", 50 + home)),
    );
    let options = Options {
        home_column: Some("home".into()),
        ..options(vec![people, weight])
    };
    let network = dispers_sandbox::Network::start(&options, |_| {})
        .await
        .unwrap();
    for (sql, expected) in [
        (
            "SELECT COUNT(*), SUM(clamp(age, 0, 100, 1)) FROM people",
            (60, 1770),
        ),
        (
            "SELECT COUNT(*), SUM(clamp(kg, 0, 200, 1)) FROM weight",
            (40, 2780),
        ),
    ] {
        let result = network.ask(sql, None, |_| {}).await.unwrap();
        let row = &result.table.rows[0];
        assert_eq!(row[0], Value::Integer(expected.0));
        assert_same(real(&row[1]), expected.1.into());
        // A home without such a document answers too, with zeros.
        assert_eq!(result.homes.accepted, 60);
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_of_nothing_are_null() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    write(
        &path,
        "age,income",
        (0..50).map(|age| format!("{age},{}", if age == 0 { "7" } else { "" })),
    );
    let mut options = options(vec![path]);
    options.min_cohort = 2;
    let sql = "SELECT COUNT(*) AS n, AVG(clamp(income, 0, 10, 1)) AS mean FROM people";
    let result = ask(&options, sql).await;
    // Only one home has an income: the mean would be that income.
    assert_eq!(result.table.rows, [[Value::Integer(50), Value::Null]]);
    assert_eq!(result.table.withheld, [(0, "mean".to_owned())]);
}
