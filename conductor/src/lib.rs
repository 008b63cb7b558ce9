//! The Conductor: drives queries, keeps sealed subscription lists, and relays messages that it cannot open.
//!
//! It learns manifests (they are public), pseudonyms, sizes and timing. It must never learn a concept, an address, a
//! value or a result. [`dispers_core::conduct`] decides what a query does next; this crate adds storage and the
//! network.

mod conducting;
mod config;
mod drive;
mod error;
mod kept;
mod log;
mod relay;
mod run;
mod service;
mod setup;
mod store;
mod submission;
mod uploads;

pub use config::{Config, Database, OpenError};
pub use drive::Driver;
pub use error::Error;
pub use kept::{InMemory, Kept};
pub use log::Log;
pub use service::Service;
pub use setup::routes;
pub use store::{Lease, NewQuery, Seen, Sqlite, State, Store, TakenUp};
#[cfg(feature = "postgres")]
pub use store::{Postgres, PostgresError, Settings};
pub use submission::Submission;
