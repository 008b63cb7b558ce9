//! Sealing with the same bytes at several nodes (protocol.md §3).
//!
//! The Target Finders of a pool share a secret, and repeat each other's finds. Two finders may still seal different
//! plaintexts under equal key and `info`, with their own name, signature or configuration. An encapsulation derived
//! from the secret, key and `info` alone would then serve two plaintexts under one cipher key and nonce. So it is
//! derived from the plaintext too, like a synthetic initialisation vector (RFC 5297): equal plaintexts get equal
//! bytes, and different plaintexts get independent encapsulations.

use chacha20::ChaCha20Rng;
use hkdf::Hkdf;
use rand::SeedableRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Context, EnvelopePublicKey, Reader, Sealed};
use dispers_base::{
    encoding, labels,
    weakness::{self, Weakness},
};

impl<R: Reader, T: borsh::BorshSerialize> Sealed<R, T> {
    /// Seals the encoding of `value` for the holder of `key`. Every node that holds `secret` returns the same bytes
    /// for the same value, key and context.
    ///
    /// # Security
    /// This is the only function that seals with a secret that nodes share. All others draw from the node's own
    /// generator. An observer can tell that two envelopes hold equal plaintexts.
    pub fn seal_alike(
        value: &T,
        key: &EnvelopePublicKey,
        context: &Context,
        secret: &[u8; 32],
    ) -> Self {
        let plaintext = encoding::to_bytes(value);
        let seed = seed(secret, key, &context.info::<R>(), &plaintext);
        let mut rng = ChaCha20Rng::from_seed(*seed);
        Self::seal_plaintext(plaintext, key, context, &mut rng)
    }
}

/// Derives the seed of an encapsulation. It covers everything that determines the cipher's key and input, so that one
/// seed never serves two plaintexts.
fn seed(
    secret: &[u8; 32],
    key: &EnvelopePublicKey,
    info: &[u8],
    plaintext: &[u8],
) -> Zeroizing<[u8; 32]> {
    let digest: [u8; 32] = match weakness::off(Weakness::SealedFromASharedSeed) {
        true => [0; 32],
        false => Sha256::digest(plaintext).into(),
    };
    let label = labels::DERIVE_ENCAPSULATION;
    let mut seed = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret)
        .expand(&encoding::to_bytes(&(label, key, info, digest)), &mut *seed)
        .expect("32 bytes are within HKDF's limit");
    seed
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;

    use super::*;
    use crate::envelope::{EnvelopeSecretKey, Suite, reader};
    use dispers_base::{id::Role, weakness::without};

    type Letter = Sealed<reader::Target, Vec<u8>>;

    fn context(binding: u8) -> Context {
        Context::new(labels::ENVELOPE_TARGETS, Role::TargetFinder, &binding)
    }

    #[test]
    fn equal_letters_are_equal_bytes_and_no_others_share_an_encapsulation() {
        let mut rng = StdRng::seed_from_u64(1);
        for suite in [Suite::XWing, Suite::X25519] {
            let own = EnvelopeSecretKey::generate(suite, &mut rng);
            let other = EnvelopeSecretKey::generate(suite, &mut rng).public();
            let key = own.public();
            let letter = Letter::seal_alike(&vec![1, 2], &key, &context(0), &[3; 32]);
            let again = Letter::seal_alike(&vec![1, 2], &key, &context(0), &[3; 32]);
            assert_eq!(letter, again);
            assert_eq!(letter.open(&own, &context(0), 100).unwrap(), [1, 2]);
            for different in [
                Letter::seal_alike(&vec![1, 3], &key, &context(0), &[3; 32]),
                Letter::seal_alike(&vec![1, 2], &other, &context(0), &[3; 32]),
                Letter::seal_alike(&vec![1, 2], &key, &context(1), &[3; 32]),
                Letter::seal_alike(&vec![1, 2], &key, &context(0), &[4; 32]),
            ] {
                assert_ne!(different.encapsulated(), letter.encapsulated());
            }
        }
    }

    #[test]
    fn without_the_plaintext_in_the_seed_two_letters_share_an_encapsulation() {
        let key =
            EnvelopeSecretKey::generate(Suite::X25519, &mut StdRng::seed_from_u64(2)).public();
        without(Weakness::SealedFromASharedSeed, || {
            let [one, two] = [1, 2].map(|byte| {
                // Without this, the record of nonces would panic at the second seal.
                crate::aead::record::forget();
                Letter::seal_alike(&vec![byte; 9], &key, &context(0), &[3; 32])
            });
            assert_eq!(one.encapsulated(), two.encapsulated());
            // The difference of the ciphertexts equals that of the plaintexts.
            let place = one.ciphertext().len() - 17;
            assert_eq!(one.ciphertext()[place] ^ two.ciphertext()[place], 1 ^ 2);
        });
    }
}
