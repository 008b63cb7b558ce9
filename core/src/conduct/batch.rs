//! State of one batch at the Conductor: asked, opened, verified, decided, committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use borsh::{BorshDeserialize, BorshSerialize};

use super::messages::OVERHEAD;
use super::{Command, Conduct, Event, Failure, Funnel, Gather, Stage, StepError, messages_to};
use crate::{
    aggregation::{Deal, DealRequest, LARGEST_EXAMINED, Quorum},
    ask::BatchAnswer,
    peer::PeerMessage,
    release::{CommittedBatch, SignedAcknowledgement},
    session::{NO_PARAMETERS, SignedParameters},
};
use dispers_base::{
    id::{AggregatorId, BatchId, MemberNumber, Name, QueryId, Work},
    weakness::{self, Weakness},
};
use dispers_privacy::dealers_of;

const OTHER_PARAMETERS: &str = "the target says that homes were shown something else";

enum Step {
    Waiting,
    Asking,
    Dealing {
        request: Arc<DealRequest>,
        gather: Gather<Deal>,
    },
    Opening {
        gather: Gather<Vec<PeerMessage>>,
        /// Aggregators that refuse the groups, each with the Target that signed them.
        refused: BTreeMap<AggregatorId, Name>,
    },
    Verifying(Gather<Vec<PeerMessage>>),
    Deciding {
        quorum: Quorum,
        gather: Gather<SignedAcknowledgement>,
        /// Accusations by members of the quorum: the suspect, and true if it is accused of bad noise.
        suspects: Vec<(MemberNumber, bool)>,
        /// Pairs of a dealer and a member that members of the quorum say are in dispute.
        disputed: Vec<(MemberNumber, MemberNumber)>,
    },
    Committing {
        accepted: CommittedBatch,
        acknowledgements: Arc<Vec<SignedAcknowledgement>>,
        gather: Gather<()>,
    },
    Done(CommittedBatch),
}

/// One batch and the step that it has reached.
pub(super) struct BatchRun {
    /// Number of homes, or of dealers of noise.
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

    /// Returns the number of homes, or of dealers of noise.
    pub(super) fn size(&self) -> u32 {
        self.size
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

    /// Drops the state of the round before.
    pub(super) fn begin_round(&mut self) {
        *self = Self::new(self.size);
    }

    pub(super) fn work(&self, query: QueryId, round: u16, batch: BatchId) -> Work {
        Work {
            query,
            round,
            batch,
            attempt: self.attempt,
        }
    }

    pub(super) fn ask(
        &mut self,
        work: Work,
        parameters: &Option<Arc<SignedParameters>>,
        funnel: &mut Funnel,
    ) -> Command {
        // A batch that is asked again has the same homes, and counts once.
        if !std::mem::replace(&mut self.counted, true) {
            funnel.asked += u64::from(self.size);
        }
        self.step = Step::Asking;
        Command::Ask {
            work,
            parameters: parameters.clone(),
        }
    }

    /// Returns the part of the state that outlives the process.
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

    /// Restores the state of a batch of a committee.
    pub(super) fn restored(committee: u16, kept: KeptBatch) -> Self {
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
                    gather: Gather::new(
                        acknowledgements.iter().map(|a| acknowledging(committee, a)),
                    ),
                    accepted,
                    acknowledgements: Arc::new(acknowledgements),
                },
                KeptStep::Done(accepted) => Step::Done(accepted),
            },
        }
    }
}

/// Part of a batch's state that outlives the Conductor's process.
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
    /// Asked under its attempt. The answers were lost with the process.
    Asked,
    Committing {
        accepted: CommittedBatch,
        acknowledgements: Vec<SignedAcknowledgement>,
    },
    Done(CommittedBatch),
}

