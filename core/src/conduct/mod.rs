//! The Conductor's side of a query: the state machine that decides the next step (protocol.md §6 to §9).
//!
//! [`Conduct`] takes [`Event`]s and returns [`Command`]s. Every command is answered by exactly one event, at the latest
//! by a failure at its deadline, so that a query never hangs. An aggregator that fails a step is out of the query. The
//! query continues as long as `min_verified` are left.

mod batch;
mod command;
mod dispute;
mod messages;
mod record;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

pub use command::{Command, Event, StepError};
pub use record::Record;
pub use status::{Failure, Funnel, Phase, Status, Step, Wait, coarse};

use crate::{
    find::{FindSummary, NoisySize, SealedGrant},
    manifest::VerifiedManifest,
    peer::PeerMessage,
    release::{Certificate, Proposal, SealedTotal},
    session::{ParametersError, SignedParameters, VerifiedParameters},
};
use batch::BatchRun;
use dispers_base::{
    id::{AggregatorId, BatchId, MemberNumber, Name},
    weakness::{self, Weakness},
};
use dispute::Disputes;

/// Options of the Conductor for a query.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Number of partitions of the subscriptions, at least 1.
    pub partitions: u16,
    /// Number of batches that each committee aggregates at the same time, at least 1.
    pub in_flight: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 1,
            in_flight: 2,
        }
    }
}

/// Aggregators or partitions that a step still waits for, and the answers of the others.
struct Gather<T, K = AggregatorId> {
    asked: BTreeSet<K>,
    waiting: BTreeSet<K>,
    answers: BTreeMap<K, T>,
}

impl<T, K: Copy + Ord> Gather<T, K> {
    fn new(asked: impl IntoIterator<Item = K>) -> Self {
        let asked: BTreeSet<K> = asked.into_iter().collect();
        Self {
            waiting: asked.clone(),
            asked,
            answers: BTreeMap::new(),
        }
    }

    fn awaits(&self, who: K) -> bool {
        self.waiting.contains(&who)
    }

    /// Records an answer, or `None` in place of one. Returns all answers if this was the last that was awaited, and
    /// `None` otherwise, also for an answer that was not awaited.
    fn take(&mut self, who: K, answer: Option<T>) -> Option<BTreeMap<K, T>> {
        if !self.waiting.remove(&who) {
            return None;
        }
        self.answers.extend(answer.map(|answer| (who, answer)));
        let complete = self.waiting.is_empty();
        complete.then(|| std::mem::take(&mut self.answers))
    }
}

impl<T> Gather<T> {
    /// Returns the aggregators of a committee that were asked.
    fn of_committee(&self, committee: u16) -> BTreeSet<MemberNumber> {
        let asked = self.asked.iter();
        let of = asked.filter(|aggregator| aggregator.committee == committee);
        of.map(|aggregator| aggregator.member).collect()
    }
}

/// Returns the messages of the others to one aggregator. Leaves out those of aggregators that are out of the query.
fn messages_to(
    to: AggregatorId,
    answers: &BTreeMap<AggregatorId, Vec<PeerMessage>>,
    alive: &BTreeMap<AggregatorId, usize>,
) -> Vec<PeerMessage> {
    answers
        .iter()
        .filter(|(from, _)| from.committee == to.committee && alive.contains_key(from))
        .flat_map(|(_, messages)| messages)
        .filter(|message| message.to == to.member)
        .cloned()
        .collect()
}

/// Grants of one aggregator, by partition.
type Grants = Arc<Vec<(u16, SealedGrant)>>;

enum Stage {
    Finding(Gather<FindSummary, u16>),
    Beginning {
        gather: Gather<()>,
        grants: BTreeMap<AggregatorId, Grants>,
    },
    Batches,
    Notarising(Arc<Proposal>),
    Guarding {
        proposal: Arc<Proposal>,
        gather: Gather<Vec<PeerMessage>>,
    },
    Releasing {
        proposal: Arc<Proposal>,
        gather: Gather<SealedTotal>,
    },
    /// A round of training was released. It is not the last.
    Between(Vec<(AggregatorId, SealedTotal)>),
    Done(Vec<(AggregatorId, SealedTotal)>),
    Failed(Failure),
}

