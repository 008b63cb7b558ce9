//! The local query: what every asked home computes about itself (protocol.md §6, §10).
//!
//! A typed tree and never SQL text. It is public, since the manifest carries it: what a home is
//! asked for is plain from [`LocalQuery::fields`] and from its [`Display`](std::fmt::Display).

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

/// What a home computes: at most one row, of a group and of measured values.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct LocalQuery {
    /// The kind of documents that are read.
    pub doctype: String,
    /// The fields that are read, and no other.
    pub fields: Vec<Column>,
    /// How a home's documents become one row; without it, the home's one document is the row.
    pub inner: Option<Inner>,
    /// The condition on the row; a home that does not meet it has none.
    pub filter: Option<Expr>,
    /// What groups are made of, most significant first; empty without GROUP BY.
    pub keys: Vec<Key>,
    /// What is measured, one per variable of the circuit.
    pub measures: Vec<Measure>,
    /// What is summed of it over homes.
    pub moments: Vec<Moment>,
}

/// A field that is read.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Column {
    /// Its name in the catalogue.
    pub name: String,
    /// Its type in the catalogue.
    pub kind: FieldKind,
}

/// The aggregation of a home's documents to one row, or to none where none meets the filter.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Inner {
    /// The condition on a document.
    pub filter: Option<Expr>,
    /// The columns of the row.
    pub aggregates: Vec<Aggregate>,
}

/// One aggregate of a home's documents.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Aggregate {
    /// How values become one.
    pub function: AggregateFunction,
    /// The value taken of each document; `None` counts documents.
    pub argument: Option<Expr>,
}

/// The aggregates of a home's documents.
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
    /// As it is written.
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

/// One part of GROUP BY: the category that a row falls in.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Key {
    /// The value by which rows are grouped.
    pub expr: Expr,
    /// The values that it may have; any other is NULL.
    pub categories: Vec<Category>,
    /// Whether NULL is one more category, the last. Without it such a home has no row.
    pub nullable: bool,
}

impl Key {
    /// Number of categories, that of NULL included.
    pub fn len(&self) -> usize {
        self.categories.len() + usize::from(self.nullable)
    }

    /// Whether no row can fall in any category; a valid key has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A value by which rows are grouped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum Category {
    Boolean(bool),
    Integer(i64),
    Text(String),
}

impl Category {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Boolean(_) => Kind::Boolean,
            Self::Integer(_) => Kind::Integer,
            Self::Text(_) => Kind::Text,
        }
    }
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Measure {
    /// The value, before it is clamped.
    pub expr: Expr,
    /// Its grid; `None` where only counts whether there is a value.
    pub quantiser: Option<Quantiser>,
    /// Whether it may be NULL. Where it may not and is, the home has no row.
    pub nullable: bool,
    /// Whether its levels are counted one by one.
    pub one_hot: bool,
}

/// A value of a document, as a connector reads it.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)]
pub enum FieldValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

impl LocalQuery {
    /// The names of the fields that are read, in the order in which [`Node::Column`] counts them.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Number of groups, 0 without GROUP BY. Saturates; a valid query is far below.
    pub fn groups(&self) -> usize {
        match self.keys.as_slice() {
            [] => 0,
            keys => keys.iter().fold(1, |n, key| n.saturating_mul(key.len())),
        }
    }

    /// The circuit that this query's rows fit.
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
