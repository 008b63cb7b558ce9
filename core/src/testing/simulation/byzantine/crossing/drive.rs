//! The query step by step: the steps of honest parties, with the coalition's moves in between.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rand::rngs::StdRng;

use super::Crossing;
use super::ground::EACH;
use super::moves::{Axis, Cross, Handing};
use crate::{
    aggregation::{Aggregation, AggregationError, AggregatorKeys},
    ask::BatchAnswer,
    conduct::{Command, Conduct, Event, Options, StepError},
    peer::PeerMessage,
    release::{Certificate, Proposal, SignedAcknowledgement},
    testing::{key_of, step_error},
};
use dispers_base::id::{AggregatorId, BatchId, Work};
use dispers_trust::directory::Directory;

/// Most commands of the query, so that a loop without end fails.
const MOST_COMMANDS: usize = 2000;

pub(super) fn refused(error: impl ToString) -> StepError {
    StepError::Refused(error.to_string())
}

/// Messages that an aggregator is handed at a step of a batch.
type Handed = (Handing, AggregatorId, Option<BatchId>);

impl Crossing {
    /// Conducts the query to its end.
    pub(super) fn drive(&mut self) -> Conduct {
        let partitions = match self.makes(Cross::OnePartition) {
            true => 1,
            false => EACH,
        };
        let options = Options {
            partitions,
            ..Options::default()
        };
        let manifest = self.ground.question.manifest.clone();
        let (mut conduct, commands) = Conduct::new(manifest, options);
        let mut commands = VecDeque::from(commands);
        for _ in 0..MOST_COMMANDS {
            let Some(command) = commands.pop_front() else {
                return conduct;
            };
            let event = self.carry_out(&command);
            commands.extend(conduct.handle(event));
        }
        panic!("the query does not end");
    }

    fn carry_out(&mut self, command: &Command) -> Event {
        match command {
            Command::Find { partition } => Event::Found(*partition, self.find(*partition)),
            Command::Begin { aggregator, grants } => {
                Event::Begun(*aggregator, self.begin(*aggregator, grants))
            }
            Command::Ask { work, .. } => Event::Asked(*work, self.ask(*work)),
            Command::Open {
                aggregator, answer, ..
            } => Event::Opened(
                *aggregator,
                answer.statement.work,
                self.open(*aggregator, answer),
            ),
            Command::Verify {
                aggregator,
                work,
                messages,
            } => Event::Verified(*aggregator, *work, {
                let key = (Handing::Verify, *aggregator, Some(work.batch));
                let messages = self.handed(key, messages);
                self.at(*aggregator, |aggregation, keys, directory, rng| {
                    aggregation.verify(*work, &messages, keys, directory, rng)
                })
            }),
            Command::Decide {
                aggregator,
                work,
                quorum,
                messages,
            } => Event::Decided(*aggregator, *work, {
                let key = (Handing::Decide, *aggregator, Some(work.batch));
                let messages = self.handed(key, messages);
                self.at(*aggregator, |aggregation, keys, directory, _| {
                    aggregation.decide(*work, quorum, &messages, keys, directory)
                })
            }),
            Command::Commit {
                aggregator,
                work,
                acknowledgements,
            } => Event::Committed(
                *aggregator,
                *work,
                self.commit(*aggregator, *work, acknowledgements),
            ),
            Command::Notarise { proposal } => Event::Notarised(Ok(self.notarise(proposal))),
            Command::Guards {
                aggregator,
                proposal,
                certificate,
            } => Event::Guarded(*aggregator, self.guards(*aggregator, proposal, certificate)),
            Command::Release {
                aggregator,
                round,
                messages,
            } => Event::Released(*aggregator, {
                let messages = self.handed((Handing::Release, *aggregator, None), messages);
                self.at(*aggregator, |aggregation, keys, directory, rng| {
                    aggregation.release(*round, &messages, keys, directory, rng)
                })
            }),
            Command::Deal { .. } | Command::OpenDeals { .. } => unreachable!("it is exact"),
        }
    }

    /// Takes a step of one aggregator.
    pub(super) fn at<T>(
        &mut self,
        at: AggregatorId,
        step: impl FnOnce(
            &mut Aggregation,
            &AggregatorKeys<'_>,
            &Directory,
            &mut StdRng,
        ) -> Result<T, AggregationError>,
    ) -> Result<T, StepError> {
        let ground = &mut self.ground;
        let keys = AggregatorKeys {
            signing: &ground.signing[&at],
            share: &ground.shares[&at],
        };
        let aggregation = self.aggregators.get_mut(&at).expect("it made an offer");
        let (directory, rng) = (&ground.network.directory, &mut ground.rng);
        step(aggregation, &keys, directory, rng).map_err(|error| step_error(&error))
    }