/// State of one query at the Conductor.
pub struct Conduct {
    manifest: VerifiedManifest,
    /// Aggregators still in the query, with their position among those of their committee that made an offer.
    alive: BTreeMap<AggregatorId, usize>,
    out: BTreeMap<AggregatorId, StepError>,
    /// Aggregators that lost an attempt at a batch in a restart.
    forgot: BTreeSet<(AggregatorId, BatchId)>,
    /// Aggregators that alone refused a target's groups, each with the first such target.
    accusers: BTreeMap<AggregatorId, Name>,
    /// Aggregators that contradict each other about what one sent or dealt the other.
    disputes: Disputes,
    in_flight: usize,
    /// Aggregators that took the grants, with their position among those of their committee that made an offer.
    begun: BTreeMap<AggregatorId, usize>,
    stage: Stage,
    round: u16,
    /// Parameters of the round, where a model is trained.
    parameters: Option<Arc<SignedParameters>>,
    batches: BTreeMap<BatchId, BatchRun>,
    funnel: Funnel,
    /// Noisy number of homes that each partition's find chose.
    noisy_sizes: Vec<NoisySize>,
    verified: usize,
}

impl Conduct {
    /// Starts a query. Returns its state and its first commands, which are the finds.
    pub fn new(manifest: VerifiedManifest, options: Options) -> (Self, Vec<Command>) {
        let committees = 0..manifest.committees.len() as u16;
        let alive = committees
            .flat_map(|committee| {
                let offers = manifest.offers(committee).enumerate();
                offers.map(move |(position, (member, _))| {
                    (AggregatorId { committee, member }, position)
                })
            })
            .collect();
        let conduct = Self {
            manifest,
            alive,
            out: BTreeMap::new(),
            forgot: BTreeSet::new(),
            accusers: BTreeMap::new(),
            disputes: Disputes::default(),
            in_flight: options.in_flight.max(1),
            begun: BTreeMap::new(),
            stage: Stage::Finding(Gather::new(0..options.partitions)),
            round: 0,
            parameters: None,
            batches: BTreeMap::new(),
            funnel: Funnel::default(),
            noisy_sizes: Vec::new(),
            verified: 0,
        };
        let finds = (0..options.partitions).map(|partition| Command::Find { partition });
        (conduct, finds.collect())
    }

    /// Returns the manifest of the query.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// Returns the sealed totals, once the query or a round is released.
    pub fn totals(&self) -> Option<&[(AggregatorId, SealedTotal)]> {
        match &self.stage {
            Stage::Done(totals) | Stage::Between(totals) => Some(totals),
            _ => None,
        }
    }

    /// Returns the aggregators that are out of the query, each with the reason.
    #[cfg(test)]
    pub(crate) fn out(&self) -> &BTreeMap<AggregatorId, StepError> {
        &self.out
    }

    /// Returns the progress of the query, as the querier may learn it.
    pub fn status(&self) -> Status {
        let phase = match &self.stage {
            Stage::Finding(_) | Stage::Beginning { .. } => Phase::Find,
            Stage::Batches => Phase::Ask,
            Stage::Notarising(_) | Stage::Guarding { .. } | Stage::Releasing { .. } => {
                Phase::Release
            }
            Stage::Between(_) => Phase::Between,
            Stage::Done(_) => Phase::Done,
            Stage::Failed(_) => Phase::Failed,
        };
        // Exact numbers of homes, even in steps of the cohort, would reveal numbers that the result withholds.
        let about = self.manifest.privacy.is_some()
            || phase == Phase::Failed
            || self.noisy_sizes.iter().any(NoisySize::has_noise);
        let batches = self.of_homes().filter(|_| !about);
        let done = batches.clone().filter(|run| run.is_done());
        Status {
            phase,
            round: self.round,
            homes: match about {
                true => self
                    .funnel
                    .with_noise(&self.noisy_sizes, phase > Phase::Ask),
                false => self.funnel.clone(),
            }
            .coarse(self.manifest.min_cohort),
            about,
            batches: batches.count() as u32,
            batches_done: done.count() as u32,
            verified: self.verified as u8,
            failure: match &self.stage {
                Stage::Failed(failure) => Some(failure.clone()),
                _ => None,
            },
            missing: self.out.keys().copied().collect(),
            waiting: Vec::new(),
        }
    }

