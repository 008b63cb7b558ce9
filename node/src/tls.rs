//! Mutual TLS 1.3, pinned to the directory: a key that is not listed never gets past the handshake.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use dispers_core::directory::{Directory, Peer, TlsKey};
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri, server::Connected};
use zeroize::Zeroizing;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes that run at the same time; further connections wait.
const HANDSHAKES: usize = 256;
/// The name in every certificate. It means nothing: keys are pinned.
const NAME: &str = "dispers";

/// Why TLS is not set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The key is not one.
    #[error("the TLS key cannot be used: {0}")]
    Key(String),
    /// The address is not one.
    #[error("{0:?} is not an address like host:port")]
    Address(String),
}

/// A node's TLS key with its self-signed certificate.
pub struct TlsIdentity {
    pkcs8: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
    public: TlsKey,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({:02x?})", &self.public.0[..4])
    }
}

impl TlsIdentity {
    /// A fresh key.
    ///
    /// # Errors
    /// [`TlsError::Key`] when the system gives no randomness.
    pub fn generate() -> Result<Self, TlsError> {
        let pair = rcgen::KeyPair::generate().map_err(|error| TlsError::Key(error.to_string()))?;
        Self::from_pkcs8(&pair.serialize_der())
    }

    /// The identity of a stored PKCS#8 key.
    ///
    /// # Errors
    /// [`TlsError::Key`] when it is no ECDSA or Ed25519 key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, TlsError> {
        let key = |error: rcgen::Error| TlsError::Key(error.to_string());
        let der = PrivatePkcs8KeyDer::from(pkcs8);
        let pair = rcgen::KeyPair::try_from(&der).map_err(key)?;
        let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])
            .and_then(|parameters| parameters.self_signed(&pair))
            .map_err(key)?
            .der()
            .clone();
        let public = public_key(&certificate).map_err(|error| TlsError::Key(error.to_string()))?;
        Ok(Self {
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
            certificate,
            public,
        })
    }

    /// The secret key, for a key file.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What the directory lists.
    pub fn public(&self) -> TlsKey {
        self.public
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()).into()
    }
}

/// SHA-256 of a certificate's public key.
fn public_key(certificate: &CertificateDer<'_>) -> Result<TlsKey, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let info = parsed.subject_public_key_info();
    Ok(TlsKey(Sha256::digest(&*info).into()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".into())
}

/// Accepts the keys that the directory lists.
#[derive(Debug)]
struct ListedClients {
    directory: Arc<Directory>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ListedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let key = public_key(end_entity)?;
        if self.directory.peer(&key).is_none() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Accepts exactly one key.
#[derive(Debug)]
struct ThatServer {
    key: TlsKey,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ThatServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if public_key(end_entity)? != self.key {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A channel to `address`, which must prove that it holds `key`. Connects when it is first used,
/// and again when the connection is lost.
///
/// # Errors
/// [`TlsError`] when the address or this node's key is not one.
pub fn connect(address: &str, key: TlsKey, identity: &TlsIdentity) -> Result<Channel, TlsError> {
    let uri: Uri = format!("http://{address}")
        .parse()
        .map_err(|_| TlsError::Address(address.to_owned()))?;
    let provider = provider();
    let verifier = ThatServer {
        key,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::Key(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![identity.certificate.clone()], identity.private())
        .map_err(|error| TlsError::Key(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address = address.to_owned();
    let dial = tower::service_fn(move |_: Uri| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(NAME).expect("a constant name is valid");
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Ok(Endpoint::from(uri)
        .connect_timeout(HANDSHAKE)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_with_connector_lazy(dial))
}

/// Who is at the other end of a connection; in the extensions of each of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedPeer(pub Peer);

/// An accepted connection whose client is listed.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: ConnectedPeer,
}

impl Connected for Connection {
    type ConnectInfo = ConnectedPeer;

    fn connect_info(&self) -> ConnectedPeer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Accepts connections until the receiver is dropped. Handshakes run beside each other; one that
/// fails ends that connection alone.
pub(crate) fn accept(
    listener: TcpListener,
    identity: &TlsIdentity,
    directory: Arc<Directory>,
) -> Result<mpsc::Receiver<std::io::Result<Connection>>, TlsError> {
    let provider = provider();
    let verifier = ListedClients {
        directory: directory.clone(),
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::Key(error.to_string()))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(vec![identity.certificate.clone()], identity.private())
        .map_err(|error| TlsError::Key(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let slots = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, or a client that left: others may still come.
                    tracing::warn!(kind = ?error.kind(), "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let (acceptor, directory, sender) =
                (acceptor.clone(), directory.clone(), sender.clone());
            tokio::spawn(async move {
                let _slot = slot;
                let handshake = handshake(acceptor, stream, &directory);
                match timeout(HANDSHAKE, handshake).await {
                    Ok(Ok(connection)) => {
                        let _ = sender.send(Ok(connection)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                    Err(_) => tracing::debug!("a handshake took too long"),
                }
            });
        }
    });
    Ok(receiver)
}

fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    directory: &Directory,
) -> impl Future<Output = std::io::Result<Connection>> {
    async move {
        stream.set_nodelay(true)?;
        let stream = acceptor.accept(stream).await?;
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().ok_or_else(denied)?;
        let key = public_key(certificate).map_err(|_| denied())?;
        let peer = directory.peer(&key).ok_or_else(denied)?.clone();
        Ok(Connection {
            peer: ConnectedPeer(peer),
            stream,
        })
    }
}
