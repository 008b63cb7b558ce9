//! The Conductor's loop, one command after another.

use std::collections::VecDeque;

use super::{Scene, copy_of, name};
use crate::{
    aggregation::AggregationError,
    conduct::{Command, Conduct, Event, Options, StepError},
    find::BatchStatement,
    release::is_acknowledged_by,
};
use dispers_base::id::{AggregatorId, Work};

/// Largest number of commands of a query, so that a loop without end fails.
const MOST_COMMANDS: usize = 2000;

pub(crate) fn step_error(error: &AggregationError) -> StepError {
    match error {
        AggregationError::TooManyInconsistent { suspect, .. } => {
            StepError::Inconsistent { suspect: *suspect }
        }
        AggregationError::BadDeals { dealers, disputes } => StepError::BadDeals {
            dealers: dealers.clone(),
            disputes: disputes.clone(),
        },
        AggregationError::Unread { members } => StepError::Unread {
            members: members.clone(),
        },
        AggregationError::BadGuards => StepError::Unread {
            members: Vec::new(),
        },
        AggregationError::Forgotten => StepError::Forgotten,
        AggregationError::BadGroups | AggregationError::Unopened { .. } => StepError::OtherBytes {
            target: name("target"),
        },
        other => StepError::Refused(other.to_string()),
    }
}

/// Returns the aggregator that a command is for.
pub(crate) fn addressee(command: &Command) -> Option<AggregatorId> {
    command.step().1
}

/// Returns the name of a command's kind.
pub(crate) fn label(command: &Command) -> &'static str {
    match command {
        Command::Find { .. } => "find",
        Command::Begin { .. } => "begin",
        Command::Ask { .. } => "ask",
        Command::Deal { .. } => "deal",
        Command::OpenDeals { .. } => "open deals",
        Command::Open { .. } => "open",
        Command::Verify { .. } => "verify",
        Command::Decide { .. } => "decide",
        Command::Commit { .. } => "commit",
        Command::Notarise { .. } => "notarise",
        Command::Guards { .. } => "guards",
        Command::Release { .. } => "release",
    }
}

/// Returns the event of a command that failed.
pub(crate) fn failed(command: &Command, error: StepError) -> Event {
    match command {
        Command::Find { partition } => Event::Found(*partition, Err(error)),
        Command::Begin { aggregator, .. } => Event::Begun(*aggregator, Err(error)),
        Command::Ask { work, .. } => Event::Asked(*work, Err(error)),
        Command::Deal {
            aggregator,
            request,
        } => Event::Dealt(*aggregator, request.work, Err(error)),
        Command::OpenDeals {
            aggregator,
            request,
            ..
        } => Event::Opened(*aggregator, request.work, Err(error)),
        Command::Open {
            aggregator, answer, ..
        } => Event::Opened(*aggregator, answer.statement.work, Err(error)),
        Command::Verify {
            aggregator, work, ..
        } => Event::Verified(*aggregator, *work, Err(error)),
        Command::Decide {
            aggregator, work, ..
        } => Event::Decided(*aggregator, *work, Err(error)),
        Command::Commit {
            aggregator, work, ..
        } => Event::Committed(*aggregator, *work, Err(error)),
        Command::Notarise { .. } => Event::Notarised(Err(error)),
        Command::Guards { aggregator, .. } => Event::Guarded(*aggregator, Err(error)),
        Command::Release { aggregator, .. } => Event::Released(*aggregator, Err(error)),
    }
}

impl Scene {
    /// Returns the number of batches of the one partition and committee.
    pub(crate) fn batches(&self) -> u32 {
        self.found.batches.len() as u32
    }

    /// Returns the number of homes that the finder chose for a batch.
    fn homes_of(&self, work: Work) -> u32 {
        let batch = &self.found.batches[work.batch.number as usize];
        let statement: BatchStatement = batch.statement.unverified().unwrap();
        statement.count
    }

