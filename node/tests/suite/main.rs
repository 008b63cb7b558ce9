//! TLS over sockets, and a served request.

mod listed;
mod network;
mod serve;
mod tls;
