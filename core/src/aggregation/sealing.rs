//! Sealing of an aggregator's records on its disk (protocol.md §8).
//!
//! Each query has a key of its own, sealed under the node's key. Erasing the query's key erases the query, whatever
//! copies of its records exist. Without the node's key, a copied file reveals nothing.

use borsh::BorshSerialize;
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use dispers_base::{encoding, keys::SigningKey, labels};
use dispers_crypto::{aead, envelope::OpenError};

/// Place of a record. A record that is moved to another place does not open there.
#[derive(BorshSerialize)]
pub struct Place<'a> {
    /// Name of the table, with its version.
    pub table: &'static str,
    /// Id of the query or offer that the row belongs to.
    pub id: &'a [u8; 32],
    /// Name of the row among several of the same id.
    pub part: &'a [u8],
}

/// Key that seals the records of one query or offer, or the node's key, which seals such keys; zeroized when dropped.
#[derive(ZeroizeOnDrop)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// Derives the node's key from its signing key. It seals only other keys.
    pub fn of_node(signing: &SigningKey) -> Self {
        let mut key = Self([0; 32]);
        Hkdf::<Sha256>::new(None, &*signing.seed())
            .expand(&encoding::to_bytes(&labels::DERIVE_STORAGE_KEY), &mut key.0)
            .expect("32 bytes are within HKDF's limit");
        key
    }

    /// Draws a fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Self([0; 32]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// Seals another key.
    pub fn seal_key(&self, key: &Self, place: &Place<'_>, rng: &mut impl CryptoRng) -> Vec<u8> {
        self.seal(&key.0, place, rng)
    }

    /// Opens a key that [`seal_key`](Self::seal_key) sealed in the same place.
    ///
    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open_key(&self, sealed: &[u8], place: &Place<'_>) -> Result<Self, OpenError> {
        let bytes = self.open(sealed, place)?;
        <[u8; 32]>::try_from(&bytes[..])
            .map(Self)
            .map_err(|_| OpenError)
    }

    /// Seals bytes: a random nonce, then the ciphertext.
    pub fn seal(&self, bytes: &[u8], place: &Place<'_>, rng: &mut impl CryptoRng) -> Vec<u8> {
        aead::seal_at_random(&self.0, &encoding::to_bytes(place), bytes, rng)
    }

    /// Opens bytes that were sealed in the same place.
    ///
    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open(&self, sealed: &[u8], place: &Place<'_>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        aead::open_at_random(&self.0, &encoding::to_bytes(place), sealed)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn place<'a>(table: &'static str, id: &'a [u8; 32], part: &'a [u8]) -> Place<'a> {
        Place { table, id, part }
    }

    #[test]
    fn a_record_opens_in_its_place_under_its_key_and_nowhere_else() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = StorageKey::generate(&mut rng);
        let here = place("record 1", &[1; 32], b"a");
        let sealed = key.seal(b"sums", &here, &mut rng);
        assert_eq!(key.open(&sealed, &here).unwrap().as_slice(), b"sums");
        for elsewhere in [
            place("record 2", &[1; 32], b"a"),
            place("record 1", &[2; 32], b"a"),
            place("record 1", &[1; 32], b"b"),
        ] {
            assert!(key.open(&sealed, &elsewhere).is_err());
        }
        let other = StorageKey::generate(&mut rng);
        assert!(other.open(&sealed, &here).is_err());
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(key.open(&changed, &here).is_err());
            assert!(key.open(&sealed[..byte], &here).is_err());
        }
        // The same bytes twice have nothing in common.
        assert_ne!(key.seal(b"sums", &here, &mut rng), sealed);
    }

    #[test]
    fn a_query_s_key_opens_under_the_key_of_its_node_alone() {
        let mut rng = StdRng::seed_from_u64(2);
        let node = |seed| StorageKey::of_node(&SigningKey::from_seed(&[seed; 32]));
        let here = place("query 1", &[1; 32], b"");
        let key = StorageKey::generate(&mut rng);
        let wrapped = node(1).seal_key(&key, &here, &mut rng);
        let opened = node(1).open_key(&wrapped, &here).unwrap();
        let sealed = key.seal(b"sums", &here, &mut rng);
        assert_eq!(opened.open(&sealed, &here).unwrap().as_slice(), b"sums");
        assert!(node(2).open_key(&wrapped, &here).is_err());
        // Bytes that are no key do not pass for one.
        let short = node(1).seal(b"no key", &here, &mut rng);
        assert!(node(1).open_key(&short, &here).is_err());
    }
}
