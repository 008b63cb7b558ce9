//! Signing keys (Ed25519). A signature covers the hash of a label and of the message's bytes.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::Signer;
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::{encoding, fingerprint::Fingerprint};

/// Error for a signature that does not verify. It is the same for every cause, also for a malformed public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad signature on {what}")]
pub struct BadSignature {
    /// Label of the signed message.
    pub what: &'static str,
}

/// Ed25519 signature, in the encoding of RFC 8032.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

/// Public signing key, in the encoding of RFC 8032, as the directory lists it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    /// Returns the fingerprint that people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// Verifies that `signature` covers `label` and `message`.
    ///
    /// `message` must be the bytes as they were received, not a re-encoding (protocol.md §3).
    ///
    /// # Errors
    /// [`BadSignature`] naming the label.
    pub fn verify(
        &self,
        label: &'static str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        let error = BadSignature { what: label };
        // Strict verification also refuses public keys of small order, under which one signature fits several messages.
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .map_err(|_| error)?
            .verify_strict(
                &encoding::hash(label, &[message]),
                &ed25519_dalek::Signature::from_bytes(&signature.0),
            )
            .map_err(|_| error)
    }
}

/// Secret signing key, zeroized on drop.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Draws a fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// Returns the key of a stored 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Returns the seed, to be written to a key file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Returns the public key.
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` for the use that `label` names. No signature for one use verifies for another.
    pub fn sign(&self, label: &'static str, message: &[u8]) -> Signature {
        Signature(self.0.sign(&encoding::hash(label, &[message])).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:02x?})", &self.public().0[..4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_label_and_one_message() {
        let key = SigningKey::from_seed(&[7; 32]);
        let signature = key.sign("one", b"message");
        assert!(key.public().verify("one", b"message", &signature).is_ok());
        assert!(key.public().verify("two", b"message", &signature).is_err());
        assert!(key.public().verify("one", b"massage", &signature).is_err());
        let mut flipped = signature;
        flipped.0[3] ^= 1;
        assert!(key.public().verify("one", b"message", &flipped).is_err());
    }
}
