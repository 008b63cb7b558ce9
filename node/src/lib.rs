//! What every DISPERS service shares: configuration, keys, TLS pinned to the directory, telemetry,
//! shutdown, and the mapping of faults to gRPC codes.

mod clock;
mod config;
mod database;
mod edge;
mod fault;
pub mod fragment;
pub mod keyfile;
mod listed;
mod node;
mod serve;
pub mod telemetry;
pub mod tls;
mod witness;

pub use clock::{now, rng};
pub use config::{Config, ConfigError, NodeConfig};
pub use database::{Database, DatabaseError, Schema};
pub use edge::{InOrder, Reply, blocking, limit_workers, reply};
pub use fault::Fault;
pub use listed::{Held, Unlisted, check_listed};
pub use node::{Channels, Node};
pub use serve::{ServeError, serve, shutdown_signal};
pub use tls::{
    TlsError, TlsIdentity, require_host, require_querier, require_querier_or_role, require_role,
};
pub use witness::Witness;
