//! The Conductor's side of a query: what to do next, given what came back (protocol.md §6 to §9).
//!
//! [`Conduct`] is fed [`Event`]s and returns [`Command`]s; every command is answered by exactly
//! one event, at the latest by a failure at its deadline, so a query never hangs. An aggregator
//! that fails a step is out of the query; as long as `min_verified` are left the query goes on.

mod batch;
mod command;
mod record;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use command::{Command, Event, StepError};
pub use record::Record;
pub use status::{Failure, Funnel, Phase, Status, Step, Wait};

use crate::{
    find::{FindSummary, SealedGrant},
    id::{BatchId, MemberNumber},
    manifest::VerifiedManifest,
    peer::PeerMessage,
    release::{Certificate, Proposal, SealedTotal},
};
use batch::BatchRun;

/// Batches that are asked and aggregated at the same time.
pub const IN_FLIGHT: usize = 2;

/// The members that a step still waits for, and what the others answered.
struct Gather<T> {
    waiting: BTreeSet<MemberNumber>,
    answers: BTreeMap<MemberNumber, T>,
}

impl<T> Gather<T> {
    fn new(members: impl IntoIterator<Item = MemberNumber>) -> Self {
        Self {
            waiting: members.into_iter().collect(),
            answers: BTreeMap::new(),
        }
    }

    fn awaits(&self, member: MemberNumber) -> bool {
        self.waiting.contains(&member)
    }

    /// Notes an answer; `None` when nobody waits for it. Whether all are in, otherwise.
    fn take(&mut self, member: MemberNumber, answer: Option<T>) -> Option<bool> {
        if !self.waiting.remove(&member) {
            return None;
        }
        if let Some(answer) = answer {
            self.answers.insert(member, answer);
        }
        Some(self.waiting.is_empty())
    }
}

/// What one aggregator is to be told of what the others said.
fn messages_to(
    member: MemberNumber,
    answers: &BTreeMap<MemberNumber, Vec<PeerMessage>>,
    alive: &BTreeMap<MemberNumber, usize>,
) -> Vec<PeerMessage> {
    answers
        .iter()
        .filter(|(from, _)| alive.contains_key(from))
        .flat_map(|(_, messages)| messages)
        .filter(|message| message.to == member)
        .cloned()
        .collect()
}

enum Stage {
    Finding,
    Beginning {
        gather: Gather<()>,
        grants: BTreeMap<MemberNumber, Arc<SealedGrant>>,
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
    Done(Vec<(MemberNumber, SealedTotal)>),
    Failed(Failure),
}

/// One query at the Conductor.
pub struct Conduct {
    manifest: VerifiedManifest,
    /// Aggregators still in the query, with their place among those that offered.
    alive: BTreeMap<MemberNumber, usize>,
    out: BTreeMap<MemberNumber, StepError>,
    /// Aggregators that lost an attempt at a batch in a restart.
    forgot: BTreeSet<(MemberNumber, BatchId)>,
    stage: Stage,
    batches: BTreeMap<BatchId, BatchRun>,
    funnel: Funnel,
    verified: usize,
}

impl Conduct {
    /// Starts a query. The first command is the find.
    pub fn new(manifest: VerifiedManifest) -> (Self, Vec<Command>) {
        let alive = manifest
            .offers(0)
            .enumerate()
            .map(|(position, (member, _))| (member, position))
            .collect();
        let conduct = Self {
            manifest,
            alive,
            out: BTreeMap::new(),
            forgot: BTreeSet::new(),
            stage: Stage::Finding,
            batches: BTreeMap::new(),
            funnel: Funnel::default(),
            verified: 0,
        };
        (conduct, vec![Command::Find])
    }

    /// The query's manifest.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// The sealed totals, once the query is done.
    pub fn totals(&self) -> Option<&[(MemberNumber, SealedTotal)]> {
        match &self.stage {
            Stage::Done(totals) => Some(totals),
            _ => None,
        }
    }

    /// Where the query stands, for the querier.
    pub fn status(&self) -> Status {
        let phase = match &self.stage {
            Stage::Finding | Stage::Beginning { .. } => Phase::Find,
            Stage::Batches => Phase::Ask,
            Stage::Notarising(_) | Stage::Guarding { .. } | Stage::Releasing { .. } => {
                Phase::Release
            }
            Stage::Done(_) => Phase::Done,
            Stage::Failed(_) => Phase::Failed,
        };
        Status {
            phase,
            homes: self.funnel.clone(),
            batches: self.batches.len() as u32,
            batches_done: self.batches.values().filter(|run| run.is_done()).count() as u32,
            verified: self.verified as u8,
            failure: match &self.stage {
                Stage::Failed(failure) => Some(failure.clone()),
                _ => None,
            },
            missing: self.out.keys().copied().collect(),
            waiting: Vec::new(),
        }
    }

    /// Ends a query that has not ended: nothing is released. Whether it had not.
    pub fn end(&mut self, failure: Failure) -> bool {
        let running = !matches!(self.stage, Stage::Done(_) | Stage::Failed(_));
        if running {
            self.stage = Stage::Failed(failure);
        }
        running
    }

    /// Takes one event and says what to do next. An event that nothing waits for changes nothing.
    pub fn handle(&mut self, event: Event) -> Vec<Command> {
        if !self.awaits(&event) {
            return Vec::new();
        }
        let next = match event {
            Event::Found(result) => self.found(result),
            Event::Begun(member, result) => self.begun(member, result),
            Event::Asked(work, result) => self.asked(work, result),
            Event::Opened(member, work, result) => self.opened(member, work, result),
            Event::Verified(member, work, result) => self.verified(member, work, result),
            Event::Decided(member, work, result) => self.decided(member, work, result),
            Event::Committed(member, work, result) => self.committed(member, work, result),
            Event::Notarised(result) => self.notarised(result),
            Event::Guarded(member, result) => self.guarded(member, result),
            Event::Released(member, result) => self.released(member, result),
        };
        next.unwrap_or_else(|failure| {
            self.stage = Stage::Failed(failure);
            Vec::new()
        })
    }

