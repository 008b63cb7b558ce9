//! Tests of every function over the NHEFS study, through a whole network, compared with loops over its rows.

use std::path::Path;

use dispers_sandbox::{Network, Options};
use dispers_sql::decode::{Table, Value};

use crate::{
    options,
    plain::{Document, assert_same, documents, number, real},
};

/// Minimum cohort of the sandbox.
const COHORT: usize = 5;

fn nhefs() -> Vec<Document> {
    documents(Path::new("../examples/nhefs.csv"))
}

fn column(rows: &[Document], name: &str) -> Vec<f64> {
    rows.iter().filter_map(|row| number(row, name)).collect()
}

/// Returns the values of two columns in the rows that have both.
fn pairs(rows: &[Document], y: &str, x: &str) -> Vec<(f64, f64)> {
    let both = |row: &Document| Some((number(row, y)?, number(row, x)?));
    rows.iter().filter_map(both).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Computes Σ (a − ā)(b − b̄).
fn scatter(pairs: &[(f64, f64)]) -> f64 {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (a_mean, b_mean) = (mean(&a), mean(&b));
    pairs.iter().map(|(a, b)| (a - a_mean) * (b - b_mean)).sum()
}

/// Computes PostgreSQL's `percentile_cont`.
fn percentile(values: &[f64], fraction: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = fraction * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

fn cell<'t>(table: &'t Table, row: usize, column: &str) -> &'t Value {
    let place = table.columns.iter().position(|name| name == column);
    &table.rows[row][place.unwrap_or_else(|| panic!("no column {column}"))]
}

/// Asserts that a cell of the first row is `expected`.
#[track_caller]
fn same(table: &Table, column: &str, expected: f64) {
    assert_same(real(cell(table, 0, column)), expected);
}

/// Asserts that a cell of the first row is as near to `expected` as its resolution says.
#[track_caller]
fn near(table: &Table, column: &str, expected: f64) {
    let place = table
        .columns
        .iter()
        .position(|name| name == column)
        .unwrap();
    let resolution = table.resolutions[0][place].unwrap();
    let got = real(&table.rows[0][place]);
    assert!(
        (got - expected).abs() <= resolution + 1e-9,
        "{column}: {got} ±{resolution}, not {expected}"
    );
}

