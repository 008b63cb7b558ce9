//! Local query, which every asked home evaluates on its own documents (protocol.md §6, §10).
//!
//! A local query is a typed tree, never SQL text, so that a stack does not parse or run text that a stranger wrote. It
//! is public, since the manifest carries it. [`LocalQuery::fields`] and its [`Display`](std::fmt::Display) show what it
//! reads and computes.

mod display;
mod expr;
mod facts;
mod row;
mod typing;
mod validate;

use borsh::{BorshDeserialize, BorshSerialize};

pub use expr::{
    Arithmetic, Comparison, Expr, Function, InvalidExpr, MAX_DEPTH, MAX_NODES, MAX_OPERANDS,
    MAX_TEXT, Node,
};
pub use facts::{Fact, Facts, Text};
pub use row::RawRow;
pub use typing::{Kind, Mismatch, Typed};
pub use validate::{
    InvalidQuery, MAX_AGGREGATES, MAX_FIELDS, MAX_GROUPS, MAX_KEYS, MAX_MEASURES, MAX_NAME,
};

use crate::{
    catalogue::FieldKind,
    quantise::Quantiser,
    shape::{Moment, Shape, Variable},
};

/// Computation of one home. Its result is at most one row, with a group and measured values.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct LocalQuery {
    /// Doctype of the documents that are read.
    pub doctype: String,
    /// Fields that are read. No other field is read.
    pub fields: Vec<Column>,
    /// Aggregation of a home's documents to one row. Without it, the home's one document is the row.
    pub inner: Option<Inner>,
    /// Condition on the row. A home for which it is not true has no row.
    pub filter: Option<Expr>,
    /// Columns of GROUP BY, most significant first; empty without GROUP BY.
    pub keys: Vec<Key>,
    /// Measured values, one per variable of the circuit.
    pub measures: Vec<Measure>,
    /// Sums of the measured values over homes.
    pub moments: Vec<Moment>,
}

/// Field that is read.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Column {
    /// Name of the field in the catalogue.
    pub name: String,
    /// Type of the field in the catalogue.
    pub kind: FieldKind,
}

/// Aggregation of a home's documents to one row, or to no row if no document meets the filter.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Inner {
    /// Condition on a document.
    pub filter: Option<Expr>,
    /// Columns of the row.
    pub aggregates: Vec<Aggregate>,
}

/// Aggregate of a home's documents.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Aggregate {
    /// Function that aggregates the values.
    pub function: AggregateFunction,
    /// Value of each document; `None` counts documents.
    pub argument: Option<Expr>,
}

/// Function that aggregates values of a home's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum AggregateFunction {
    Count,
    Sum,
    Average,
    Minimum,
    Maximum,
}

impl AggregateFunction {
    /// Returns the name of the function in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Average => "AVG",
            Self::Minimum => "MIN",
            Self::Maximum => "MAX",
        }
    }
}

/// Column of GROUP BY. A row falls in one of its categories.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Key {
    /// Expression by whose value rows are grouped.
    pub expr: Expr,
    /// Values that the expression may have. Any other value counts as NULL.
    pub categories: Vec<Category>,
    /// True if NULL is one more category, the last. Otherwise a home whose value is NULL has no row.
    pub nullable: bool,
}

impl Key {
    /// Returns the number of categories, including that of NULL.
    pub fn len(&self) -> usize {
        self.categories.len() + usize::from(self.nullable)
    }

    /// Returns whether there is no category. A valid key has at least one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Value by which rows are grouped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum Category {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

impl Category {
    /// Returns the type of the value.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Boolean(_) => Kind::Boolean,
            Self::Integer(_) => Kind::Integer,
            Self::Text(_) => Kind::Text,
        }
    }
}

/// Measured value.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Measure {
    /// Expression of the value, before it is clamped.
    pub expr: Expr,
    /// Grid of the value; `None` if only the presence of a value is counted.
    pub quantiser: Option<Quantiser>,
    /// True if the value may be NULL. If it may not and is NULL, the home has no row.
    pub nullable: bool,
    /// True if the levels of the value are counted one by one.
    pub one_hot: bool,
}

/// Value of a document's field, as a connector reads it.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)]
pub enum FieldValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

impl LocalQuery {
    /// Returns the names of the fields that are read, in the order in which [`Node::Column`] counts them.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Returns the number of groups, 0 without GROUP BY. The product saturates; the number of a valid query is far
    /// below.
    pub fn groups(&self) -> usize {
        match self.keys.as_slice() {
            [] => 0,
            keys => keys.iter().fold(1, |n, key| n.saturating_mul(key.len())),
        }
    }

    /// Returns the shape of the circuit that this query's rows fit.
    pub fn shape(&self) -> Shape {
        Shape {
            groups: u16::try_from(self.groups()).unwrap_or(u16::MAX),
            variables: self
                .measures
                .iter()
                .map(|measure| Variable {
                    max: measure.quantiser.map_or(0, |q| q.max()),
                    nullable: measure.nullable,
                    one_hot: measure.one_hot,
                })
                .collect(),
            moments: self.moments.clone(),
        }
    }
}
