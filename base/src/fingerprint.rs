//! Fingerprints of public keys, which people read to each other before they trust a key.

use std::fmt;

use crate::{encoding, labels};

/// Letters of RFC 4648's base 32, in lower case. The digits 0, 1, 8 and 9 are absent, since they look like letters.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Number of letters of a fingerprint. Each letter encodes five bits.
const LETTERS: usize = 20;
/// Number of letters between two hyphens.
const GROUP: usize = 4;

/// First 100 bits of a hash of a public key. The same key has the same fingerprint wherever it is shown.
///
/// # Security
/// An attacker who wants another key with a given fingerprint must make 2^100 keys. Two keys of one maker with equal
/// fingerprints cost 2^50, and gain nothing: both belong to that maker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; LETTERS]);

impl Fingerprint {
    /// Returns the fingerprint of an encoded public key of any kind.
    pub fn of(public_key: &[u8]) -> Self {
        let hash = encoding::hash(labels::HASH_FINGERPRINT, &[public_key]);
        Self(std::array::from_fn(|letter| {
            let places = 5 * letter..5 * (letter + 1);
            let bits = places.fold(0, |bits, place| {
                bits << 1 | usize::from(hash[place / 8] >> (7 - place % 8) & 1)
            });
            ALPHABET[bits]
        }))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, group) in self.0.chunks(GROUP).enumerate() {
            let hyphen = if number == 0 { "" } else { "-" };
            let group = std::str::from_utf8(group).map_err(|_| fmt::Error)?;
            write!(f, "{hyphen}{group}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_five_groups_of_four_letters_and_another_for_another_key() {
        let text = Fingerprint::of(&[7; 32]).to_string();
        assert_eq!(text.len(), 24);
        let groups: Vec<&str> = text.split('-').collect();
        assert_eq!(groups.len(), 5);
        assert!(groups.iter().all(|group| group.len() == 4));
        let letters = text.bytes().filter(|byte| *byte != b'-');
        assert!(letters.clone().all(|byte| ALPHABET.contains(&byte)));
        let mut other = [7; 32];
        other[31] ^= 1;
        assert_ne!(Fingerprint::of(&other).to_string(), text);
    }

    #[test]
    fn the_letters_are_the_first_bits_of_the_hash() {
        let hash = encoding::hash(labels::HASH_FINGERPRINT, &[b"key"]);
        let text = Fingerprint::of(b"key").to_string().replace('-', "");
        let mut bits = text
            .bytes()
            .map(|byte| ALPHABET.iter().position(|letter| *letter == byte).unwrap());
        let first = bits.next().unwrap() << 3 | bits.next().unwrap() >> 2;
        assert_eq!(first, usize::from(hash[0]));
        assert_eq!(text.len() * 5, 100);
    }
}
