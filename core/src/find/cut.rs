//! Cutting a find's homes into batches (protocol.md §6).
//!
//! A keyed hash of (query, home) names the home's committee before anything is cut, so that one home more or less
//! changes the batches of its own committee only. Q opens each committee's totals separately, and one home must not
//! show in the totals of two committees.

use borsh::{BorshDeserialize, BorshSerialize};
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

use crate::{subscription::HomeTag, ticket::CommitteeKey};
use dispers_base::{
    id::BatchId,
    weakness::{self, Weakness},
};

/// Number of homes of each batch of a find, by committee and number. Part of the find's id.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Cut(Vec<Vec<u32>>);

impl Cut {
    /// Creates a cut with these numbers of homes, by committee and number.
    pub fn of(sizes: Vec<Vec<u32>>) -> Self {
        Self(sizes)
    }

    /// Cuts each committee's homes, `homes[committee]` of them, into batches of nearly equal size: at most
    /// `preferred`, unless that would leave a batch with fewer than `min_cohort`.
    pub(super) fn new(homes: &[usize], preferred: u32, min_cohort: u32) -> Self {
        let sizes = homes.iter();
        Self(
            sizes
                .map(|homes| batch_sizes(*homes, preferred, min_cohort))
                .collect(),
        )
    }

    /// Returns the batches of a partition, in order, each with its number of homes.
    pub fn batches(&self, partition: u16) -> impl Iterator<Item = (BatchId, u32)> {
        (0u16..).zip(&self.0).flat_map(move |(committee, sizes)| {
            (0u32..).zip(sizes).map(move |(number, size)| {
                let batch = BatchId {
                    partition,
                    committee,
                    number,
                };
                (batch, *size)
            })
        })
    }

    /// Returns the number of homes of a batch. `None` if the cut has no such batch.
    pub fn count(&self, batch: BatchId) -> Option<u32> {
        let sizes = self.0.get(usize::from(batch.committee))?;
        sizes.get(batch.number as usize).copied()
    }

    /// Returns the number of homes of all batches.
    pub fn homes(&self) -> u64 {
        self.0.iter().flatten().map(|size| u64::from(*size)).sum()
    }

    /// Returns whether each of `committees` committees has a batch, no other committee has one, and each batch has at
    /// least `min_cohort` homes.
    pub fn is_legal(&self, committees: usize, min_cohort: u32) -> bool {
        self.0.len() == committees
            && self.0.iter().all(|sizes| !sizes.is_empty())
            && self.0.iter().flatten().all(|size| *size >= min_cohort)
    }
}

/// Returns the batch sizes for the `homes` homes of one committee.
fn batch_sizes(homes: usize, preferred: u32, min_cohort: u32) -> Vec<u32> {
    // The cohort bounds the number of batches from above, whatever size the Conductor prefers.
    let most = (homes / min_cohort.max(1) as usize).max(1);
    let batches = homes.div_ceil(preferred.max(1) as usize).clamp(1, most);
    (0..batches)
        // Differences of rounded multiples: the sizes differ by at most one and add up to `homes`.
        .map(|batch| (homes * (batch + 1) / batches - homes * batch / batches) as u32)
        .collect()
}

/// Returns the committee, below `committees`, that adds up a home's answers. It depends only on the home and the key,
/// which belongs to one query.
pub fn committee_of(key: &CommitteeKey, tag: &HomeTag, committees: u16) -> u16 {
    let hash = Sha256::new()
        .chain_update(key.as_bytes())
        .chain_update(tag.0);
    let hash: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    // 64 bits keep the modulo bias small: no committee is more likely by more than 2⁻⁴⁸.
    let drawn = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    (drawn % u64::from(committees.max(1))) as u16
}

/// Homes of a find by committee, each in the order of the tags.
pub(super) struct Split(Vec<Vec<u32>>);

