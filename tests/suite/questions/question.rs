//! A question: its text, and its answer computed by loops over rows.

use std::{collections::BTreeMap, fmt};

use super::expression::{Condition, Integer, Operand, Real, Row, Text};

#[derive(Debug, Clone, Copy)]
pub(super) enum Aggregate {
    Sum,
    Avg,
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
}

#[derive(Debug, Clone)]
pub(super) enum Number {
    Integer(Integer),
    Real(Real),
}

#[derive(Debug, Clone)]
pub(super) enum Column {
    Rows,
    Count(Operand),
    Aggregate(Aggregate, Clamped),
    /// A column over the rows for which a condition is true.
    Filtered(Box<Column>, Condition),
    /// The share of rows for which a condition is true.
    Share(Condition),
    /// A statistic of two numbers, or the sum of their products.
    Pair(&'static str, Clamped, Clamped),
    Median(Clamped),
    /// A sum divided by the number of rows minus another number.
    Ratio(Clamped, i64),
}

#[derive(Debug, Clone)]
pub(super) enum Key {
    Condition(Condition),
    Words(Text, Vec<&'static str>),
    Numbers(Integer, Vec<i64>),
    /// Two conditions, and true if there is an ELSE.
    Case(Condition, Condition, bool),
}

/// Inner SELECT, which makes one row of a home's documents.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    /// Columns: function, column of the documents, and name outside.
    pub(super) columns: Vec<(&'static str, &'static str, String)>,
    pub(super) condition: Option<Condition>,
}

#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) keys: Vec<Key>,
    pub(super) columns: Vec<Column>,
    pub(super) condition: Option<Condition>,
    pub(super) inner: Option<Inner>,
}

/// Expected cell of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Number(f64),
    /// As near as the result's resolution says.
    Near(f64),
    Withheld,
}

/// Released rows by their keys, and the keys of groups that have rows and are too small.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) rows: BTreeMap<Vec<String>, Vec<Cell>>,
    pub(super) suppressed: Vec<Vec<String>>,
}

impl Key {
    fn of(&self, row: &Row) -> String {
        let null = || "null".to_owned();
        match self {
            Self::Condition(condition) => condition.of(row).map_or_else(null, |b| b.to_string()),
            Self::Words(text, words) => text
                .of(row)
                .filter(|word| words.contains(&word.as_str()))
                .unwrap_or_else(null),
            Self::Numbers(number, numbers) => number
                .of(row)
                .filter(|number| numbers.contains(number))
                .map_or_else(null, |number| number.to_string()),
            Self::Case(first, second, otherwise) => {
                if first.of(row) == Some(true) {
                    "first".into()
                } else if second.of(row) == Some(true) {
                    "second".into()
                } else if *otherwise {
                    "other".into()
                } else {
                    null()
                }
            }
        }
    }
}

/// A number within bounds, on a grid of 1 or a half.
#[derive(Debug, Clone)]
pub(super) struct Clamped(pub(super) Number, pub(super) i64, pub(super) i64);

impl Clamped {
    fn of(&self, row: &Row) -> Option<f64> {
        let Self(number, low, high) = self;
        let value = match number {
            Number::Integer(a) => a.of(row)? as f64,
            Number::Real(a) => a.of(row)?,
        };
        Some(value.clamp(*low as f64, *high as f64))
    }
}

impl fmt::Display for Clamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, low, high) = self;
        let (number, step) = match number {
            Number::Integer(a) => (a.to_string(), "1"),
            Number::Real(a) => (a.to_string(), "0.5"),
        };
        write!(f, "clamp({number}, {low}, {high}, {step})")
    }
}

/// Computes PostgreSQL's statistics of two values.
fn pair(function: &str, pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let sum = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let (y, x) = (sum(|p| p.0) / n, sum(|p| p.1) / n);
    let scatter =
        |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|p| of(p.0 - y, p.1 - x)).sum::<f64>();
    // On a grid of halves, a smaller value is a rounding error.
    let none = |value: f64| if value < 1e-9 { 0.0 } else { value };
    let (yy, xx) = (none(scatter(&|a, _| a * a)), none(scatter(&|_, b| b * b)));
    let xy = scatter(&|a, b| a * b);
    match function {
        "COVAR_POP" => xy / n,
        "COVAR_SAMP" => xy / (n - 1.0),
        "CORR" => xy / (xx * yy).sqrt(),
        "REGR_SLOPE" => xy / xx,
        "REGR_INTERCEPT" => y - xy / xx * x,
        _ => pairs.iter().map(|p| p.0 * p.1).sum(),
    }
}

