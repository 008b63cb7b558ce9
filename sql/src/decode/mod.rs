//! From released sums to a table.
//!
//! A withheld number is NULL and is listed. A group without any released number is listed by its key. Apart
//! from that, NULL means the same as in SQL: SUM and AVG of nothing, VARIANCE of one value.

mod cell;
#[cfg(test)]
mod complements;
mod evaluate;
mod histogram;
mod noisy;
mod regression;

use std::cmp::Ordering;
use std::collections::BTreeSet;

pub(crate) use cell::{Product, Source, Statistic};
pub(crate) use regression::Model;

use cell::{Cell, Sums};
use dispers_circuit::Layout;
use dispers_query::{
    local::{Category, Expr, Key, Kind, LocalQuery, Node},
    quantise::Quantiser,
};
use evaluate::{compare, evaluate};

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

impl Value {
    /// Returns the value as a number, or `None` if it is not a number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Real(value) => Some(*value),
            _ => None,
        }
    }
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

/// Result of a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Names of the columns, in the order of SELECT.
    pub columns: Vec<String>,
    /// Released groups, in the order of their domains.
    pub rows: Vec<Vec<Value>>,
    /// Names of the GROUP BY columns.
    pub group_columns: Vec<String>,
    /// Keys of all groups that were not released, one value per GROUP BY column.
    pub suppressed_groups: Vec<Vec<Value>>,
    /// Cells of released groups that are NULL because a number was withheld: row and column name.
    pub withheld: Vec<(usize, String)>,
    /// Type of each column.
    pub kinds: Vec<Kind>,
    /// Positions of the columns that identify a row's group, in order.
    pub keys: Vec<usize>,
    /// For each row and column, the 95 % interval of a noisy value. Empty if nothing is noisy.
    pub intervals: Vec<Vec<Option<(f64, f64)>>>,
    /// For each row and column, the standard error of a noisy value. Empty if nothing is noisy.
    pub standard_errors: Vec<Vec<Option<f64>>>,
    /// For each row and column, the largest distance from the true value, for a value that was read off a
    /// histogram. Empty if there is no such value.
    pub resolutions: Vec<Vec<Option<f64>>>,
    /// Remarks that a reader of the result must know, in sentences.
    pub notes: Vec<String>,
}

/// Error for released sums whose number does not fit the query's circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{got} sums were released where the query has {expected}")]
pub struct WrongOutputs {
    /// Number of outputs of the circuit.
    pub expected: usize,
    /// Number of sums released.
    pub got: usize,
}

/// A column of a result: an expression over cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// Alias, or the text of the expression.
    pub(crate) name: String,
    pub(crate) expr: Expr,
    pub(crate) kind: Kind,
}

/// An item of ORDER BY.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// The outer SELECT, as expressions over aggregates and group keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selection {
    /// Cells of a row. [`Node::Column`] in the expressions below is an index into this list.
    pub(crate) sources: Vec<Source>,
    pub(crate) columns: Vec<Column>,
    pub(crate) having: Option<Expr>,
    pub(crate) order: Vec<Order>,
    pub(crate) offset: u64,
    pub(crate) limit: Option<u64>,
    /// Regression, if the query asks for one instead of columns.
    pub(crate) model: Option<Model>,
}

/// A GROUP BY column: its name, and its values in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupColumn {
    name: String,
    values: Vec<Value>,
    /// For a histogram: the lower edge of each bin, then the upper edge of the last. Empty for other keys.
    edges: Vec<f64>,
}

