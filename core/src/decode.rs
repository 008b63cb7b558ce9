//! From released sums to a table.
//!
//! What an aggregator withheld stays NULL and is listed; a group of which even the number of rows
//! was withheld is listed by its key. NULL as in SQL: SUM and AVG of nothing, VARIANCE of one.

use crate::circuit::Layout;
use crate::local::{Category, Key, Kind, LocalQuery};
use crate::quantise::Quantiser;

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i128),
    Real(f64),
    Text(String),
}

impl From<&Category> for Value {
    fn from(category: &Category) -> Self {
        match category {
            Category::Boolean(value) => Self::Boolean(*value),
            Category::Integer(value) => Self::Integer((*value).into()),
            Category::Text(text) => Self::Text(text.clone()),
        }
    }
}

/// A result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Names of the columns, in the order of SELECT.
    pub columns: Vec<String>,
    /// The released groups, in the order of their domains.
    pub rows: Vec<Vec<Value>>,
    /// Names of the GROUP BY columns.
    pub group_columns: Vec<String>,
    /// Keys of all groups that were not released, one value per GROUP BY column.
    pub suppressed_groups: Vec<Vec<Value>>,
    /// Cells of released groups that are NULL because they were withheld: row and column name.
    pub withheld: Vec<(usize, String)>,
    /// Type of each column.
    pub kinds: Vec<Kind>,
    /// Positions of the columns that say which group a row is, in order.
    pub keys: Vec<usize>,
    /// For each row and column, the 95 % interval of a noisy value; empty where nothing is noisy.
    pub intervals: Vec<Vec<Option<(f64, f64)>>>,
    /// For each row and column, the standard error of a noisy value; empty where nothing is noisy.
    pub standard_errors: Vec<Vec<Option<f64>>>,
    /// For each row and column, how far from the true value one may be that was read off a histogram;
    /// empty where there is none.
    pub resolutions: Vec<Vec<Option<f64>>>,
    /// What a reader of the result has to know, in sentences.
    pub notes: Vec<String>,
}

/// Sums that are not those of the query's circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{got} sums were released where the query has {expected}")]
pub struct WrongOutputs {
    /// How many the circuit has.
    pub expected: usize,
    /// How many came.
    pub got: usize,
}

/// One column of a result: its name and what it is computed from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// The alias, or the expression as it was written.
    pub(crate) name: String,
    pub(crate) source: Source,
}

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    /// The value of a GROUP BY column.
    Key(usize),
    /// COUNT(*).
    Rows,
    /// COUNT of a variable's values.
    Present(usize),
    /// SUM of a variable.
    Sum(usize),
    /// AVG of a variable.
    Mean(usize),
    /// VARIANCE or STDDEV (`root`) of a variable.
    Variance {
        variable: usize,
        sample: bool,
        root: bool,
    },
}

/// A GROUP BY column: its name and its values in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupColumn {
    name: String,
    values: Vec<Value>,
}

impl GroupColumn {
    /// The column of `key`, named as SELECT names it if it does.
    pub(crate) fn new(index: usize, written: &str, key: &Key, columns: &[Column]) -> Self {
        let selected = columns.iter().find(|c| c.source == Source::Key(index));
        let mut values: Vec<Value> = key.categories.iter().map(Value::from).collect();
        values.extend(key.nullable.then_some(Value::Null));
        Self {
            name: selected.map_or(written, |c| &c.name).to_owned(),
            values,
        }
    }
}

/// Turns released sums into a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    columns: Vec<Column>,
    groups: Vec<GroupColumn>,
    quantisers: Vec<Option<Quantiser>>,
    layout: Layout,
}

impl Decoder {
    pub(crate) fn new(local: &LocalQuery, columns: Vec<Column>, groups: Vec<GroupColumn>) -> Self {
        Self {
            columns,
            groups,
            quantisers: local.measures.iter().map(|m| m.quantiser).collect(),
            layout: Layout::of(&local.shape()),
        }
    }

    /// Names of the columns, in the order of SELECT.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.name.as_str())
    }

    /// The table that `outputs` say, in the circuit's order; `None` was withheld.
    ///
    /// # Errors
    /// [`WrongOutputs`] if there are more or fewer than the circuit has.
    pub fn decode(&self, outputs: &[Option<u64>]) -> Result<Table, WrongOutputs> {
        if outputs.len() != self.layout.len() {
            return Err(WrongOutputs {
                expected: self.layout.len(),
                got: outputs.len(),
            });
        }
        let mut table = Table {
            columns: self.columns().map(str::to_owned).collect(),
            group_columns: self.groups.iter().map(|g| g.name.clone()).collect(),
            ..Table::default()
        };
        for group in 0..self.layout.groups() {
            let key = self.key(group);
            if outputs[self.layout.rows(group)].is_none() {
                table.suppressed_groups.push(key);
                continue;
            }
            let mut row = Vec::with_capacity(self.columns.len());
            for column in &self.columns {
                let cell = match column.source {
                    Source::Key(index) => Some(key[index].clone()),
                    source => self.cell(source, group, outputs),
                };
                if cell.is_none() {
                    table.withheld.push((table.rows.len(), column.name.clone()));
                }
                row.push(cell.unwrap_or(Value::Null));
            }
            table.rows.push(row);
        }
        Ok(table)
    }

    /// The values of the GROUP BY columns in `group`: the last one changes fastest.
    fn key(&self, group: usize) -> Vec<Value> {
        let mut rest = group;
        let mut key = Vec::with_capacity(self.groups.len());
        for column in self.groups.iter().rev() {
            key.push(column.values[rest % column.values.len()].clone());
            rest /= column.values.len();
        }
        key.reverse();
        key
    }

    /// The value of a cell, or `None` if a sum that it needs was withheld.
    fn cell(&self, source: Source, group: usize, outputs: &[Option<u64>]) -> Option<Value> {
        let layout = &self.layout;
        let at = |index: Option<usize>| outputs[index?];
        // Without a presence bit, every row has a value.
        let count = |variable| {
            let counted = layout.present(group, variable);
            at(counted.or(Some(layout.rows(group))))
        };
        let real = |value: Option<f64>| value.map_or(Value::Null, Value::Real);
        match source {
            Source::Key(_) => None,
            Source::Rows => Some(Value::Integer(at(Some(layout.rows(group)))?.into())),
            Source::Present(variable) => Some(Value::Integer(count(variable)?.into())),
            Source::Sum(variable) => {
                let (quantiser, n) = (self.quantisers[variable]?, count(variable)?);
                let sum = at(layout.sum(group, variable))?;
                Some(match quantiser.integer_sum(n, sum) {
                    _ if n == 0 => Value::Null,
                    Some(sum) => Value::Integer(sum),
                    None => Value::Real(quantiser.value_sum(n, sum)),
                })
            }
            Source::Mean(variable) => {
                let (quantiser, n) = (self.quantisers[variable]?, count(variable)?);
                Some(real(quantiser.mean(n, at(layout.sum(group, variable))?)))
            }
            Source::Variance {
                variable,
                sample,
                root,
            } => {
                let (quantiser, n) = (self.quantisers[variable]?, count(variable)?);
                let sum = at(layout.sum(group, variable))?;
                let squares = at(layout.squares(group, variable))?;
                let variance = quantiser.variance(n, sum, squares, sample);
                Some(real(variance.map(|v| if root { v.sqrt() } else { v })))
            }
        }
    }
}
