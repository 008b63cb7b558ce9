//! Groups: one aggregator's shares of all contributions that a stack makes to a batch.

use std::collections::HashSet;
use std::mem::size_of;

use borsh::io::{Error, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Tag;
use super::commitment::{joint, part};
use dispers_base::{
    encoding::{self, DecodeError},
    field::{self, Expander},
    id::MemberNumber,
    labels,
};

/// Name of one contribution of a group, with the tag that shows that the home was asked. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// Index of the home in the batch.
    pub index: u32,
    /// Tag τ for the aggregator that reads the group.
    pub tag: Tag,
}

/// Shares of one aggregator, of all contributions that a stack makes to a batch, before they are sealed. Wiped when
/// dropped.
pub struct GroupShare {
    pub(super) entries: Vec<Entry>,
    pub(super) joint: Option<Joint>,
    pub(super) shares: Shares,
}

/// Commitments from which the reader checks and computes the joint randomness.
pub(super) struct Joint {
    /// Blind of the commitments to the reader's shares.
    pub(super) blind: Zeroizing<[u8; 32]>,
    /// Commitments to every aggregator's share of every entry: entry after entry, in the order of aggregators.
    pub(super) parts: Vec<[u8; 32]>,
}

/// Shares of all entries.
pub(super) enum Shares {
    /// Seed that expands to the shares.
    Seed(Zeroizing<[u8; 32]>),
    /// Elements of the shares, one share after the other.
    Explicit(Zeroizing<Vec<u64>>),
}

impl GroupShare {
    /// Returns the encoding that is sealed for the aggregator.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encoding::to_bytes(self))
    }
}

/// Group as its aggregator holds it: opened, and not yet expanded. Wiped when dropped.
pub struct HeldGroup {
    entries: Vec<Entry>,
    joint: Option<Joint>,
    shares: Held,
}

enum Held {
    Seed(Zeroizing<[u8; 32]>),
    /// Whole encoding, and the position in it where the elements begin. Nothing is copied: a batch of large vectors
    /// would be in memory twice.
    Explicit(Zeroizing<Vec<u8>>, usize),
}

/// Number of bytes of an encoded element.
const ELEMENT: usize = size_of::<u64>();

fn element(bytes: &[u8]) -> u64 {
    let mut word = [0; ELEMENT];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

impl HeldGroup {
    /// Decodes a group of at most `max_entries` contributions of `share_len` elements each. The elements stay where
    /// they are.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else: more entries, an index twice, another number of elements, an element that is
    /// not below p.
    pub fn decode(
        bytes: Zeroizing<Vec<u8>>,
        share_len: usize,
        max_entries: usize,
    ) -> Result<Self, DecodeError> {
        Self::read(bytes, share_len, max_entries).ok_or(DecodeError {
            what: "group of contributions",
        })
    }

    fn read(bytes: Zeroizing<Vec<u8>>, share_len: usize, max_entries: usize) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[encoding::VERSION])?;
        let entries = Vec::<Entry>::deserialize(&mut rest).ok()?;
        let mut indices = HashSet::with_capacity(entries.len());
        // An index that stands twice would count a home twice, or overwrite a share.
        let distinct = entries.iter().all(|entry| indices.insert(entry.index));
        if entries.len() > max_entries || !distinct {
            return None;
        }
        let (kind, mut rest) = rest.split_first()?;
        let joint = match *kind >= JOINT {
            true => Some(Joint::read(&mut rest, entries.len())?),
            false => None,
        };
        let shares = match kind % JOINT {
            _ if *kind >= 2 * JOINT => return None,
            0 => Held::Seed(<[u8; 32]>::try_from(rest).ok()?.into()),
            1 => {
                let (count, elements) = rest.split_first_chunk()?;
                let count = u32::from_le_bytes(*count) as usize;
                let fits = entries.len().checked_mul(share_len) == Some(count)
                    && count.checked_mul(ELEMENT) == Some(elements.len());
                let mut words = elements.chunks_exact(ELEMENT);
                // Field arithmetic is right for elements below p only.
                if !fits || !words.all(|word| element(word) < field::MODULUS) {
                    return None;
                }
                let start = bytes.len() - elements.len();
                Held::Explicit(bytes, start)
            }
            _ => return None,
        };
        Some(Self {
            entries,
            joint,
            shares,
        })
    }

    /// Returns whether the contributions were proved under joint randomness.
    pub fn has_joint_randomness(&self) -> bool {
        self.joint.is_some()
    }

    /// Returns the joint randomness of the entry at `place`, if the reader's share `input` is the committed one. The
    /// reader is `member`, at `position` among the aggregators that get a share.
    pub fn joint(
        &self,
        place: usize,
        position: usize,
        member: MemberNumber,
        input: &[u64],
    ) -> Option<[u8; 32]> {
        let commitments = self.joint.as_ref()?;
        let each = commitments.parts.len() / self.entries.len();
        let parts = commitments.parts.get(place * each..(place + 1) * each)?;
        let index = self.entries.get(place)?.index;
        let own = part(&commitments.blind, index, member, input);
        // With another share than the committed one, a home could choose its joint randomness (protocol.md §7).
        (parts.get(position)? == &own).then(|| joint(parts))
    }

    /// Returns the entries of the group, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Calls `each` with every entry and its share of `share_len` elements, in order. Only one share is expanded at a
    /// time.
    pub fn for_each(&self, share_len: usize, mut each: impl FnMut(&Entry, &[u64])) {
        // One buffer for all entries: a seed is far smaller than the shares that it expands to.
        let mut share = Zeroizing::new(vec![0; share_len]);
        match &self.shares {
            Held::Seed(seed) => {
                let mut expander = shares_of(seed);
                for entry in &self.entries {
                    expander.fill(&mut share);
                    each(entry, &share);
                }
            }
            Held::Explicit(bytes, start) => {
                let mut elements = bytes[*start..].chunks_exact(ELEMENT);
                for entry in &self.entries {
                    for (value, bytes) in share.iter_mut().zip(&mut elements) {
                        *value = element(bytes);
                    }
                    each(entry, &share);
                }
            }
        }
    }

    /// Expands the shares of all entries, `share_len` elements for each, one after the other.
    pub fn expand(&self, share_len: usize) -> Zeroizing<Vec<u64>> {
        let mut all = Zeroizing::new(Vec::with_capacity(self.entries.len() * share_len));
        self.for_each(share_len, |_, share| all.extend_from_slice(share));
        all
    }
}

