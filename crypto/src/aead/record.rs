//! Record of the plaintext that each key and nonce sealed, in test builds.
//!
//! Two ciphertexts under one key and nonce reveal the difference of their plaintexts, and a key with which others can
//! be forged. Tests that only open ciphertexts cannot notice this, since both ciphertexts open. So test builds panic
//! when a key and nonce seal a second plaintext. By default each thread, and so each test, has its own record, since
//! tests draw their keys from equal seeds. The nodes of a whole network run on several threads and share one record
//! ([`share`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Largest number of uses in the record, about 40 MB. At this number the record is cleared, so that long simulations
/// do not run out of memory.
const MOST: usize = 1 << 20;

/// Digests of sealed plaintexts, by the digest of their key and nonce, 8 bytes each.
#[derive(Default)]
struct Record(HashMap<u64, u64>);

impl Record {
    /// Records a use. Returns false if the key and nonce behind `place` sealed another plaintext before.
    fn note(&mut self, place: u64, sealed: u64) -> bool {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        *self.0.entry(place).or_insert(sealed) == sealed
    }
}

thread_local! {
    static OF_THREAD: RefCell<Record> = RefCell::default();
}

static OF_PROCESS: LazyLock<Mutex<Record>> = LazyLock::new(Mutex::default);

static IS_SHARED: AtomicBool = AtomicBool::new(false);

/// Makes all threads share one record from now on.
pub fn share() {
    IS_SHARED.store(true, Ordering::Relaxed);
}

/// Clears this thread's record, for a test that makes a second network from the same seed.
pub fn forget() {
    OF_THREAD.with_borrow_mut(|record| record.0.clear());
}

fn note(place: u64, sealed: u64) -> bool {
    if IS_SHARED.load(Ordering::Relaxed) {
        let mut record = OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        return record.note(place, sealed);
    }
    OF_THREAD.with_borrow_mut(|record| record.note(place, sealed))
}

fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Records the plaintext that a cipher seals.
///
/// # Panics
/// If the key and nonce sealed another plaintext before.
pub fn cipher(key: &[u8; 32], nonce: &[u8], aad: &[u8], plaintext: &[u8]) {
    let place = digest(&[b"cipher", key, nonce]);
    // Other associated data under the same key and nonce would be a second message for the authenticator's one-time
    // key.
    let repeats = note(place, digest(&[aad, plaintext]));
    assert!(repeats, "a key and nonce seal a second plaintext");
}

/// Records the plaintext of an envelope. The reader's key, the encapsulation and `info` determine the cipher's key and
/// nonce.
///
/// # Panics
/// If the same reader's key, encapsulation and `info` sealed another plaintext before.
pub fn envelope(reader: &[u8], encapsulated: &[u8], info: &[u8], plaintext: &[u8]) {
    let place = digest(&[b"envelope", reader, encapsulated, info]);
    let repeats = note(place, digest(&[plaintext]));
    assert!(repeats, "an encapsulation seals a second plaintext");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_plaintext_is_noticed_and_the_same_one_again_is_not() {
        cipher(&[1; 32], &[2; 12], b"aad", b"one");
        cipher(&[1; 32], &[2; 12], b"aad", b"one");
        cipher(&[1; 32], &[3; 12], b"aad", b"two");
        envelope(b"reader", b"key", b"info", b"one");
        envelope(b"reader", b"key", b"other", b"two");
        for again in [
            || cipher(&[1; 32], &[2; 12], b"aad", b"two"),
            || cipher(&[1; 32], &[2; 12], b"other", b"one"),
            || envelope(b"reader", b"key", b"info", b"two"),
        ] {
            assert!(std::panic::catch_unwind(again).is_err());
        }
    }

    #[test]
    fn the_record_has_a_bound() {
        let mut record = Record::default();
        for place in 0..MOST as u64 + 10 {
            assert!(record.note(place, place));
        }
        assert!(record.0.len() <= MOST);
    }
}
