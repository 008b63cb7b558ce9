//! Envelopes, which only one reader can open (protocol.md §3).
//!
//! An envelope is HPKE (RFC 9180) in base mode with HKDF-SHA256 and ChaCha20Poly1305. Its `info` binds protocol
//! version, purpose, sender's role, reader's role and a further binding, so that an envelope made for one use never
//! opens for another. The type [`Sealed`] states the role that may open it; the binding enforces it.
//!
//! A decapsulation costs hundreds of times as much as the decryption of a short message. So one encapsulation serves a
//! whole batch: as one message ([`Sealed`]), or item by item where the reader opens only some items ([`BatchSealer`],
//! [`BatchOpener`]). An encapsulation is never used for two plaintexts. All randomness comes from the caller's
//! generator, which no two nodes may share. Only [`Sealed::seal_alike`] seals the same bytes at several nodes.

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
use dispers_base::{
    encoding::{self, Message},
    id::Role,
    labels,
};

/// Number of bytes by which a ciphertext is longer than its plaintext, without the encapsulation.
pub const TAG_LENGTH: usize = 16;

/// Error for sealed bytes that do not open. It is the same for every cause, so that a reader is no oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not open")]
pub struct OpenError;

/// Context of an envelope, which its `info` binds. An envelope opens only if sender and reader use equal contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Purpose: one of the `ENVELOPE_…` labels.
    pub purpose: &'static str,
    /// Role of the sender.
    pub sender: Role,
    /// Encoding of everything else that the envelope is bound to, such as query, batch or pseudonym.
    pub binding: Vec<u8>,
}

impl Context {
    /// Makes the context of `purpose` that is bound to the encoding of `binding`.
    pub fn new(purpose: &'static str, sender: Role, binding: &impl BorshSerialize) -> Self {
        Self {
            purpose,
            sender,
            binding: encoding::to_bytes(binding),
        }
    }

    /// Returns HPKE's `info` for reader `R`.
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

/// Value of type `T`, sealed so that only role `R` can open it.
///
/// # Security
/// An envelope does not authenticate its sender: anybody can seal to a public key. A message that needs a known sender
/// is signed, inside or outside of the envelope.
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
    /// [`OpenError`] for every cause, also for a plaintext that does not decode.
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
    /// Seals bytes as they are, in place, for large payloads that are already encoded.
    ///
    /// Only [`Sealed::open_bytes`] opens the result; [`Sealed::open`] would expect the encoding of a vector.
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
    /// There is no limit: the plaintext is shorter than the ciphertext that the caller holds already.
    ///
    /// # Errors
    /// [`OpenError`] for every cause.
    pub fn open_bytes(
        self,
        key: &EnvelopeSecretKey,
        context: &Context,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if key.watch.is_awake() {
            // A watcher sees ciphertext and plaintext together, which opening in place does not leave.
            return self.open_plaintext(key, context, self.ciphertext.len());
        }
        Opening::new(key, &self.encapsulated, &context.info::<R>())?.open_in_place(self.ciphertext)
    }
}

impl<R, T> Sealed<R, T> {
    /// Returns the number of bytes of the encapsulation and the ciphertext together.
    #[allow(
        clippy::len_without_is_empty,
        reason = "an envelope always has an encapsulation"
    )]
    pub fn len(&self) -> usize {
        self.encapsulated.len() + self.ciphertext.len()
    }
}

impl<R, T> Sealed<R, T> {
    /// Returns the encapsulated key.
    pub fn encapsulated(&self) -> &[u8] {
        &self.encapsulated
    }

    /// Returns the encrypted message, with the authentication tag at its end.
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
        // Before the decapsulation, so that a message that is too long costs no public-key operation.
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

// Written by hand, since derived implementations would require the same traits of `R` and `T`.
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

impl<R, T: Message> Message for Sealed<R, T> {
    const NAME: &'static str = T::NAME;
    // An encapsulation has at most 1,120 bytes (X-Wing). The tag and the lengths of the parts need less than 100.
    const LIMIT: usize = T::LIMIT + 2048;
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
