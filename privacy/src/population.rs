//! Populations: sets of homes for which a querier has a budget.

use borsh::{BorshDeserialize, BorshSerialize};

use dispers_base::hex::Hex;

/// Name of the homes that a profile means, as a target finder gives it for one querier and key epoch: a keyed hash of
/// the querier, the key epoch and the canonical profile.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Population(pub [u8; 32]);

impl std::fmt::Display for Population {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Hex(&self.0[..8]))
    }
}
