//! Definitions that every other crate uses: identifiers, domain separation, canonical encoding, signatures, the field.
//!
//! Nothing here depends on the content of a query. The comments cite the specification, `docs/protocol.md`.

pub mod encoding;
pub mod field;
pub mod fingerprint;
pub mod hex;
pub mod id;
pub mod keys;
pub mod labels;
pub mod signed;
pub mod weakness;
