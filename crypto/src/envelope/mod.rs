//! Envelopes: what only one reader can open (protocol.md §3).
//!
//! HPKE (RFC 9180) in base mode with HKDF-SHA256 and ChaCha20Poly1305. The `info` binds protocol
//! version, purpose, sender role, reader role and a context, so that an envelope made for one use
//! never opens as another. [`Sealed`] says in its type who may open it; the binding is the
//! guarantee.
//!
//! Opening costs one decapsulation, hundreds of times the price of what follows, so one
//! encapsulation serves a whole batch: as one message ([`Sealed`]), or item by item where the
//! reader picks ([`BatchSealer`], [`BatchOpener`]). An encapsulation is never reused. All
//! randomness comes from the caller's generator, which no two nodes may share. Only [`Sealed::seal_alike`] seals the
//! same bytes at several nodes.

mod batch;
mod derived;
mod encapsulation;
mod key;
pub mod reader;
mod watcher;

pub use batch::{BatchOpener, BatchSealer, IndexError};
pub use key::{EnvelopePublicKey, EnvelopeSecretKey, InvalidKey, Suite};
pub use reader::Reader;
pub use watcher::Watcher;

use std::fmt;
use std::marker::PhantomData;

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;
use zeroize::Zeroizing;

use self::encapsulation::{Opening, Sealing};
use dispers_base::{encoding, id::Role, labels};

/// Bytes that sealing adds to a plaintext, the encapsulation apart.
pub const TAG_LENGTH: usize = 16;

/// Sealed bytes that do not open. One variant for every cause: no oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not open")]
pub struct OpenError;

/// What an envelope is for. Sender and reader must use equal contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// One of the `ENVELOPE_…` labels.
    pub purpose: &'static str,
    /// Role of the sender.
    pub sender: Role,
    /// The encoding of whatever else the envelope belongs to: query, batch, pseudonym.
    pub binding: Vec<u8>,
}

impl Context {
    /// The context of `purpose` that is bound to the encoding of `binding`.
    pub fn new(purpose: &'static str, sender: Role, binding: &impl BorshSerialize) -> Self {
        Self {
            purpose,
            sender,
            binding: encoding::to_bytes(binding),
        }
    }

    /// HPKE's `info` for reader `R`.
    fn info<R: Reader>(&self) -> Vec<u8> {
        encoding::to_bytes(&(
            labels::ENVELOPE,
            self.purpose,
            self.sender,
            R::ROLE,
            &self.binding,
        ))
    }
}

/// A `T` that only role `R` can open.
///
/// Nothing says who sealed it: whatever needs a known sender is signed inside or outside.
pub struct Sealed<R, T> {
    encapsulated: Vec<u8>,
    ciphertext: Vec<u8>,
    contents: PhantomData<fn() -> (R, T)>,
}

impl<R: Reader, T: BorshSerialize> Sealed<R, T> {
    /// Seals the encoding of `value` for the holder of `key`.
    pub fn seal(
        value: &T,
        key: &EnvelopePublicKey,
        context: &Context,
        rng: &mut impl CryptoRng,
    ) -> Self {
        Self::seal_plaintext(encoding::to_bytes(value), key, context, rng)
    }
}

impl<R: Reader, T: BorshDeserialize> Sealed<R, T> {
    /// Opens and decodes a value whose encoding has at most `limit` bytes.
    ///
    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open(
        &self,
        key: &EnvelopeSecretKey,
        context: &Context,
        limit: usize,
    ) -> Result<T, OpenError> {
        let plaintext = self.open_plaintext(key, context, limit)?;
        encoding::from_bytes(&plaintext, limit, "sealed value").map_err(|_| OpenError)
    }
}

impl<R: Reader> Sealed<R, Vec<u8>> {
    /// Seals bytes as they are, in place: for large payloads that are already encoded.
    ///
    /// Opened with [`Sealed::open_bytes`] only.
    pub fn seal_bytes(
        plaintext: Vec<u8>,
        key: &EnvelopePublicKey,
        context: &Context,
        rng: &mut impl CryptoRng,
    ) -> Self {
        Self::seal_plaintext(plaintext, key, context, rng)
    }

    /// Opens, in place, what [`Sealed::seal_bytes`] sealed.
    ///
    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open_bytes(
        self,
        key: &EnvelopeSecretKey,
        context: &Context,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if key.watch.is_awake() {
            return self.open_plaintext(key, context, self.ciphertext.len());
        }
        Opening::new(key, &self.encapsulated, &context.info::<R>())?.open_in_place(self.ciphertext)
    }
}

impl<R, T> Sealed<R, T> {
    /// Bytes of the encapsulation and the ciphertext together.
    #[allow(
        clippy::len_without_is_empty,
        reason = "an envelope always has an encapsulation"
    )]
    pub fn len(&self) -> usize {
        self.encapsulated.len() + self.ciphertext.len()
    }
}

impl<R, T> Sealed<R, T> {
    /// The encapsulated key.
    pub fn encapsulated(&self) -> &[u8] {
        &self.encapsulated
    }

    /// The encrypted message.
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }
}

impl<R: Reader, T> Sealed<R, T> {
    fn seal_plaintext(
        mut buffer: Vec<u8>,
        key: &EnvelopePublicKey,
        context: &Context,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let info = context.info::<R>();
        let (encapsulated, sealing) = Sealing::new(key, &info, rng);
        #[cfg(any(test, feature = "record-nonces"))]
        crate::aead::record::envelope(key.as_bytes(), &encapsulated, &info, &buffer);
        sealing.seal_in_place(&mut buffer);
        Self {
            encapsulated,
            ciphertext: buffer,
            contents: PhantomData,
        }
    }

    fn open_plaintext(
        &self,
        key: &EnvelopeSecretKey,
        context: &Context,
        limit: usize,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        // Before the public-key work: what is too long is refused for the price of a comparison.
        if self.ciphertext.len().saturating_sub(TAG_LENGTH) > limit {
            return Err(OpenError);
        }
        let opening = Opening::new(key, &self.encapsulated, &context.info::<R>())?;
        let plaintext = opening.open(&self.ciphertext)?;
        key.watch
            .opened(context.purpose, &self.ciphertext, &plaintext);
        Ok(plaintext)
    }
}

// By hand: none of these asks anything of `R` or `T`.
impl<R, T> Clone for Sealed<R, T> {
    fn clone(&self) -> Self {
        Self {
            encapsulated: self.encapsulated.clone(),
            ciphertext: self.ciphertext.clone(),
            contents: PhantomData,
        }
    }
}

impl<R, T> PartialEq for Sealed<R, T> {
    fn eq(&self, other: &Self) -> bool {
        self.encapsulated == other.encapsulated && self.ciphertext == other.ciphertext
    }
}

impl<R, T> Eq for Sealed<R, T> {}

impl<R, T> fmt::Debug for Sealed<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.len())
    }
}

impl<R, T> BorshSerialize for Sealed<R, T> {
    fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.encapsulated.serialize(writer)?;
        self.ciphertext.serialize(writer)
    }
}

impl<R, T> BorshDeserialize for Sealed<R, T> {
    fn deserialize_reader<I: borsh::io::Read>(reader: &mut I) -> borsh::io::Result<Self> {
        Ok(Self {
            encapsulated: Vec::deserialize_reader(reader)?,
            ciphertext: Vec::deserialize_reader(reader)?,
            contents: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests;
