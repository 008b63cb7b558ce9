//! The keys of a key epoch, and the grace between two (protocol.md §2).
//!
//! While a directory lists the epoch before, queries are asked under that one, where everybody is still
//! subscribed, and stacks subscribe under both. One query is under one epoch, so that no home counts twice.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Directory, DirectoryBody, Pool};
use crate::ceremony::Transcript;
use dispers_base::id::{KeyEpoch, Role};
use dispers_crypto::dealing::ThresholdKey;

/// The key epoch before the directory's, with its keys.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct PreviousEpoch {
    /// Its number, one less than the directory's.
    pub key_epoch: KeyEpoch,
    /// The Concept Indexors' key.
    pub indexors: ThresholdKey,
    /// How it was made, by the nodes that are still its members.
    pub transcripts: Vec<Transcript>,
    /// The pools' keys, for the same pools as now.
    pub pools: Vec<Pool>,
}

/// The keys of one key epoch.
#[derive(Debug, Clone, Copy)]
pub struct EpochKeys<'a> {
    /// Its number.
    pub key_epoch: KeyEpoch,
    /// The Concept Indexors' key.
    pub indexors: &'a ThresholdKey,
    pools: &'a [Pool],
}

impl<'a> EpochKeys<'a> {
    /// The pool of a role and partition (0 for the Target's).
    pub fn pool(&self, role: Role, partition: u16) -> Option<&'a Pool> {
        let of = |pool: &&Pool| pool.role == role && pool.partition == partition;
        self.pools.iter().find(of)
    }
}

impl DirectoryBody {
    /// The keys of the directory's own key epoch.
    pub fn current_keys(&self) -> EpochKeys<'_> {
        EpochKeys {
            key_epoch: self.key_epoch,
            indexors: &self.indexors,
            pools: &self.pools,
        }
    }

    /// The keys of the epoch before, during the grace.
    pub fn previous_keys(&self) -> Option<EpochKeys<'_>> {
        self.previous.as_ref().map(|previous| EpochKeys {
            key_epoch: previous.key_epoch,
            indexors: &previous.indexors,
            pools: &previous.pools,
        })
    }
}

impl Directory {
    /// The keys that queries are asked under.
    pub fn asked_keys(&self) -> EpochKeys<'_> {
        self.previous_keys().unwrap_or_else(|| self.current_keys())
    }

    /// The keys of every epoch that homes subscribe under, the one that is asked first.
    pub fn epochs(&self) -> impl Iterator<Item = EpochKeys<'_>> {
        self.previous_keys()
            .into_iter()
            .chain([self.current_keys()])
    }

    /// The keys of a listed epoch.
    pub fn keys_of(&self, epoch: KeyEpoch) -> Option<EpochKeys<'_>> {
        self.epochs().find(|keys| keys.key_epoch == epoch)
    }
}
