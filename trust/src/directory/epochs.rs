//! Keys of a key epoch, and the grace between two key epochs (protocol.md §2).
//!
//! While a directory lists the previous key epoch, queries are asked under that epoch, where all homes are still
//! subscribed, and stacks subscribe under both. Each query is under one epoch, so that no home counts twice.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Directory, DirectoryBody, Pool};
use crate::ceremony::Transcript;
use dispers_base::id::{KeyEpoch, Role};
use dispers_crypto::dealing::ThresholdKey;

/// Previous key epoch, with its keys.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct PreviousEpoch {
    /// Number of the epoch, one less than the directory's.
    pub key_epoch: KeyEpoch,
    /// Threshold key of the concept indexors in that epoch.
    pub indexors: ThresholdKey,
    /// Transcripts of that key, signed by the nodes that are the concept indexors now.
    pub transcripts: Vec<Transcript>,
    /// Pools with their keys in that epoch, the same pools as the directory's.
    pub pools: Vec<Pool>,
}

/// Keys of one key epoch.
#[derive(Debug, Clone, Copy)]
pub struct EpochKeys<'a> {
    /// Number of the epoch.
    pub key_epoch: KeyEpoch,
    /// Threshold key of the concept indexors.
    pub indexors: &'a ThresholdKey,
    pools: &'a [Pool],
}

impl<'a> EpochKeys<'a> {
    /// Returns the pool of a role and partition (0 for the targets' pool).
    pub fn pool(&self, role: Role, partition: u16) -> Option<&'a Pool> {
        self.pools
            .iter()
            .find(|pool| pool.place() == (role, partition))
    }
}

impl DirectoryBody {
    /// Returns the keys of the directory's own key epoch.
    pub fn current_keys(&self) -> EpochKeys<'_> {
        EpochKeys {
            key_epoch: self.key_epoch,
            indexors: &self.indexors,
            pools: &self.pools,
        }
    }

    /// Returns the keys of the previous key epoch; `None` outside a grace.
    pub fn previous_keys(&self) -> Option<EpochKeys<'_>> {
        self.previous.as_ref().map(|previous| EpochKeys {
            key_epoch: previous.key_epoch,
            indexors: &previous.indexors,
            pools: &previous.pools,
        })
    }
}

impl Directory {
    /// Returns the keys that queries are asked under.
    pub fn asked_keys(&self) -> EpochKeys<'_> {
        // During the grace, only the previous epoch has every home: the next one is still being filled.
        self.previous_keys().unwrap_or_else(|| self.current_keys())
    }

    /// Returns the keys of every epoch that homes subscribe under, beginning with the epoch that is asked.
    pub fn epochs(&self) -> impl Iterator<Item = EpochKeys<'_>> {
        self.previous_keys()
            .into_iter()
            .chain([self.current_keys()])
    }

    /// Returns the keys of `epoch`; `None` if the directory does not list it.
    pub fn keys_of(&self, epoch: KeyEpoch) -> Option<EpochKeys<'_>> {
        self.epochs().find(|keys| keys.key_epoch == epoch)
    }
}
