//! Signing keys (Ed25519). A signature covers a label and the received bytes.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::Signer;
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::{encoding, fingerprint::Fingerprint};

/// A signature that does not verify. One variant for every cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad signature on {what}")]
pub struct BadSignature {
    /// What should have been signed.
    pub what: &'static str,
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

/// A public signing key, as the directory lists it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    /// Returns the fingerprint that people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// Checks `signature` over `label` and `message`, strictly (no malleable form passes).
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
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .map_err(|_| error)?
            .verify_strict(
                &encoding::hash(label, &[message]),
                &ed25519_dalek::Signature::from_bytes(&signature.0),
            )
            .map_err(|_| error)
    }
}

/// A secret signing key; zeroized when dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// The key of a stored 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, for a key file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `label` and `message`.
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