    /// Ends the query with `failure`, without a release. Returns false if it had already ended.
    pub fn end(&mut self, failure: Failure) -> bool {
        let running = !matches!(self.stage, Stage::Done(_) | Stage::Failed(_));
        if running {
            self.stage = Stage::Failed(failure);
        }
        running
    }

    /// Begins a later round of a session with parameters that its querier signed. Rounds may be left out, but none that
    /// was begun may be begun a second time. The parameters of the present round change nothing.
    ///
    /// # Errors
    /// [`ParametersError::Round`] when another round still runs, or this round or a later one was begun.
    pub fn advance(
        &mut self,
        verified: &VerifiedParameters,
        parameters: SignedParameters,
    ) -> Result<Vec<Command>, ParametersError> {
        if self.parameters.as_deref() == Some(&parameters) {
            return Ok(Vec::new());
        }
        let next = verified.round();
        // Every round is begun once, the first one without parameters. A second set of parameters for a round would
        // make its sum one of two models.
        if !matches!(self.stage, Stage::Between(_)) || next <= self.round {
            return Err(ParametersError::Round);
        }
        self.round = next;
        self.parameters = Some(Arc::new(parameters));
        self.begin_round();
        let commands = self.check_quorum().and_then(|()| self.next_batches());
        Ok(commands.unwrap_or_else(|failure| {
            self.stage = Stage::Failed(failure);
            Vec::new()
        }))
    }

    /// Starts a round: all batches are asked again, by the aggregators that took the grants. An aggregator that merely
    /// failed in the round before may be back. One that lied stays out.
    fn begin_round(&mut self) {
        self.out.retain(|aggregator, error| {
            let lied = matches!(
                error,
                StepError::Contradicted
                    | StepError::BadNoise
                    | StepError::BadAcknowledgement
                    | StepError::AccusedTargets
                    | StepError::Disputed
                    | StepError::FalseClaim
                    | StepError::BadMessages
            );
            lied || !self.begun.contains_key(aggregator)
        });
        let out = &self.out;
        let begun = self.begun.iter().filter(|(at, _)| !out.contains_key(at));
        self.alive = begun.map(|(at, place)| (*at, *place)).collect();
        self.forgot.clear();
        self.batches.retain(|id, _| !id.is_noise());
        self.batches.values_mut().for_each(BatchRun::begin_round);
        self.funnel = Funnel {
            // One find serves all rounds, so that the number of its homes stays.
            targeted: self.funnel.targeted,
            ..Funnel::default()
        };
        self.verified = 0;
        self.stage = Stage::Batches;
    }

    /// Handles one event and returns the next commands. An event that nothing waits for changes nothing: it is a
    /// repetition, or came after its step was over.
    pub fn handle(&mut self, event: Event) -> Vec<Command> {
        if !self.awaits(&event) {
            return Vec::new();
        }
        let next = match event {
            Event::Found(partition, result) => self.found(partition, result),
            Event::Begun(aggregator, result) => self.begun(aggregator, result),
            Event::Asked(work, result) => self.asked(work, result),
            Event::Dealt(aggregator, work, result) => self.dealt(aggregator, work, result),
            Event::Opened(aggregator, work, result) => self.opened(aggregator, work, result),
            Event::Verified(aggregator, work, result) => self.verified(aggregator, work, result),
            Event::Decided(aggregator, work, result) => self.decided(aggregator, work, result),
            Event::Committed(aggregator, work, result) => self.committed(aggregator, work, result),
            Event::Notarised(result) => self.notarised(result),
            Event::Guarded(aggregator, result) => self.guarded(aggregator, result),
            Event::Released(aggregator, result) => self.released(aggregator, result),
        };
        next.unwrap_or_else(|failure| {
            self.stage = Stage::Failed(failure);
            Vec::new()
        })
    }

