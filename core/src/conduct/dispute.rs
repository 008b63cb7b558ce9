//! Disputes between aggregators: one cannot read another's message, or they contradict each other about a share of
//! dealt noise. The Conductor cannot look inside the messages (protocol.md §8, §9).
//!
//! Either the sender or the reader is at fault, so that one dispute puts nobody out. Honest aggregators are never in
//! dispute with each other. So an aggregator that is in dispute with more than half of its committee is at fault, as
//! long as fewer than half of the committee are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Conduct, Failure, StepError};
use crate::aggregation::Quorum;
use dispers_base::{
    id::{AggregatorId, MemberNumber},
    weakness::{self, Weakness},
};

/// Disputes of a query, over all its batches and attempts.
#[derive(Default)]
pub(super) struct Disputes(BTreeMap<AggregatorId, BTreeSet<MemberNumber>>);

impl Disputes {
    /// Records a dispute of an aggregator with each of `others`, of its committee.
    fn add(&mut self, aggregator: AggregatorId, others: impl IntoIterator<Item = MemberNumber>) {
        for other in others {
            self.0.entry(aggregator).or_default().insert(other);
        }
    }

    /// Records that an aggregator found the others' guard counts to contradict each other.
    pub(super) fn add_contradiction(&mut self, reader: AggregatorId) {
        self.0.entry(reader).or_default();
    }

    /// Returns the members of its committee with which an aggregator is in dispute, as reader or as sender.
    fn partners(&self, of: AggregatorId) -> BTreeSet<MemberNumber> {
        let named = self.0.get(&of).into_iter().flatten().copied();
        let readers = self.0.iter().filter(|(reader, senders)| {
            reader.committee == of.committee && senders.contains(&of.member)
        });
        named
            .chain(readers.map(|(reader, _)| reader.member))
            .collect()
    }

    /// Lists the disputes, each aggregator with the others. It has no others if it found a contradiction.
    pub(super) fn to_vec(&self) -> Vec<(AggregatorId, Vec<MemberNumber>)> {
        let disputes = self.0.iter();
        disputes
            .map(|(reader, senders)| (*reader, senders.iter().copied().collect()))
            .collect()
    }
}

impl FromIterator<(AggregatorId, Vec<MemberNumber>)> for Disputes {
    fn from_iter<I: IntoIterator<Item = (AggregatorId, Vec<MemberNumber>)>>(disputes: I) -> Self {
        let mut all = Self::default();
        for (aggregator, others) in disputes {
            all.add_contradiction(aggregator);
            all.add(aggregator, others);
        }
        all
    }
}

impl Conduct {
    /// Records a dispute between an aggregator and the senders that it cannot read, if its answer names any.
    ///
    /// The messages of all `asked` were handed to the aggregator. It lies if it can read those of `needed` members, its
    /// own included, or names nobody whose message it has.
    pub(super) fn dispute<T>(
        &mut self,
        reader: AggregatorId,
        result: Result<T, StepError>,
        asked: &BTreeSet<MemberNumber>,
        needed: usize,
    ) -> Result<T, StepError> {
        let named = match &result {
            Err(StepError::Unread { members }) if !weakness::off(Weakness::UnreadEvicts) => members,
            _ => return result,
        };
        let mut unread: BTreeSet<MemberNumber> = named.iter().copied().collect();
        unread.retain(|member| *member != reader.member && asked.contains(member));
        if unread.is_empty() || asked.len() - unread.len() >= needed {
            return Err(StepError::FalseClaim);
        }
        // Aggregators that are already out are not recorded: they would count in the failure that names the disputes.
        unread.retain(|member| {
            self.alive.contains_key(&AggregatorId {
                member: *member,
                ..reader
            })
        });
        self.disputes.add(reader, unread);
        result
    }

    /// Records a dispute between a dealer of noise and a member of the quorum if most of the quorum see it: a liar
    /// alone could name two others.
    pub(super) fn dispute_deals(
        &mut self,
        committee: u16,
        quorum: &Quorum,
        disputed: &[(MemberNumber, MemberNumber)],
    ) {
        let mut said: BTreeMap<(MemberNumber, MemberNumber), usize> = BTreeMap::new();
        for pair in disputed {
            *said.entry(*pair).or_default() += 1;
        }
        let most = quorum.members().len() / 2;
        for ((dealer, member), times) in said {
            let dealer = AggregatorId {
                committee,
                member: dealer,
            };
            if times > most && self.alive.contains_key(&dealer) {
                self.disputes.add(dealer, [member]);
            }
        }
    }

    /// Excludes each aggregator that is in dispute with more than half of the remaining aggregators of its committee.
    /// Excluded aggregators do not count: a liar that left would count against the honest aggregators that it accused.
    pub(super) fn settle_disputes(&mut self, committee: u16) {
        let alive = self.alive_in(committee);
        let disputed = alive.keys().filter(|aggregator| {
            let partners = self.disputes.partners(**aggregator).into_iter();
            let left = partners.filter(|member| {
                let partner = AggregatorId {
                    committee,
                    member: *member,
                };
                alive.contains_key(&partner)
            });
            left.count() > alive.len() / 2
        });
        // All are judged before the first is excluded, so that the order of the members does not matter.
        for aggregator in disputed.copied().collect::<Vec<_>>() {
            self.alive.remove(&aggregator);
            self.out.entry(aggregator).or_insert(StepError::Disputed);
        }
    }

    /// Returns the failure of a batch whose aggregators do not agree, with the disputes if there are any.
    pub(super) fn no_agreement(&self) -> Failure {
        match self.disputes.to_vec() {
            none if none.is_empty() => Failure::NoAgreement,
            disputes => Failure::Disputes { disputes },
        }
    }
}
