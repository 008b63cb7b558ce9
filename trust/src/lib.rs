//! Trust of a network: the signed directory with the rules of its editions, and the ceremonies that make threshold keys
//! (protocol.md §2).

pub mod ceremony;
pub mod directory;
