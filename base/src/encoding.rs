//! Byte encoding of everything that is signed, sealed or hashed (protocol.md §3).
//!
//! [`to_bytes`] writes a version byte and the [borsh](https://borsh.io) encoding, which is
//! canonical: one value has one encoding and no other bytes decode to that value. [`from_bytes`] refuses
//! another version, a trailing byte, and input over the caller's bound. Signatures cover the
//! received bytes, never a re-encoding.

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest, Sha256};

/// Version of the encoding, the first byte of every encoded message.
pub const VERSION: u8 = 1;

/// Error for received bytes that do not decode. It is the same for every cause, so that the sender does not learn the
/// cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed or oversized {what}")]
pub struct DecodeError {
    /// Name of the expected message.
    pub what: &'static str,
}

/// Encodes `value`: the version byte, then its borsh encoding.
pub fn to_bytes<T: BorshSerialize>(value: &T) -> Vec<u8> {
    let mut out = vec![VERSION];
    value
        .serialize(&mut out)
        .expect("writing to a Vec cannot fail and no length exceeds u32");
    out
}

/// Decodes exactly one value. `limit` is the largest accepted length in bytes, the version byte included.
///
/// # Errors
/// [`DecodeError`] naming `what`, for every cause: too long, another version, malformed, or a trailing byte.
pub fn from_bytes<T: BorshDeserialize>(
    bytes: &[u8],
    limit: usize,
    what: &'static str,
) -> Result<T, DecodeError> {
    let error = DecodeError { what };
    // Before decoding, so that a stranger's message costs no more work than the caller allows.
    if bytes.len() > limit {
        return Err(error);
    }
    match bytes.split_first() {
        Some((&VERSION, rest)) => borsh::from_slice(rest).map_err(|_| error),
        _ => Err(error),
    }
}

/// Message with one name and one size limit, which all its readers use.
///
/// A limit per reader would let one reader refuse what another accepted.
pub trait Message: BorshDeserialize {
    /// Name of the message in errors.
    const NAME: &'static str;
    /// Length of the largest encoding in bytes, the version byte included.
    const LIMIT: usize;
}

/// Decodes exactly one message, with the message's own name and limit.
///
/// # Errors
/// As [`from_bytes`].
pub fn decode<T: Message>(bytes: &[u8]) -> Result<T, DecodeError> {
    from_bytes(bytes, T::LIMIT, T::NAME)
}

/// Returns SHA-256 over the label and the parts, each with its length before it (8 bytes, little-endian).
///
/// The lengths make the hashed bytes an injective encoding: two different lists of parts are never the same input.
pub fn hash(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [label.as_bytes()].iter().chain(parts) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_encoding_decodes() {
        let bytes = to_bytes(&(7u32, String::from("seven")));
        assert_eq!(
            from_bytes::<(u32, String)>(&bytes, 100, "pair").unwrap(),
            (7, "seven".into())
        );
        let mut longer = bytes.clone();
        longer.push(0);
        let mut version = bytes.clone();
        version[0] = 2;
        for bad in [&longer[..], &version[..], &bytes[..bytes.len() - 1], &[]] {
            assert!(from_bytes::<(u32, String)>(bad, 100, "pair").is_err());
        }
        assert!(from_bytes::<(u32, String)>(&bytes, bytes.len() - 1, "pair").is_err());
    }

    #[test]
    fn a_message_has_one_name_and_one_limit() {
        #[derive(Debug, BorshSerialize, BorshDeserialize)]
        struct Short(Vec<u8>);
        impl Message for Short {
            const NAME: &'static str = "short";
            const LIMIT: usize = 15;
        }
        assert_eq!(
            decode::<Short>(&to_bytes(&Short(vec![0; 10])))
                .unwrap()
                .0
                .len(),
            10
        );
        let refused = decode::<Short>(&to_bytes(&Short(vec![0; 11]))).unwrap_err();
        assert_eq!(refused, DecodeError { what: "short" });
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash("l", &[b"ab", b"c"]), hash("l", &[b"a", b"bc"]));
    }
}
