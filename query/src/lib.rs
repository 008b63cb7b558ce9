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

/// Returns the error of a decoder for bytes that are no valid value, with `reason` as its text.
fn invalid_data(reason: impl ToString) -> borsh::io::Error {
    borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, reason.to_string())
}
