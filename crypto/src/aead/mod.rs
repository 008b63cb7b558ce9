//! Symmetric sealing. Only this module uses a symmetric cipher: ChaCha20-Poly1305 (RFC 8439) where a key meets each
//! nonce once by construction, and XChaCha20-Poly1305 with a random nonce where a key seals many messages.
//!
//! Test builds record each use (`record`) and panic when a key and nonce seal a second plaintext. No other module
//! may bypass this record by using a cipher directly; envelopes record their own uses.

#[cfg(any(test, feature = "record-nonces"))]
pub mod record;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Nonce, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::envelope::OpenError;

/// Number of bytes of the random nonce, which is written before the ciphertext. Random nonces of 24 bytes do not
/// repeat in practice, however many messages a key seals; the 12 bytes of ChaCha20-Poly1305 would be too few.
const NONCE: usize = 24;

/// Makes all threads of the process share one record of nonces. Does nothing without the feature `record-nonces`.
pub fn share_record() {
    #[cfg(any(test, feature = "record-nonces"))]
    record::share();
}

/// Seals `plaintext`, and authenticates the associated data `aad` with it. The caller must never seal another
/// plaintext or other associated data with this key and nonce.
pub fn seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    #[cfg(any(test, feature = "record-nonces"))]
    record::cipher(key, nonce, aad, plaintext);
    let payload = Payload {
        msg: plaintext,
        aad,
    };
    ChaCha20Poly1305::new(key.into())
        .encrypt(&Nonce::from(*nonce), payload)
        .expect("a plaintext that fits in memory is below the cipher's limit")
}

/// Opens what [`seal`] sealed.
///
/// # Errors
/// [`OpenError`] for every cause, so that a caller cannot serve as an oracle.
pub fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let payload = Payload {
        msg: ciphertext,
        aad,
    };
    ChaCha20Poly1305::new(key.into())
        .decrypt(&Nonce::from(*nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| OpenError)
}

/// Seals `plaintext` with a random nonce, for a key that seals many messages. Authenticates the associated data `aad`
/// with it. Returns the nonce (24 bytes), then the ciphertext.
pub fn seal_at_random(
    key: &[u8; 32],
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let mut nonce = [0; NONCE];
    rng.fill_bytes(&mut nonce);
    #[cfg(any(test, feature = "record-nonces"))]
    record::cipher(key, &nonce, aad, plaintext);
    let payload = Payload {
        msg: plaintext,
        aad,
    };
    let ciphertext = XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(nonce), payload)
        .expect("a plaintext that fits in memory is below the cipher's limit");
    [&nonce[..], &ciphertext].concat()
}

/// Opens what [`seal_at_random`] sealed.
///
/// # Errors
/// [`OpenError`] for every cause, so that a caller cannot serve as an oracle.
pub fn open_at_random(
    key: &[u8; 32],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>().ok_or(OpenError)?;
    let payload = Payload {
        msg: ciphertext,
        aad,
    };
    XChaCha20Poly1305::new(key.into())
        .decrypt(&XNonce::from(*nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| OpenError)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            if path.is_dir() && !hidden {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }

    /// Returns the files of the workspace, by relative path, that contain any of `names`.
    fn users(names: &[&str]) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut found = Vec::new();
        sources(root, &mut found);
        let mut users: Vec<String> = found
            .iter()
            .filter(|path| {
                let text = fs::read_to_string(path).unwrap();
                names.iter().any(|name| text.contains(name))
            })
            .map(|path| path.strip_prefix(root).unwrap().display().to_string())
            .collect();
        users.sort();
        users
    }

    #[test]
    fn no_cipher_is_used_beside_the_recorder() {
        let cipher = ["chacha20poly1305", "::"].concat();
        assert_eq!(users(&[&cipher]), ["crypto/src/aead/mod.rs"]);
        let hpke = ["use hpke", "::"].concat();
        let envelopes = [
            "crypto/src/envelope/encapsulation.rs",
            "crypto/src/envelope/key.rs",
        ];
        assert_eq!(users(&[&hpke]), envelopes);
    }

    #[test]
    fn what_is_drawn_from_what_nodes_share_is_sealed_in_one_place() {
        let generator = ["ChaCha20Rng::", "from_seed"].concat();
        let users = users(&[&generator]);
        // The two files of `core` draw the order of homes and the noise of sizes; they seal nothing.
        let expected = [
            "core/src/find.rs",
            "core/src/find/sizes.rs",
            "crypto/src/envelope/derived.rs",
        ];
        assert_eq!(users, expected);
    }
}
