//! One batch at the Conductor: asked, opened, verified, decided, committed.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Command, Conduct, Event, Failure, Funnel, Gather, Stage, StepError, messages_to};
use crate::{
    aggregation::Quorum,
    ask::BatchAnswer,
    id::{BatchId, MemberNumber, QueryId, Work},
    peer::PeerMessage,
    release::{CommittedBatch, SignedAcknowledgement},
};

enum Step {
    Waiting,
    Asking,
    Opening(Gather<Vec<PeerMessage>>),
    Verifying(Gather<Vec<PeerMessage>>),
    Deciding {
        quorum: Quorum,
        gather: Gather<SignedAcknowledgement>,
        /// Whom each member of the quorum suspects.
        suspects: Vec<MemberNumber>,
    },
    Committing {
        accepted: CommittedBatch,
        acknowledgements: Arc<Vec<SignedAcknowledgement>>,
        gather: Gather<()>,
    },
    Done(CommittedBatch),
}

/// One batch and how far it is.
pub(super) struct BatchRun {
    /// Number of homes.
    size: u32,
    attempt: u8,
    step: Step,
    answered: u32,
    counted: bool,
}

impl BatchRun {
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            attempt: 0,
            step: Step::Waiting,
            answered: 0,
            counted: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.step, Step::Done(_))
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Waiting)
    }

    pub(super) fn in_flight(&self) -> bool {
        !self.is_waiting() && !self.is_done()
    }

    pub(super) fn committed(&self, batch: BatchId) -> Option<CommittedBatch> {
        match &self.step {
            Step::Done(committed) if committed.batch == batch => Some(committed.clone()),
            _ => None,
        }
    }

    pub(super) fn ask(&mut self, query: QueryId, batch: BatchId, funnel: &mut Funnel) -> Command {
        if !std::mem::replace(&mut self.counted, true) {
            funnel.asked += u64::from(self.size);
        }
        self.step = Step::Asking;
        Command::Ask {
            work: Work {
                query,
                round: 0,
                batch,
                attempt: self.attempt,
            },
        }
    }

    /// What of it outlives the process.
    pub(super) fn kept(&self) -> KeptBatch {
        KeptBatch {
            size: self.size,
            attempt: self.attempt,
            answered: self.answered,
            counted: self.counted,
            step: match &self.step {
                Step::Waiting => KeptStep::Waiting,
                Step::Committing {
                    accepted,
                    acknowledgements,
                    ..
                } => KeptStep::Committing {
                    accepted: accepted.clone(),
                    acknowledgements: acknowledgements.to_vec(),
                },
                Step::Done(accepted) => KeptStep::Done(accepted.clone()),
                _ => KeptStep::Asked,
            },
        }
    }

    pub(super) fn restored(kept: KeptBatch) -> Self {
        Self {
            size: kept.size,
            attempt: kept.attempt,
            answered: kept.answered,
            counted: kept.counted,
            step: match kept.step {
                KeptStep::Waiting => Step::Waiting,
                KeptStep::Asked => Step::Asking,
                KeptStep::Committing {
                    accepted,
                    acknowledgements,
                } => Step::Committing {
                    gather: Gather::new(acknowledgements.iter().map(|a| a.body.member)),
                    accepted,
                    acknowledgements: Arc::new(acknowledgements),
                },
                KeptStep::Done(accepted) => Step::Done(accepted),
            },
        }
    }
}

/// What of a batch outlives the Conductor's process.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct KeptBatch {
    size: u32,
    attempt: u8,
    answered: u32,
    counted: bool,
    step: KeptStep,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum KeptStep {
    Waiting,
    /// Asked under its attempt; what was answered went with the process.
    Asked,
    Committing {
        accepted: CommittedBatch,
        acknowledgements: Vec<SignedAcknowledgement>,
    },
    Done(CommittedBatch),
}

impl Conduct {
    /// The run that `work` is about, if it is its current attempt.
    fn run(&mut self, work: Work) -> Option<&mut BatchRun> {
        let current = matches!(self.stage, Stage::Batches)
            && work.query == self.manifest.query()
            && work.round == 0;
        self.batches
            .get_mut(&work.batch)
            .filter(|run| current && run.attempt == work.attempt)
    }

