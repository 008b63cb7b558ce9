//! The protocol of DISPERS without input or output: its messages, and the state machines of the roles.
//!
//! Everything here is a function of state and input: no socket, clock, executor or global
//! randomness; `now` and `rng` are passed in. Role crates feed it with received bytes and send
//! what it returns. `docs/protocol.md` is the specification that the comments cite.

pub mod aggregation;
pub mod ask;
pub mod conduct;
pub mod consent;
pub mod evaluation;
pub mod find;
pub mod log;
pub mod manifest;
pub mod offer;
pub mod peer;
pub mod release;
pub mod session;
pub mod subscription;
#[cfg(test)]
mod testing;
pub mod ticket;
