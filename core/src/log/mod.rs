//! The transparency log, which holds every manifest that was ever asked (protocol.md §16).
//!
//! Every manifest is a leaf of a Merkle tree (RFC 6962) that the Conductor keeps. A **head** names the tree's size and
//! root. The Conductor signs the head, and **witnesses** that the directory lists co-sign it, each only if the head
//! continues the one that this witness co-signed last. A stack answers a manifest that comes with an **inclusion
//! proof** under such a head, if the head is consistent with those that the stack saw.

mod cosign;
mod head;
#[cfg(test)]
mod tests;
mod tree;

use crate::manifest::SignedManifest;
use dispers_base::{
    encoding::{self, Message},
    labels,
};

pub use cosign::{Cosign, CosignReply, Witnessed};
pub use head::{FRESH, Head, Inclusion, LogError, SignedHead, VerifiedHead};
pub use tree::{Root, Tree, check_consistency};

/// Leaf of the tree: the hash of a manifest as it was received, signature included.
pub type Leaf = [u8; 32];

/// Largest proof, in bytes: a tree has at most 64 levels.
pub const MAX_PROOF: usize = 2 * 64 * 32;
/// Largest encoded request to co-sign, in bytes.
pub const MAX_COSIGN: usize = SignedHead::LIMIT + MAX_PROOF + 1024;

/// Returns the leaf of a manifest.
pub fn leaf(manifest: &SignedManifest) -> Leaf {
    encoding::hash(labels::HASH_LOG_LEAF, &[&encoding::to_bytes(manifest)])
}
