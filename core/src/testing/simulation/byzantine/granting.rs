//! The begin of a query at the aggregators, with the grants that the conductor hands them.

use super::campaign::Party;
use super::finder;
use super::moves::Move;
use super::query::{Query, counted, last, refused};
use crate::{
    conduct::{Command, Event, StepError},
    find::{FindSummary, SealedGrant},
    testing::{Scene, copy_of, failed, step_error},
};
use dispers_base::id::{AggregatorId, MemberNumber};

/// Returns a member's grant of a find.
fn grant_of(summary: &FindSummary, member: MemberNumber) -> Option<SealedGrant> {
    let mut grants = summary.grants.iter();
    let (_, _, grant) = grants.find(|(_, of, _)| *of == member)?;
    Some(copy_of(grant))
}

impl Query<'_> {
    /// Makes the Byzantine aggregator fail a step, if it makes this move.
    pub(super) fn refuses(&self, scene: &Scene, command: &Command) -> Option<Event> {
        let step = match command {
            Command::Begin { .. } => 0,
            Command::Open { .. } => 1,
            Command::Verify { .. } => 2,
            Command::Decide { .. } => 3,
            Command::Commit { .. } => 4,
            Command::Guards { .. } => 5,
            Command::Deal { .. } => 6,
            _ => return None,
        };
        let (_, to) = command.step();
        let byzantine = to.is_some_and(|to| to.member == last(scene));
        let refuses = byzantine && self.is(Party::Aggregator) && self.makes(Move::Refuses { step });
        refuses.then(|| failed(command, StepError::Unreachable))
    }

    /// Returns the grant that an aggregator is handed in place of its own, if the coalition replaces it.
    fn other_grant(
        &self,
        scene: &mut Scene,
        member: MemberNumber,
        honest: &SealedGrant,
    ) -> Option<SealedGrant> {
        for made in &self.moves {
            let grant = match made {
                Move::GrantOf { member: to, find } if counted(scene, *to) == member => {
                    let find = usize::from(*find) % (self.others.len() + 1);
                    let other = find.checked_sub(1).map(|other| &self.others[other]);
                    other.and_then(|found| grant_of(&found.summary, member))
                }
                Move::GrantBefore { member: to } if counted(scene, *to) == member => {
                    let found = self.earlier.found.as_ref();
                    found.and_then(|found| grant_of(&found.summary, member))
                }
                Move::FalseGrant { member: to, field }
                    if *to == 0 || counted(scene, *to) == member =>
                {
                    finder::false_grant(scene, member, honest, *field)
                }
                _ => None,
            };
            if grant.is_some() {
                self.reached.note(*made);
                return grant;
            }
        }
        None
    }

    /// Takes a grant at an aggregator, which reserves the cost of the query.
    pub(super) fn begin(
        &mut self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        grants: &[(u16, SealedGrant)],
    ) -> Event {
        let member = aggregator.member;
        let other = grants
            .first()
            .and_then(|(_, honest)| self.other_grant(scene, member, honest));
        let other = other.map(|grant| vec![(0, grant)]);
        let grants = other.as_deref().unwrap_or(grants);
        let byzantine = self.is_byzantine(scene, aggregator);
        let directory = &scene.network.directory;
        let Some(aggregation) = scene.aggregators.get_mut(&member) else {
            return Event::Begun(aggregator, Err(refused("it made no offer")));
        };
        for (partition, grant) in grants {
            if let Err(error) = aggregation.grant(*partition, grant, directory) {
                return Event::Begun(aggregator, Err(step_error(&error)));
            }
        }
        self.expenses = aggregation.expenses().collect();
        // The Byzantine aggregator charges nothing.
        let place = self.place;
        let reserved = match byzantine {
            true => Ok(()),
            false => self.ledgers.reserve(member, aggregation, directory, place),
        };
        Event::Begun(aggregator, reserved.map_err(|why| refused(&why)))
    }
}