    fn awaits(&self, event: &Event) -> bool {
        match (event, &self.stage) {
            (Event::Found(partition, _), Stage::Finding(gather)) => gather.awaits(*partition),
            (Event::Notarised(_), Stage::Notarising(_)) => true,
            (Event::Begun(aggregator, _), Stage::Beginning { gather, .. }) => {
                gather.awaits(*aggregator)
            }
            (Event::Guarded(aggregator, _), Stage::Guarding { gather, .. }) => {
                gather.awaits(*aggregator)
            }
            (Event::Released(aggregator, _), Stage::Releasing { gather, .. }) => {
                gather.awaits(*aggregator)
            }
            (_, Stage::Batches) => self.batch_awaits(event),
            _ => false,
        }
    }

    fn found(
        &mut self,
        partition: u16,
        result: Result<FindSummary, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let Stage::Finding(gather) = &mut self.stage else {
            return Ok(Vec::new());
        };
        // Without one partition's homes the sums would silently leave out a part of the population.
        let found = result.map_err(Failure::Find)?;
        let Some(summaries) = gather.take(partition, Some(found)) else {
            return Ok(Vec::new());
        };
        let mut grants: BTreeMap<AggregatorId, Vec<(u16, SealedGrant)>> = BTreeMap::new();
        let (committees, cohort) = (self.manifest.committees.len(), self.manifest.min_cohort);
        for (partition, summary) in summaries {
            // Every aggregator would refuse such a grant, and be excluded for it.
            if !summary.batches.is_legal(committees, cohort) {
                let reason = "the target finder gave a committee no batch, or a batch below the minimum cohort";
                return Err(Failure::Find(StepError::Refused(reason.into())));
            }
            self.funnel.targeted = self.funnel.targeted.saturating_add(summary.targets);
            self.noisy_sizes.push(summary.noisy_size);
            let batches = summary.batches.batches(partition);
            self.batches
                .extend(batches.map(|(batch, size)| (batch, BatchRun::new(size))));
            for (committee, member, grant) in summary.grants {
                let aggregator = AggregatorId { committee, member };
                grants
                    .entry(aggregator)
                    .or_default()
                    .push((partition, grant));
            }
        }
        // The noisy numbers decide, since the querier chose the bound. The exact number is checked as well, so that no
        // more homes are asked.
        let at_most = self.noisy_sizes.iter().map(NoisySize::at_most);
        let at_most = at_most.fold(0, u64::saturating_add);
        if at_most.max(self.funnel.targeted) > self.manifest.max_homes {
            return Err(Failure::TooManyHomes(self.manifest.max_homes));
        }
        let grants = grants.into_iter();
        self.begin(grants.map(|(to, grants)| (to, Arc::new(grants))).collect())
    }

    /// Returns the committees of the query. Each has batches in every partition.
    fn committees(&self) -> Range<u16> {
        0..self.manifest.committees.len() as u16
    }

    /// Returns the threshold of a committee.
    fn needed_of(&self, committee: u16) -> usize {
        self.manifest.needed_of(committee)
    }

    /// Returns the aggregators of a committee that are still in the query.
    fn alive_in(&self, committee: u16) -> BTreeMap<AggregatorId, usize> {
        let alive = self.alive.iter();
        let of = alive.filter(|(aggregator, _)| aggregator.committee == committee);
        of.map(|(aggregator, position)| (*aggregator, *position))
            .collect()
    }

    fn begun(
        &mut self,
        aggregator: AggregatorId,
        result: Result<(), StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note(aggregator, result);
        let Stage::Beginning { gather, .. } = &mut self.stage else {
            return Ok(Vec::new());
        };
        if gather.take(aggregator, answer).is_none() {
            return Ok(Vec::new());
        }
        self.check_quorum()?;
        self.begun = self.alive.clone();
        self.stage = Stage::Batches;
        self.next_batches()
    }

