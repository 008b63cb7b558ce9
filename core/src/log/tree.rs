//! The Merkle tree of RFC 6962 §2.1, over SHA-256.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash, mem_backed_tree::MemoryBackedTree};
use sha2::Sha256;

use super::{Leaf, LogError, MAX_PROOF};

/// Largest tree that anybody believes in.
const MAX_SIZE: u64 = 1 << 40;

/// Size and hash of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Root {
    /// Number of leaves.
    pub size: u64,
    /// Hash of the tree.
    pub hash: [u8; 32],
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.size)
    }
}

impl Root {
    fn hash(&self) -> RootHash<Sha256> {
        RootHash::new(self.hash.into(), self.size)
    }

    /// Whether `leaf` stands at `index` of the tree, as `path` shows.
    pub(super) fn includes(&self, leaf: &Leaf, index: u64, path: &[u8]) -> bool {
        if index >= self.size || self.size > MAX_SIZE || path.len() > MAX_PROOF {
            return false;
        }
        let proof = InclusionProof::<Sha256>::try_from_bytes(path.to_vec());
        proof.is_ok_and(|proof| self.hash().verify_inclusion(leaf, index, &proof).is_ok())
    }
}

/// Checks that the tree of `newer` begins with the tree of `older`. Every tree begins with the empty one,
/// without a proof.
///
/// # Errors
/// [`LogError::Forked`] if one size has two hashes, which proves that whoever signed both is at fault.
/// [`LogError::Unproved`] if the proof is wrong, which proves only the sender's fault.
pub fn check_consistency(older: &Root, newer: &Root, proof: &[u8]) -> Result<(), LogError> {
    if older.size == 0 && newer.size > 0 {
        return Ok(());
    }
    if older.size == newer.size {
        return match older.hash == newer.hash {
            true => Ok(()),
            false => Err(LogError::Forked),
        };
    }
    if older.size > newer.size || newer.size > MAX_SIZE || proof.len() > MAX_PROOF {
        return Err(LogError::Unproved);
    }
    ConsistencyProof::<Sha256>::try_from_bytes(proof.to_vec())
        .ok()
        .filter(|proof| {
            let newer = newer.hash();
            newer.verify_consistency(&older.hash(), proof).is_ok()
        })
        .map(|_| ())
        .ok_or(LogError::Unproved)
}

/// A log's leaves, and the tree over them.
#[derive(Default)]
pub struct Tree(MemoryBackedTree<Sha256, Leaf>);

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({})", self.size())
    }
}

impl Tree {
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.0.len()
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Leaf) {
        self.0.push(leaf);
    }

    /// Size and hash.
    pub fn root(&self) -> Root {
        Root {
            size: self.size(),
            hash: (*self.0.root().as_bytes()).into(),
        }
    }

    /// The path that shows the leaf at `index`; `None` beyond the last.
    pub fn path(&self, index: u64) -> Option<Vec<u8>> {
        let place = usize::try_from(index)
            .ok()
            .filter(|_| index < self.size())?;
        Some(self.0.prove_inclusion(place).as_bytes().to_vec())
    }

    /// The proof that the tree of `newer` leaves begins with that of `older`; `None` where the log never
    /// had these sizes in this order.
    pub fn consistency(&self, older: u64, newer: u64) -> Option<Vec<u8>> {
        if older > newer || newer > self.size() {
            return None;
        }
        if older == 0 || older == newer {
            return Some(Vec::new());
        }
        let additions = usize::try_from(newer - older).ok()?;
        if newer == self.size() {
            return Some(self.0.prove_consistency(additions).as_bytes().to_vec());
        }
        let mut former = Self::default();
        for leaf in self.0.items().iter().take(usize::try_from(newer).ok()?) {
            former.push(*leaf);
        }
        former.consistency(older, newer)
    }
}
