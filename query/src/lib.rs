//! Parts of a query that every party reads: the catalogue of doctypes and concepts, target profiles, local queries, and
//! the shape of a home's contribution.
//!
//! The types are data, with the rules that make them valid. `dispers_sql` makes them from SQL, and `dispers_circuit`
//! proves contributions.

pub mod catalogue;
pub mod local;
pub mod profile;
pub mod quantise;
pub mod shape;
