//! Tests of TLS, health, metrics, traces, versions and draining, over sockets.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod any;
mod draining;
mod listed;
mod metrics;
mod network;
mod serve;
mod service;
mod tls;
#[cfg(feature = "otlp")]
mod traces;
mod versions;
