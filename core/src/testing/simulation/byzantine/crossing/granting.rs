//! The finds of the query, and the grants that aggregators get.

use super::Crossing;
use super::drive::refused;
use super::forge::mixed;
use super::ground::EACH;
use super::moves::{Axis, Cross};
use crate::{
    conduct::StepError,
    find::{FindSummary, SealedGrant},
    testing::copy_of,
};
use dispers_base::id::AggregatorId;

/// Homes per batch of the other find that is made for one committee.
const OTHER_SIZE: u32 = 40;

impl Crossing {
    pub(super) fn find(&mut self, partition: u16) -> Result<FindSummary, StepError> {
        let mut segments = self.lists[usize::from(partition)].clone();
        if self.makes(Cross::Stream) {
            let other = (partition + 1) % EACH;
            segments.extend(self.lists[usize::from(other)].clone());
        }
        let size = self.course.batch_size;
        let mut found = self
            .ground
            .find(partition, size, &segments)
            .map_err(refused)?;
        for made in self.course.moves.clone() {
            if let Cross::OtherFind { committee } = made {
                let other = self.ground.find(partition, OTHER_SIZE, &segments);
                found = mixed(found, other.map_err(refused)?, committee);
                self.reached(made);
            }
        }
        let summary = copy_of(&found.summary);
        self.found.insert(partition, found);
        // The finder of partition 1 is the last, so that the other find has been made.
        for made in self.course.moves.clone() {
            if let Cross::HomesOf { axis, homes } = made
                && partition + 1 == EACH
            {
                self.put_homes(axis, homes);
            }
        }
        Ok(summary)
    }

    /// Hands an aggregator a grant that is not the one of this partition. No aggregator may take it.
    fn try_grant(&mut self, made: Cross, at: AggregatorId, partition: u16, grant: &SealedGrant) {
        let taken = self.at(at, |aggregation, _, directory, _| {
            aggregation.grant(partition, grant, directory)
        });
        self.never(made, taken.is_ok());
    }

    pub(super) fn begin(
        &mut self,
        at: AggregatorId,
        grants: &[(u16, SealedGrant)],
    ) -> Result<(), StepError> {
        let mut left_out = None;
        for made in self.course.moves.clone() {
            match made {
                Cross::Grant { member, axis } if member == at.member.point() => {
                    for (partition, grant) in grants {
                        match axis {
                            Axis::Partition => {
                                self.try_grant(made, at, (partition + 1) % EACH, grant);
                            }
                            Axis::Committee => {
                                let other = self.grant_of_other_committee(at, *partition);
                                self.try_grant(made, at, *partition, &other);
                            }
                        }
                    }
                }
                Cross::GrantByOtherFinder => {
                    let grant = self.grant_by_other_finder(at, &grants[0].1);
                    self.try_grant(made, at, 0, &grant);
                }
                Cross::WithoutGrant {
                    committee,
                    member,
                    partition,
                } if (committee, member) == (at.committee, at.member.point()) => {
                    left_out = Some(partition);
                    self.reached(made);
                }
                _ => {}
            }
        }
        for (partition, grant) in grants.iter().filter(|(of, _)| Some(*of) != left_out) {
            self.at(at, |aggregation, _, directory, _| {
                aggregation.grant(*partition, grant, directory)
            })?;
            self.granted.entry(at).or_default().insert(*partition);
        }
        Ok(())
    }

    fn grant_of_other_committee(&self, at: AggregatorId, partition: u16) -> SealedGrant {
        let mut grants = self.found[&partition].summary.grants.iter();
        let other = (at.committee + 1) % EACH;
        let grant = grants.find(|(of, member, _)| (*of, *member) == (other, at.member));
        grant.expect("every aggregator made an offer").2.clone()
    }
}
