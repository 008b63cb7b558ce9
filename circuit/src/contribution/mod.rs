//! Contributions of homes, proved and shared among the aggregators (protocol.md §8).
//!
//! An input of the circuit and its proof are shared. A stack shares all homes of a batch at once, as one group per
//! aggregator: the groups of the first t − 1 aggregators are a seed, and the others hold every value.

mod commitment;
mod group;
#[cfg(test)]
mod limits;
mod share;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use group::{Entry, GroupShare, HeldGroup};
pub use share::share;

use dispers_crypto::shamir::ShamirError;

/// Tag τ, by which one aggregator recognises the ticket of a contribution.
pub type Tag = [u8; 16];

/// Contribution of one home to a batch, before it is proved and shared. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Contribution {
    index: u32,
    tags: Vec<Tag>,
    input: Vec<u64>,
}

impl Contribution {
    /// Makes the contribution of the home at `index` in the batch. The ticket gives one tag per sharing point, in
    /// order;
    /// `input` are encoded elements.
    pub fn new(index: u32, tags: Vec<Tag>, input: &[u64]) -> Self {
        Self {
            index,
            tags,
            input: input.to_vec(),
        }
    }
}

/// Error for contributions that cannot be shared together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The points, or the number of them that is needed, are unusable.
    #[error(transparent)]
    Points(#[from] ShamirError),
    /// A contribution does not have exactly one tag per point.
    #[error("contribution {index} has {tags} tags for {points} aggregators")]
    Tags {
        /// Index of the home in the batch.
        index: u32,
        /// Number of tags.
        tags: usize,
        /// Number of points.
        points: usize,
    },
    /// A contribution does not have the elements of the circuit.
    #[error("contribution {index} is of another circuit")]
    Length {
        /// Index of the home in the batch.
        index: u32,
    },
}

/// Returns the shares that the aggregator of a group reads from it.
#[cfg(test)]
fn expanded(group: &GroupShare, share_len: usize) -> Vec<u64> {
    let group = HeldGroup::decode(group.encode(), share_len, group.entries.len());
    group.unwrap().expand(share_len).to_vec()
}
