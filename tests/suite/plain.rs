//! A plain computation that answers are compared with: rows in a vector, and loops over them.

use std::{collections::BTreeMap, fs, path::Path};

use dispers_sql::decode::{Table, Value};

/// Document: its cells by column, without empty cells.
pub(crate) type Document = BTreeMap<String, String>;

/// Reads a CSV file.
pub(crate) fn documents(path: &Path) -> Vec<Document> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let document = |record: csv::StringRecord| {
        let cells = header.iter().zip(&record);
        let full = cells.filter(|(_, cell)| !cell.is_empty());
        full.map(|(column, cell)| (column.to_owned(), cell.to_owned()))
            .collect()
    };
    reader
        .records()
        .map(|record| document(record.unwrap()))
        .collect()
}

/// Groups documents by home.
pub(crate) fn by_home(documents: Vec<Document>, column: &str) -> Vec<Vec<Document>> {
    let mut homes: BTreeMap<String, Vec<Document>> = BTreeMap::new();
    for document in documents {
        homes
            .entry(document[column].clone())
            .or_default()
            .push(document);
    }
    homes.into_values().collect()
}

/// Returns a number of a document.
pub(crate) fn number(document: &Document, column: &str) -> Option<f64> {
    document.get(column).map(|cell| cell.parse().unwrap())
}

/// Values of a group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    pub(crate) rows: u32,
    values: Vec<f64>,
}

impl Sums {
    /// Adds one row, with its value if it has one.
    pub(crate) fn add(&mut self, value: Option<f64>) {
        self.rows += 1;
        self.values.extend(value);
    }

    pub(crate) fn count(&self) -> u32 {
        self.values.len() as u32
    }

    pub(crate) fn sum(&self) -> f64 {
        self.values.iter().sum()
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum() / self.values.len() as f64
    }

    /// Computes the sum of squared deviations divided by n − `less`.
    pub(crate) fn variance(&self, less: f64) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.values.iter().map(|v| (v - mean).powi(2)).sum();
        squares / (self.values.len() as f64 - less)
    }
}

/// Returns a released number.
pub(crate) fn real(value: &Value) -> f64 {
    match value {
        Value::Integer(integer) => *integer as f64,
        Value::Real(real) => *real,
        other => panic!("{other:?} is no number"),
    }
}

/// Returns the rows of a result by the text of their first `keys` columns.
pub(crate) fn rows(table: &Table, keys: usize) -> BTreeMap<String, Vec<Value>> {
    let key = |row: &[Value]| {
        let parts: Vec<String> = row[..keys].iter().map(text).collect();
        parts.join("/")
    };
    let rows = table.rows.iter();
    rows.map(|row| (key(row), row[keys..].to_vec())).collect()
}

/// Returns a key as text; NULL as `null`.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => real.to_string(),
        Value::Text(text) => text.clone(),
    }
}

/// Asserts that two numbers are the same up to the rounding of floating point.
#[track_caller]
pub(crate) fn assert_same(got: f64, expected: f64) {
    let scale = expected.abs().max(1.0);
    assert!(
        (got - expected).abs() <= 1e-9 * scale,
        "{got}, not {expected}"
    );
}

/// Writes a CSV file.
pub(crate) fn write(path: &Path, header: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    fs::write(path, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
}
