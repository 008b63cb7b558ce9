//! The protocol of DISPERS without input or output.
//!
//! Everything here is a function of state and input: no socket, clock, executor or global
//! randomness; `now` and `rng` are passed in. Role crates feed it with received bytes and send
//! what it returns. `docs/protocol.md` is the specification that the comments cite.

mod aead;
pub mod aggregation;
pub mod ask;
pub mod catalogue;
pub mod ceremony;
pub mod circuit;
pub mod conduct;
pub mod consent;
pub mod contribution;
pub mod dealing;
pub mod decode;
pub mod directory;
pub mod dleq;
pub mod encoding;
pub mod envelope;
pub mod evaluation;
pub mod field;
pub mod find;
pub mod fingerprint;
pub mod id;
pub mod keys;
pub mod labels;
pub mod local;
pub mod log;
pub mod manifest;
pub mod offer;
pub mod oprf;
pub mod peer;
pub mod plan;
pub mod prf;
pub mod privacy;
pub mod profile;
pub mod quantise;
pub mod release;
pub mod ristretto;
pub mod shamir;
pub mod sql;
pub mod subscription;
#[cfg(test)]
mod testing;
pub mod ticket;
pub mod training;
mod weakness;
