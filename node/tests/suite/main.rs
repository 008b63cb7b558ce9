//! TLS over sockets, and a served request.

mod network;
mod serve;
mod tls;