    /// Returns the batches of homes, without those of dealt noise.
    fn of_homes(&self) -> impl Iterator<Item = &BatchRun> + Clone {
        let batches = self.batches.iter().filter(|(id, _)| !id.is_noise());
        batches.map(|(_, run)| run)
    }

    /// Has noise dealt, if the query asks for noise and none was dealt yet. Called once all batches are done.
    fn noise(&mut self) -> Vec<Command> {
        let dealt = self.batches.keys().any(|id| id.is_noise());
        if self.manifest.privacy.is_none() || dealt {
            return Vec::new();
        }
        let noise: Vec<BatchId> = self.committees().map(BatchId::noise).collect();
        for id in &noise {
            self.batches.insert(*id, BatchRun::new(0));
        }
        noise.into_iter().flat_map(|id| self.deal(id)).collect()
    }

    /// Starts batches while a committee has too few in flight. Starts the noise and then the release when all batches
    /// are done.
    fn next_batches(&mut self) -> Result<Vec<Command>, Failure> {
        let mut in_flight = vec![0; self.manifest.committees.len()];
        for (id, _) in self.batches.iter().filter(|(_, run)| run.in_flight()) {
            in_flight[usize::from(id.committee)] += 1;
        }
        let mut commands = Vec::new();
        let query = self.manifest.query();
        for (id, run) in self.batches.iter_mut().filter(|(_, run)| run.is_waiting()) {
            let count = &mut in_flight[usize::from(id.committee)];
            if *count < self.in_flight {
                // The bound keeps the answers of few batches in memory at a time.
                *count += 1;
                let work = run.work(query, self.round, *id);
                commands.push(run.ask(work, &self.parameters, &mut self.funnel));
            }
        }
        if in_flight.iter().any(|count| *count > 0) {
            return Ok(commands);
        }
        // Aggregators charge a query when they acknowledge its noise, so that a query that cannot be released must end
        // before.
        self.check_answers()?;
        let noise = self.noise();
        if !noise.is_empty() {
            return Ok(noise);
        }
        let proposal = Proposal {
            query,
            round: self.round,
            batches: self
                .batches
                .iter()
                .filter_map(|(id, run)| run.committed(*id))
                .collect(),
        };
        Ok(self.notarise(proposal))
    }

    /// Checks that enough homes gave an accepted answer.
    fn check_answers(&self) -> Result<(), Failure> {
        let rate = u64::from(self.manifest.answer_rate);
        let wanted = self.funnel.targeted.saturating_mul(rate);
        // The aggregators of a committee with fewer answers would refuse the release, and be excluded for it.
        let each = self
            .committees()
            .all(|committee| self.has_enough_answers(committee));
        let each = each || weakness::off(Weakness::AnswerRateOfAllCommittees);
        let mut homes = self.batches.iter().filter(|(id, _)| !id.is_noise());
        let some = homes.any(|(id, run)| run.committed(*id).is_some());
        if some && self.funnel.accepted.saturating_mul(1000) >= wanted && each {
            return Ok(());
        }
        let reported = self.funnel.with_noise(&self.noisy_sizes, true);
        let reported = reported.coarse(self.manifest.min_cohort);
        Err(Failure::TooFewAnswers {
            accepted: reported.accepted,
            asked: reported.targeted,
            rate: self.manifest.answer_rate,
        })
    }

    /// Returns whether the committed batches of a committee have the answer rate that its aggregators require.
    fn has_enough_answers(&self, committee: u16) -> bool {
        let (mut asked, mut accepted) = (0u64, 0u64);
        for (id, run) in &self.batches {
            if id.committee == committee && !id.is_noise() {
                asked += u64::from(run.size());
                let committed = run.committed(*id);
                accepted += committed.map_or(0, |batch| u64::from(batch.accepted));
            }
        }
        let wanted = asked.saturating_mul(self.manifest.answer_rate.into());
        accepted.saturating_mul(1000) >= wanted
    }