    /// Returns the event as the Conductor receives it. An answer that the Target did not sign becomes a failure, and so
    /// do a deal and an acknowledgement that their aggregator did not sign.
    pub(crate) fn received(&self, event: Event) -> Event {
        let event = match event {
            Event::Dealt(dealer, work, Ok(deal))
                if !deal.is_signed_by(dealer, &self.network.directory) =>
            {
                return Event::Dealt(dealer, work, Err(StepError::BadNoise));
            }
            Event::Decided(from, work, Ok(acknowledgement))
                if !is_acknowledged_by(from, &acknowledgement, &self.network.directory) =>
            {
                return Event::Decided(from, work, Err(StepError::BadAcknowledgement));
            }
            event => event,
        };
        let Event::Asked(work, Ok(answer)) = event else {
            return event;
        };
        let target = answer.statement.target.clone();
        let homes = self.homes_of(work);
        let (manifest, directory) = (&self.question.manifest, &self.network.directory);
        let checked = answer.check(work, &target, homes, manifest, directory);
        let other = |_| StepError::OtherBytes { target };
        Event::Asked(work, checked.map(|()| answer).map_err(other))
    }

    /// Carries out a command as honest parties do.
    pub(crate) fn carry_out(&mut self, command: &Command) -> Event {
        let error = |error: AggregationError| step_error(&error);
        match command {
            Command::Find { partition } => {
                Event::Found(*partition, Ok(copy_of(&self.found.summary)))
            }
            Command::Begin { aggregator, grants } => {
                let aggregation = self.aggregators.get_mut(&aggregator.member).unwrap();
                let mut begun = grants.iter().map(|(partition, grant)| {
                    aggregation.grant(*partition, grant, &self.network.directory)
                });
                Event::Begun(
                    *aggregator,
                    begun.try_for_each(|begun| begun.map_err(error)),
                )
            }
            Command::Ask { work, .. } => Event::Asked(*work, Ok(self.honest(*work))),
            Command::Deal {
                aggregator,
                request,
            } => Event::Dealt(
                *aggregator,
                request.work,
                self.deal_at(aggregator.member, request).map_err(error),
            ),
            Command::OpenDeals {
                aggregator,
                request,
                deals,
                ..
            } => Event::Opened(
                *aggregator,
                request.work,
                self.open_deals_at(aggregator.member, request, deals)
                    .map_err(error),
            ),
            Command::Open {
                aggregator, answer, ..
            } => Event::Opened(
                *aggregator,
                answer.statement.work,
                self.open_at(aggregator.member, answer).map_err(error),
            ),
            Command::Verify {
                aggregator,
                work,
                messages,
            } => Event::Verified(
                *aggregator,
                *work,
                self.verify_at(aggregator.member, *work, messages)
                    .map_err(error),
            ),
            Command::Decide {
                aggregator,
                work,
                quorum,
                messages,
            } => Event::Decided(
                *aggregator,
                *work,
                self.decide_at(aggregator.member, *work, quorum, messages)
                    .map_err(error),
            ),
            Command::Commit {
                aggregator,
                work,
                acknowledgements,
            } => Event::Committed(
                *aggregator,
                *work,
                self.commit_at(aggregator.member, *work, acknowledgements)
                    .map_err(error),
            ),
            Command::Notarise { proposal } => Event::Notarised(Ok(self.certificate(proposal))),
            Command::Guards {
                aggregator,
                proposal,
                certificate,
            } => Event::Guarded(
                *aggregator,
                self.guards_at(aggregator.member, proposal, certificate)
                    .map_err(error),
            ),
            Command::Release {
                aggregator,
                messages,
                ..
            } => Event::Released(
                *aggregator,
                self.release_at(aggregator.member, messages).map_err(error),
            ),
        }
    }

    /// Runs the query to its end. An event that `intervene` returns takes the place of the honest one.
    pub(crate) fn drive(
        &mut self,
        intervene: impl FnMut(&mut Self, &Command) -> Option<Event>,
    ) -> Conduct {
        let (mut conduct, commands) =
            Conduct::new(self.question.manifest.clone(), Options::default());
        self.follow(&mut conduct, commands, intervene);
        conduct
    }

    /// Carries out these commands and all commands that follow from them.
    pub(crate) fn follow(
        &mut self,
        conduct: &mut Conduct,
        commands: Vec<Command>,
        mut intervene: impl FnMut(&mut Self, &Command) -> Option<Event>,
    ) {
        let mut commands = VecDeque::from(commands);
        for _ in 0..MOST_COMMANDS {
            let Some(command) = commands.pop_front() else {
                return;
            };
            let event = intervene(self, &command);
            let event = event.unwrap_or_else(|| self.carry_out(&command));
            let event = self.received(event);
            commands.extend(conduct.handle(event));
        }
        panic!("the query does not end");
    }
}
