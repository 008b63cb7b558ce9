//! Mutual TLS 1.3 pinned to the directory (protocol.md §2).
//!
//! Certificates are self-signed and only carry a key. A peer is accepted if the directory lists the hash of the key and
//! the peer proves that it holds the key. Names, dates and issuers are not looked at, no session is resumed (every
//! connection meets the current directory), and no server name is sent.

mod accept;
mod connect;
mod identity;
mod peer;
mod verify;

pub use accept::{CONNECTION_LIMIT, HANDSHAKE_LIMIT, HANDSHAKE_TIMEOUT, PeerStream, incoming};
pub(crate) use connect::WINDOW;
pub use connect::{CONNECT_TIMEOUT, connect, dial};
pub use identity::{InvalidTlsKey, TlsIdentity};
pub use peer::{
    PeerInfo, peer, require_host, require_listed, require_querier, require_querier_or_role,
    require_role,
};

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

/// Protocol that is negotiated: HTTP/2, as gRPC needs.
const ALPN: &[u8] = b"h2";

/// Reasons why TLS cannot be set up or an address cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the key or the configuration.
    #[error("TLS cannot be set up ({0}): generate this node's keys again")]
    Setup(#[from] rustls::Error),
    /// The address is malformed.
    #[error("the address {0:?} cannot be dialled: write host:port")]
    Address(String),
}

/// Returns the cryptography of TLS. It is passed explicitly, so that no process-wide default decides.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
