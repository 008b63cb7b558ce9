//! A question: its text, and its answer by loops over rows.

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
    /// Of the number between two bounds, on a grid of halves.
    Aggregate(Aggregate, Number, i64, i64),
}

#[derive(Debug, Clone)]
pub(super) enum Key {
    Condition(Condition),
    Words(Text, Vec<&'static str>),
    Numbers(Integer, Vec<i64>),
    /// Two conditions and whether there is an ELSE.
    Case(Condition, Condition, bool),
}

/// An inner SELECT: what each column is of the home's documents.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    /// Function, column, and its name outside.
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

/// What a cell of the answer is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Number(f64),
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

impl Column {
    /// The value in one row, on the grid.
    fn of(&self, row: &Row) -> Option<f64> {
        match self {
            Self::Rows => Some(1.0),
            Self::Count(Operand::Integer(a)) => a.of(row).map(|_| 1.0),
            Self::Count(Operand::Real(a)) => a.of(row).map(|_| 1.0),
            Self::Count(Operand::Text(a)) => a.of(row).map(|_| 1.0),
            Self::Aggregate(_, number, low, high) => {
                let value = match number {
                    Number::Integer(a) => a.of(row)? as f64,
                    Number::Real(a) => a.of(row)?,
                };
                Some(value.clamp(*low as f64, *high as f64))
            }
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
    /// The one row of a home's documents, or none where none match.
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
    /// The answer over homes, each with its documents.
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
            let cells = self.columns.iter().map(|column| {
                let values: Vec<f64> = rows.iter().filter_map(|row| column.of(row)).collect();
                column.cell(&values, cohort)
            });
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
            Self::Aggregate(aggregate, number, low, high) => {
                let function = match aggregate {
                    Aggregate::Sum => "SUM",
                    Aggregate::Avg => "AVG",
                    Aggregate::VarSamp => "VAR_SAMP",
                    Aggregate::VarPop => "VAR_POP",
                    Aggregate::StddevSamp => "STDDEV_SAMP",
                    Aggregate::StddevPop => "STDDEV_POP",
                };
                let (number, step) = match number {
                    Number::Integer(a) => (a.to_string(), "1"),
                    Number::Real(a) => (a.to_string(), "0.5"),
                };
                write!(f, "{function}(clamp({number}, {low}, {high}, {step}))")
            }
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
