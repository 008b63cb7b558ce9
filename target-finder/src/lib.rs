//! The Target Finder: evaluates the target profile on sealed lists (protocol.md §6), and may be a query's notary
//! (protocol.md §9). It writes a certificate to its disk before it sends the certificate.
//!
//! It learns tags, which are random per home and key epoch, each home's key κ, and the sizes of sets. It must never
//! learn a concept's name, an address or a value.

mod config;
mod error;
mod finder;
mod service;
mod setup;
mod store;

pub use config::Config;
pub use error::Error;
pub use finder::Finder;
pub use service::Service;
pub use setup::routes;
pub use store::Certificates;
