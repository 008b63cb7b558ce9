//! Who was asked before: populations of one querier that differ by a few homes (protocol.md §6).
//!
//! The difference of two answers is about the difference of the homes behind them. The Target Finder
//! sees tags, so it can count that difference, and refuses where it is smaller than the cohort.

use sha2::{Digest, Sha256};

use crate::{subscription::HomeTag, ticket::MemberKey};

/// Bytes of a remembered home.
const DIGEST: usize = 8;

/// The homes of a population, as a finder remembers them: keyed digests of their tags, in order.
/// Without the key they say nothing but how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members(Vec<u64>);

impl Members {
    /// The homes with these tags.
    pub fn new<'t>(key: &MemberKey, tags: impl IntoIterator<Item = &'t HomeTag>) -> Self {
        let digest = |tag: &HomeTag| {
            let hash = Sha256::new()
                .chain_update(key.as_bytes())
                .chain_update(tag.0);
            let hash: [u8; 32] = hash.finalize().into();
            let mut word = [0; DIGEST];
            word.copy_from_slice(&hash[..DIGEST]);
            u64::from_le_bytes(word)
        };
        let mut digests: Vec<u64> = tags.into_iter().map(digest).collect();
        digests.sort_unstable();
        Self(digests)
    }

    /// How many homes are in one of the two and not in the other.
    pub fn difference(&self, other: &Self) -> u64 {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut difference = 0;
        loop {
            match (ours.peek(), theirs.peek()) {
                (None, None) => return difference,
                (Some(a), Some(b)) if a == b => {
                    ours.next();
                    theirs.next();
                }
                (Some(a), Some(b)) if a > b => {
                    theirs.next();
                    difference += 1;
                }
                (Some(_), _) => {
                    ours.next();
                    difference += 1;
                }
                (None, Some(_)) => {
                    theirs.next();
                    difference += 1;
                }
            }
        }
    }

    /// To be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|digest| digest.to_le_bytes())
            .collect()
    }

    /// As they were kept; `None` for bytes that are not.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<DIGEST>();
        let digests: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        (rest.is_empty() && digests.is_sorted()).then_some(Self(digests))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    fn members(homes: &BTreeSet<u8>, key: u8) -> Members {
        let tags: Vec<HomeTag> = homes.iter().map(|home| HomeTag([*home; 16])).collect();
        Members::new(&MemberKey::for_test([key; 32]), &tags)
    }

    proptest! {
        #[test]
        fn a_difference_is_that_of_the_sets(
            a in prop::collection::btree_set(any::<u8>(), 0..60),
            b in prop::collection::btree_set(any::<u8>(), 0..60),
        ) {
            let (ours, theirs) = (members(&a, 1), members(&b, 1));
            let expected = a.symmetric_difference(&b).count() as u64;
            prop_assert_eq!(ours.difference(&theirs), expected);
            prop_assert_eq!(theirs.difference(&ours), expected);
            prop_assert_eq!(Members::from_bytes(&ours.to_bytes()), Some(ours));
        }
    }

    #[test]
    fn under_another_key_the_same_homes_have_nothing_in_common() {
        let homes: BTreeSet<u8> = (0..20).collect();
        assert_eq!(members(&homes, 1).difference(&members(&homes, 2)), 40);
        assert!(Members::from_bytes(&[1; 9]).is_none());
        let mut reversed = members(&homes, 1).to_bytes();
        reversed.reverse();
        assert!(Members::from_bytes(&reversed).is_none());
    }
}
