//! A home's contribution, shared among the aggregators (protocol.md §8).
//!
//! What is shared is the circuit's input and its proof. A stack shares all homes of a batch at
//! once, as one group per aggregator: the groups of the first t − 1 aggregators are a seed, those
//! of the others hold every value.

use std::collections::HashSet;
use std::mem::size_of;

use borsh::io::{Error, Read, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::circuit::{Circuit, EncodeError, Row};
use crate::encoding::{self, DecodeError};
use crate::field::{self, Expander};
use crate::id::MemberNumber;
use crate::labels;
use crate::shamir::{ShamirError, Sharing};

/// τ: what one aggregator knows a contribution's ticket by.
pub type Tag = [u8; 16];

/// What one home contributes to a batch, before it is shared. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Contribution {
    index: u32,
    tags: Vec<Tag>,
    secret: Vec<u64>,
}

impl Contribution {
    /// Encodes and proves `row`, or the absence of one, for the home with this ticket: its index
    /// in the batch and one tag per sharing point, in order.
    ///
    /// # Errors
    /// [`EncodeError`] for a row that the circuit does not admit.
    pub fn prove(
        circuit: &Circuit,
        index: u32,
        tags: Vec<Tag>,
        row: Option<&Row>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, EncodeError> {
        let input = circuit.encode(row)?;
        let proof = circuit.prove(&input, rng);
        let secret = [&input[..], &proof[..]].concat();
        Ok(Self {
            index,
            tags,
            secret,
        })
    }
}

/// Contributions that cannot be shared together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The points or the number needed are unusable.
    #[error(transparent)]
    Points(#[from] ShamirError),
    /// A contribution without exactly one tag per point.
    #[error("contribution {index} has {tags} tags for {points} aggregators")]
    Tags {
        /// Its index in the batch.
        index: u32,
        /// How many tags it has.
        tags: usize,
        /// How many points there are.
        points: usize,
    },
    /// A contribution that is not of the others' circuit.
    #[error("contribution {index} is of another circuit")]
    Length {
        /// Its index in the batch.
        index: u32,
    },
}

/// Shares `contributions`, all of one circuit, among `points`, so that any `needed` can read:
/// one group per point, in order.
///
/// # Errors
/// [`ShareError`] for unusable points, or contributions that do not belong together.
pub fn share_group(
    contributions: &[Contribution],
    points: &[MemberNumber],
    needed: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<GroupShare>, ShareError> {
    let sharing = Sharing::new(points, needed)?;
    let length = contributions.first().map_or(0, |first| first.secret.len());
    for contribution in contributions {
        let index = contribution.index;
        if contribution.tags.len() != points.len() {
            return Err(ShareError::Tags {
                index,
                tags: contribution.tags.len(),
                points: points.len(),
            });
        }
        if contribution.secret.len() != length {
            return Err(ShareError::Length { index });
        }
    }

    let mut secret = Zeroizing::new(Vec::with_capacity(contributions.len() * length));
    for contribution in contributions {
        secret.extend_from_slice(&contribution.secret);
    }
    let seeds: Vec<Zeroizing<[u8; 32]>> = (0..sharing.uniform())
        .map(|_| {
            let mut seed = Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut seed[..]);
            seed
        })
        .collect();
    let expanded: Vec<Zeroizing<Vec<u64>>> = seeds
        .iter()
        .map(|seed| expand_seed(seed, secret.len()))
        .collect();
    let uniform: Vec<&[u64]> = expanded.iter().map(|share| &share[..]).collect();
    let explicit = sharing.complete(&secret, &uniform);

    let shares = seeds
        .into_iter()
        .map(Shares::Seed)
        .chain(explicit.map(|share| Shares::Explicit(Zeroizing::new(share))));
    let group = |(position, shares)| {
        let entry = |contribution: &Contribution| Entry {
            index: contribution.index,
            tag: contribution.tags[position],
        };
        GroupShare {
            entries: contributions.iter().map(entry).collect(),
            shares,
        }
    };
    Ok(shares.enumerate().map(group).collect())
}

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
    entries: Vec<Entry>,
    shares: Shares,
}

enum Shares {
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
        let entry = size_of::<u32>() + size_of::<Tag>() + share_len.saturating_mul(8);
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

fn expand_seed(seed: &[u8; 32], elements: usize) -> Zeroizing<Vec<u64>> {
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