    fn open(
        &mut self,
        at: AggregatorId,
        answer: &BatchAnswer,
    ) -> Result<Vec<PeerMessage>, StepError> {
        let batch = answer.statement.work.batch;
        let other = self.answers.get(&Axis::Committee.other(batch)).cloned();
        if let Some(other) = other.filter(|_| self.course.moves.contains(&Cross::AnswerOf)) {
            let taken = self.at(at, |aggregation, _, directory, _| {
                let receiving = aggregation.receive(&other.statement, &other.signature, directory);
                receiving.map(drop)
            });
            self.never(Cross::AnswerOf, taken.is_ok());
        }
        let position = {
            let mut offers = self.ground.question.manifest.offers(at.committee);
            offers.position(|(member, _)| member == at.member)
        };
        let groups = answer.groups[position.expect("it made an offer")].clone();
        self.at(at, |aggregation, keys, directory, rng| {
            let (statement, signature) = (&answer.statement, &answer.signature);
            let mut receiving = aggregation.receive(statement, signature, directory)?;
            let opener = receiving.opener();
            for group in groups {
                receiving.add(opener.open(group));
            }
            aggregation.freeze(receiving, keys, rng)
        })
    }

    /// Returns the messages that the conductor hands an aggregator: those of the other side, if the coalition replays
    /// them, and then its own.
    fn handed(&mut self, key: Handed, messages: &[PeerMessage]) -> Vec<PeerMessage> {
        let (step, at, batch) = key;
        let mut handed = Vec::new();
        for made in self.course.moves.clone() {
            let Cross::Messages { axis, step: of } = made else {
                continue;
            };
            let other = match axis {
                Axis::Partition => at,
                Axis::Committee => AggregatorId {
                    committee: (at.committee + 1) % EACH,
                    ..at
                },
            };
            let others = self
                .messages
                .get(&(step, other, batch.map(|one| axis.other(one))));
            if let Some(others) = others.filter(|_| of == step) {
                handed.extend(others.clone());
                self.reached(made);
            }
        }
        handed.extend(messages.iter().cloned());
        self.messages.insert(key, messages.to_vec());
        handed
    }

    fn commit(
        &mut self,
        at: AggregatorId,
        work: Work,
        acknowledgements: &Arc<Vec<SignedAcknowledgement>>,
    ) -> Result<(), StepError> {
        for made in self.course.moves.clone() {
            if let Cross::Acknowledgements(axis) = made
                && let Some(others) = self.acknowledged.get(&axis.other(work.batch)).cloned()
            {
                let taken = self.at(at, |aggregation, _, directory, _| {
                    aggregation.commit(work, &others, directory)
                });
                self.never(made, taken.is_ok());
            }
        }
        self.acknowledged
            .insert(work.batch, acknowledgements.clone());
        self.at(at, |aggregation, _, directory, _| {
            aggregation.commit(work, acknowledgements, directory)
        })
    }

    /// Returns the proposal with the changes of the coalition.
    fn proposed(&mut self, proposal: &Proposal) -> Proposal {
        let mut proposal = proposal.clone();
        for made in self.course.moves.clone() {
            if let Cross::LeaveOut { axis, side } = made {
                proposal
                    .batches
                    .retain(|batch| axis.side(batch.batch) != side);
                self.reached(made);
            }
        }
        proposal
    }

    fn notarise(&mut self, proposal: &Proposal) -> Certificate {
        let proposal = self.proposed(proposal);
        let (query, round, key) = (proposal.query, proposal.round, key_of("finder"));
        Certificate::new(query, round, proposal.hash(), &key)
    }

    fn guards(
        &mut self,
        at: AggregatorId,
        proposal: &Proposal,
        certificate: &Certificate,
    ) -> Result<Vec<PeerMessage>, StepError> {
        let proposal = self.proposed(proposal);
        for made in self.course.moves.clone() {
            let Cross::OtherProposal { axis, committee } = made else {
                continue;
            };
            let mut other = proposal.clone();
            other.batches.retain(|batch| axis.side(batch.batch) != 0);
            if committee == at.committee && other != proposal {
                let taken = self.at(at, |aggregation, keys, directory, rng| {
                    aggregation.guards(&other, certificate, keys, directory, rng)
                });
                self.never(made, taken.is_ok());
            }
        }
        self.at(at, |aggregation, keys, directory, rng| {
            aggregation.guards(&proposal, certificate, keys, directory, rng)
        })
    }

    /// Returns whether an aggregator took the grant of every partition.
    pub(super) fn has_every_grant(&self, at: AggregatorId) -> bool {
        self.granted.get(&at).map(BTreeSet::len) == Some(usize::from(EACH))
    }
}