impl Split {
    /// Splits `homes`, which are places among the candidates, over the committees.
    pub(super) fn new<'t>(
        homes: Vec<u32>,
        tag: impl Fn(u32) -> &'t HomeTag,
        key: &CommitteeKey,
        committees: u16,
    ) -> Self {
        // With one committee the hash would only cost time.
        if committees <= 1 {
            return Self(vec![homes]);
        }
        let mut split = vec![Vec::new(); usize::from(committees)];
        let all = homes.len();
        for (place, home) in homes.into_iter().enumerate() {
            let committee = match weakness::off(Weakness::CommitteesMoveWithBatches) {
                true => (place * usize::from(committees) / all) as u16,
                false => committee_of(key, tag(home), committees),
            };
            split[usize::from(committee)].push(home);
        }
        Self(split)
    }

    /// Returns the number of homes of the smallest committee.
    pub(super) fn smallest(&self) -> usize {
        self.0.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// Returns the number of homes of each committee.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.0.iter().map(Vec::len).collect()
    }

    /// Returns all homes, in an unspecified order.
    pub(super) fn homes(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flatten().copied()
    }

    /// Shuffles each committee's homes. Returns the homes of all committees, in the order of a [`Cut`].
    pub(super) fn shuffled(mut self, rng: &mut impl rand::Rng) -> Vec<u32> {
        for homes in &mut self.0 {
            homes.shuffle(rng);
        }
        self.0.concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;
    use crate::ticket::PoolSecret;
    use dispers_base::{id::QueryId, weakness::without};

    fn tags(homes: &BTreeSet<u16>) -> Vec<HomeTag> {
        let tag = |home: &u16| {
            let mut tag = [0; 16];
            tag[..2].copy_from_slice(&home.to_be_bytes());
            HomeTag(tag)
        };
        homes.iter().map(tag).collect()
    }

    /// Returns the homes of each committee, by tag.
    fn split(homes: &BTreeSet<u16>, committees: u16) -> Vec<BTreeSet<HomeTag>> {
        let key = PoolSecret::from_bytes([5; 32]).committee_key(QueryId([1; 32]));
        let tags = tags(homes);
        let places = (0..tags.len() as u32).collect();
        let Split(split) = Split::new(places, |place| &tags[place as usize], &key, committees);
        let tags_at = |places: Vec<u32>| places.into_iter().map(|p| tags[p as usize]).collect();
        split.into_iter().map(tags_at).collect()
    }

    fn changed(homes: &BTreeSet<u16>, one: u16, committees: u16) -> usize {
        let (mut with, mut without) = (homes.clone(), homes.clone());
        with.insert(one);
        without.remove(&one);
        let (with, without) = (split(&with, committees), split(&without, committees));
        with.iter().zip(&without).filter(|(a, b)| a != b).count()
    }

    proptest! {
        #[test]
        fn one_home_more_or_less_changes_one_committee_by_that_home(
            homes in prop::collection::btree_set(any::<u16>(), 0..300),
            one in any::<u16>(),
            committees in 1u16..6,
        ) {
            let (mut with, mut without) = (homes.clone(), homes.clone());
            with.insert(one);
            without.remove(&one);
            let (with, without) = (split(&with, committees), split(&without, committees));
            let apart: Vec<usize> = with
                .iter()
                .zip(&without)
                .map(|(a, b)| a.symmetric_difference(b).count())
                .collect();
            prop_assert_eq!(apart.iter().sum::<usize>(), 1);
            let all: usize = with.iter().map(BTreeSet::len).sum();
            prop_assert_eq!(all, homes.len() + usize::from(!homes.contains(&one)));
        }
    }

    #[test]
    fn committees_that_follow_from_places_change_with_homes_of_others() {
        let homes: BTreeSet<u16> = (0..200).map(|home| home * 7).collect();
        assert_eq!(changed(&homes, 3, 3), 1);
        let weak = without(Weakness::CommitteesMoveWithBatches, || {
            changed(&homes, 3, 3)
        });
        assert!(weak > 1);
    }

    #[test]
    fn committees_are_even_and_no_two_queries_split_alike() {
        let homes: BTreeSet<u16> = (0..4000).collect();
        for committee in split(&homes, 4) {
            assert!((850..1150).contains(&committee.len()));
        }
        let secret = PoolSecret::from_bytes([5; 32]);
        let committees = |query| {
            let key = secret.committee_key(QueryId([query; 32]));
            let committee = |tag| committee_of(&key, tag, 4);
            tags(&homes).iter().map(committee).collect::<Vec<u16>>()
        };
        assert_ne!(committees(1), committees(2));
    }

    #[test]
    fn no_batch_is_below_the_cohort() {
        for (homes, preferred, cohort) in [(20, 50_000, 20), (45, 10, 20), (100, 7, 20), (1, 1, 1)]
        {
            let sizes = batch_sizes(homes, preferred, cohort);
            assert_eq!(sizes.iter().sum::<u32>() as usize, homes);
            assert!(sizes.iter().all(|&size| size >= cohort), "{sizes:?}");
        }
        assert_eq!(batch_sizes(120_000, 50_000, 20), [40_000; 3]);
        let cut = Cut::new(&[45, 20], 10, 20);
        assert_eq!(cut, Cut::of(vec![vec![22, 23], vec![20]]));
        assert_eq!(cut.homes(), 65);
        assert!(cut.is_legal(2, 20));
        let sizes: Vec<u32> = cut.batches(3).map(|(_, size)| size).collect();
        assert_eq!(sizes, [22, 23, 20]);
        assert!(
            cut.batches(3)
                .all(|(batch, size)| cut.count(batch) == Some(size))
        );
    }

    #[test]
    fn a_cut_without_a_committee_or_below_the_cohort_is_not_legal() {
        for illegal in [
            vec![vec![20]],
            vec![vec![20], vec![]],
            vec![vec![20], vec![19]],
            vec![vec![20], vec![20], vec![20]],
        ] {
            assert!(!Cut::of(illegal).is_legal(2, 20));
        }
    }
}
