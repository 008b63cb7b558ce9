//! A whole DISPERS network in one process: every role a real service with mutual TLS on loopback.
//!
//! It is for trying and testing. One dealer makes every key, and one process holds them all, so it
//! protects nobody from whoever runs it.

mod durable;
mod error;
mod knowledge;
mod network;
mod population;
mod recording;
mod seats;

pub use error::Error;
pub use knowledge::{Envelopes, Knowledge, RoleKnowledge};
pub use network::{Host, Network, Options, Progress, check};
pub use population::Population;
pub use recording::{Opened, Received, Record, Recording};