    /// Whether `event` is about the current attempt at its batch, and its step waits for it.
    pub(super) fn batch_awaits(&self, event: &Event) -> bool {
        let (Event::Asked(work, _)
        | Event::Opened(_, work, _)
        | Event::Verified(_, work, _)
        | Event::Decided(_, work, _)
        | Event::Committed(_, work, _)) = event
        else {
            return false;
        };
        let current = work.query == self.manifest.query() && work.round == 0;
        let run = self.batches.get(&work.batch);
        let Some(run) = run.filter(|run| current && run.attempt == work.attempt) else {
            return false;
        };
        match (event, &run.step) {
            (Event::Asked(..), Step::Asking) => true,
            (Event::Opened(member, ..), Step::Opening(gather))
            | (Event::Verified(member, ..), Step::Verifying(gather)) => gather.awaits(*member),
            (Event::Decided(member, ..), Step::Deciding { gather, .. }) => gather.awaits(*member),
            (Event::Committed(member, ..), Step::Committing { gather, .. }) => {
                gather.awaits(*member)
            }
            _ => false,
        }
    }

    /// Asks again with fresh shares, or gives up with `failure` when no attempt is left.
    fn again(&mut self, work: Work, failure: Failure) -> Result<Vec<Command>, Failure> {
        self.check_quorum()?;
        let attempts = self.manifest.attempts;
        let query = self.manifest.query();
        let Some(run) = self.batches.get_mut(&work.batch) else {
            return Ok(Vec::new());
        };
        if run.attempt + 1 >= attempts {
            return Err(failure);
        }
        run.attempt += 1;
        self.funnel.answered -= u64::from(std::mem::take(&mut run.answered));
        Ok(vec![run.ask(query, work.batch, &mut self.funnel)])
    }

    /// Notes an answer to a step of a batch. Who lost an attempt in a restart stays in the query, once
    /// for each batch: one that forgets again and again would use up every attempt.
    fn note_of<T>(
        &mut self,
        member: MemberNumber,
        work: Work,
        result: Result<T, StepError>,
    ) -> Option<T> {
        match result {
            Err(StepError::Forgotten) if self.forgot.insert((member, work.batch)) => None,
            result => self.note(member, result),
        }
    }

    /// Puts the aggregator that most of the quorum suspect out of the query.
    fn leave_out(&mut self, quorum: &Quorum, suspects: &[MemberNumber]) {
        let most = quorum.members().len() / 2;
        let accused = quorum
            .members()
            .iter()
            .copied()
            .find(|member| suspects.iter().filter(|suspect| *suspect == member).count() > most);
        if let Some(member) = accused {
            self.alive.remove(&member);
            self.out.entry(member).or_insert(StepError::Contradicted);
        }
    }

    pub(super) fn asked(
        &mut self,
        work: Work,
        result: Result<BatchAnswer, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let alive = self.alive.clone();
        let Some(run) = self.run(work) else {
            return Ok(Vec::new());
        };
        if !matches!(run.step, Step::Asking) {
            return Ok(Vec::new());
        }
        let answer = match result {
            Ok(answer) => Arc::new(answer),
            Err(error) => return self.again(work, Failure::Ask(error)),
        };
        run.answered = answer.answered;
        run.step = Step::Opening(Gather::new(alive.keys().copied()));
        self.funnel.answered += u64::from(answer.answered);
        Ok(alive
            .iter()
            .map(|(&member, &position)| Command::Open {
                member,
                position,
                answer: answer.clone(),
            })
            .collect())
    }

    pub(super) fn opened(
        &mut self,
        member: MemberNumber,
        work: Work,
        result: Result<Vec<PeerMessage>, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note_of(member, work, result);
        let Some(BatchRun {
            step: Step::Opening(gather),
            ..
        }) = self.run(work)
        else {
            return Ok(Vec::new());
        };
        if gather.take(member, answer) != Some(true) {
            return Ok(Vec::new());
        }
        let answers = std::mem::take(&mut gather.answers);
        self.check_quorum()?;
        let alive = self.alive.clone();
        if let Some(run) = self.run(work) {
            run.step = Step::Verifying(Gather::new(alive.keys().copied()));
        }
        Ok(alive
            .keys()
            .map(|&member| Command::Verify {
                member,
                work,
                messages: messages_to(member, &answers, &alive),
            })
            .collect())
    }

