//! Verifiers of certificates: clients that the directory lists, and servers with one pinned key.

use std::fmt;
use std::sync::Arc;

use dispers_base::id::Timestamp;
use dispers_trust::directory::{Directory, TlsKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

use super::identity::key_of;

/// Reasons to refuse a certificate.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the directory lists no peer with this TLS key")]
    Unlisted,
    #[error("the directory has expired")]
    ExpiredDirectory,
    #[error("the server has another TLS key than the directory says")]
    OtherKey,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        // A certificate error of rustls would print the name of the variant and not the sentence.
        Self::Other(OtherError(Arc::new(refusal)))
    }
}

/// Verifier that accepts the clients that the directory lists.
pub(super) struct ListedClients {
    pub(super) directory: Arc<Directory>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Verifier that accepts the server with one key.
pub(super) struct PinnedServer {
    pub(super) expected: TlsKey,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Methods that both traits have for the signature of a handshake, over the verifier's `algorithms`.
macro_rules! handshake_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("TLS 1.2 is not spoken".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for ListedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = Timestamp(now.as_secs().saturating_mul(1000));
        // A server may run for longer than its directory is valid, so that each handshake checks the time.
        if self.directory.has_expired(now) {
            return Err(Refusal::ExpiredDirectory.into());
        }
        match self.directory.peer(&key_of(end_entity)?) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(Refusal::Unlisted.into()),
        }
    }

    handshake_signatures!();
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Issuers, names and dates are ignored. The signature of the handshake shows that the server holds the key.
        if key_of(end_entity)? != self.expected {
            return Err(Refusal::OtherKey.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

impl fmt::Debug for ListedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListedClients")
    }
}

impl fmt::Debug for PinnedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedServer({:?})", self.expected)
    }
}
