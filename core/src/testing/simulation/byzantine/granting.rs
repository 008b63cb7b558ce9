//! How aggregators begin: with what the finder grants them, as the conductor hands it on.

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

/// The grant of an aggregator in a find.
fn grant_of(summary: &FindSummary, member: MemberNumber) -> Option<SealedGrant> {
    let mut grants = summary.grants.iter();
    let (_, _, grant) = grants.find(|(_, of, _)| *of == member)?;
    Some(copy_of(grant))
}

impl Query<'_> {
    /// The Byzantine aggregator says nothing at a step.
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

    /// The grant that an aggregator is handed in the place of its own, if it is another.
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

    /// An aggregator takes its grant, and reserves what the query costs.
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
        // A liar charges nothing.
        let place = self.place;
        let reserved = match byzantine {
            true => Ok(()),
            false => self.ledgers.reserve(member, aggregation, directory, place),
        };
        Event::Begun(aggregator, reserved.map_err(|why| refused(&why)))
    }
}
