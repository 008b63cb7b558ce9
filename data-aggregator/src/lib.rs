//! The Data Aggregator: verifies and adds shares (protocol.md §8 and §9).
//!
//! It learns the counts that guard the outputs, the sizes of groups, and the manifests. It must never learn a value,
//! while fewer than the threshold of its committee collude. Its protocol is [`dispers_core::aggregation`]; this crate
//! adds storage and the network. Whatever an aggregator answers is on its disk before the answer leaves. No
//! contribution is ever written.

mod aggregate;
mod config;
mod error;
mod service;
mod setup;
mod store;

pub use aggregate::Aggregator;
pub use config::Config;
pub use error::Error;
pub use service::Service;
pub use setup::routes;
pub use store::SCHEMA;