    pub(super) fn verified(
        &mut self,
        member: MemberNumber,
        work: Work,
        result: Result<Vec<PeerMessage>, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note_of(member, work, result);
        let Some(BatchRun {
            step: Step::Verifying(gather),
            ..
        }) = self.run(work)
        else {
            return Ok(Vec::new());
        };
        if gather.take(member, answer) != Some(true) {
            return Ok(Vec::new());
        }
        let answers = std::mem::take(&mut gather.answers);
        self.check_quorum()?;
        // One that lost the attempt in a restart is not lost to the query.
        if self
            .alive
            .keys()
            .any(|member| !answers.contains_key(member))
        {
            return self.again(work, Failure::NoAgreement);
        }
        let alive = self.alive.clone();
        let quorum = Quorum::new(alive.keys().copied());
        if let Some(run) = self.run(work) {
            run.step = Step::Deciding {
                quorum: quorum.clone(),
                gather: Gather::new(alive.keys().copied()),
                suspects: Vec::new(),
            };
        }
        Ok(alive
            .keys()
            .map(|&member| Command::Decide {
                member,
                work,
                quorum: quorum.clone(),
                messages: messages_to(member, &answers, &alive),
            })
            .collect())
    }

    pub(super) fn decided(
        &mut self,
        member: MemberNumber,
        work: Work,
        result: Result<SignedAcknowledgement, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let suspected = match &result {
            Err(StepError::Inconsistent { suspect }) => *suspect,
            _ => None,
        };
        let answer = self.note_of(member, work, result);
        let Some(BatchRun {
            step:
                Step::Deciding {
                    quorum,
                    gather,
                    suspects,
                },
            ..
        }) = self.run(work)
        else {
            return Ok(Vec::new());
        };
        // Nobody accuses itself, nor twice.
        suspects.extend(suspected.filter(|suspect| *suspect != member));
        if gather.take(member, answer) != Some(true) {
            return Ok(Vec::new());
        }
        let quorum = quorum.clone();
        let suspects = std::mem::take(suspects);
        let acknowledgements: Vec<SignedAcknowledgement> =
            std::mem::take(&mut gather.answers).into_values().collect();
        let decision = |a: &SignedAcknowledgement| (a.body.decision, a.body.accepted);
        let equal = acknowledgements
            .windows(2)
            .all(|pair| decision(&pair[0]) == decision(&pair[1]));
        let complete = acknowledgements.len() == quorum.members().len();
        let Some(first) = acknowledgements.first().filter(|_| equal && complete) else {
            self.leave_out(&quorum, &suspects);
            return self.again(work, Failure::NoAgreement);
        };
        let accepted = CommittedBatch {
            batch: work.batch,
            attempt: work.attempt,
            decision: first.body.decision,
            accepted: first.body.accepted,
        };
        let acknowledgements = Arc::new(acknowledgements);
        if let Some(run) = self.run(work) {
            run.step = Step::Committing {
                accepted,
                acknowledgements: acknowledgements.clone(),
                gather: Gather::new(quorum.members().iter().copied()),
            };
        }
        Ok(commit(work, &acknowledgements))
    }

    /// Repeats the commits that were under way, asks anew what was asked, and goes on.
    pub(super) fn resume_batches(&mut self) -> Result<Vec<Command>, Failure> {
        let query = self.manifest.query();
        let mut commands = Vec::new();
        let mut lost = Vec::new();
        for (id, run) in &self.batches {
            let work = Work {
                query,
                round: 0,
                batch: *id,
                attempt: run.attempt,
            };
            match &run.step {
                Step::Committing {
                    acknowledgements, ..
                } => commands.extend(commit(work, acknowledgements)),
                Step::Asking => lost.push(work),
                _ => {}
            }
        }
        for work in lost {
            commands.extend(self.again(work, Failure::Interrupted)?);
        }
        commands.extend(self.next_batches()?);
        Ok(commands)
    }

    pub(super) fn committed(
        &mut self,
        member: MemberNumber,
        work: Work,
        result: Result<(), StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note_of(member, work, result);
        let Some(run) = self.run(work) else {
            return Ok(Vec::new());
        };
        let Step::Committing {
            accepted, gather, ..
        } = &mut run.step
        else {
            return Ok(Vec::new());
        };
        if gather.take(member, answer) != Some(true) {
            return Ok(Vec::new());
        }
        let committed = gather.answers.len();
        let accepted = accepted.clone();
        self.funnel.accepted += u64::from(accepted.accepted);
        if let Some(run) = self.run(work) {
            run.step = Step::Done(accepted);
        }
        self.check_quorum()?;
        self.verified = match self.verified {
            0 => committed,
            before => before.min(committed),
        };
        self.next_batches()
    }
}

/// Has every member that acknowledged commit.
fn commit(work: Work, acknowledgements: &Arc<Vec<SignedAcknowledgement>>) -> Vec<Command> {
    acknowledgements
        .iter()
        .map(|acknowledgement| Command::Commit {
            member: acknowledgement.body.member,
            work,
            acknowledgements: acknowledgements.clone(),
        })
        .collect()
}
