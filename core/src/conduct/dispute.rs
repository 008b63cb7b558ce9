//! Disputes between aggregators: one cannot read what another sent it, or they contradict each other about a share of
//! dealt noise, and the Conductor cannot look inside (protocol.md §8, §9).
//!
//! Either the sender or the reader is at fault, so that one dispute puts nobody out. Honest aggregators are never in
//! dispute with each other. So an aggregator that is in dispute with more than half of its committee is at fault, as
//! long as fewer than half of the committee are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Conduct, Failure, StepError};
use crate::aggregation::Quorum;
use crate::id::{AggregatorId, MemberNumber};

/// Disputes of a query, over all its batches and attempts.
#[derive(Default)]
pub(super) struct Disputes(BTreeMap<AggregatorId, BTreeSet<MemberNumber>>);

impl Disputes {
    /// Records a dispute of `reader` with each of `senders`.
    pub(super) fn add(
        &mut self,
        reader: AggregatorId,
        senders: impl IntoIterator<Item = MemberNumber>,
    ) {
        self.0.entry(reader).or_default().extend(senders);
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

    /// Lists the disputes, each reader with its senders.
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
        for (reader, senders) in disputes {
            all.add(reader, senders);
        }
        all
    }
}

impl Conduct {
    /// Records whose messages an aggregator cannot read, if its answer says so. Nobody is in dispute with itself, or
    /// with an aggregator that is out already.
    pub(super) fn dispute<T>(&mut self, reader: AggregatorId, result: &Result<T, StepError>) {
        let Err(StepError::Unread { members }) = result else {
            return;
        };
        let senders = members.iter().copied().filter(|member| {
            let sender = AggregatorId {
                member: *member,
                ..reader
            };
            sender != reader && self.alive.contains_key(&sender)
        });
        self.disputes.add(reader, senders);
    }

    /// Records a dispute between a dealer of noise and a member of the quorum if most of the quorum see it: a liar alone
    /// could name two others.
    pub(super) fn dispute_deals(
        &mut self,
        committee: u16,
        quorum: &Quorum,
        disputed: &[(MemberNumber, MemberNumber)],
    ) {
        let most = quorum.members().len() / 2;
        for pair in disputed {
            let (dealer, member) = *pair;
            if disputed.iter().filter(|other| *other == pair).count() > most {
                let dealer = AggregatorId {
                    committee,
                    member: dealer,
                };
                self.disputes.add(dealer, [member]);
            }
        }
    }

    /// Puts out who is in dispute with more than half of the aggregators that are left of its committee. Those that
    /// are out do not count: a liar that left would count against the honest aggregators that it accused.
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
        for aggregator in disputed.copied().collect::<Vec<_>>() {
            self.alive.remove(&aggregator);
            self.out.entry(aggregator).or_insert(StepError::Disputed);
        }
    }

    /// Returns the failure of a batch whose aggregators do not agree, with the disputes if there are any.
    pub(super) fn no_agreement(&self) -> Failure {
        match self.disputes.to_vec() {
            none if none.is_empty() => Failure::NoAgreement,
            readers => Failure::Unread { readers },
        }
    }
}
