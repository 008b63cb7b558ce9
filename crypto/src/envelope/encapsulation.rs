//! Single encapsulations: HPKE's base mode over either suite, for one message or one exported key.

use hpke::aead::{AeadCtxR, AeadCtxS, AeadTag, ChaCha20Poly1305};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::key::Secret;
use super::{EnvelopePublicKey, EnvelopeSecretKey, OpenError, Suite, TAG_LENGTH};

type Sender<K> = AeadCtxS<ChaCha20Poly1305, HkdfSha256, K>;
type Receiver<K> = AeadCtxR<ChaCha20Poly1305, HkdfSha256, K>;

/// Sender's end of an encapsulation. Every use consumes it, so that no encapsulation serves two plaintexts.
pub(super) enum Sealing {
    XWing(Box<Sender<XWing>>),
    X25519(Box<Sender<X25519HkdfSha256>>),
}

impl Sealing {
    /// Encapsulates to `key`. Returns the encapsulation, which the reader needs, and the sender's end.
    pub(super) fn new(
        key: &EnvelopePublicKey,
        info: &[u8],
        rng: &mut impl CryptoRng,
    ) -> (Vec<u8>, Self) {
        match key.suite() {
            Suite::XWing => {
                let (encapsulated, sender) = encapsulate(key, info, rng);
                (encapsulated, Self::XWing(sender))
            }
            Suite::X25519 => {
                let (encapsulated, sender) = encapsulate(key, info, rng);
                (encapsulated, Self::X25519(sender))
            }
        }
    }

    /// Turns the plaintext in `buffer` into the ciphertext, with the tag at its end.
    pub(super) fn seal_in_place(self, buffer: &mut Vec<u8>) {
        let tag = match self {
            Self::XWing(mut sender) => {
                sender.seal_inout_detached(buffer.as_mut_slice().into(), b"")
            }
            Self::X25519(mut sender) => {
                sender.seal_inout_detached(buffer.as_mut_slice().into(), b"")
            }
        }
        .expect("a plaintext that fits in memory is below the cipher's limit");
        buffer.extend_from_slice(&tag.to_bytes());
    }

    /// Derives a key that only sender and reader know.
    pub(super) fn export(self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        match self {
            Self::XWing(sender) => sender.export(label.as_bytes(), &mut *key),
            Self::X25519(sender) => sender.export(label.as_bytes(), &mut *key),
        }
        .expect("32 bytes are within HKDF's limit");
        key
    }
}

/// Reader's end of an encapsulation. Every use consumes it.
pub(super) enum Opening {
    XWing(Box<Receiver<XWing>>),
    X25519(Box<Receiver<X25519HkdfSha256>>),
}

impl Opening {
    pub(super) fn new(
        key: &EnvelopeSecretKey,
        encapsulated: &[u8],
        info: &[u8],
    ) -> Result<Self, OpenError> {
        Ok(match &key.secret {
            Secret::XWing(secret) => Self::XWing(decapsulate(&**secret, encapsulated, info)?),
            Secret::X25519(secret) => Self::X25519(decapsulate(secret, encapsulated, info)?),
        })
    }

    pub(super) fn open(self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let length = ciphertext.len().checked_sub(TAG_LENGTH).ok_or(OpenError)?;
        let (ciphertext, tag) = ciphertext.split_at(length);
        let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).map_err(|_| OpenError)?;
        let mut plaintext = Zeroizing::new(vec![0; length]);
        let buffer = InOutBuf::new(ciphertext, &mut plaintext).map_err(|_| OpenError)?;
        match self {
            Self::XWing(mut receiver) => receiver.open_inout_detached(buffer, b"", &tag),
            Self::X25519(mut receiver) => receiver.open_inout_detached(buffer, b"", &tag),
        }
        .map_err(|_| OpenError)?;
        Ok(plaintext)
    }

    /// Opens `message` in its own buffer, without a copy of a large payload.
    pub(super) fn open_in_place(
        self,
        mut message: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let length = message.len().checked_sub(TAG_LENGTH).ok_or(OpenError)?;
        let tag = message.split_off(length);
        let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(&tag).map_err(|_| OpenError)?;
        let mut message = Zeroizing::new(message);
        let buffer = InOutBuf::from(&mut message[..]);
        match self {
            Self::XWing(mut receiver) => receiver.open_inout_detached(buffer, b"", &tag),
            Self::X25519(mut receiver) => receiver.open_inout_detached(buffer, b"", &tag),
        }
        .map_err(|_| OpenError)?;
        Ok(message)
    }

    /// Derives the same key as [`Sealing::export`].
    pub(super) fn export(self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        match self {
            Self::XWing(receiver) => receiver.export(label.as_bytes(), &mut *key),
            Self::X25519(receiver) => receiver.export(label.as_bytes(), &mut *key),
        }
        .expect("32 bytes are within HKDF's limit");
        key
    }
}

fn encapsulate<K: Kem>(
    key: &EnvelopePublicKey,
    info: &[u8],
    rng: &mut impl CryptoRng,
) -> (Vec<u8>, Box<Sender<K>>) {
    let key = K::PublicKey::from_bytes(key.as_bytes())
        .expect("an EnvelopePublicKey was checked when it was made");
    let (encapsulated, sender): (K::EncappedKey, Sender<K>) =
        hpke::setup_sender_with_rng(&OpModeS::Base, &key, info, rng)
            .expect("an EnvelopePublicKey is of no low order");
    (encapsulated.to_bytes().to_vec(), Box::new(sender))
}

fn decapsulate<K: Kem>(
    key: &K::PrivateKey,
    encapsulated: &[u8],
    info: &[u8],
) -> Result<Box<Receiver<K>>, OpenError> {
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(|_| OpenError)?;
    hpke::setup_receiver(&OpModeR::Base, key, &encapsulated, info)
        .map(Box::new)
        .map_err(|_| OpenError)
}