/// Refuses verdicts that no honest member of the quorum gives. A liar could otherwise end every attempt without being
/// named.
fn refuse_false_verdicts<T>(
    from: AggregatorId,
    work: Work,
    result: Result<T, StepError>,
    quorum: &BTreeSet<MemberNumber>,
    needed: usize,
) -> Result<T, StepError> {
    let noise = work.batch.is_noise();
    let false_verdict = match &result {
        Err(StepError::Inconsistent { suspect }) if !weakness::off(Weakness::HostFailsBatch) => {
            let other =
                suspect.filter(|suspect| *suspect != from.member && quorum.contains(suspect));
            noise || other.is_none()
        }
        Err(StepError::BadDeals { dealers, disputes }) => {
            // A quorum of t, or a large one, may not find who is at fault.
            let silent = dealers.is_empty() && disputes.is_empty();
            !noise || silent && quorum.len() > needed && quorum.len() <= LARGEST_EXAMINED
        }
        _ => false,
    };
    match false_verdict {
        true => Err(StepError::FalseClaim),
        false => result,
    }
}

impl Conduct {
    /// Returns the batch of `work`, if `work` is its current attempt.
    fn run(&mut self, work: Work) -> Option<&mut BatchRun> {
        let current = matches!(self.stage, Stage::Batches)
            && work.query == self.manifest.query()
            && work.round == self.round;
        self.batches
            .get_mut(&work.batch)
            .filter(|run| current && run.attempt == work.attempt)
    }

    /// Returns the step of the current attempt at a batch, if `work` is this attempt.
    fn step(&mut self, work: Work) -> Option<&mut Step> {
        self.run(work).map(|run| &mut run.step)
    }

    /// Returns whether `event` is about the current attempt at its batch, and the batch waits for it.
    pub(super) fn batch_awaits(&self, event: &Event) -> bool {
        let (Event::Asked(work, _)
        | Event::Dealt(_, work, _)
        | Event::Opened(_, work, _)
        | Event::Verified(_, work, _)
        | Event::Decided(_, work, _)
        | Event::Committed(_, work, _)) = event
        else {
            return false;
        };
        let current = work.query == self.manifest.query() && work.round == self.round;
        let run = self.batches.get(&work.batch);
        let Some(run) = run.filter(|run| current && run.attempt == work.attempt) else {
            return false;
        };
        match (event, &run.step) {
            (Event::Asked(..), Step::Asking) => true,
            (Event::Dealt(aggregator, ..), Step::Dealing { gather, .. }) => {
                gather.awaits(*aggregator)
            }
            (Event::Opened(aggregator, ..), Step::Opening { gather, .. })
            | (Event::Verified(aggregator, ..), Step::Verifying(gather)) => {
                gather.awaits(*aggregator)
            }
            (Event::Decided(aggregator, ..), Step::Deciding { gather, .. }) => {
                gather.awaits(*aggregator)
            }
            (Event::Committed(aggregator, ..), Step::Committing { gather, .. }) => {
                gather.awaits(*aggregator)
            }
            _ => false,
        }
    }

    /// Returns the aggregators that are to work on a batch.
    fn alive_for(&self, work: Work) -> BTreeMap<AggregatorId, usize> {
        self.alive_in(work.batch.committee)
    }