async fn ask(network: &Network, sql: &str) -> Table {
    let result = network.ask(sql, None, |_| {}).await;
    result
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .table
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_agrees_with_a_plain_computation() {
    let rows = nhefs();
    // With a smaller cohort, few homes without a value, such as the 16 without cholesterol, withhold nothing.
    let options = Options {
        min_cohort: COHORT as u32,
        ..options(Vec::new())
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    statistics_of_two(&network, &rows).await;
    order_statistics(&network, &rows).await;
    histogram(&network, &rows).await;
    shares_and_modes(&network, &rows).await;
    expressions(&network, &rows).await;
    regression(&network, &rows).await;
    network.stop().await;
}

async fn statistics_of_two(network: &Network, rows: &[Document]) {
    let (y, x) = ("clamp(sbp, 80, 230, 1)", "clamp(cholesterol, 50, 450, 1)");
    let functions = [
        "COVAR_SAMP",
        "COVAR_POP",
        "CORR",
        "REGR_SLOPE",
        "REGR_INTERCEPT",
        "REGR_R2",
        "REGR_AVGX",
        "REGR_AVGY",
        "REGR_SXX",
        "REGR_SYY",
        "REGR_SXY",
        "REGR_COUNT",
    ];
    let items = functions.map(|name| format!("{name}({y}, {x}) AS {name}"));
    let sql = format!(
        "SELECT {}, SUM({y} * {x}) / SUM({x}) AS weighted, VAR_POP({y}) AS v, STDDEV({y}) AS d
         FROM nhefs",
        items.join(", ")
    );
    let table = ask(network, &sql).await;
    let both = pairs(rows, "sbp", "cholesterol");
    let n = both.len() as f64;
    let (ys, xs): (Vec<f64>, Vec<f64>) = both.iter().copied().unzip();
    let own = |values: &[f64]| scatter(&values.iter().map(|v| (*v, *v)).collect::<Vec<_>>());
    let (xy, yy, xx) = (scatter(&both), own(&ys), own(&xs));
    let slope = xy / xx;
    let r = xy / (xx * yy).sqrt();
    let expected = [
        xy / (n - 1.0),
        xy / n,
        r,
        slope,
        mean(&ys) - slope * mean(&xs),
        r * r,
        mean(&xs),
        mean(&ys),
        xx,
        yy,
        xy,
        n,
    ];
    for (name, expected) in functions.into_iter().zip(expected) {
        same(&table, name, expected);
    }
    let products: f64 = both.iter().map(|(y, x)| y * x).sum();
    let weights: f64 = column(rows, "cholesterol").iter().sum();
    same(&table, "weighted", products / weights);
    let all = column(rows, "sbp");
    same(&table, "v", own(&all) / all.len() as f64);
    same(&table, "d", (own(&all) / (all.len() as f64 - 1.0)).sqrt());
}

async fn order_statistics(network: &Network, rows: &[Document]) {
    let sql = "SELECT MEDIAN(clamp(age, 20, 80, 1)) AS age,
        PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY clamp(weight_kg, 30, 180, 2.5)) AS weight,
        PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY clamp(age, 20, 80, 1) DESC) AS old,
        APPROX_QUANTILE(clamp(sbp, 80, 230), 0.1) AS sbp,
        MIN(clamp(age, 20, 80, 1)) AS youngest, MAX(clamp(weight_kg, 30, 180, 2.5)) AS heaviest
        FROM nhefs";
    let table = ask(network, sql).await;
    let ages = column(rows, "age");
    near(&table, "age", percentile(&ages, 0.5));
    near(&table, "old", percentile(&ages, 0.75));
    let weights = column(rows, "weight_kg");
    near(&table, "weight", percentile(&weights, 0.9));
    near(&table, "sbp", percentile(&column(rows, "sbp"), 0.1));
    // The smallest and largest values are those that the minimum cohort reaches.
    let mut sorted = ages;
    sorted.sort_by(f64::total_cmp);
    near(&table, "youngest", sorted[COHORT - 1]);
    let mut sorted = weights;
    sorted.sort_by(f64::total_cmp);
    near(&table, "heaviest", sorted[sorted.len() - COHORT]);
    for note in [
        "youngest is the 5th smallest value",
        "heaviest is the 5th largest value",
        "age is read off a histogram",
    ] {
        assert!(
            table.notes.iter().any(|told| told.starts_with(note)),
            "{note}"
        );
    }
}

async fn histogram(network: &Network, rows: &[Document]) {
    let sql = "SELECT HISTOGRAM(clamp(age, 25, 75), 10) AS age, AVG(clamp(sbp, 80, 230, 1)) AS sbp,
        sex = 'male' AS male FROM nhefs GROUP BY male ORDER BY male DESC, age_from";
    let table = ask(network, sql).await;
    assert_eq!(table.columns, ["age_from", "age_to", "age", "sbp", "male"]);
    let mut released = 0;
    let mut expected = Vec::new();
    for male in [true, false] {
        for bin in 0..10 {
            let (from, to) = (25.0 + 5.0 * f64::from(bin), 30.0 + 5.0 * f64::from(bin));
            let inside = |row: &&Document| {
                let age = number(row, "age").unwrap();
                (age >= from || bin == 0)
                    && (age < to || bin == 9)
                    && (row["sex"] == "male") == male
            };
            let members: Vec<Document> = rows.iter().filter(inside).cloned().collect();
            if members.len() < COHORT {
                continue;
            }
            released += 1;
            let sbp = column(&members, "sbp");
            // Rows and values are not released together if only a few homes have no value (protocol.md §9).
            let is_released = !(1..COHORT).contains(&(members.len() - sbp.len()));
            let count = is_released.then_some(members.len());
            let sbp = (sbp.len() >= COHORT).then(|| mean(&sbp));
            expected.push((from, to, count, sbp, male));
        }
    }
    assert_eq!(table.rows.len(), released);
    assert_eq!(table.suppressed_groups.len(), 20 - released);
    for (row, (from, to, count, sbp, male)) in table.rows.iter().zip(expected) {
        assert_eq!((real(&row[0]), real(&row[1])), (from, to));
        let count = count.map_or(Value::Null, |count| Value::Integer(count as i128));
        assert_eq!(row[2], count);
        match sbp {
            Some(sbp) => assert_same(real(&row[3]), sbp),
            None => assert_eq!(row[3], Value::Null),
        }
        assert_eq!(row[4], Value::Boolean(male));
    }
}

