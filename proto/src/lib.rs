//! The gRPC messages and services of DISPERS, generated from `proto/dispers/v1`.
//!
//! Generated types stay in the `service` modules of the roles. `dispers-core` defines the meaning of the messages.

/// Generated code for version 1 of the services.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("dispers.v1");
}

/// All methods, each as its path in a request and its name.
pub const METHODS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

mod chunk;

pub use chunk::{CHUNK, Messages, PATIENCE, chunks};
