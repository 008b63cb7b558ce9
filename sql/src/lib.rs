//! The querier's side of a question. [`statement`] and [`plan`] turn SQL into a plan; [`decode`] turns the
//! released numbers into a table.
//!
//! `docs/sql.md` lists the supported SQL.

pub mod decode;
pub mod plan;
pub mod statement;
