//! The server's side of TLS: connections of listed peers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dispers_trust::directory::{Directory, Peer, TlsKey};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::identity::key_of;
use super::verify::ListedClients;
use super::{ALPN, PeerInfo, TlsError, TlsIdentity, provider};
use crate::watcher::{Watched, Watcher};

/// Most connections of listed peers at a time.
pub const CONNECTION_LIMIT: usize = 4096;
/// Most handshakes at a time. Further clients wait in the kernel's queue.
pub const HANDSHAKE_LIMIT: usize = 256;
/// Longest time that a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the kernel refused to accept a connection, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connection whose peer the directory lists.
pub struct PeerStream {
    tls: Watched<TlsStream<TcpStream>>,
    peer: PeerInfo,
    _connection: OwnedSemaphorePermit,
}

/// Accepts connections on `listener` until the returned stream is dropped.
///
/// `watcher` observes what the connections receive. Handshakes run concurrently, so that a slow client delays no other.
/// A failed handshake is logged and ends nothing else.
///
/// # Errors
/// [`TlsError`] if TLS refuses the identity.
pub fn incoming(
    listener: TcpListener,
    identity: &TlsIdentity,
    directory: Arc<Directory>,
    watcher: Option<Arc<dyn Watcher>>,
) -> Result<impl Stream<Item = io::Result<PeerStream>> + Send + use<>, TlsError> {
    let acceptor = Acceptor {
        tls: TlsAcceptor::from(Arc::new(server_config(identity, &directory)?)),
        directory,
        watcher,
        connections: Arc::new(Semaphore::new(CONNECTION_LIMIT)),
    };
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, acceptor, sender));
    Ok(ReceiverStream::new(receiver))
}

fn server_config(
    identity: &TlsIdentity,
    directory: &Arc<Directory>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = provider();
    let verifier = ListedClients {
        directory: Arc::clone(directory),
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.certificates(), identity.private_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No session is resumed: every connection meets the current directory.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

async fn accept(
    listener: TcpListener,
    acceptor: Acceptor,
    sender: mpsc::Sender<io::Result<PeerStream>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKE_LIMIT));
    loop {
        let next = async {
            // The place is taken before a connection is accepted. Further clients wait in the kernel's queue and hold
            // no sockets of this process.
            let handshake = Arc::clone(&handshakes).acquire_owned().await;
            (handshake, listener.accept().await)
        };
        let (handshake, accepted) = tokio::select! {
            () = sender.closed() => return,
            next = next => next,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let result = acceptor.handshake(stream).await;
            // The place is free before the send, which waits for the server to take the connection.
            drop(handshake);
            match result {
                // The channel is closed when the server shuts down.
                Ok(stream) => drop(sender.send(Ok(stream)).await),
                Err(error) => tracing::debug!(%error, "handshake failed"),
            }
        });
    }
}

#[derive(Clone)]
struct Acceptor {
    tls: TlsAcceptor,
    directory: Arc<Directory>,
    watcher: Option<Arc<dyn Watcher>>,
    connections: Arc<Semaphore>,
}

impl Acceptor {
    async fn handshake(&self, stream: TcpStream) -> io::Result<PeerStream> {
        stream.set_nodelay(true)?;
        let tls = timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)).await??;
        let (key, peer) = self.peer(&tls)?;
        // Only listed peers take a connection's place, and only after the handshake: strangers cannot use up all
        // places.
        let connection = Arc::clone(&self.connections)
            .try_acquire_owned()
            .map_err(|_| io::Error::other("all connections are in use"))?;
        Ok(PeerStream {
            tls: Watched::new(tls, key, self.watcher.clone()),
            peer: PeerInfo(peer),
            _connection: connection,
        })
    }

    fn peer(&self, tls: &TlsStream<TcpStream>) -> io::Result<(TlsKey, Peer)> {
        let (_, session) = tls.get_ref();
        let certificate = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or_else(|| io::Error::other("the client has no certificate"))?;
        let key = key_of(certificate).map_err(io::Error::other)?;
        let peer = self.directory.peer(&key);
        peer.cloned()
            .map(|peer| (key, peer))
            .ok_or_else(|| io::Error::other("the client is not listed"))
    }
}

impl Connected for PeerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
