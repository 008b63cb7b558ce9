//! Envelope keys, and the suites that they belong to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::traits::IsIdentity;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, Serializable};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::watcher::{Watch, Watcher};
use dispers_base::{fingerprint::Fingerprint, hex::Hex};

/// Key encapsulation mechanism of an envelope. The directory chooses one for the network.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
)]
pub enum Suite {
    /// X-Wing: ML-KEM-768 with X25519. Envelopes that are recorded today stay closed to a later quantum computer.
    #[default]
    XWing,
    /// DHKEM(X25519, HKDF-SHA256). It is three times faster, and its encapsulations are 1 KB shorter.
    X25519,
}

impl Suite {
    /// Returns the name used in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::XWing => "x-wing",
            Self::X25519 => "x25519",
        }
    }

    /// Returns the number of bytes of a public key.
    pub fn public_key_length(self) -> usize {
        match self {
            Self::XWing => 1216,
            Self::X25519 => 32,
        }
    }

    /// Returns the number of bytes of an encapsulation.
    pub fn encapsulation_length(self) -> usize {
        match self {
            Self::XWing => 1120,
            Self::X25519 => 32,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = InvalidKey;

    fn from_str(name: &str) -> Result<Self, InvalidKey> {
        [Self::XWing, Self::X25519]
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or(InvalidKey {
                what: "suite: use x-wing or x25519",
            })
    }
}

/// Error for bytes that are not an envelope key, or a name that is not a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an envelope {what}")]
pub struct InvalidKey {
    /// Expected thing, as the end of a sentence.
    pub what: &'static str,
}

/// Public envelope key. Every value of this type was checked, so that sealing to it cannot fail.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct EnvelopePublicKey {
    suite: Suite,
    bytes: Vec<u8>,
}

impl EnvelopePublicKey {
    /// Checks and makes a key.
    ///
    /// # Errors
    /// [`InvalidKey`] for another length, a non-canonical ML-KEM key, or an X25519 point of low
    /// order, with which every shared secret would be zero.
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<Self, InvalidKey> {
        let valid = match suite {
            Suite::XWing => <XWing as Kem>::PublicKey::from_bytes(bytes).is_ok(),
            // A clamped scalar is a multiple of the cofactor, so that exactly the points of low order become the
            // identity.
            Suite::X25519 => <[u8; 32]>::try_from(bytes)
                .is_ok_and(|point| !MontgomeryPoint(point).mul_clamped([0; 32]).is_identity()),
        };
        if !valid {
            return Err(InvalidKey { what: "public key" });
        }
        Ok(Self {
            suite,
            bytes: bytes.into(),
        })
    }

    /// Returns the suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Returns the key's bytes, [`Suite::public_key_length`] in number.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the fingerprint that people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.bytes)
    }
}

impl fmt::Debug for EnvelopePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Hex(&self.bytes[..4]);
        write!(f, "EnvelopePublicKey({} {start})", self.suite)
    }
}

impl BorshDeserialize for EnvelopePublicKey {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let suite = Suite::deserialize_reader(reader)?;
        let bytes = Vec::<u8>::deserialize_reader(reader)?;
        Self::from_bytes(suite, &bytes).map_err(borsh::io::Error::other)
    }
}

/// Secret envelope key, zeroized on drop.
pub struct EnvelopeSecretKey {
    pub(super) secret: Secret,
    pub(super) watch: Watch,
}

pub(super) enum Secret {
    XWing(Box<<XWing as Kem>::PrivateKey>),
    X25519(<X25519HkdfSha256 as Kem>::PrivateKey),
}

impl EnvelopeSecretKey {
    /// Draws a fresh key.
    pub fn generate(suite: Suite, rng: &mut impl CryptoRng) -> Self {
        let secret = match suite {
            Suite::XWing => Secret::XWing(Box::new(XWing::gen_keypair_with_rng(rng).0)),
            Suite::X25519 => Secret::X25519(X25519HkdfSha256::gen_keypair_with_rng(rng).0),
        };
        Self::unwatched(secret)
    }

