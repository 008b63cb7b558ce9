//! Documents from CSV: types are inferred, an empty cell is NULL.

mod lines;

use std::{collections::HashSet, path::Path};

use dispers_core::subscription::{HomeId, MAX_HOME_ID};
use dispers_query::{
    catalogue::{Cardinality, Doctype, Field, FieldKind},
    local::FieldValue,
};

pub use lines::{Line, lines};

/// A file that is no table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: csv::Error,
    },
    /// It holds nothing.
    #[error("{0} has no rows: the first line names the columns, each further line is a document")]
    Empty(String),
    /// A column has no name, or the name of another.
    #[error("{path}: column {number} has no name, or the name of another column")]
    ColumnName {
        /// Which file.
        path: String,
        /// Which column, from 1.
        number: usize,
    },
    /// The home column is missing.
    #[error("{path} has no column {column:?} to tell homes apart; its columns are {columns}")]
    NoHomeColumn {
        /// Which file.
        path: String,
        /// What was looked for.
        column: String,
        /// What there is.
        columns: String,
    },
    /// A line that is no document.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A row names no home.
    #[error("{path}, line {line}: the home column is empty or longer than 128 bytes")]
    NoHome {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
    },
}

/// A column of a sheet.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name, as written.
    pub name: String,
    /// The narrowest type that holds all its values.
    pub kind: FieldKind,
    /// Whether a cell is empty.
    pub nullable: bool,
    /// Smallest and largest value, for numbers.
    pub range: Option<(f64, f64)>,
}

/// A table with typed columns.
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

    /// Reads CSV whose first line names the columns; `path` is what errors call it.
    ///
    /// # Errors
    /// [`ImportError`] naming the file and what is wrong with it.
    pub fn parse(path: &str, input: impl std::io::Read) -> Result<Self, ImportError> {
        let name = path.to_owned();
        let read = |source| ImportError::Read {
            path: name.clone(),
            source,
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(input);
        let header = reader.headers().map_err(read)?.clone();
        let mut seen = HashSet::new();
        for (place, column) in header.iter().enumerate() {
            if column.is_empty() || !seen.insert(column.to_lowercase()) {
                return Err(ImportError::ColumnName {
                    path: name,
                    number: place + 1,
                });
            }
        }
        let mut cells: Vec<csv::StringRecord> = Vec::new();
        for record in reader.records() {
            cells.push(record.map_err(read)?);
        }
        if cells.is_empty() {
            return Err(ImportError::Empty(name));
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
            path: name,
            columns,
            rows,
        })
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row; a sheet that was read has one.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The values of a row, one per column.
    pub fn row(&self, row: usize) -> &[FieldValue] {
        &self.rows[row]
    }

    /// Place of the column of that name, case-insensitively.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The home of each row: the value of `home_column`, or each row its own home, numbered
    /// from 1.
    ///
    /// # Errors
    /// [`ImportError`] when there is no such column, or a row leaves it empty.
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
        let home = |(row, values): (usize, &Vec<FieldValue>)| {
            let id = text(&values[place]).filter(|id| id.len() <= MAX_HOME_ID);
            id.map(HomeId).ok_or_else(|| ImportError::NoHome {
                path: self.path.clone(),
                line: row + 2,
            })
        };
        self.rows.iter().enumerate().map(home).collect()
    }

    /// The catalogue's entry for these documents.
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

/// A value as a concept or home id spells it; `None` for NULL.
pub(crate) fn text(value: &FieldValue) -> Option<String> {
    match value {
        FieldValue::Null => None,
        FieldValue::Integer(integer) => Some(integer.to_string()),
        FieldValue::Real(real) => Some(real.to_string()),
        FieldValue::Text(text) => Some(text.clone()),
    }
}

impl Sheet {
    /// The concept `column>value` of one row; `None` where the cell is empty.
    pub fn concept(&self, column: usize, row: usize) -> Option<String> {
        let value = text(&self.rows[row][column])?;
        Some(format!("{}>{value}", self.columns[column].name))
    }
}

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