    fn notarised(
        &mut self,
        result: Result<Certificate, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let Stage::Notarising(proposal) = &self.stage else {
            return Ok(Vec::new());
        };
        let certificate = Arc::new(result.map_err(Failure::Notary)?);
        let proposal = proposal.clone();
        let commands = self
            .alive
            .keys()
            .map(|&aggregator| Command::Guards {
                aggregator,
                proposal: proposal.clone(),
                certificate: certificate.clone(),
            })
            .collect();
        self.stage = Stage::Guarding {
            proposal,
            gather: Gather::new(self.alive.keys().copied()),
        };
        Ok(commands)
    }

    fn guarded(
        &mut self,
        aggregator: AggregatorId,
        result: Result<Vec<PeerMessage>, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let limit = self.guards_limit();
        let result = self.complete(aggregator, result, limit);
        let answer = self.note(aggregator, result);
        let Stage::Guarding { proposal, gather } = &mut self.stage else {
            return Ok(Vec::new());
        };
        let Some(answers) = gather.take(aggregator, answer) else {
            return Ok(Vec::new());
        };
        let proposal = proposal.clone();
        self.check_quorum()?;
        let commands = self
            .alive
            .keys()
            .map(|&aggregator| Command::Release {
                aggregator,
                round: self.round,
                messages: messages_to(aggregator, &answers, &self.alive),
            })
            .collect();
        self.stage = Stage::Releasing {
            proposal,
            gather: Gather::new(self.alive.keys().copied()),
        };
        Ok(commands)
    }

    fn released(
        &mut self,
        aggregator: AggregatorId,
        result: Result<SealedTotal, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let asked = match &self.stage {
            Stage::Releasing { gather, .. } => gather.of_committee(aggregator.committee),
            _ => return Ok(Vec::new()),
        };
        let needed = self.manifest.min_verified.into();
        let result = match result {
            Err(StepError::Unread { members }) if members.is_empty() => {
                self.disputes.add_contradiction(aggregator);
                Err(StepError::Unread { members })
            }
            result => self.dispute(aggregator, result, &asked, needed),
        };
        let answer = self.note(aggregator, result);
        let Stage::Releasing { gather, .. } = &mut self.stage else {
            return Ok(Vec::new());
        };
        let Some(totals) = gather.take(aggregator, answer) else {
            return Ok(Vec::new());
        };
        // The release has no further attempt, and totals may be missing.
        let totals: Vec<_> = totals.into_iter().collect();
        // Every committee must give totals, since each holds the sums of its own homes.
        for committee in self.committees() {
            let of = totals
                .iter()
                .filter(|(from, _)| from.committee == committee);
            if of.count() < needed {
                // The aggregators that are left, and gave no total, could not read the others' guard counts.
                let left = self.alive_in(committee).len() >= needed;
                return Err(match left {
                    true => self.no_agreement(),
                    false => self.too_few(),
                });
            }
            self.settle_disputes(committee);
        }
        self.stage = match self.round + 1 < self.manifest.rounds {
            true => Stage::Between(totals),
            false => Stage::Done(totals),
        };
        Ok(Vec::new())
    }

    /// Records the result of a step. Excludes an aggregator that failed it, and returns the answer of one that did not.
    fn note<T>(&mut self, aggregator: AggregatorId, result: Result<T, StepError>) -> Option<T> {
        match result {
            Ok(answer) => self.alive.contains_key(&aggregator).then_some(answer),
            // These refusals are verdicts on others. The aggregator that gives one did its step.
            Err(StepError::Inconsistent { .. } | StepError::BadDeals { .. }) => None,
            Err(StepError::Unread { .. }) if !weakness::off(Weakness::UnreadEvicts) => None,
            Err(error) => {
                self.alive.remove(&aggregator);
                self.out.entry(aggregator).or_insert(error);
                None
            }
        }
    }

    fn check_quorum(&self) -> Result<(), Failure> {
        let needed = usize::from(self.manifest.min_verified);
        for committee in self.committees() {
            if self.alive_in(committee).len() < needed {
                return Err(self.too_few());
            }
        }
        Ok(())
    }

    fn too_few(&self) -> Failure {
        Failure::TooFewAggregators {
            needed: self.manifest.min_verified,
            out: self
                .out
                .iter()
                .map(|(aggregator, error)| (*aggregator, error.clone()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