impl GroupColumn {
    /// Creates the column of `key`. Its name is the one in SELECT if it is selected, else its text in GROUP
    /// BY.
    pub(crate) fn new(index: usize, written: &str, key: &Key, selection: &Selection) -> Self {
        let mut columns = selection.columns.iter();
        let selected = columns.find(|column| match column.expr.nodes() {
            [Node::Column(source)] => {
                selection.sources.get(usize::from(*source)) == Some(&Source::Key(index))
            }
            _ => false,
        });
        let mut values: Vec<Value> = key.categories.iter().map(Value::from).collect();
        // NULL is the last group of a nullable key.
        values.extend(key.nullable.then_some(Value::Null));
        Self {
            name: selected.map_or(written, |c| &c.name).to_owned(),
            values,
            edges: Vec::new(),
        }
    }

    /// Creates the column of a histogram's bins, whose values show their edges as intervals.
    pub(crate) fn of_bins(name: &str, edges: Vec<f64>) -> Self {
        let bins = edges.windows(2).enumerate().map(|(bin, ends)| {
            // The last bin includes its upper edge, since clamped values can lie on it.
            let last = bin + 2 == edges.len();
            let close = if last { ']' } else { ')' };
            Value::Text(format!("[{}, {}{close}", ends[0], ends[1]))
        });
        Self {
            name: name.to_owned(),
            values: bins.collect(),
            edges,
        }
    }
}

/// Converter of released sums into a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    selection: Selection,
    groups: Vec<GroupColumn>,
    quantisers: Vec<Option<Quantiser>>,
    layout: Layout,
}

/// A row while the table is made.
struct Row {
    group: usize,
    /// Cells of the row; `None` if withheld.
    cells: Vec<Option<Cell>>,
    values: Vec<Value>,
}

impl Decoder {
    pub(crate) fn new(local: &LocalQuery, selection: Selection, groups: Vec<GroupColumn>) -> Self {
        Self {
            selection,
            groups,
            quantisers: local.measures.iter().map(|m| m.quantiser).collect(),
            layout: Layout::of(&local.shape()),
        }
    }

