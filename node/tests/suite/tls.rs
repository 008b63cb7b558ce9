//! Tests of the peers that get a connection.

use std::io;
use std::sync::Arc;

use dispers_base::id::Timestamp;
use dispers_node::{
    now,
    tls::{PeerInfo, TlsIdentity, dial, incoming},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;
use tonic::transport::server::Connected;

use crate::network::{HOUR, Network};

/// Runs a server that sends every peer its name, with the directory as verified at `verified`. Returns its address.
async fn telling(network: &Network, server: &str, verified: Timestamp) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let identity = &network.keys(server).tls;
    let streams = incoming(listener, identity, network.directory_at(verified), None).unwrap();
    tokio::spawn(async move {
        let mut streams = Box::pin(streams);
        while let Some(Ok(mut stream)) = streams.next().await {
            let PeerInfo(peer) = stream.connect_info();
            let told = peer.name().as_str().as_bytes();
            stream.write_all(told).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

/// Returns the text that the server sent. A refusal may come after the client's side of the handshake.
async fn told(stream: io::Result<TlsStream<TcpStream>>) -> io::Result<String> {
    let mut text = String::new();
    stream?.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_listed_peer_gets_through_and_is_known_by_name() {
    let network = Network::new();
    let address = telling(&network, "c", now()).await;
    let expected = network.keys("c").tls.key();
    for client in ["da2", "host", "querier", "c"] {
        let stream = dial(&address, expected, &network.keys(client).tls).await;
        assert_eq!(told(stream).await.unwrap(), client);
    }
}

#[tokio::test]
async fn an_unlisted_certificate_is_refused() {
    let network = Network::new();
    let address = telling(&network, "c", now()).await;
    let expected = network.keys("c").tls.key();
    let stream = dial(&address, expected, &TlsIdentity::generate()).await;
    assert!(told(stream).await.is_err());
    // The server still accepts the listed peer.
    let stream = dial(&address, expected, &network.keys("t").tls).await;
    assert_eq!(told(stream).await.unwrap(), "t");
}

#[tokio::test]
async fn a_client_refuses_a_server_with_another_key() {
    let network = Network::new();
    let address = telling(&network, "c", now()).await;
    let expected = network.keys("tf").tls.key();
    let refused = dial(&address, expected, &network.keys("t").tls).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("another TLS key"), "{message}");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let network = Network::new();
    let address = telling(&network, "c", now()).await;
    assert!(told(raw_dial(&address, None).await).await.is_err());
}

#[tokio::test]
async fn a_listed_certificate_without_its_key_is_refused() {
    let network = Network::new();
    let address = telling(&network, "c", now()).await;
    let own = &network.keys("t").tls;
    let other = TlsIdentity::generate();
    let honest = raw_dial(&address, Some(certified(own, own))).await;
    assert_eq!(told(honest).await.unwrap(), "t");
    let thief = raw_dial(&address, Some(certified(own, &other))).await;
    assert!(told(thief).await.is_err());
}

#[tokio::test]
async fn an_expired_directory_admits_nobody() {
    let mut network = Network::new();
    let verified = Timestamp(now().0 - 2 * HOUR);
    network.body.issued = verified;
    network.body.expires = verified.plus(HOUR);
    let address = telling(&network, "c", verified).await;
    let expected = network.keys("c").tls.key();
    let stream = dial(&address, expected, &network.keys("t").tls).await;
    assert!(told(stream).await.is_err());
}

#[tokio::test]
async fn a_silent_client_holds_up_nobody() {
    let network = Network::new();
    let address = telling(&network, "c", now()).await;
    let _silent = TcpStream::connect(&address).await.unwrap();
    let expected = network.keys("c").tls.key();
    let stream = dial(&address, expected, &network.keys("t").tls).await;
    assert_eq!(told(stream).await.unwrap(), "t");
}

/// Dials as another kind of client, which trusts any server and presents the given certificate.
async fn raw_dial(
    address: &str,
    certificate: Option<CertifiedKey>,
) -> io::Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(key) => builder.with_client_cert_resolver(Arc::new(Presented(Arc::new(key)))),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("dispers").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Combines the certificate of `shown` with the key of `held`.
fn certified(shown: &TlsIdentity, held: &TlsIdentity) -> CertifiedKey {
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(shown.pkcs8())).unwrap();
    let params = CertificateParams::new(Vec::new()).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(held.pkcs8().to_vec()));
    let key = ring::sign::any_supported_type(&key).unwrap();
    CertifiedKey::new(vec![certificate.der().clone()], key)
}

#[derive(Debug)]
struct Presented(Arc<CertifiedKey>);

impl ResolvesClientCert for Presented {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = ring::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
