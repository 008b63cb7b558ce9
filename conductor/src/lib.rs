//! The Conductor: drives queries, keeps sealed subscription lists, relays what it cannot open.
//!
//! It learns manifests (they are public), pseudonyms, sizes and timing. It must never learn a
//! concept, an address, a value or a result. What a query does next is decided by
//! [`dispers_core::conduct`]; this crate gives it the lists and the wire.

mod announce;
mod config;
mod drive;
mod error;
mod kept;
mod log;
mod run;
mod service;
mod store;

pub use config::{Config, Database, OpenError};
pub use drive::Driver;
pub use error::Error;
pub use kept::{InMemory, Kept};
pub use log::Log;
pub use service::Service;
pub use store::{Lease, NewQuery, Seen, Sqlite, State, Store, TakenUp};
#[cfg(feature = "postgres")]
pub use store::{Postgres, PostgresError, Settings};