impl Column {
    /// Computes the column's cell for a group.
    fn shown(&self, rows: &[Row], cohort: usize) -> Cell {
        let few = |count: usize| count < cohort;
        match self {
            Self::Filtered(column, condition) => {
                let held = rows.iter().filter(|row| condition.of(row) == Some(true));
                let held: Vec<Row> = held.cloned().collect();
                match few(held.len()) {
                    true => Cell::Withheld,
                    false => column.shown(&held, cohort),
                }
            }
            Self::Share(condition) => {
                let known: Vec<bool> = rows.iter().filter_map(|row| condition.of(row)).collect();
                let hits = known.iter().filter(|hit| **hit).count();
                match few(known.len()) || few(hits) {
                    true => Cell::Withheld,
                    false => Cell::Number(hits as f64 / known.len() as f64),
                }
            }
            Self::Pair(function, y, x) => {
                let both = rows.iter().filter_map(|row| y.of(row).zip(x.of(row)));
                let both: Vec<(f64, f64)> = both.collect();
                let value = pair(function, &both);
                match (few(both.len()), value.is_finite()) {
                    (true, _) => Cell::Withheld,
                    (false, true) => Cell::Number(value),
                    (false, false) => Cell::Null,
                }
            }
            Self::Median(of) => {
                let mut values: Vec<f64> = rows.iter().filter_map(|row| of.of(row)).collect();
                values.sort_by(f64::total_cmp);
                let middle = values.len() / 2;
                match (few(values.len()), values.len() % 2) {
                    (true, _) => Cell::Withheld,
                    (false, 1) => Cell::Near(values[middle]),
                    _ => Cell::Near((values[middle - 1] + values[middle]) / 2.0),
                }
            }
            Self::Ratio(of, by) => {
                let values: Vec<f64> = rows.iter().filter_map(|row| of.of(row)).collect();
                let count = rows.len() as i64 - by;
                let sum: f64 = values.iter().sum();
                match (few(values.len()), count) {
                    (true, _) => Cell::Withheld,
                    (false, 0) => Cell::Null,
                    _ => Cell::Number(sum * 1.0 / count as f64),
                }
            }
            _ => {
                let values: Vec<f64> = rows.iter().filter_map(|row| self.of(row)).collect();
                self.cell(&values, cohort)
            }
        }
    }

    /// Returns the value in one row, on the grid.
    fn of(&self, row: &Row) -> Option<f64> {
        match self {
            Self::Rows => Some(1.0),
            Self::Count(Operand::Integer(a)) => a.of(row).map(|_| 1.0),
            Self::Count(Operand::Real(a)) => a.of(row).map(|_| 1.0),
            Self::Count(Operand::Text(a)) => a.of(row).map(|_| 1.0),
            Self::Aggregate(_, of) => of.of(row),
            _ => None,
        }
    }

    fn cell(&self, values: &[f64], cohort: usize) -> Cell {
        let n = values.len() as f64;
        if values.len() < cohort {
            return Cell::Withheld;
        }
        let sum: f64 = values.iter().sum();
        let mean = sum / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let Self::Aggregate(aggregate, ..) = self else {
            return Cell::Number(n);
        };
        let of = |divisor: f64| match divisor > 0.0 {
            true => squares / divisor,
            false => f64::NAN,
        };
        let value = match aggregate {
            Aggregate::Sum => sum,
            Aggregate::Avg => mean,
            Aggregate::VarSamp => of(n - 1.0),
            Aggregate::VarPop => of(n),
            Aggregate::StddevSamp => of(n - 1.0).sqrt(),
            Aggregate::StddevPop => of(n).sqrt(),
        };
        match value.is_nan() {
            true => Cell::Null,
            false => Cell::Number(value),
        }
    }
}

