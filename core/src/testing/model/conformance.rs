//! Comparison of the real state machines with the model. Every step of a real state machine must be a step of the
//! model, with the same outcome and the same state after it. Without this comparison, the model would say nothing about
//! the code.

use std::collections::BTreeMap;

use super::aggregator::{Aggregator, BATCHES, MOST_ATTEMPTS, Refusal};
use super::{BYZANTINE, Decision, HONEST, Mistake, Proposal, Request, Rules, State, Step};
use crate::{
    aggregation::{
        AggregationError, Quorum,
        visible::{Visible, VisibleCommit, VisibleStep},
    },
    release::{self, SignedAcknowledgement},
};
use dispers_base::id::{MemberNumber, Work};

/// Step that a real aggregator was asked to take.
#[derive(Clone, Copy)]
pub(crate) enum Call<'a> {
    /// Opens the groups of this D.
    Open(Work, [u8; 32]),
    Verify(Work),
    Decide(Work, &'a Quorum),
    Commit(Work),
    Guards(&'a release::Proposal),
    Release,
}

/// Hash of a decision, and the number of contributions counted.
type Decided = ([u8; 32], u32);

/// Run of real aggregators, of which the first two are followed in the model.
pub(crate) struct Conformance {
    rules: Rules,
    state: State,
    /// States of the aggregators as they were last written.
    written: [Aggregator; 2],
    /// All D of each (batch, attempt). The place of a D is its name in the model.
    digests: BTreeMap<(usize, usize), Vec<[u8; 32]>>,
    /// Decisions of each (batch, attempt, name of D, quorum). The place of a decision is the name of the Byzantine
    /// member's messages.
    decisions: BTreeMap<(usize, usize, u8, u8), Vec<Decided>>,
    /// Proposals by hash.
    proposals: BTreeMap<[u8; 32], Proposal>,
}

/// Returns the place of a member among the followed members.
fn place(member: MemberNumber) -> Option<usize> {
    HONEST.iter().position(|bit| *bit == bit_of(member))
}

fn bit_of(member: MemberNumber) -> u8 {
    1 << member.index()
}

fn bits_of(quorum: &Quorum) -> u8 {
    quorum.members().iter().map(|member| bit_of(*member)).sum()
}

/// Returns the refusal that follows from the state, or `None` if the error follows from the content of a request.
fn refusal(error: &AggregationError) -> Option<Refusal> {
    Some(match error {
        AggregationError::WrongStep => Refusal::WrongStep,
        AggregationError::OtherGroups => Refusal::OtherGroups,
        AggregationError::Forgotten => Refusal::Forgotten,
        AggregationError::AlreadyCommitted => Refusal::AlreadyCommitted,
        AggregationError::SecondRelease => Refusal::SecondRelease,
        AggregationError::NotCommitted => Refusal::NotCommitted,
        _ => return None,
    })
}

/// Returns the batch and attempt of a work in the model, or `None` if the model does not have them.
fn named(work: Work) -> Option<(usize, usize)> {
    let (batch, attempt) = (work.batch.number as usize, usize::from(work.attempt));
    let modelled = work.round == 0 && batch < BATCHES && attempt < MOST_ATTEMPTS;
    modelled.then_some((batch, attempt))
}

impl Conformance {
    /// Follows a query in which nothing has happened yet.
    pub(crate) fn new(min_verified: u8) -> Self {
        Self::with(min_verified, None)
    }

    /// Follows a query in a model that makes a mistake.
    pub(super) fn with(min_verified: u8, mistake: Option<Mistake>) -> Self {
        let rules = Rules {
            attempts: MOST_ATTEMPTS,
            mistake,
            ..Rules::new(min_verified.into())
        };
        Self {
            rules,
            state: State::default(),
            written: Default::default(),
            digests: BTreeMap::new(),
            decisions: BTreeMap::new(),
            proposals: BTreeMap::new(),
        }
    }

    /// Records that an aggregator wrote its state.
    pub(crate) fn written(&mut self, member: MemberNumber) {
        if let Some(at) = place(member) {
            self.written[at] = self.state.aggregators[at];
        }
    }

    /// Compares an aggregator after it restarted from its last written state.
    pub(crate) fn restarted(
        &mut self,
        member: MemberNumber,
        visible: &Visible,
    ) -> Result<(), String> {
        let Some(at) = place(member) else {
            return Ok(());
        };
        self.state.aggregators[at] = self.written[at];
        (0..BATCHES).for_each(|batch| self.state.aggregators[at].restart(batch));
        self.compare(at, visible)
            .map_err(|what| format!("aggregator {member} after a restart: {what}"))
    }

    /// Compares the outcome of one step, and the state after it. `outcome` holds the acknowledgement if the step was a
    /// decision.
    pub(crate) fn step(
        &mut self,
        member: MemberNumber,
        call: Call<'_>,
        outcome: Result<Option<&SignedAcknowledgement>, &AggregationError>,
        visible: &Visible,
    ) -> Result<(), String> {
        let Some(at) = place(member) else {
            return Ok(());
        };
        let taken = match call {
            Call::Guards(proposal) => self.guards(at, proposal, outcome.map(|_| ())),
            Call::Release => self.release(at, outcome.map(|_| ())),
            Call::Open(work, _)
            | Call::Verify(work)
            | Call::Decide(work, _)
            | Call::Commit(work) => match named(work) {
                Some(place) => self.take(at, place, call, outcome),
                None if outcome.is_err() => Ok(()),
                None => Err("a work that is not modelled".into()),
            },
        };
        taken
            .and_then(|()| self.compare(at, visible))
            .map_err(|what| format!("aggregator {member}: {what}"))
    }

    fn take(
        &mut self,
        at: usize,
        work: (usize, usize),
        call: Call<'_>,
        outcome: Result<Option<&SignedAcknowledgement>, &AggregationError>,
    ) -> Result<(), String> {
        let own = self.state.aggregators[at].batches[work.0].attempts[work.1];
        let (request, possible) = match call {
            Call::Open(_, digest) => {
                let known = self.digests.entry(work).or_default();
                let name = known.iter().position(|one| *one == digest);
                let name = name.unwrap_or(known.len());
                if outcome.is_ok() && name == known.len() {
                    known.push(digest);
                }
                (Request::Open { digest: name as u8 }, true)
            }
            Call::Decide(_, quorum) => {
                let (quorum, digest) = (bits_of(quorum), own.frozen.unwrap_or(0));
                let word = match outcome {
                    Err(AggregationError::TooManyInconsistent { .. }) => None,
                    Err(_) => Some(0),
                    Ok(said) => {
                        let body = &said.ok_or("a decision without its acknowledgement")?.body;
                        Some(self.word(
                            (work.0, work.1, digest, quorum),
                            body.decision,
                            body.accepted,
                        ))
                    }
                };
                if quorum & BYZANTINE == 0 && word > Some(0) {
                    return Err("two decisions of honest aggregators over one D".into());
                }
                let possible = self.state.has_messages(at, work, digest, quorum);
                (Request::Decide { quorum, word }, possible)
            }
            Call::Commit(_) => {
                let agreed = own
                    .acknowledged
                    .is_none_or(|decision| self.state.has_acknowledgements(at, work, decision));
                (Request::Commit, agreed)
            }
            _ => (Request::Verify, true),
        };
        let mistake = self.rules.mistake;
        let mut next = self.state.aggregators[at];
        let taken = next.take(work, request, mistake);
        let ends = matches!(outcome, Err(AggregationError::TooManyInconsistent { .. }));
        match outcome {
            Err(error) if !ends => {
                return match refusal(error) {
                    Some(refusal) => same(Err(refusal), taken, request),
                    None => Ok(()),
                };
            }
            _ => same(Ok(()), taken, request)?,
        }
        if !possible {
            return Err(format!("{request:?} with what nobody sent"));
        }
        self.state.aggregators[at] = next;
        Ok(())
    }

    /// Returns the name of a decision among those of the same work, D and quorum.
    fn word(&mut self, of: (usize, usize, u8, u8), decision: [u8; 32], accepted: u32) -> u8 {
        let known = self.decisions.entry(of).or_default();
        let decided = (decision, accepted);
        let name = known.iter().position(|one| *one == decided);
        name.unwrap_or_else(|| {
            known.push(decided);
            known.len() - 1
        }) as u8
    }

    /// Returns the model's decision with this hash.
    fn decision(&self, work: (usize, usize), decided: Decided) -> Option<Decision> {
        let of = self.decisions.iter().filter(|(of, _)| (of.0, of.1) == work);
        let mut named = of.filter_map(|(&(_, _, digest, quorum), known)| {
            let word = known.iter().position(|one| *one == decided)? as u8;
            Some(Decision {
                digest,
                quorum,
                word,
            })
        });
        named.next()
    }

    fn guards(
        &mut self,
        at: usize,
        proposal: &release::Proposal,
        outcome: Result<(), &AggregationError>,
    ) -> Result<(), String> {
        let mut listed: Proposal = Default::default();
        for one in &proposal.batches {
            let place = listed.get_mut(one.batch.number as usize);
            let place = place.ok_or("a batch that is not modelled")?;
            let work = (one.batch.number as usize, usize::from(one.attempt));
            // Stands for an unknown decision: no decision has an empty quorum.
            let unknown = Decision {
                digest: 0,
                quorum: 0,
                word: 0,
            };
            let decision = self.decision(work, (one.decision, one.accepted));
            *place = Some((one.attempt, decision.unwrap_or(unknown)));
        }
        self.proposals.insert(proposal.hash(), listed);
        let mut next = self.state.aggregators[at];
        let taken = next.guards(listed, self.rules.mistake);
        if let Err(error) = outcome {
            return match refusal(error) {
                Some(refusal) => same(Err(refusal), taken, proposal),
                None => Ok(()),
            };
        }
        same(Ok(()), taken, proposal)?;
        if *self.state.certified.get_or_insert(listed) != listed {
            return Err("guards of a second certificate".into());
        }
        self.state.aggregators[at] = next;
        Ok(())
    }

    fn release(&mut self, at: usize, outcome: Result<(), &AggregationError>) -> Result<(), String> {
        let mut next = self.state.aggregators[at];
        let taken = next.release(false);
        if let Err(error) = outcome {
            return match refusal(error) {
                Some(refusal) => same(Err(refusal), taken, "release"),
                None => Ok(()),
            };
        }
        same(Ok(()), taken, "release")?;
        if !self.state.has_openings(at, false, &self.rules) {
            return Err("a release without openings".into());
        }
        self.state.aggregators[at] = next;
        Ok(())
    }

    /// Compares the visible state of an aggregator with that of the model.
    fn compare(&self, at: usize, visible: &Visible) -> Result<(), String> {
        let own = &self.state.aggregators[at];
        let differs = |what: &str, real: &dyn std::fmt::Debug, model: &dyn std::fmt::Debug| {
            Err(format!("{what}: {real:?}, in the model {model:?}"))
        };
        let real = visible.releases.get(&0);
        let real = real.map(|(hash, released)| (self.proposals.get(hash).copied(), *released));
        let model = own.releasing;
        let model = model.map(|of| (Some(of.proposal), of.released.is_some()));
        if real != model {
            return differs("release", &real, &model);
        }
        if model.is_some_and(|(_, released)| released) {
            return match visible.attempts.is_empty() && visible.committed.is_empty() {
                true => Ok(()),
                false => differs("batches after the release", visible, &()),
            };
        }
        for (number, batch) in own.batches.iter().enumerate() {
            let of = |(round, id): (u16, dispers_base::id::BatchId)| {
                round == 0 && id.number as usize == number
            };
            let mut real = visible.committed.iter().filter(|(key, _)| of(**key));
            let real = real.next().map(|(_, commit)| self.commit(number, commit));
            if real.unwrap_or_default() != batch.committed {
                return differs("committed", &real, &batch.committed);
            }
            if batch.committed.is_some() {
                continue;
            }
            for (attempt, model) in batch.attempts.iter().enumerate() {
                let mut real = visible
                    .attempts
                    .iter()
                    .filter(|((round, id, of_attempt), _)| {
                        of((*round, *id)) && usize::from(*of_attempt) == attempt
                    });
                let real = real.next().map(|(_, step)| step);
                let seen = self.seen((number, attempt), real);
                let named = match model.step {
                    Step::Unopened | Step::Withdrawn => (model.step, None, None),
                    Step::Prepared => (model.step, None, model.acknowledged),
                    _ => (model.step, model.frozen, None),
                };
                if seen != named {
                    return differs("attempt", &(real, seen), model);
                }
            }
        }
        Ok(())
    }

    fn commit(&self, batch: usize, commit: &VisibleCommit) -> Option<(u8, Decision)> {
        let (attempt, decision, accepted) = *commit;
        let decision = self.decision((batch, attempt.into()), (decision, accepted))?;
        Some((attempt, decision))
    }

    /// Translates the state of a real attempt into the terms of the model.
    fn seen(
        &self,
        work: (usize, usize),
        step: Option<&VisibleStep>,
    ) -> (Step, Option<u8>, Option<Decision>) {
        let name = |digest: &[u8; 32]| {
            let known = self.digests.get(&work)?;
            known
                .iter()
                .position(|one| one == digest)
                .map(|at| at as u8)
        };
        match step {
            None => (Step::Unopened, None, None),
            Some(VisibleStep::Frozen(digest)) => (Step::Frozen, name(digest), None),
            Some(VisibleStep::Verifying(digest)) => (Step::Verifying, name(digest), None),
            Some(VisibleStep::Forgotten(digest)) => (Step::Forgotten, name(digest), None),
            Some(VisibleStep::Prepared(quorum, decision, accepted)) => {
                let decision = self.decision(work, (*decision, *accepted));
                let decision = decision.filter(|of| of.quorum == bits_of(quorum));
                (Step::Prepared, None, decision)
            }
            Some(VisibleStep::Withdrawn) => (Step::Withdrawn, None, None),
        }
    }
}

fn same(
    real: Result<(), Refusal>,
    model: Result<(), Refusal>,
    what: impl std::fmt::Debug,
) -> Result<(), String> {
    match real == model {
        true => Ok(()),
        false => Err(format!("{what:?} gives {real:?}, in the model {model:?}")),
    }
}