async fn shares_and_modes(network: &Network, rows: &[Document]) {
    let sql = "SELECT MODE() WITHIN GROUP (ORDER BY domain(exercise, 'little', 'moderate', 'much'))
        AS exercise, MODE(clamp(age, 20, 70, 1)) AS age, SHARE(sex = 'female') AS female,
        SHARE(sbp > 140) AS high, SHARE(age = 71) AS few, COUNT(*) FILTER (WHERE age > 50) AS old,
        AVG(clamp(sbp, 80, 230, 1)) FILTER (WHERE age > 50) AS sbp FROM nhefs";
    let table = ask(network, sql).await;
    let mut counts = std::collections::BTreeMap::new();
    for row in rows {
        *counts.entry(row["exercise"].clone()).or_insert(0) += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count).unwrap().0;
    assert_eq!(*cell(&table, 0, "exercise"), Value::Text(most.clone()));
    let age = real(cell(&table, 0, "age"));
    let of = |age: f64| {
        column(rows, "age")
            .into_iter()
            .filter(|a| *a == age)
            .count()
    };
    assert_eq!(of(age), (20..=80).map(|a| of(f64::from(a))).max().unwrap());
    let part = |hits: usize, of: usize| hits as f64 / of as f64;
    let female = rows.iter().filter(|row| row["sex"] == "female").count();
    same(&table, "female", part(female, rows.len()));
    let sbp = column(rows, "sbp");
    let high = sbp.iter().filter(|sbp| **sbp > 140.0).count();
    same(&table, "high", part(high, sbp.len()));
    // A share of fewer people than the cohort is withheld.
    assert!(
        column(rows, "age")
            .iter()
            .filter(|age| **age == 71.0)
            .count()
            < COHORT
    );
    assert_eq!(*cell(&table, 0, "few"), Value::Null);
    assert_eq!(table.withheld, [(0, "few".to_owned())]);
    let old = |row: &&Document| number(row, "age").unwrap() > 50.0;
    let old: Vec<Document> = rows.iter().filter(old).cloned().collect();
    same(&table, "old", old.len() as f64);
    same(&table, "sbp", mean(&column(&old, "sbp")));
}

async fn expressions(network: &Network, rows: &[Document]) {
    let sql = "SELECT domain(exercise, 'little', 'moderate', 'much') AS exercise, COUNT(*) AS n,
        ROUND(100.0 * COUNT(sbp) / COUNT(*)) AS measured, COUNT(*) / (COUNT(*) - COUNT(*)) AS no,
        CASE WHEN AVG(clamp(age, 20, 80, 1)) > 43 THEN 'older' ELSE 'younger' END AS word
        FROM nhefs GROUP BY 1 HAVING COUNT(*) > 300 AND exercise IS NOT NULL
        ORDER BY n DESC LIMIT 2 OFFSET 1";
    let sql = sql.replace("AND exercise IS NOT NULL", "");
    let table = ask(network, &sql).await;
    let mut groups: Vec<(String, Vec<Document>)> = ["little", "moderate", "much"]
        .into_iter()
        .map(|word| {
            let members = rows.iter().filter(|row| row["exercise"] == word);
            (word.to_owned(), members.cloned().collect())
        })
        .collect();
    groups.retain(|(_, members)| members.len() > 300);
    groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let expected: Vec<Vec<Value>> = groups[1..]
        .iter()
        .take(2)
        .map(|(word, members)| {
            let measured = column(members, "sbp").len() as f64;
            let older = mean(&column(members, "age")) > 43.0;
            vec![
                Value::Text(word.clone()),
                Value::Integer(members.len() as i128),
                Value::Real((100.0 * measured / members.len() as f64).round_ties_even()),
                Value::Null,
                Value::Text(if older { "older" } else { "younger" }.into()),
            ]
        })
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(table.rows, expected);
    assert!(
        table.notes[0].contains("divides by an aggregate that is 0"),
        "{:?}",
        table.notes
    );
}

