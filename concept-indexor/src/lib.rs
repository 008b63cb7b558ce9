//! The Concept Indexor: evaluates its share of the pseudonym function, blindly (protocol.md §4).
//!
//! It learns which host or querier asked, and how often. It must never learn the concept.

mod config;
mod error;
mod indexor;
mod service;
mod setup;

pub use config::Config;
pub use error::Error;
pub use indexor::Indexor;
pub use service::Service;
pub use setup::routes;
