//! The SQL that DISPERS understands (protocol.md §10).
//!
//! Standard SQL that any parser accepts, with PostgreSQL's meaning. The crate `sqlparser` parses the text.
//! This module binds names and types, and refuses everything that is not supported with an error that says
//! what to write instead.

mod aggregates;
mod bound;
mod concepts;
mod error;
mod expression;
mod functions;
mod grouping;
mod measures;
mod names;
mod near;
mod outputs;
mod parse;
mod regression;
mod source;
mod training;
mod walk;

pub(crate) use concepts::split_where;
pub use error::{Position, SqlError};
pub(crate) use expression::bind_filter;
pub(crate) use grouping::bind_keys;
pub(crate) use measures::{Measures, nice_step};
pub(crate) use outputs::{Outputs, bind_outputs};
pub use parse::MAX_SQL;
pub(crate) use parse::parse;
pub(crate) use regression::{as_select, bind_regression};
pub(crate) use source::{bind_documents, bind_source};
pub(crate) use training::bind_training;
