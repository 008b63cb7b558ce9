//! Documents from CSV files. Types are inferred, and an empty cell is NULL.

mod lines;

use std::{collections::HashSet, path::Path};

use dispers_core::subscription::{HomeId, MAX_HOME_ID};
use dispers_query::{
    catalogue::{Cardinality, Doctype, Field, FieldKind},
    local::FieldValue,
};

pub use lines::{Line, lines};

/// Reason why a file could not be read as documents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: String,
        /// Cause of the failure.
        source: csv::Error,
    },
    /// The file has no documents.
    #[error("{0} has no rows: the first line names the columns, each further line is a document")]
    Empty(String),
    /// A column without a name, or with the name of another column.
    #[error("{path}: column {number} has no name, or the name of another column")]
    ColumnName {
        /// Path of the file.
        path: String,
        /// Number of the column, from 1.
        number: usize,
    },
    /// The home column is missing.
    #[error("{path} has no column {column:?} to tell homes apart; its columns are {columns}")]
    NoHomeColumn {
        /// Path of the file.
        path: String,
        /// Name of the column that should name the homes.
        column: String,
        /// Names of the columns that the file has.
        columns: String,
    },
    /// A line that is not a document.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// Path of the file.
        path: String,
        /// Number of the line, from 1.
        line: usize,
        /// Mistake in the line.
        reason: String,
    },
    /// A row without a valid id of its home.
    #[error("{path}, line {line}: the home column is empty or longer than 128 bytes")]
    NoHome {
        /// Path of the file.
        path: String,
        /// Number of the line, from 1.
        line: usize,
    },
}

/// Column of a sheet.
#[derive(Debug, Clone)]
pub struct Column {
    /// Name as it is written in the file.
    pub name: String,
    /// Narrowest type that holds all values of the column.
    pub kind: FieldKind,
    /// True if a cell of the column is empty.
    pub nullable: bool,
    /// Smallest and largest value of a column of numbers.
    pub range: Option<(f64, f64)>,
}

/// Table with typed columns.
pub struct Sheet {
    path: String,
    columns: Vec<Column>,
    rows: Vec<Vec<FieldValue>>,
}

