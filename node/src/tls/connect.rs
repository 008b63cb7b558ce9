//! The client's side of TLS: a channel to the one server that holds the expected key.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dispers_trust::directory::TlsKey;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::verify::PinnedServer;
use super::{ALPN, TlsError, TlsIdentity, provider};
use crate::watcher::{Watched, Watcher};

/// Longest time to make a connection, handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time after which a connection is probed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Number of bytes that may be under way on a stream: a few chunks.
pub(crate) const WINDOW: u32 = 4 << 20;
/// Longest time that the answer to a probe may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns a channel to `address` (host:port), where the server must hold the key `expected`. `watcher` observes what
/// the channel receives.
///
/// The channel connects when it is first used, and again after a failure.
///
/// # Errors
/// [`TlsError`] for a malformed address, or if TLS refuses the identity.
pub fn connect(
    address: &str,
    expected: TlsKey,
    identity: &TlsIdentity,
    watcher: Option<Arc<dyn Watcher>>,
) -> Result<Channel, TlsError> {
    let connector = connector(expected, identity)?;
    let address: Arc<str> = address.into();
    // The scheme is http since the connector below makes TLS itself: tonic's own would look at names and authorities.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| TlsError::Address(address.as_ref().into()))?
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW);
    Ok(
        endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let (connector, address) = (connector.clone(), Arc::clone(&address));
            let watcher = watcher.clone();
            async move {
                let stream = reach(&connector, &address).await?;
                io::Result::Ok(TokioIo::new(Watched::new(stream, expected, watcher)))
            }
        })),
    )
}

/// Opens one connection to `address`, where the server must hold the key `expected`.
///
/// # Errors
/// [`io::Error`] if the connection cannot be made within [`CONNECT_TIMEOUT`] or the server has another key.
pub async fn dial(
    address: &str,
    expected: TlsKey,
    identity: &TlsIdentity,
) -> io::Result<TlsStream<TcpStream>> {
    let connector = connector(expected, identity).map_err(io::Error::other)?;
    reach(&connector, address).await
}

fn connector(expected: TlsKey, identity: &TlsIdentity) -> Result<TlsConnector, TlsError> {
    let provider = provider();
    let verifier = PinnedServer {
        expected,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.certificates(), identity.private_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A server name would travel in the clear, and nothing here needs it.
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn reach(connector: &TlsConnector, address: &str) -> io::Result<TlsStream<TcpStream>> {
    // The name is neither sent nor looked at: the key alone identifies the server.
    let name = ServerName::try_from("dispers").expect("the constant is a DNS name");
    timeout(CONNECT_TIMEOUT, async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        connector.connect(name, stream).await
    })
    .await?
}