    fn awaits(&self, event: &Event) -> bool {
        match (event, &self.stage) {
            (Event::Found(_), Stage::Finding) | (Event::Notarised(_), Stage::Notarising(_)) => true,
            (Event::Begun(member, _), Stage::Beginning { gather, .. }) => gather.awaits(*member),
            (Event::Guarded(member, _), Stage::Guarding { gather, .. }) => gather.awaits(*member),
            (Event::Released(member, _), Stage::Releasing { gather, .. }) => gather.awaits(*member),
            (_, Stage::Batches) => self.batch_awaits(event),
            _ => false,
        }
    }

    fn found(
        &mut self,
        result: Result<(FindSummary, Vec<u32>), StepError>,
    ) -> Result<Vec<Command>, Failure> {
        if !matches!(self.stage, Stage::Finding) {
            return Ok(Vec::new());
        }
        let (summary, sizes) = result.map_err(Failure::Find)?;
        self.funnel.targeted = summary.targets;
        for (number, size) in (0u32..).zip(sizes) {
            let batch = BatchId {
                partition: 0,
                number,
            };
            self.batches.insert(batch, BatchRun::new(size));
        }
        let grants = summary.grants.into_iter();
        let grants = grants
            .filter(|(committee, ..)| *committee == 0)
            .map(|(_, member, grant)| (member, Arc::new(grant)))
            .collect();
        self.begin(grants)
    }

    fn begun(
        &mut self,
        member: MemberNumber,
        result: Result<(), StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note(member, result);
        let Stage::Beginning { gather, .. } = &mut self.stage else {
            return Ok(Vec::new());
        };
        if gather.take(member, answer) != Some(true) {
            return Ok(Vec::new());
        }
        self.check_quorum()?;
        self.stage = Stage::Batches;
        self.next_batches()
    }

    /// Starts batches while fewer than [`IN_FLIGHT`] are, and the release when all are done.
    fn next_batches(&mut self) -> Result<Vec<Command>, Failure> {
        let mut in_flight = self.batches.values().filter(|run| run.in_flight()).count();
        let mut commands = Vec::new();
        let query = self.manifest.query();
        for (id, run) in &mut self.batches {
            if in_flight >= IN_FLIGHT {
                break;
            }
            if run.is_waiting() {
                in_flight += 1;
                commands.push(run.ask(query, *id, &mut self.funnel));
            }
        }
        if in_flight > 0 {
            return Ok(commands);
        }
        let proposal = Proposal {
            query,
            round: 0,
            batches: self
                .batches
                .iter()
                .filter_map(|(id, run)| run.committed(*id))
                .collect(),
        };
        let accepted: u64 = self.funnel.accepted;
        let rate = u64::from(self.manifest.answer_rate);
        let wanted = self.funnel.targeted.saturating_mul(rate);
        if proposal.batches.is_empty() || accepted.saturating_mul(1000) < wanted {
            return Err(Failure::TooFewAnswers {
                accepted,
                asked: self.funnel.targeted,
                rate: self.manifest.answer_rate,
            });
        }
        Ok(self.notarise(proposal))
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
            .map(|&member| Command::Guards {
                member,
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
        member: MemberNumber,
        result: Result<Vec<PeerMessage>, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note(member, result);
        let Stage::Guarding { proposal, gather } = &mut self.stage else {
            return Ok(Vec::new());
        };
        if gather.take(member, answer) != Some(true) {
            return Ok(Vec::new());
        }
        let answers = std::mem::take(&mut gather.answers);
        let proposal = proposal.clone();
        self.check_quorum()?;
        let commands = self
            .alive
            .keys()
            .map(|&member| Command::Release {
                member,
                round: 0,
                messages: messages_to(member, &answers, &self.alive),
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
        member: MemberNumber,
        result: Result<SealedTotal, StepError>,
    ) -> Result<Vec<Command>, Failure> {
        let answer = self.note(member, result);
        let Stage::Releasing { gather, .. } = &mut self.stage else {
            return Ok(Vec::new());
        };
        if gather.take(member, answer) != Some(true) {
            return Ok(Vec::new());
        }
        let totals: Vec<_> = std::mem::take(&mut gather.answers).into_iter().collect();
        let needed = usize::from(self.manifest.committees[0].needed);
        if totals.len() < needed {
            return Err(self.too_few());
        }
        self.stage = Stage::Done(totals);
        Ok(Vec::new())
    }

    /// Puts a member that failed out of the query, and keeps what the others said.
    fn note<T>(&mut self, member: MemberNumber, result: Result<T, StepError>) -> Option<T> {
        match result {
            Ok(answer) => self.alive.contains_key(&member).then_some(answer),
            Err(StepError::Inconsistent { .. }) => None,
            Err(error) => {
                self.alive.remove(&member);
                self.out.entry(member).or_insert(error);
                None
            }
        }
    }

    fn check_quorum(&self) -> Result<(), Failure> {
        if self.alive.len() < usize::from(self.manifest.min_verified) {
            return Err(self.too_few());
        }
        Ok(())
    }

    fn too_few(&self) -> Failure {
        Failure::TooFewAggregators {
            needed: self.manifest.min_verified,
            out: self
                .out
                .iter()
                .map(|(member, error)| (*member, error.clone()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