async fn regression(network: &Network, rows: &[Document]) {
    let sql = "REGRESS sbp ~ age + clamp(weight_kg, 30, 180, 0.01) + sex = 'male' + \
        domain(exercise, 'little', 'moderate', 'much') + clamp(age * 2, 0, 200, 1) FROM nhefs";
    let table = ask(network, sql).await;
    let terms: Vec<String> = table
        .rows
        .iter()
        .map(|row| crate::plain::text(&row[0]))
        .collect();
    let names = [
        "(intercept)",
        "age",
        "weight_kg",
        "sex = 'male'",
        "exercise = 'moderate'",
        "exercise = 'much'",
        "age * 2",
    ];
    assert_eq!(terms, names);
    // The last feature is twice the first. The result names it and gives it no coefficient.
    assert_eq!(table.rows[6][1], Value::Null);
    assert!(table.notes[0].starts_with("age * 2 is a linear combination"));
    let data: Vec<(f64, [f64; 6])> = rows
        .iter()
        .filter_map(|row| {
            let bit = |column: &str, value: &str| f64::from(u8::from(row[column] == value));
            let x = [
                1.0,
                number(row, "age")?,
                number(row, "weight_kg")?,
                bit("sex", "male"),
                bit("exercise", "moderate"),
                bit("exercise", "much"),
            ];
            Some((number(row, "sbp")?, x))
        })
        .collect();
    let (beta, errors) = least_squares(&data);
    for place in 0..6 {
        let near = |value: &Value, expected: f64| {
            let got = real(value);
            assert!(
                (got - expected).abs() < 1e-7 * expected.abs().max(1.0),
                "{}: {got}, not {expected}",
                names[place]
            );
        };
        near(&table.rows[place][1], beta[place]);
        near(&table.rows[place][2], errors[place]);
    }
}

/// Computes coefficients and standard errors by Gauss-Jordan elimination of the normal equations.
fn least_squares(data: &[(f64, [f64; 6])]) -> ([f64; 6], [f64; 6]) {
    let mut rows = [[0.0; 12]; 6];
    let mut moments = [0.0; 6];
    for (y, x) in data {
        for a in 0..6 {
            moments[a] += x[a] * y;
            for b in 0..6 {
                rows[a][b] += x[a] * x[b];
            }
        }
    }
    for (place, row) in rows.iter_mut().enumerate() {
        row[6 + place] = 1.0;
    }
    for pivot in 0..6 {
        let scale = rows[pivot][pivot];
        rows[pivot].iter_mut().for_each(|value| *value /= scale);
        for other in (0..6).filter(|other| *other != pivot) {
            let factor = rows[other][pivot];
            let subtracted = rows[pivot];
            for (value, known) in rows[other].iter_mut().zip(subtracted) {
                *value -= factor * known;
            }
        }
    }
    let beta: [f64; 6] = std::array::from_fn(|a| (0..6).map(|b| rows[a][6 + b] * moments[b]).sum());
    let fitted = |x: &[f64; 6]| x.iter().zip(beta).map(|(x, b)| x * b).sum::<f64>();
    let residual: f64 = data.iter().map(|(y, x)| (y - fitted(x)).powi(2)).sum();
    let variance = residual / (data.len() as f64 - 6.0);
    (
        beta,
        std::array::from_fn(|a| (variance * rows[a][6 + a]).sqrt()),
    )
}