    /// Asks the batch again as a new attempt, for which stacks make fresh shares. Fails with `failure` when no attempt
    /// is left.
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
        if work.batch.is_noise() {
            return Ok(self.deal(work.batch));
        }
        let work = run.work(query, self.round, work.batch);
        Ok(vec![run.ask(work, &self.parameters, &mut self.funnel)])
    }

    /// Has the remaining aggregators of a committee deal noise, as many of them as this kind of noise needs.
    pub(super) fn deal(&mut self, batch: BatchId) -> Vec<Command> {
        let committee = batch.committee;
        let needed = self.needed_of(committee);
        let mut alive: Vec<AggregatorId> = self.alive_in(committee).into_keys().collect();
        if let Some(privacy) = &self.manifest.privacy {
            alive.truncate(dealers_of(privacy, needed, alive.len()));
        }
        let query = self.manifest.query();
        let Some(run) = self.batches.get_mut(&batch) else {
            return Vec::new();
        };
        run.size = alive.len() as u32;
        let request = Arc::new(DealRequest {
            work: run.work(query, self.round, batch),
            dealers: alive.iter().map(|aggregator| aggregator.member).collect(),
        });
        run.step = Step::Dealing {
            request: request.clone(),
            gather: Gather::new(alive.iter().copied()),
        };
        let deals = alive.into_iter().map(|aggregator| Command::Deal {
            aggregator,
            request: request.clone(),
        });
        deals.collect()
    }

    pub(super) fn dealt(
        &mut self,
        aggregator: AggregatorId,
        work: Work,
        result: Result<Deal, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let offers = self.manifest.offers(aggregator.committee).count();
        // Every aggregator would refuse a deal for another request, fail its step, and be excluded in the dealer's
        // place.
        let asked = self.run(work).and_then(|run| match &run.step {
            Step::Dealing { request, .. } => Some(request.clone()),
            _ => None,
        });
        let result = result.and_then(|deal| {
            let meant = asked.is_some_and(|asked| {
                let largest = self.share_limit(&asked, offers);
                deal.is_for(&asked, aggregator.member, offers, largest)
            });
            let taken = weakness::off(Weakness::FalseDealsEvict) && deal.shares.len() == offers;
            match meant || taken {
                true => Ok(deal),
                false => Err(StepError::BadNoise),
            }
        });
        let answer = self.note_of(aggregator, work, result);
        let Some(Step::Dealing { request, gather }) = self.step(work) else {
            return Ok(Vec::new());
        };
        let Some(answers) = gather.take(aggregator, answer) else {
            return Ok(Vec::new());
        };
        let request = request.clone();
        self.check_quorum()?;
        // The noise of each dealer depends on the number of dealers: with one missing, all must deal again.
        if answers.len() < request.dealers.len() {
            return self.again(work, self.no_agreement());
        }
        let deals = Arc::new(answers.into_values().collect::<Vec<Deal>>());
        let alive = self.alive_for(work);
        if let Some(step) = self.step(work) {
            *step = opening(&alive);
        }
        let commands = alive
            .iter()
            .map(|(&aggregator, &position)| Command::OpenDeals {
                aggregator,
                position,
                request: request.clone(),
                deals: deals.clone(),
            });
        Ok(commands.collect())
    }

    /// Records an answer to a step of a batch. An aggregator that lost an attempt in a restart stays in the query, once
    /// for each batch. One that loses attempts again and again would use up all of them.
    fn note_of<T>(
        &mut self,
        aggregator: AggregatorId,
        work: Work,
        result: Result<T, StepError>,
    ) -> Option<T> {
        match result {
            Err(StepError::Forgotten) if self.forgot.insert((aggregator, work.batch)) => None,
            result => self.note(aggregator, result),
        }
    }

    /// Excludes the aggregators that most of the quorum suspect.
    fn leave_out(&mut self, committee: u16, quorum: &Quorum, suspects: &[(MemberNumber, bool)]) {
        let most = quorum.members().len() / 2;
        for (bad, error) in [
            (false, StepError::Contradicted),
            (true, StepError::BadNoise),
        ] {
            let accused = quorum.members().iter().copied().filter(|member| {
                suspects
                    .iter()
                    .filter(|suspect| **suspect == (*member, bad))
                    .count()
                    > most
            });
            for member in accused {
                let aggregator = AggregatorId { committee, member };
                self.alive.remove(&aggregator);
                self.out.entry(aggregator).or_insert(error.clone());
            }
        }
    }

    pub(super) fn asked(
        &mut self,
        work: Work,
        result: Result<BatchAnswer, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let alive = self.alive_for(work);
        let shown = self.parameters.as_deref();
        let shown = shown.map_or(NO_PARAMETERS, SignedParameters::digest);
        let Some(run) = self.run(work) else {
            return Ok(Vec::new());
        };
        if !matches!(run.step, Step::Asking) {
            return Ok(Vec::new());
        }
        // Aggregators would take one Target's statement as what all homes of the round were shown, and refuse all
        // others.
        let result = result.and_then(|answer| match answer.statement.parameters == shown {
            true => Ok(answer),
            false => Err(StepError::Refused(OTHER_PARAMETERS.to_owned())),
        });
        let answer = match result {
            Ok(answer) => Arc::new(answer),
            Err(StepError::OtherBytes { target }) => {
                // The Conductor found the mismatch itself, so that no aggregator accuses the Target.
                let accusers = Vec::new();
                return self.again(work, Failure::OtherBytes { target, accusers });
            }
            Err(error) => return self.again(work, Failure::Ask(error)),
        };
        run.answered = answer.answered;
        run.step = opening(&alive);
        self.funnel.answered += u64::from(answer.answered);
        Ok(alive
            .iter()
            .map(|(&aggregator, &position)| Command::Open {
                aggregator,
                position,
                answer: answer.clone(),
            })
            .collect())
    }

    pub(super) fn opened(
        &mut self,
        aggregator: AggregatorId,
        work: Work,
        result: Result<Vec<PeerMessage>, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let result = self.complete(aggregator, result, OVERHEAD);
        let (answer, refuses) = match result {
            Err(StepError::OtherBytes { target }) if !weakness::off(Weakness::OtherBytesEvict) => {
                (None, Some((aggregator, target)))
            }
            result => (self.note_of(aggregator, work, result), None),
        };
        let Some(Step::Opening { gather, refused }) = self.step(work) else {
            return Ok(Vec::new());
        };
        refused.extend(refuses);
        let Some(answers) = gather.take(aggregator, answer) else {
            return Ok(Vec::new());
        };
        let refused = std::mem::take(refused);
        // The refusals are weighed together once all are in: one alone is judged differently from several.
        let failure = self.weigh(refused, !answers.is_empty());
        self.check_quorum()?;
        if let Some(failure) = failure {
            return self.again(work, failure);
        }
        let alive = self.alive_for(work);
        // An aggregator that lost the attempt in a restart gave no randomness, and the others may lack it.
        if alive
            .keys()
            .any(|aggregator| !answers.contains_key(aggregator))
        {
            return self.again(work, self.no_agreement());
        }
        if let Some(step) = self.step(work) {
            *step = Step::Verifying(Gather::new(alive.keys().copied()));
        }
        Ok(alive
            .keys()
            .map(|&aggregator| Command::Verify {
                aggregator,
                work,
                messages: messages_to(aggregator, &answers, &alive),
            })
            .collect())
    }

    /// Returns the aggregators that were asked to verify or to decide in an attempt. Each was handed the messages of
    /// all the others.
    fn asked_of(&mut self, work: Work) -> Option<BTreeSet<MemberNumber>> {
        let committee = work.batch.committee;
        match &self.run(work)?.step {
            Step::Verifying(gather) => Some(gather.of_committee(committee)),
            Step::Deciding { gather, .. } => Some(gather.of_committee(committee)),
            _ => None,
        }
    }

    /// Judges the refusals of aggregators that cannot open a Target's groups. Returns the failure of the attempt, or
    /// `None` if the attempt continues with the other aggregators.
    ///
    /// Either the Target sent groups that do not open, or an aggregator falsely claims so. One Target's answer does not
    /// show which of them is at fault. An aggregator must not lose its place for one such answer, or the Target would
    /// choose the aggregators that verify. An aggregator that alone refuses the groups of two Targets is out.
    fn weigh(
        &mut self,
        refused: BTreeMap<AggregatorId, Name>,
        others_opened: bool,
    ) -> Option<Failure> {
        let (first, target) = refused.first_key_value()?;
        if refused.len() == 1 && others_opened {
            match self.accusers.get(first) {
                // Only two colluding Targets can exclude an honest aggregator in this way (protocol.md §13).
                Some(before) if before != target => {
                    self.alive.remove(first);
                    self.out.entry(*first).or_insert(StepError::AccusedTargets);
                    return None;
                }
                _ => {
                    self.accusers.insert(*first, target.clone());
                }
            }
        }
        Some(Failure::OtherBytes {
            target: target.clone(),
            accusers: refused.keys().copied().collect(),
        })
    }

    pub(super) fn verified(
        &mut self,
        aggregator: AggregatorId,
        work: Work,
        result: Result<Vec<PeerMessage>, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let homes = self.run(work).map_or(0, |run| run.size);
        let limit = self.verifier_limit(work, homes as usize);
        let result = self.complete(aggregator, result, limit);
        let result = match self.asked_of(work) {
            Some(asked) => {
                let needed = self.needed_of(aggregator.committee);
                self.dispute(aggregator, result, &asked, needed)
            }
            None => result,
        };
        let answer = self.note_of(aggregator, work, result);
        let Some(Step::Verifying(gather)) = self.step(work) else {
            return Ok(Vec::new());
        };
        let Some(answers) = gather.take(aggregator, answer) else {
            return Ok(Vec::new());
        };
        // An aggregator that lost the attempt in a restart, or cannot read the others' randomness, stays in the query:
        // only the attempt is over.
        let over = self
            .alive_for(work)
            .keys()
            .any(|aggregator| !answers.contains_key(aggregator));
        self.settle_disputes(aggregator.committee);
        self.check_quorum()?;
        if over {
            return self.again(work, self.no_agreement());
        }
        let alive = self.alive_for(work);
        let quorum = Quorum::new(alive.keys().map(|aggregator| aggregator.member));
        if let Some(step) = self.step(work) {
            *step = Step::Deciding {
                quorum: quorum.clone(),
                gather: Gather::new(alive.keys().copied()),
                suspects: Vec::new(),
                disputed: Vec::new(),
            };
        }
        Ok(alive
            .keys()
            .map(|&aggregator| Command::Decide {
                aggregator,
                work,
                quorum: quorum.clone(),
                messages: messages_to(aggregator, &answers, &alive),
            })
            .collect())
    }

    pub(super) fn decided(
        &mut self,
        aggregator: AggregatorId,
        work: Work,
        result: Result<SignedAcknowledgement, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        // An acknowledgement in another's name, or about something else, is worthless.
        let result = result.and_then(|signed| {
            match (signed.body.member, signed.body.work) == (aggregator.member, work) {
                true => Ok(signed),
                false => Err(StepError::Refused("it acknowledged something else".into())),
            }
        });
        let result = match self.asked_of(work) {
            Some(quorum) => {
                let needed = self.needed_of(aggregator.committee);
                let result = refuse_false_verdicts(aggregator, work, result, &quorum, needed);
                // An aggregator needs the messages of all members of the quorum: it may name any of them.
                self.dispute(aggregator, result, &quorum, quorum.len())
            }
            None => result,
        };
        let (suspected, bad) = match &result {
            Err(StepError::Inconsistent { suspect }) => (Vec::from_iter(*suspect), false),
            Err(StepError::BadDeals { dealers, .. }) => (dealers.clone(), true),
            _ => (Vec::new(), false),
        };
        let disputes: BTreeSet<(MemberNumber, MemberNumber)> = match &result {
            Err(StepError::BadDeals { disputes, .. }) => disputes.iter().copied().collect(),
            _ => BTreeSet::new(),
        };
        let answer = self.note_of(aggregator, work, result);
        let Some(Step::Deciding {
            quorum,
            gather,
            suspects,
            disputed,
        }) = self.step(work)
        else {
            return Ok(Vec::new());
        };
        // An aggregator cannot accuse itself, and counts once per suspect.
        let others = suspected
            .into_iter()
            .filter(|suspect| *suspect != aggregator.member);
        suspects.extend(
            others
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|suspect| (suspect, bad)),
        );
        disputed.extend(disputes);
        let Some(answers) = gather.take(aggregator, answer) else {
            return Ok(Vec::new());
        };
        let quorum = quorum.clone();
        let suspects = std::mem::take(suspects);
        let disputed = std::mem::take(disputed);
        let acknowledgements: Vec<SignedAcknowledgement> = answers.into_values().collect();
        // Aggregators commit only on equal acknowledgements of the whole quorum: with others, every commit would fail.
        let equal = acknowledgements.windows(2).all(|pair| {
            let [one, next] = [&pair[0].body, &pair[1].body];
            (one.decision, one.accepted) == (next.decision, next.accepted)
        });
        let complete = acknowledgements.len() == quorum.members().len();
        let Some(first) = acknowledgements.first().filter(|_| equal && complete) else {
            self.leave_out(aggregator.committee, &quorum, &suspects);
            self.dispute_deals(aggregator.committee, &quorum, &disputed);
            self.settle_disputes(aggregator.committee);
            return self.again(work, self.no_agreement());
        };
        let accepted = CommittedBatch {
            batch: work.batch,
            attempt: work.attempt,
            decision: first.body.decision,
            accepted: first.body.accepted,
        };
        let acknowledgements = Arc::new(acknowledgements);
        let committee = aggregator.committee;
        if let Some(step) = self.step(work) {
            *step = Step::Committing {
                accepted,
                acknowledgements: acknowledgements.clone(),
                gather: Gather::new(acknowledgements.iter().map(|a| acknowledging(committee, a))),
            };
        }
        Ok(commit(committee, work, &acknowledgements))
    }

    /// Repeats the commits that were in progress, asks again what was asked, and continues with the next batches.
    pub(super) fn resume_batches(&mut self) -> Result<Vec<Command>, Failure> {
        let query = self.manifest.query();
        let mut commands = Vec::new();
        let mut lost = Vec::new();
        for (id, run) in &self.batches {
            let work = run.work(query, self.round, *id);
            match &run.step {
                Step::Committing {
                    acknowledgements, ..
                } => {
                    commands.extend(commit(id.committee, work, acknowledgements));
                }
                Step::Asking => lost.push(work),
                _ => {}
            }
        }
        // Stacks answer a work once: a batch whose answers are lost needs a new attempt.
        for work in lost {
            commands.extend(self.again(work, Failure::Interrupted)?);
        }
        commands.extend(self.next_batches()?);
        Ok(commands)
    }

    pub(super) fn committed(
        &mut self,
        aggregator: AggregatorId,
        work: Work,
        result: Result<(), StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note_of(aggregator, work, result);
        let Some(Step::Committing {
            accepted, gather, ..
        }) = self.step(work)
        else {
            return Ok(Vec::new());
        };
        let Some(answers) = gather.take(aggregator, answer) else {
            return Ok(Vec::new());
        };
        let committed = answers.len();
        let accepted = accepted.clone();
        if !work.batch.is_noise() {
            self.funnel.accepted += u64::from(accepted.accepted);
        }
        if let Some(step) = self.step(work) {
            *step = Step::Done(accepted);
        }
        self.check_quorum()?;
        // The result names the smallest number, since a batch with fewer verifiers is less protected.
        self.verified = match self.verified {
            0 => committed,
            before => before.min(committed),
        };
        self.next_batches()
    }
}

/// Creates the step that waits for all of `alive` to open their groups.
fn opening(alive: &BTreeMap<AggregatorId, usize>) -> Step {
    Step::Opening {
        gather: Gather::new(alive.keys().copied()),
        refused: BTreeMap::new(),
    }
}

/// Returns the aggregator that acknowledged.
fn acknowledging(committee: u16, acknowledgement: &SignedAcknowledgement) -> AggregatorId {
    let member = acknowledgement.body.member;
    AggregatorId { committee, member }
}

/// Returns the commands that have every acknowledging aggregator commit.
fn commit(
    committee: u16,
    work: Work,
    acknowledgements: &Arc<Vec<SignedAcknowledgement>>,
) -> Vec<Command> {
    acknowledgements
        .iter()
        .map(|acknowledgement| Command::Commit {
            aggregator: acknowledging(committee, acknowledgement),
            work,
            acknowledgements: acknowledgements.clone(),
        })
        .collect()
}
