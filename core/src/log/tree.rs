//! The Merkle tree of RFC 6962 §2.1, over SHA-256.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash, mem_backed_tree::MemoryBackedTree};
use sha2::Sha256;

use super::{Leaf, LogError, MAX_PROOF};

/// Largest tree that any party accepts.
const MAX_SIZE: u64 = 1 << 40;

/// Size and root hash of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Root {
    /// Number of leaves.
    pub size: u64,
    /// Root hash.
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

    /// Returns whether `path` proves that `leaf` is at `index` of the tree.
    pub(super) fn includes(&self, leaf: &Leaf, index: u64, path: &[u8]) -> bool {
        // The bounds come first: size and path are a stranger's, and the proof's work grows with them.
        if index >= self.size || self.size > MAX_SIZE || path.len() > MAX_PROOF {
            return false;
        }
        let proof = InclusionProof::<Sha256>::try_from_bytes(path.to_vec());
        proof.is_ok_and(|proof| self.hash().verify_inclusion(leaf, index, &proof).is_ok())
    }
}

/// Checks that the tree of `newer` begins with the tree of `older`. Every tree begins with the empty tree, which needs
/// no proof.
///
/// # Errors
/// [`LogError::Forked`] if one size has two hashes, which proves that whoever signed both is at fault.
/// [`LogError::Unproved`] if the proof is wrong, which proves only the sender's fault.
pub fn check_consistency(older: &Root, newer: &Root, proof: &[u8]) -> Result<(), LogError> {
    if older.size == 0 && newer.size > 0 {
        return Ok(());
    }
    if older.size == newer.size {
        // One size has one hash. This case needs no proof, and so its error proves the fault of the signer and not of
        // the sender.
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
    /// Returns the number of leaves.
    pub fn size(&self) -> u64 {
        self.0.len()
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Leaf) {
        self.0.push(leaf);
    }

    /// Returns the size and root hash.
    pub fn root(&self) -> Root {
        Root {
            size: self.size(),
            hash: (*self.0.root().as_bytes()).into(),
        }
    }

    /// Returns the proof that the leaf at `index` is in the tree; `None` beyond the last leaf.
    pub fn path(&self, index: u64) -> Option<Vec<u8>> {
        let place = usize::try_from(index)
            .ok()
            .filter(|_| index < self.size())?;
        Some(self.0.prove_inclusion(place).as_bytes().to_vec())
    }

    /// Returns the proof that the tree of the first `newer` leaves begins with the tree of the first `older` leaves;
    /// `None` if the log has fewer leaves or `older` is larger than `newer`.
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
        // The library proves consistency with the current tree only: an earlier tree is built again from its leaves.
        let mut former = Self::default();
        for leaf in self.0.items().iter().take(usize::try_from(newer).ok()?) {
            former.push(*leaf);
        }
        former.consistency(older, newer)
    }
}
