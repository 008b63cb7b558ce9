//! A whole DISPERS network in one process: every role is a real service with mutual TLS on loopback.
//!
//! The sandbox is for trying and testing. One dealer makes every key, and one process holds all of them, so the
//! sandbox protects nobody from whoever runs it.

mod durable;
mod error;
mod executors;
mod knowledge;
mod meter;
mod network;
mod options;
mod population;
mod recording;
mod seats;
mod synthetic;

pub use error::Error;
pub use executors::Executors;
pub use knowledge::{Envelopes, Knowledge, RoleKnowledge};
pub use meter::Meter;
pub use network::{Host, Network};
pub use options::{Options, Progress, Through, Wrap, catalogue, check};
pub use recording::{Opened, Received, Record, Recording};
pub use synthetic::{Person, Synthetic};
