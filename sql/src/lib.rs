//! The querier's side of a question: SQL becomes a plan ([`statement`], [`plan`]), and released numbers become a table
//! ([`decode`]).
//!
//! `docs/sql.md` lists what may be written.

pub mod decode;
pub mod plan;
pub mod statement;
