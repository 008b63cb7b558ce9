//! The Conductor's loop, one command after the other.

use std::collections::VecDeque;

use super::{Scene, copy_of};
use crate::aggregation::AggregationError;
use crate::conduct::{Command, Conduct, Event, StepError};
use crate::encoding::from_bytes;
use crate::find::{BatchMessage, BatchStatement};
use crate::id::MemberNumber;

/// Most commands of a query, so that a loop without end fails.
const MOST_COMMANDS: usize = 2000;

fn step_error(error: &AggregationError) -> StepError {
    match error {
        AggregationError::TooManyInconsistent { suspect, .. } => {
            StepError::Inconsistent { suspect: *suspect }
        }
        other => StepError::Refused(other.to_string()),
    }
}

/// Which aggregator is to do it.
pub(crate) fn addressee(command: &Command) -> Option<MemberNumber> {
    command.step().1
}

/// What a command is called.
pub(crate) fn label(command: &Command) -> &'static str {
    match command {
        Command::Find => "find",
        Command::Begin { .. } => "begin",
        Command::Ask { .. } => "ask",
        Command::Open { .. } => "open",
        Command::Verify { .. } => "verify",
        Command::Decide { .. } => "decide",
        Command::Commit { .. } => "commit",
        Command::Notarise { .. } => "notarise",
        Command::Guards { .. } => "guards",
        Command::Release { .. } => "release",
    }
}

/// The event of a command that failed.
pub(crate) fn failed(command: &Command, error: StepError) -> Event {
    match command {
        Command::Find => Event::Found(Err(error)),
        Command::Begin { member, .. } => Event::Begun(*member, Err(error)),
        Command::Ask { work, .. } => Event::Asked(*work, Err(error)),
        Command::Open { member, answer, .. } => {
            Event::Opened(*member, answer.statement.work, Err(error))
        }
        Command::Verify { member, work, .. } => Event::Verified(*member, *work, Err(error)),
        Command::Decide { member, work, .. } => Event::Decided(*member, *work, Err(error)),
        Command::Commit { member, work, .. } => Event::Committed(*member, *work, Err(error)),
        Command::Notarise { .. } => Event::Notarised(Err(error)),
        Command::Guards { member, .. } => Event::Guarded(*member, Err(error)),
        Command::Release { member, .. } => Event::Released(*member, Err(error)),
    }
}

impl Scene {
    /// Number of homes of each batch.
    pub(crate) fn sizes(&self) -> Vec<u32> {
        let statement = |batch: &BatchMessage| -> BatchStatement {
            from_bytes(&batch.statement, 4096, "statement").unwrap()
        };
        self.found
            .batches
            .iter()
            .map(|batch| statement(batch).count)
            .collect()
    }

    /// Does what honest parties do.
    pub(crate) fn carry_out(&mut self, command: &Command) -> Event {
        let error = |error: AggregationError| step_error(&error);
        match command {
            Command::Find => Event::Found(Ok((copy_of(&self.found.summary), self.sizes()))),
            Command::Begin { member, grant } => {
                let aggregation = self.aggregators.get_mut(member).unwrap();
                let begun = aggregation.grant(0, grant, &self.network.directory);
                Event::Begun(*member, begun.map_err(error))
            }
            Command::Ask { work } => Event::Asked(*work, Ok(self.honest(*work))),
            Command::Open { member, answer, .. } => Event::Opened(
                *member,
                answer.statement.work,
                self.open_at(*member, answer).map_err(error),
            ),
            Command::Verify {
                member,
                work,
                messages,
            } => Event::Verified(
                *member,
                *work,
                self.verify_at(*member, *work, messages).map_err(error),
            ),
            Command::Decide {
                member,
                work,
                quorum,
                messages,
            } => Event::Decided(
                *member,
                *work,
                self.decide_at(*member, *work, quorum, messages)
                    .map_err(error),
            ),
            Command::Commit {
                member,
                work,
                acknowledgements,
            } => Event::Committed(
                *member,
                *work,
                self.commit_at(*member, *work, acknowledgements)
                    .map_err(error),
            ),
            Command::Notarise { proposal } => Event::Notarised(Ok(self.certificate(proposal))),
            Command::Guards {
                member,
                proposal,
                certificate,
            } => Event::Guarded(
                *member,
                self.guards_at(*member, proposal, certificate)
                    .map_err(error),
            ),
            Command::Release {
                member, messages, ..
            } => Event::Released(*member, self.release_at(*member, messages).map_err(error)),
        }
    }

    /// Runs the query to its end. What `intervene` returns takes the place of the honest event.
    pub(crate) fn drive(
        &mut self,
        mut intervene: impl FnMut(&mut Self, &Command) -> Option<Event>,
    ) -> Conduct {
        let (mut conduct, commands) = Conduct::new(self.question.manifest.clone());
        let mut commands = VecDeque::from(commands);
        for _ in 0..MOST_COMMANDS {
            let Some(command) = commands.pop_front() else {
                return conduct;
            };
            let event = intervene(self, &command);
            let event = event.unwrap_or_else(|| self.carry_out(&command));
            commands.extend(conduct.handle(event));
        }
        panic!("the query does not end");
    }
}