impl Sheet {
    /// Reads a CSV file whose first line names the columns.
    ///
    /// # Errors
    /// [`ImportError`] naming the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|error| ImportError::Read {
            path: name.clone(),
            source: error.into(),
        })?;
        Self::parse(&name, file)
    }

    /// Reads CSV whose first line names the columns. Errors call the file `path`.
    ///
    /// # Errors
    /// [`ImportError`] naming the file and what is wrong with it.
    pub fn parse(path: &str, input: impl std::io::Read) -> Result<Self, ImportError> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(input);
        let header = reader
            .headers()
            .map_err(|error| unread(path, error))?
            .clone();
        let mut seen = HashSet::new();
        for (place, column) in header.iter().enumerate() {
            // Names of fields ignore case, so that two columns must not differ in case alone.
            if column.is_empty() || !seen.insert(column.to_lowercase()) {
                return Err(ImportError::ColumnName {
                    path: path.to_owned(),
                    number: place + 1,
                });
            }
        }
        let mut cells: Vec<csv::StringRecord> = Vec::new();
        for record in reader.records() {
            cells.push(record.map_err(|error| unread(path, error))?);
        }
        if cells.is_empty() {
            return Err(ImportError::Empty(path.to_owned()));
        }
        let columns: Vec<Column> = header
            .iter()
            .enumerate()
            .map(|(place, name)| infer(name, cells.iter().map(|row| &row[place])))
            .collect();
        let rows = cells
            .iter()
            .map(|row| {
                let typed = row.iter().zip(&columns);
                typed
                    .map(|(cell, column)| parse(cell, column.kind))
                    .collect()
            })
            .collect();
        Ok(Self {
            path: path.to_owned(),
            columns,
            rows,
        })
    }

    /// Returns the columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether the sheet has no rows. A sheet that was read has at least one.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the values of a row, one per column.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[FieldValue] {
        &self.rows[row]
    }

    /// Returns the place of the column with this name, ignoring case.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Returns the home of each row, as `home_column` names it. Without a home column, each row is a home of its own,
    /// numbered from 1.
    ///
    /// # Errors
    /// [`ImportError`] if there is no such column, or a row has no valid id in it.
    pub fn homes(&self, home_column: Option<&str>) -> Result<Vec<HomeId>, ImportError> {
        let Some(wanted) = home_column else {
            return Ok((1..=self.rows.len())
                .map(|n| HomeId(n.to_string()))
                .collect());
        };
        let place = self
            .column(wanted)
            .ok_or_else(|| ImportError::NoHomeColumn {
                path: self.path.clone(),
                column: wanted.into(),
                columns: self
                    .columns
                    .iter()
                    .map(|column| column.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        let homes = self.rows.iter().enumerate().map(|(row, values)| {
            let id = text(&values[place]).filter(|id| id.len() <= MAX_HOME_ID);
            id.map(HomeId).ok_or_else(|| ImportError::NoHome {
                path: self.path.clone(),
                // The first row is on line 2, after the names of the columns.
                line: row + 2,
            })
        });
        homes.collect()
    }

    /// Returns the catalogue's entry for these documents. `homes` has the home of each row.
    pub fn doctype(&self, name: &str, homes: &[HomeId]) -> Doctype {
        let distinct: HashSet<&HomeId> = homes.iter().collect();
        Doctype {
            name: name.into(),
            cardinality: if distinct.len() == homes.len() {
                Cardinality::One
            } else {
                Cardinality::Many
            },
            fields: self
                .columns
                .iter()
                .map(|column| Field {
                    name: column.name.clone(),
                    kind: column.kind,
                    unit: String::new(),
                    range: column.range,
                    nullable: column.nullable,
                })
                .collect(),
        }
    }
}

/// Writes a value as it is spelled in concepts and ids of homes. Returns `None` for NULL.
pub(crate) fn text(value: &FieldValue) -> Option<String> {
    match value {
        FieldValue::Null => None,
        FieldValue::Integer(integer) => Some(integer.to_string()),
        FieldValue::Real(real) => Some(real.to_string()),
        FieldValue::Text(text) => Some(text.clone()),
    }
}

impl Sheet {
    /// Returns the concept `column>value` of one row, or `None` if the cell is empty.
    pub fn concept(&self, column: usize, row: usize) -> Option<String> {
        let value = text(&self.rows[row][column])?;
        Some(format!("{}>{value}", self.columns[column].name))
    }
}

fn unread(path: &str, source: impl Into<csv::Error>) -> ImportError {
    ImportError::Read {
        path: path.to_owned(),
        source: source.into(),
    }
}

/// Infers the type and range of a column from its cells.
fn infer<'a>(name: &str, cells: impl Iterator<Item = &'a str>) -> Column {
    let mut kind = FieldKind::Integer;
    let mut nullable = false;
    let mut range: Option<(f64, f64)> = None;
    for cell in cells {
        if cell.is_empty() {
            nullable = true;
            continue;
        }
        if kind == FieldKind::Integer && cell.parse::<i64>().is_err() {
            kind = FieldKind::Real;
        }
        match cell.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                let (low, high) = range.unwrap_or((number, number));
                range = Some((low.min(number), high.max(number)));
            }
            // NaN and infinity parse as numbers but have no place in a range.
            _ => kind = FieldKind::Text,
        }
    }
    Column {
        name: name.into(),
        kind,
        nullable,
        range: range.filter(|_| kind != FieldKind::Text),
    }
}

/// Converts a cell to a value of its column's type.
fn parse(cell: &str, kind: FieldKind) -> FieldValue {
    if cell.is_empty() {
        return FieldValue::Null;
    }
    let number = match kind {
        FieldKind::Integer => cell.parse().map(FieldValue::Integer).ok(),
        FieldKind::Real => cell.parse().map(FieldValue::Real).ok(),
        FieldKind::Text => None,
    };
    number.unwrap_or_else(|| FieldValue::Text(cell.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(cells: &[&str]) -> Column {
        infer("x", cells.iter().copied())
    }

    #[test]
    fn types_are_the_narrowest_that_hold_every_value() {
        assert_eq!(column(&["1", "-2", ""]).kind, FieldKind::Integer);
        assert!(column(&["1", ""]).nullable);
        assert_eq!(column(&["1", "2.5"]).kind, FieldKind::Real);
        assert_eq!(column(&["1", "2.5"]).range, Some((1.0, 2.5)));
        let mixed = column(&["1", "x", "2"]);
        assert_eq!((mixed.kind, mixed.range), (FieldKind::Text, None));
        assert_eq!(column(&["nan"]).kind, FieldKind::Text);
    }
}
