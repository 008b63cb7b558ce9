//! TLS over sockets, and a served request.
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod listed;
mod network;
mod serve;
mod tls;