    /// Returns the names of the columns, in the order of SELECT.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.selection.columns.iter().map(|c| c.name.as_str())
    }

    /// Decodes `outputs`, one per output of the circuit, in its order; `None` if withheld. `cohort` is the
    /// minimum cohort.
    ///
    /// # Errors
    /// [`WrongOutputs`] if the number of `outputs` is not that of the circuit.
    pub fn decode(&self, outputs: &[Option<i128>], cohort: u32) -> Result<Table, WrongOutputs> {
        self.table(outputs, cohort, false).map(|(table, _)| table)
    }

    fn table(
        &self,
        outputs: &[Option<i128>],
        cohort: u32,
        noisy: bool,
    ) -> Result<(Table, Vec<Row>), WrongOutputs> {
        if let Some(model) = &self.selection.model {
            self.check(outputs)?;
            return Ok((model.table(&self.sums(0, outputs)), Vec::new()));
        }
        let mut table = self.empty_table();
        let rows = self.rows(outputs, noisy, &mut table)?;
        let keep = self.keep(rows, &mut table);
        let mut resolved = false;
        for (place, row) in keep.iter().enumerate() {
            let mut values = Vec::with_capacity(self.selection.columns.len());
            let mut resolutions = Vec::with_capacity(self.selection.columns.len());
            for column in &self.selection.columns {
                // The expression is not trusted to be NULL by itself: COALESCE(x, 0) would show a withheld
                // number as 0.
                let withheld = self
                    .needs(&column.expr)
                    .any(|cell| row.cells[cell].is_none());
                if withheld {
                    table.withheld.push((place, column.name.clone()));
                }
                let value = evaluate(&column.expr, &row.values);
                if value.divided_by_zero && !withheld {
                    table.notes.push(format!(
                        "{} is NULL in row {}: it divides by an aggregate that is 0",
                        column.name,
                        place + 1
                    ));
                }
                // Only a plain aggregate has a resolution. An error bound for an expression over several does
                // not follow from theirs.
                let resolution = match column.expr.nodes() {
                    [Node::Column(cell)] => row.cells[usize::from(*cell)].as_ref(),
                    _ => None,
                };
                let resolution = resolution.and_then(|cell| cell.resolution);
                resolved |= resolution.is_some();
                resolutions.push(resolution);
                values.push(if withheld { Value::Null } else { value.value });
            }
            table.rows.push(values);
            table.resolutions.push(resolutions);
        }
        if !resolved {
            table.resolutions.clear();
        }
        self.explain(cohort, &mut table);
        Ok((table, keep))
    }

    fn empty_table(&self) -> Table {
        let columns = &self.selection.columns;
        let keys = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| match column.expr.nodes() {
                [Node::Column(source)] => matches!(
                    self.selection.sources.get(usize::from(*source)),
                    Some(Source::Key(_) | Source::Edge { .. })
                ),
                _ => false,
            });
        Table {
            columns: columns.iter().map(|c| c.name.clone()).collect(),
            kinds: columns.iter().map(|c| c.kind).collect(),
            keys: keys.map(|(place, _)| place).collect(),
            group_columns: self.groups.iter().map(|g| g.name.clone()).collect(),
            ..Table::default()
        }
    }

    /// Returns the cells of every released group, and lists the other groups in `table`.
    fn rows(
        &self,
        outputs: &[Option<i128>],
        noisy: bool,
        table: &mut Table,
    ) -> Result<Vec<Row>, WrongOutputs> {
        self.check(outputs)?;
        let mut rows = Vec::new();
        for group in 0..self.layout.groups() {
            // In an exact result the number of rows may be withheld although other numbers of the group are
            // released, because it would give one of them away (protocol.md §9). The group is suppressed only
            // if all its numbers are. A noisy group stands or falls with its number of rows.
            let first = self.layout.rows(group);
            let of_group = match noisy {
                true => first..first + 1,
                false => first..self.layout.rows(group + 1),
            };
            if outputs[of_group].iter().all(Option::is_none) {
                table.suppressed_groups.push(self.key(group));
                continue;
            }
            let cells = self.cells(group, outputs);
            let values = values(&cells);
            rows.push(Row {
                group,
                cells,
                values,
            });
        }
        Ok(rows)
    }

    fn check(&self, outputs: &[Option<i128>]) -> Result<(), WrongOutputs> {
        let (expected, got) = (self.layout.len(), outputs.len());
        match expected == got {
            true => Ok(()),
            false => Err(WrongOutputs { expected, got }),
        }
    }

    fn sums<'a>(&'a self, group: usize, outputs: &'a [Option<i128>]) -> Sums<'a> {
        Sums {
            layout: &self.layout,
            quantisers: &self.quantisers,
            group,
            outputs,
        }
    }

    fn cells(&self, group: usize, outputs: &[Option<i128>]) -> Vec<Option<Cell>> {
        let key = self.positions(group);
        let sums = self.sums(group, outputs);
        let cells = self.selection.sources.iter().map(|source| match source {
            Source::Key(column) => {
                let column = (self.groups.get(*column)?, key.get(*column)?);
                Some(column.0.values.get(*column.1)?.clone().into())
            }
            Source::Edge { key: column, upper } => {
                let column = (self.groups.get(*column)?, key.get(*column)?);
                let edge = column.0.edges.get(column.1 + usize::from(*upper))?;
                Some(Value::Real(*edge).into())
            }
            source => sums.cell(source),
        });
        cells.collect()
    }

    /// Returns the rows that HAVING keeps, in the order of ORDER BY, cut by OFFSET and LIMIT.
    fn keep(&self, mut rows: Vec<Row>, table: &mut Table) -> Vec<Row> {
        let selection = &self.selection;
        if let Some(having) = &selection.having {
            let before = rows.len();
            let undecided = rows
                .iter()
                .filter(|row| self.needs(having).any(|cell| row.cells[cell].is_none()));
            let undecided = undecided.count();
            // An unknown condition leaves the row out, as in SQL. The note below says how many rows had no
            // decision because of withholding.
            rows.retain(|row| evaluate(having, &row.values).value == Value::Boolean(true));
            if undecided > 0 {
                table.notes.push(format!(
                    "HAVING could not be decided for {undecided} of {before} groups, since what it needs \
                     was withheld: they are left out"
                ));
            }
        }
        let keyed = rows.into_iter().map(|row| {
            let items = selection.order.iter();
            let keys: Vec<Value> = items
                .map(|item| evaluate(&item.expr, &row.values).value)
                .collect();
            (keys, row)
        });
        let mut keyed: Vec<(Vec<Value>, Row)> = keyed.collect();
        // A stable sort keeps rows that compare equal in the order of their domains.
        keyed.sort_by(|(a, _), (b, _)| self.ordering(a, b));
        let offset = usize::try_from(selection.offset).unwrap_or(usize::MAX);
        let limit = selection
            .limit
            .and_then(|limit| usize::try_from(limit).ok());
        let rows = keyed.into_iter().map(|(_, row)| row).skip(offset);
        rows.take(limit.unwrap_or(usize::MAX)).collect()
    }

    fn ordering(&self, a: &[Value], b: &[Value]) -> Ordering {
        for (item, (a, b)) in self.selection.order.iter().zip(a.iter().zip(b)) {
            let order = match (a, b) {
                (Value::Null, Value::Null) => Ordering::Equal,
                (Value::Null, _) if item.nulls_first => Ordering::Less,
                (Value::Null, _) => Ordering::Greater,
                (_, Value::Null) if item.nulls_first => Ordering::Greater,
                (_, Value::Null) => Ordering::Less,
                (a, b) => {
                    // NULLs are handled above, because DESC must not move them.
                    let order = compare(a, b).unwrap_or(Ordering::Equal);
                    if item.descending {
                        order.reverse()
                    } else {
                        order
                    }
                }
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }

    /// Returns the cells that an expression refers to.
    fn needs<'e>(&self, expr: &'e Expr) -> impl Iterator<Item = usize> + use<'e> {
        expr.nodes().iter().filter_map(|node| match node {
            Node::Column(cell) => Some(usize::from(*cell)),
            _ => None,
        })
    }

    /// Adds notes on the columns that are not plain aggregates.
    fn explain(&self, cohort: u32, table: &mut Table) {
        let mut notes = BTreeSet::new();
        for column in &self.selection.columns {
            for cell in self.needs(&column.expr) {
                let note = match self.selection.sources.get(cell) {
                    Some(Source::Extreme { largest, .. }) => {
                        let which = if *largest { "largest" } else { "smallest" };
                        format!("is the {cohort}th {which} value, so that it is no single person's")
                    }
                    Some(Source::Quantile { .. }) => {
                        "is read off a histogram: it is as exact as its resolution says".to_owned()
                    }
                    _ => continue,
                };
                notes.insert(format!("{} {note}", column.name));
            }
        }
        table.notes.extend(notes);
    }

    /// Returns the position of `group` in the domain of each GROUP BY column. The last column changes
    /// fastest.
    fn positions(&self, group: usize) -> Vec<usize> {
        let mut rest = group;
        let mut key = Vec::with_capacity(self.groups.len());
        for column in self.groups.iter().rev() {
            key.push(rest % column.values.len());
            rest /= column.values.len();
        }
        key.reverse();
        key
    }

    /// Returns the values of the GROUP BY columns in `group`.
    fn key(&self, group: usize) -> Vec<Value> {
        let places = self.positions(group).into_iter();
        let columns = self.groups.iter().zip(places);
        columns
            .map(|(column, place)| column.values[place].clone())
            .collect()
    }
}

/// Returns the values of cells, NULL where withheld.
fn values(cells: &[Option<Cell>]) -> Vec<Value> {
    let values = cells.iter().map(|cell| match cell {
        Some(cell) => cell.value.clone(),
        None => Value::Null,
    });
    values.collect()
}