impl Inner {
    /// Makes the one row of a home's documents, or returns `None` if no document matches.
    fn of(&self, documents: &[Row]) -> Option<Row> {
        let matching: Vec<&Row> = documents
            .iter()
            .filter(|row| {
                let condition = self.condition.as_ref();
                condition.is_none_or(|condition| condition.of(row) == Some(true))
            })
            .collect();
        if matching.is_empty() {
            return None;
        }
        let mut row = Row::default();
        for (function, column, name) in &self.columns {
            let integers = || matching.iter().filter_map(|row| row.integers.get(*column));
            let integer = match *function {
                "MIN" => integers().min().copied(),
                "MAX" => integers().max().copied(),
                "SUM" => integers().copied().reduce(|a, b| a + b),
                _ => Some(integers().count() as i64),
            };
            if let Some(integer) = integer {
                row.integers.insert(name.clone(), integer);
            }
        }
        Some(row)
    }
}

impl Question {
    /// Computes the answer over homes, each with its documents.
    pub(super) fn answer(&self, homes: &[Vec<Row>], cohort: usize) -> Expected {
        let mut groups: BTreeMap<Vec<String>, Vec<Row>> = BTreeMap::new();
        if self.keys.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        for documents in homes {
            let row = match &self.inner {
                Some(inner) => inner.of(documents),
                None => documents.first().cloned(),
            };
            let condition = self.condition.as_ref();
            let Some(row) = row.filter(|row| condition.is_none_or(|c| c.of(row) == Some(true)))
            else {
                continue;
            };
            let key = self.keys.iter().map(|key| key.of(&row)).collect();
            groups.entry(key).or_default().push(row);
        }
        let mut expected = Expected::default();
        for (key, rows) in groups {
            if rows.len() < cohort {
                expected.suppressed.push(key);
                continue;
            }
            let cells = self
                .columns
                .iter()
                .map(|column| column.shown(&rows, cohort));
            expected.rows.insert(key, cells.collect());
        }
        expected
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition(condition) => condition.fmt(f),
            Self::Words(text, words) => write!(f, "domain({text}, '{}')", words.join("', '")),
            Self::Numbers(number, numbers) => {
                let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
                write!(f, "domain({number}, {})", numbers.join(", "))
            }
            Self::Case(first, second, otherwise) => {
                write!(
                    f,
                    "CASE WHEN {first} THEN 'first' WHEN {second} THEN 'second'"
                )?;
                f.write_str(if *otherwise {
                    " ELSE 'other' END"
                } else {
                    " END"
                })
            }
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows => f.write_str("COUNT(*)"),
            Self::Count(operand) => write!(f, "COUNT({operand})"),
            Self::Aggregate(aggregate, of) => {
                let function = match aggregate {
                    Aggregate::Sum => "SUM",
                    Aggregate::Avg => "AVG",
                    Aggregate::VarSamp => "VAR_SAMP",
                    Aggregate::VarPop => "VAR_POP",
                    Aggregate::StddevSamp => "STDDEV_SAMP",
                    Aggregate::StddevPop => "STDDEV_POP",
                };
                write!(f, "{function}({of})")
            }
            Self::Filtered(column, condition) => write!(f, "{column} FILTER (WHERE {condition})"),
            Self::Share(condition) => write!(f, "SHARE({condition})"),
            Self::Pair("SUM", y, x) => write!(f, "SUM({y} * {x})"),
            Self::Pair(function, y, x) => write!(f, "{function}({y}, {x})"),
            Self::Median(of) => write!(f, "MEDIAN({of})"),
            Self::Ratio(of, by) => write!(f, "SUM({of}) * 1.0 / (COUNT(*) - {by})"),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        for (index, key) in self.keys.iter().enumerate() {
            write!(f, "{key} AS k{index}, ")?;
        }
        let columns: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| format!("{column} AS c{index}"))
            .collect();
        f.write_str(&columns.join(", "))?;
        match &self.inner {
            None => f.write_str(" FROM one")?,
            Some(inner) => {
                let columns: Vec<String> = inner
                    .columns
                    .iter()
                    .map(|(function, column, name)| format!("{function}({column}) AS {name}"))
                    .collect();
                write!(f, " FROM (SELECT {} FROM many", columns.join(", "))?;
                if let Some(condition) = &inner.condition {
                    write!(f, " WHERE {condition}")?;
                }
                f.write_str(") AS home")?;
            }
        }
        if let Some(condition) = &self.condition {
            write!(f, " WHERE {condition}")?;
        }
        let keys: Vec<String> = (0..self.keys.len())
            .map(|index| format!("k{index}"))
            .collect();
        if !keys.is_empty() {
            write!(f, " GROUP BY {}", keys.join(", "))?;
        }
        Ok(())
    }
}
