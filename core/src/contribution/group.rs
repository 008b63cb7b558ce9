//! A group: one aggregator's shares of all contributions that a stack makes to a batch.

use std::collections::HashSet;
use std::mem::size_of;

use borsh::io::{Error, Read, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Tag;
use crate::encoding::{self, DecodeError};
use crate::field::{self, Expander};
use crate::labels;

/// One contribution of a group: which, and the tag that shows it was asked for. Wiped when
/// dropped.
#[derive(Zeroize, ZeroizeOnDrop, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// Index of the home in the batch.
    pub index: u32,
    /// τ for the aggregator that reads the group.
    pub tag: Tag,
}

/// One aggregator's shares of all contributions that a stack makes to a batch. Wiped when dropped.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct GroupShare {
    pub(super) entries: Vec<Entry>,
    pub(super) shares: Shares,
}

pub(super) enum Shares {
    /// Expands to the shares of all entries.
    Seed(Zeroizing<[u8; 32]>),
    /// The shares of all entries, one after the other.
    Explicit(Zeroizing<Vec<u64>>),
}

impl GroupShare {
    /// The encoding that is sealed for the aggregator.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encoding::to_bytes(self))
    }

    /// Reads a group of at most `max_entries` contributions of `share_len` elements each.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else: more entries, an index twice, another number of
    /// elements, an element that is not below p.
    pub fn decode(bytes: &[u8], share_len: usize, max_entries: usize) -> Result<Self, DecodeError> {
        const WHAT: &str = "group of contributions";
        let error = DecodeError { what: WHAT };
        // Version, number of entries, kind of shares, number of elements or the seed.
        let fixed = 1 + 4 + 1 + 32;
        let entry = share_len
            .saturating_mul(8)
            .saturating_add(size_of::<u32>() + size_of::<Tag>());
        let limit = max_entries.saturating_mul(entry).saturating_add(fixed);
        let group: Self = encoding::from_bytes(bytes, limit, WHAT)?;

        let mut indices = HashSet::with_capacity(group.entries.len());
        let distinct = group
            .entries
            .iter()
            .all(|entry| indices.insert(entry.index));
        let shares_fit = match &group.shares {
            Shares::Seed(_) => true,
            Shares::Explicit(elements) => {
                group.entries.len().checked_mul(share_len) == Some(elements.len())
                    && elements.iter().all(|&element| element < field::MODULUS)
            }
        };
        if group.entries.len() > max_entries || !distinct || !shares_fit {
            return Err(error);
        }
        Ok(group)
    }

    /// The contributions of the group, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries and their shares, `share_len` elements for each entry, one after the other.
    pub fn expand(self, share_len: usize) -> (Vec<Entry>, Zeroizing<Vec<u64>>) {
        let elements = match self.shares {
            Shares::Seed(seed) => expand_seed(&seed, self.entries.len() * share_len),
            Shares::Explicit(elements) => elements,
        };
        (self.entries, elements)
    }
}

/// The shares of all entries of a seeded group.
pub(super) fn expand_seed(seed: &[u8; 32], elements: usize) -> Zeroizing<Vec<u64>> {
    Zeroizing::new(Expander::new(labels::EXPAND_SHARES, seed).elements(elements))
}

impl BorshSerialize for Shares {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<(), Error> {
        match self {
            Self::Seed(seed) => (0u8, &**seed).serialize(writer),
            Self::Explicit(elements) => (1u8, &**elements).serialize(writer),
        }
    }
}

impl BorshDeserialize for Shares {
    fn deserialize_reader<R: Read>(reader: &mut R) -> Result<Self, Error> {
        match u8::deserialize_reader(reader)? {
            0 => Ok(Self::Seed(<[u8; 32]>::deserialize_reader(reader)?.into())),
            1 => Ok(Self::Explicit(
                <Vec<u64>>::deserialize_reader(reader)?.into(),
            )),
            _ => Err(Error::other("unknown kind of shares")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(indices: &[u32], elements: Vec<u64>) -> Vec<u8> {
        let entry = |&index: &u32| Entry {
            index,
            tag: [1; 16],
        };
        let group = GroupShare {
            entries: indices.iter().map(entry).collect(),
            shares: Shares::Explicit(elements.into()),
        };
        group.encode().to_vec()
    }

    #[test]
    fn malformed_groups_are_refused() {
        let decodes = |bytes: &[u8]| GroupShare::decode(bytes, 2, 3).is_ok();
        let good = group(&[7, 3, 5], vec![field::MODULUS - 1; 6]);
        assert!(decodes(&good));
        assert!(decodes(&group(&[], vec![])));
        assert!(!decodes(&group(&[7, 3, 7], vec![0; 6])));
        assert!(!decodes(&group(&[7, 3, 5], vec![0; 5])));
        assert!(!decodes(&group(&[7, 3], vec![0; 6])));
        assert!(!decodes(&group(&[7], vec![0, field::MODULUS])));
        assert!(!decodes(&group(&[1, 2, 3, 4], vec![0; 8])));
        assert!(GroupShare::decode(&good, usize::MAX, 3).is_err());
        let seeded = GroupShare {
            entries: (0..4)
                .map(|index| Entry {
                    index,
                    tag: [0; 16],
                })
                .collect(),
            shares: Shares::Seed([0; 32].into()),
        };
        assert!(!decodes(&seeded.encode()));
        assert!(GroupShare::decode(&seeded.encode(), 2, 4).is_ok());
        for length in 0..good.len() {
            assert!(!decodes(&good[..length]));
        }
        let kind = 1 + 4 + 3 * 20;
        let mut unknown = good.clone();
        unknown[kind] = 2;
        assert!(!decodes(&unknown));
        let mut endless = good;
        endless[kind + 1..kind + 5].fill(0xff);
        assert!(!decodes(&endless));
    }

    proptest! {
        #[test]
        fn what_decodes_never_panics_and_fits(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut versioned = vec![encoding::VERSION];
            versioned.extend(bytes);
            if let Ok(group) = GroupShare::decode(&versioned, 3, 5) {
                let (entries, shares) = group.expand(3);
                prop_assert_eq!(shares.len(), entries.len() * 3);
            }
        }
    }
}
