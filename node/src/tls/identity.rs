//! TLS key of a node, with its certificate.

use std::fmt;

use dispers_trust::directory::TlsKey;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Error for bytes that are no TLS key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PKCS#8 key that TLS can use")]
pub struct InvalidTlsKey;

/// TLS key (Ed25519) with a self-signed certificate that carries it.
pub struct TlsIdentity {
    pkcs8: Zeroizing<Vec<u8>>,
    certificate: CertificateDer<'static>,
    key: TlsKey,
}

impl TlsIdentity {
    /// Generates a fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519)
            .expect("ring generates Ed25519 keys wherever there is randomness");
        Self::new(&pair).expect("a certificate with no more than a key can be signed")
    }

    /// Decodes the key of a stored PKCS#8 document.
    ///
    /// # Errors
    /// [`InvalidTlsKey`] for other bytes or an unsupported algorithm.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, InvalidTlsKey> {
        let pair =
            KeyPair::try_from(&PrivatePkcs8KeyDer::from(document)).map_err(|_| InvalidTlsKey)?;
        Self::new(&pair)
    }

    fn new(pair: &KeyPair) -> Result<Self, InvalidTlsKey> {
        // The certificate has no names: peers look at its key alone (protocol.md §2).
        let certificate = CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(pair))
            .map_err(|_| InvalidTlsKey)?;
        Ok(Self {
            pkcs8: Zeroizing::new(pair.serialize_der()),
            certificate: certificate.der().clone(),
            key: TlsKey(Sha256::digest(pair.subject_public_key_info()).into()),
        })
    }

    /// Returns the PKCS#8 document, for a key file.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Returns the hash of the public key, as the directory lists it.
    pub fn key(&self) -> TlsKey {
        self.key
    }

    pub(super) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()).into()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity(of {:?})", self.key)
    }
}

/// Returns the hash of the key that a certificate carries.
pub(super) fn key_of(certificate: &CertificateDer<'_>) -> Result<TlsKey, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let spki = parsed.subject_public_key_info();
    Ok(TlsKey(Sha256::digest(&spki).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_is_the_same_key() {
        let identity = TlsIdentity::generate();
        let again = TlsIdentity::from_pkcs8(identity.pkcs8()).unwrap();
        assert_eq!(again.key(), identity.key());
        assert_eq!(key_of(&again.certificate), Ok(identity.key()));
        assert_ne!(TlsIdentity::generate().key(), identity.key());
    }

    #[test]
    fn other_bytes_are_no_key() {
        let identity = TlsIdentity::generate();
        assert!(TlsIdentity::from_pkcs8(&identity.pkcs8()[1..]).is_err());
        assert!(TlsIdentity::from_pkcs8(&[]).is_err());
        assert!(key_of(&CertificateDer::from(vec![0; 40])).is_err());
    }

    #[test]
    fn printing_an_identity_shows_its_public_hash_only() {
        let identity = TlsIdentity::generate();
        let expected = format!("TlsIdentity(of {:?})", identity.key());
        assert_eq!(format!("{identity:?}"), expected);
    }
}
