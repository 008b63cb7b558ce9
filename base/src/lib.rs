//! Ground of the other crates: identifiers, domain separation, canonical encoding, signatures, and the field.
//!
//! Nothing here knows what a query is. `docs/protocol.md` is the specification that the comments cite.

pub mod encoding;
pub mod field;
pub mod fingerprint;
pub mod id;
pub mod keys;
pub mod labels;
pub mod weakness;
