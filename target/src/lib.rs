//! The Target: the only role that talks to stacks (protocol.md §6).
//!
//! It relays subscriptions, asks the homes that a Target Finder chose, and removes from the answers which host sent
//! them. It learns the addresses of the homes that are asked for a query, and the local query. It must never learn a
//! concept, a list of tags, a value or a result.

mod ask;
mod breaker;
mod config;
mod error;
mod link;
mod quota;
mod service;
mod setup;

pub use ask::Target;
pub use config::Config;
pub use error::Error;
pub use link::{Answering, Links, StackLink};
pub use service::Service;
pub use setup::routes;
