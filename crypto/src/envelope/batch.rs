//! Batch envelopes, item by item: one encapsulation, of which the reader opens what it picks.

use std::marker::PhantomData;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::encapsulation::{Opening, Sealing};
use super::watcher::Watch;
use super::{Context, EnvelopePublicKey, EnvelopeSecretKey, OpenError, Reader};
use crate::aead;
use dispers_base::{encoding, labels};

/// An index that was sealed before or is not below the count: its nonce must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("item {index} of {count} cannot be sealed: out of range or sealed before")]
pub struct IndexError {
    /// The index asked for.
    pub index: u32,
    /// Items of the batch.
    pub count: u32,
}

/// Seals the items of one batch for reader `R`.
///
/// An item's key is exported from the encapsulation, its nonce is its index, and its associated
/// data is the count, the index and the caller's: items cannot be moved within the batch or to
/// another, nor passed off as a batch of another size.
pub struct BatchSealer<R> {
    encapsulated: Vec<u8>,
    items: Items,
    /// One bit per index already sealed.
    used: Vec<u64>,
    reader: PhantomData<fn() -> R>,
}

impl<R: Reader> BatchSealer<R> {
    /// A batch of `count` items for the holder of `key`.
    pub fn new(
        key: &EnvelopePublicKey,
        context: &Context,
        count: u32,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let (encapsulated, sealing) = Sealing::new(key, &context.info::<R>(), rng);
        Self {
            encapsulated,
            items: Items::new(sealing.export(labels::EXPORT_BATCH), count),
            used: vec![0; (count as usize).div_ceil(64)],
            reader: PhantomData,
        }
    }

    /// What the reader needs, beside the items.
    pub fn encapsulated(&self) -> &[u8] {
        &self.encapsulated
    }

    /// Seals the item at `index`, in any order, each index once.
    ///
    /// # Errors
    /// [`IndexError`] for an index that is out of range or was sealed before.
    pub fn seal(
        &mut self,
        index: u32,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, IndexError> {
        let (word, bit) = (index as usize / 64, 1u64 << (index % 64));
        if index >= self.items.count || self.used[word] & bit != 0 {
            return Err(IndexError {
                index,
                count: self.items.count,
            });
        }
        self.used[word] |= bit;
        let aad = self.items.associated_data(index, aad);
        Ok(aead::seal(&self.items.key, &nonce(index), &aad, plaintext))
    }
}

/// Opens the items of one batch.
pub struct BatchOpener<R> {
    items: Items,
    purpose: &'static str,
    watch: Watch,
    reader: PhantomData<fn() -> R>,
}

impl<R: Reader> BatchOpener<R> {
    /// The one decapsulation of a batch of `count` items.
    ///
    /// # Errors
    /// [`OpenError`] for bytes that are no encapsulation. A wrong key or context shows at the
    /// first item.
    pub fn new(
        key: &EnvelopeSecretKey,
        encapsulated: &[u8],
        context: &Context,
        count: u32,
    ) -> Result<Self, OpenError> {
        let opening = Opening::new(key, encapsulated, &context.info::<R>())?;
        Ok(Self {
            items: Items::new(opening.export(labels::EXPORT_BATCH), count),
            purpose: context.purpose,
            watch: key.watch.clone(),
            reader: PhantomData,
        })
    }

    /// Opens the item at `index`.
    ///
    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open(
        &self,
        index: u32,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let aad = self.items.associated_data(index, aad);
        let plaintext = aead::open(&self.items.key, &nonce(index), &aad, ciphertext)?;
        self.watch.opened(self.purpose, ciphertext, &plaintext);
        Ok(plaintext)
    }
}

/// What both ends share.
struct Items {
    key: Zeroizing<[u8; 32]>,
    count: u32,
}

impl Items {
    fn new(key: Zeroizing<[u8; 32]>, count: u32) -> Self {
        Self { key, count }
    }

    fn associated_data(&self, index: u32, aad: &[u8]) -> Vec<u8> {
        encoding::to_bytes(&(self.count, index, aad))
    }
}

fn nonce(index: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&index.to_le_bytes());
    nonce
}
