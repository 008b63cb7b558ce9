//! Batch envelopes whose items the reader opens one by one, after a single decapsulation.

use std::marker::PhantomData;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::encapsulation::{Opening, Sealing};
use super::watcher::Watch;
use super::{Context, EnvelopePublicKey, EnvelopeSecretKey, OpenError, Reader};
use crate::aead;
use dispers_base::{encoding, labels};

/// Error for an index that is out of range or was sealed before: its nonce must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("item {index} of {count} cannot be sealed: out of range or sealed before")]
pub struct IndexError {
    /// Index that the caller asked for.
    pub index: u32,
    /// Number of items of the batch.
    pub count: u32,
}

/// Sealer of the items of one batch, for reader `R`.
///
/// All items have one key, which is exported from the encapsulation. An item's nonce is its index. Its associated data
/// hold the count, the index and the caller's data. So an item cannot be moved within the batch or to another batch,
/// and a batch cannot pass for one of another size.
pub struct BatchSealer<R> {
    encapsulated: Vec<u8>,
    items: Items,
    /// Bit set of the indices that were sealed, 64 to a word.
    used: Vec<u64>,
    reader: PhantomData<fn() -> R>,
}

impl<R: Reader> BatchSealer<R> {
    /// Starts a batch of `count` items for the holder of `key`.
    pub fn new(
        key: &EnvelopePublicKey,
        context: &Context,
        count: u32,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let (encapsulated, sealing) = Sealing::new(key, &context.info::<R>(), rng);
        Self {
            encapsulated,
            items: Items::new(|label| sealing.export(label), count),
            used: vec![0; (count as usize).div_ceil(64)],
            reader: PhantomData,
        }
    }

    /// Returns the encapsulation, which the reader needs beside the items.
    pub fn encapsulated(&self) -> &[u8] {
        &self.encapsulated
    }

    /// Seals the item at `index`. The indices may come in any order, each once.
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
        // The nonce is the index: a second plaintext at one index would break the cipher.
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

/// Opener of the items of one batch.
pub struct BatchOpener<R> {
    items: Items,
    purpose: &'static str,
    watch: Watch,
    reader: PhantomData<fn() -> R>,
}

impl<R: Reader> BatchOpener<R> {
    /// Performs the one decapsulation of a batch of `count` items.
    ///
    /// # Errors
    /// [`OpenError`] for bytes that are not an encapsulation. A wrong key, context or count is noticed only when an
    /// item is opened.
    pub fn new(
        key: &EnvelopeSecretKey,
        encapsulated: &[u8],
        context: &Context,
        count: u32,
    ) -> Result<Self, OpenError> {
        let opening = Opening::new(key, encapsulated, &context.info::<R>())?;
        Ok(Self {
            items: Items::new(|label| opening.export(label), count),
            purpose: context.purpose,
            watch: key.watch.clone(),
            reader: PhantomData,
        })
    }

    /// Opens the item at `index`.
    ///
    /// # Errors
    /// [`OpenError`] for every cause.
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

/// Key and count of a batch, equal at sealer and opener.
struct Items {
    key: Zeroizing<[u8; 32]>,
    count: u32,
}

impl Items {
    /// Makes the key of the items with the export function of the encapsulation.
    fn new(export: impl FnOnce(&str) -> Zeroizing<[u8; 32]>, count: u32) -> Self {
        Self {
            key: export(labels::EXPORT_BATCH),
            count,
        }
    }

    fn associated_data(&self, index: u32, aad: &[u8]) -> Vec<u8> {
        encoding::to_bytes(&(self.count, index, aad))
    }
}

fn nonce(index: u32) -> [u8; 12] {
    // The index alone is enough: each batch has a key of its own.
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&index.to_le_bytes());
    nonce
}
