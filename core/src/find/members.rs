//! Sets of homes in the form that a finder remembers.

use sha2::{Digest, Sha256};

use crate::{subscription::HomeTag, ticket::MemberKey};

/// Bytes of a remembered home. At 64 bits, any two of 20 million homes collide with a probability below 10⁻⁴.
const DIGEST: usize = 8;

/// Ratio of lengths above which a binary search of each item of the shorter list is faster than a merge.
const LOOKED_UP: usize = 16;

/// Set of homes: keyed digests of their tags, sorted. Without the key it reveals only the number of homes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members(Vec<u64>);

impl Members {
    /// Digests these tags with `key`.
    pub fn new<'t>(key: &MemberKey, tags: impl IntoIterator<Item = &'t HomeTag>) -> Self {
        let mut digests: Vec<u64> = tags.into_iter().map(|tag| digest(key, tag)).collect();
        digests.sort_unstable();
        digests.dedup();
        Self(digests)
    }

    /// Returns the number of homes.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Returns the homes that are in one of the two sets and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.0.as_slice(), other.0.as_slice());
        let mut difference = Vec::new();
        while let (Some(a), Some(b)) = (ours.first(), theirs.first()) {
            if a < b {
                difference.push(*a);
            } else if b < a {
                difference.push(*b);
            }
            ours = &ours[usize::from(a <= b)..];
            theirs = &theirs[usize::from(b <= a)..];
        }
        difference.extend_from_slice(ours);
        difference.extend_from_slice(theirs);
        Self(difference)
    }

    /// Returns the number of homes that are in one of the two sets and not in the other.
    pub fn distance(&self, other: &Self) -> u64 {
        let (short, long) = match self.0.len() <= other.0.len() {
            true => (&self.0, &other.0),
            false => (&other.0, &self.0),
        };
        let common = match short.len() * LOOKED_UP < long.len() {
            true => short
                .iter()
                .filter(|home| long.binary_search(home).is_ok())
                .count(),
            false => common(short, long),
        };
        (short.len() + long.len() - 2 * common) as u64
    }

    /// Encodes the digests for storage, 8 bytes each.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|digest| digest.to_le_bytes())
            .collect()
    }

    /// Decodes what `to_bytes` wrote. Returns `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<DIGEST>();
        let digests: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        // Every comparison relies on the order: unsorted digests would make near sets look far apart.
        (rest.is_empty() && digests.is_sorted()).then_some(Self(digests))
    }
}

/// Returns the first bytes of the hash of `key` and a tag. The key is of one querier and key epoch: a copied memory
/// does not show that two queriers asked the same home.
fn digest(key: &MemberKey, tag: &HomeTag) -> u64 {
    let hash = Sha256::new()
        .chain_update(key.as_bytes())
        .chain_update(tag.0);
    let hash: [u8; 32] = hash.finalize().into();
    let mut word = [0; DIGEST];
    word.copy_from_slice(&hash[..DIGEST]);
    u64::from_le_bytes(word)
}

/// Counts the items that two sorted lists share. The loop has no branch on the items: they are random, so that every
/// second branch would be mispredicted.
fn common(one: &[u64], other: &[u64]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < one.len() && j < other.len() {
        let (a, b) = (one[i], other[j]);
        common += usize::from(a == b);
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    common
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
            b in prop::collection::btree_set(any::<u8>(), 0..3),
            c in prop::collection::btree_set(any::<u8>(), 0..60),
        ) {
            let ours = members(&a, 1);
            for other in [b, c] {
                let theirs = members(&other, 1);
                let expected: BTreeSet<u8> = a.symmetric_difference(&other).copied().collect();
                prop_assert_eq!(&ours.difference(&theirs), &members(&expected, 1));
                prop_assert_eq!(ours.distance(&theirs), expected.len() as u64);
                prop_assert_eq!(theirs.distance(&ours), expected.len() as u64);
            }
            prop_assert_eq!(Members::from_bytes(&ours.to_bytes()), Some(ours));
        }
    }

    #[test]
    fn under_another_key_the_same_homes_have_nothing_in_common() {
        let homes: BTreeSet<u8> = (0..20).collect();
        assert_eq!(members(&homes, 1).distance(&members(&homes, 2)), 40);
        assert!(Members::from_bytes(&[1; 9]).is_none());
        let mut reversed = members(&homes, 1).to_bytes();
        reversed.reverse();
        assert!(Members::from_bytes(&reversed).is_none());
    }
}
