//! Parts that every DISPERS service shares: configuration, keys, TLS pinned to the directory, health, metrics, traces,
//! shutdown, and the mapping of faults to gRPC codes.

mod activity;
mod any;
mod channel;
mod clock;
mod config;
mod cosign;
mod database;
mod edge;
mod fault;
pub mod fragment;
mod health;
mod in_place;
pub mod keyfile;
mod listed;
mod metrics;
mod node;
mod observe;
mod patience;
pub mod private;
mod room;
mod serve;
mod setup;
pub mod telemetry;
pub mod tls;
mod version;
mod watcher;

pub use activity::{Activity, RunningQuery, RunningRequest};
pub use any::AnyOf;
pub use channel::Channel;
pub use clock::{now, rng};
pub use config::{Config, ConfigError, NodeConfig, load_telemetry};
pub use cosign::Cosigner;
pub use database::{Database, DatabaseError, Schema, TransactionError, connect};
pub use edge::{InOrder, Reply, blocking, limit_workers, reply};
pub use fault::{CallFailure, Fault};
pub use in_place::InPlace;
pub use listed::{Held, Unlisted, check_listed};
pub use metrics::{MetricsConfig, QueryPhase, serve_metrics};
pub use node::{Channels, Node};
pub use patience::{Patience, Tries};
pub use room::{GivesWay, NoRoom, Room};
pub use serve::{ServeError, drain, serve, serve_draining, shutdown_signal};
pub use setup::{RoleKeys, SetUpError, Storage};
pub use telemetry::{LeftOut, TelemetryConfig, TelemetryError, Traces};
pub use tls::{
    TlsError, TlsIdentity, require_host, require_listed, require_querier, require_querier_or_role,
    require_role,
};
pub use version::{FILE_VERSION, FileVersion, OtherVersion, PROTOCOL_VERSION, VERSION_HEADER};
pub use watcher::Watcher;