    fn unwatched(secret: Secret) -> Self {
        Self {
            secret,
            watch: Watch::default(),
        }
    }

    /// Returns the same key, which shows `watcher` everything that it opens.
    #[must_use]
    pub fn watched(mut self, watcher: Arc<dyn Watcher>) -> Self {
        self.watch = Watch(Some(watcher));
        self
    }

    /// Reads a key from 32 stored bytes.
    ///
    /// # Errors
    /// [`InvalidKey`] for another length.
    pub fn from_bytes(suite: Suite, bytes: &[u8]) -> Result<Self, InvalidKey> {
        let secret = match suite {
            Suite::XWing => <XWing as Kem>::PrivateKey::from_bytes(bytes)
                .map(|key| Secret::XWing(Box::new(key))),
            Suite::X25519 => {
                <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes).map(Secret::X25519)
            }
        };
        let secret = secret.map_err(|_| InvalidKey { what: "secret key" })?;
        Ok(Self::unwatched(secret))
    }

    /// Returns the 32 bytes to store, for [`Self::from_bytes`] with the same suite.
    pub fn to_seed_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        match &self.secret {
            Secret::XWing(key) => key.write_exact(&mut *bytes),
            Secret::X25519(key) => key.write_exact(&mut *bytes),
        }
        bytes
    }

    /// Returns the suite.
    pub fn suite(&self) -> Suite {
        match self.secret {
            Secret::XWing(_) => Suite::XWing,
            Secret::X25519(_) => Suite::X25519,
        }
    }

    /// Returns the public key.
    pub fn public(&self) -> EnvelopePublicKey {
        let bytes = match &self.secret {
            Secret::XWing(key) => XWing::sk_to_pk(key).to_bytes().to_vec(),
            Secret::X25519(key) => X25519HkdfSha256::sk_to_pk(key).to_bytes().to_vec(),
        };
        EnvelopePublicKey {
            suite: self.suite(),
            bytes,
        }
    }
}

impl fmt::Debug for EnvelopeSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvelopeSecretKey(of {:?})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use dispers_base::encoding::{from_bytes, to_bytes};

    #[test]
    fn a_stored_key_is_the_same_key() {
        let mut rng = StdRng::seed_from_u64(1);
        for suite in [Suite::XWing, Suite::X25519] {
            let key = EnvelopeSecretKey::generate(suite, &mut rng);
            let stored = key.to_seed_bytes();
            let again = EnvelopeSecretKey::from_bytes(suite, &stored[..]).unwrap();
            assert_eq!(again.public(), key.public());
            assert_eq!(key.public().as_bytes().len(), suite.public_key_length());
            assert!(EnvelopeSecretKey::from_bytes(suite, &stored[1..]).is_err());
        }
    }

    #[test]
    fn a_public_key_decodes_only_with_its_suite() {
        let mut rng = StdRng::seed_from_u64(2);
        for suite in [Suite::XWing, Suite::X25519] {
            let key = EnvelopeSecretKey::generate(suite, &mut rng).public();
            let mut bytes = to_bytes(&key);
            assert_eq!(
                from_bytes::<EnvelopePublicKey>(&bytes, 2000, "key").unwrap(),
                key
            );
            bytes[1] ^= 1;
            assert!(from_bytes::<EnvelopePublicKey>(&bytes, 2000, "key").is_err());
        }
    }

    #[test]
    fn a_key_that_shares_no_secret_is_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            assert!(EnvelopePublicKey::from_bytes(Suite::X25519, &point).is_err());
        }
        assert!(EnvelopePublicKey::from_bytes(Suite::XWing, &[0xff; 1216]).is_err());
    }

    #[test]
    fn suites_have_names() {
        assert_eq!("x-wing".parse(), Ok(Suite::default()));
        assert_eq!("x25519".parse(), Ok(Suite::X25519));
        assert!("rot13".parse::<Suite>().is_err());
    }

    #[test]
    fn printing_a_secret_key_shows_its_public_key_only() {
        let key = EnvelopeSecretKey::from_bytes(Suite::X25519, &[7; 32]).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains(&format!("{:?}", key.public())) && shown.len() < 70);
    }
}