/// Number that is added to the encoded kind of a group with joint randomness.
const JOINT: u8 = 2;
/// Largest number of aggregators to whose shares a home commits: member numbers are bytes.
const MAX_PARTS: usize = 255;

impl Joint {
    /// Reads commitments for `entries` contributions, and advances `rest` past them.
    fn read(rest: &mut &[u8], entries: usize) -> Option<Self> {
        let (blind, after) = rest.split_first_chunk()?;
        let (count, after) = after.split_first_chunk()?;
        let count = u32::from_le_bytes(*count) as usize;
        // The count is a stranger's: nothing is allocated before the bytes are there.
        let each = count.checked_div(entries).unwrap_or(0);
        let (parts, after) = after.split_at_checked(count.checked_mul(32)?)?;
        if each * entries != count || each > MAX_PARTS {
            return None;
        }
        *rest = after;
        Some(Self {
            blind: Zeroizing::new(*blind),
            parts: parts.as_chunks().0.to_vec(),
        })
    }
}

/// Starts the sequence of shares that a group's seed stands for.
fn shares_of(seed: &[u8; 32]) -> Expander {
    Expander::new(labels::EXPAND_SHARES, seed)
}

/// Expands a seed to the shares of all entries of a group.
pub(super) fn expand_seed(seed: &[u8; 32], elements: usize) -> Zeroizing<Vec<u64>> {
    Zeroizing::new(shares_of(seed).elements(elements))
}

impl BorshSerialize for GroupShare {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<(), Error> {
        let kind = u8::from(matches!(self.shares, Shares::Explicit(_)));
        self.entries.serialize(writer)?;
        match &self.joint {
            Some(joint) => (kind + JOINT, &*joint.blind, &joint.parts).serialize(writer)?,
            None => kind.serialize(writer)?,
        }
        match &self.shares {
            Shares::Seed(seed) => seed.serialize(writer),
            Shares::Explicit(elements) => elements.serialize(writer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(indices: &[u32], elements: Vec<u64>) -> Vec<u8> {
        let group = GroupShare {
            entries: entries(indices.iter().copied()),
            joint: None,
            shares: Shares::Explicit(elements.into()),
        };
        group.encode().to_vec()
    }

    fn decoded(bytes: &[u8], share_len: usize, most: usize) -> bool {
        HeldGroup::decode(bytes.to_vec().into(), share_len, most).is_ok()
    }

    fn decodes(bytes: &[u8]) -> bool {
        decoded(bytes, 2, 3)
    }

    fn entries(indices: impl IntoIterator<Item = u32>) -> Vec<Entry> {
        let entries = indices.into_iter().map(|index| Entry {
            index,
            tag: [1; 16],
        });
        entries.collect()
    }

    #[test]
    fn malformed_groups_are_refused() {
        let good = group(&[7, 3, 5], vec![field::MODULUS - 1; 6]);
        assert!(decodes(&good));
        assert!(decodes(&group(&[], vec![])));
        assert!(!decodes(&group(&[7, 3, 7], vec![0; 6])));
        assert!(!decodes(&group(&[7, 3, 5], vec![0; 5])));
        assert!(!decodes(&group(&[7, 3], vec![0; 6])));
        assert!(!decodes(&group(&[7], vec![0, field::MODULUS])));
        assert!(!decodes(&group(&[1, 2, 3, 4], vec![0; 8])));
        assert!(!decoded(&good, usize::MAX, 3));
        let seeded = GroupShare {
            entries: entries(0..4),
            joint: None,
            shares: Shares::Seed([0; 32].into()),
        };
        assert!(!decodes(&seeded.encode()));
        assert!(decoded(&seeded.encode(), 2, 4));
        let mut longer = seeded.encode().to_vec();
        longer.push(0);
        assert!(!decoded(&longer, 2, 4));
        for length in 0..good.len() {
            assert!(!decodes(&good[..length]));
        }
        let kind = 1 + 4 + 3 * 20;
        let mut unknown = good.clone();
        unknown[kind] = 2;
        assert!(!decodes(&unknown));
        unknown[kind] = 4;
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
            if let Ok(group) = HeldGroup::decode(versioned.into(), 3, 5) {
                prop_assert_eq!(group.expand(3).len(), group.entries().len() * 3);
            }
        }
    }
}
