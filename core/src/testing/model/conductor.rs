//! A model of the same aggregators under an honest conductor: every query ends, whatever a Byzantine aggregator says
//! and whichever other aggregators restart (protocol.md §8, "Restarts").

use stateright::{Model, Property};

use super::aggregator::{Aggregator, BATCHES, Request, Step};
use super::{BYZANTINE, HONEST, Proposal};

/// Largest number of steps of a query.
const MOST_STEPS: u8 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Asking,
    Opening,
    Verifying,
    Deciding,
    Committing,
    Done,
}

/// State of a batch at the conductor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Run {
    attempt: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Batches,
    Guards,
    Release,
    Released,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Query {
    aggregators: [Aggregator; 2],
    runs: [Run; BATCHES],
    phase: Phase,
    /// Members that are still in the query, one bit each.
    alive: u8,
    /// Members that forgot an attempt at each batch.
    forgot: [u8; BATCHES],
    /// Honest members that forgot a second attempt at the same batch.
    forgetful: u8,
    /// True once an honest aggregator refused a request of an honest conductor.
    refused: bool,
    steps: u8,
}

/// Answer of the Byzantine aggregator to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Honest,
    Nothing,
    /// The same false message to both honest aggregators.
    Alike,
    /// A different message to each honest aggregator.
    Apart,
    /// Messages with so many contradictions that the attempt ends.
    Contradicting,
}

/// One step, at all aggregators that are still in the query. `restarts` are the honest members that restart before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Ask {
        batch: usize,
        fails: bool,
    },
    Batch {
        batch: usize,
        restarts: u8,
        answer: Answer,
    },
    Guards(Answer),
    Release(Answer),
}

/// Honest conductor of a query.
pub(super) struct HonestConductor {
    pub(super) min_verified: u32,
    pub(super) attempts: usize,
}

const ANSWERS: [Answer; 5] = [
    Answer::Honest,
    Answer::Nothing,
    Answer::Alike,
    Answer::Apart,
    Answer::Contradicting,
];

impl Query {
    /// Returns the places of the honest members that are still in the query.
    fn honest(&self) -> impl Iterator<Item = usize> + use<> {
        let alive = self.alive;
        (0..2).filter(move |at| alive & HONEST[*at] != 0)
    }

    fn enough(&mut self, rules: &HonestConductor) -> bool {
        let enough = self.alive.count_ones() >= rules.min_verified;
        if !enough {
            self.phase = Phase::Failed;
        }
        enough
    }

    /// Asks the batch again, as a new attempt.
    fn again(&mut self, batch: usize, rules: &HonestConductor) {
        let run = &mut self.runs[batch];
        if !(self.alive.count_ones() >= rules.min_verified && run.attempt + 1 < rules.attempts) {
            self.phase = Phase::Failed;
            return;
        }
        run.attempt += 1;
        run.stage = Stage::Asking;
    }

    /// Records that an honest aggregator lost the attempt. The aggregator stays in the query the first time at each
    /// batch.
    fn forgets(&mut self, at: usize, batch: usize) {
        if self.forgot[batch] & HONEST[at] != 0 {
            self.alive &= !HONEST[at];
            self.forgetful |= HONEST[at];
        }
        self.forgot[batch] |= HONEST[at];
    }

    /// Makes every honest aggregator take a step. Returns whether all aggregators that are left in the query took it.
    fn take(&mut self, batch: usize, request: impl Fn(usize) -> Request) -> bool {
        let attempt = self.runs[batch].attempt;
        let mut all = true;
        for at in self.honest() {
            let own = &mut self.aggregators[at];
            if own.batches[batch].attempts[attempt].step == Step::Forgotten
                && !matches!(request(at), Request::Open { .. })
            {
                self.forgets(at, batch);
                all &= self.alive & HONEST[at] == 0;
            } else if own.take((batch, attempt), request(at), None).is_err() {
                self.refused = true;
            }
        }
        all
    }

    fn batch(&mut self, batch: usize, restarts: u8, answer: Answer, rules: &HonestConductor) {
        for at in self.honest().filter(|at| restarts & HONEST[*at] != 0) {
            self.aggregators[at].restart(batch);
        }
        let quorum = self.alive;
        if answer == Answer::Nothing {
            self.alive &= !BYZANTINE;
        }
        let stage = self.runs[batch].stage;
        let complete = match stage {
            Stage::Opening => self.take(batch, |_| Request::Open { digest: 0 }),
            Stage::Verifying => self.take(batch, |_| Request::Verify),
            Stage::Deciding => self.decide(batch, quorum, answer, rules),
            _ => self.take(batch, |_| Request::Commit),
        };
        if !self.enough(rules) {
            return;
        }
        if !complete {
            return self.again(batch, rules);
        }
        self.runs[batch].stage = match stage {
            Stage::Opening => Stage::Verifying,
            Stage::Verifying => Stage::Deciding,
            Stage::Deciding => Stage::Committing,
            _ => Stage::Done,
        };
        if self.runs.iter().all(|run| run.stage == Stage::Done) {
            self.phase = Phase::Guards;
        }
    }

    /// Returns whether all of the quorum acknowledge one decision.
    fn decide(
        &mut self,
        batch: usize,
        quorum: u8,
        answer: Answer,
        rules: &HonestConductor,
    ) -> bool {
        let lies = quorum & BYZANTINE != 0;
        let word = |at: usize| match answer {
            Answer::Contradicting if lies => None,
            Answer::Alike if lies => Some(1),
            Answer::Apart if lies => Some(at as u8),
            _ => Some(0),
        };
        let taken = self.take(batch, |at| Request::Decide {
            quorum,
            word: word(at),
        });
        let contradicted = lies && answer == Answer::Contradicting;
        // The liar can be named only if the quorum has one member more than needed. Then it is left out.
        if contradicted && quorum.count_ones() > rules.min_verified.max(2) {
            self.alive &= !BYZANTINE;
        }
        let apart =
            lies && answer == Answer::Apart && quorum & HONEST[0] != 0 && quorum & HONEST[1] != 0;
        let mut members = (0..2).filter(|at| quorum & HONEST[*at] != 0);
        let attempt = self.runs[batch].attempt;
        let acknowledged = members.all(|at| {
            let own = &self.aggregators[at].batches[batch].attempts[attempt];
            own.acknowledged.is_some()
        });
        taken && acknowledged && !contradicted && !apart && !(lies && answer == Answer::Nothing)
    }

    fn guards(&mut self, answer: Answer, rules: &HonestConductor) {
        if answer == Answer::Nothing {
            self.alive &= !BYZANTINE;
        }
        for at in self.honest() {
            let proposal: Proposal = self.aggregators[at].batches.map(|batch| batch.committed);
            self.refused |= self.aggregators[at].guards(proposal, None).is_err();
        }
        if self.enough(rules) {
            self.phase = Phase::Release;
        }
    }

    fn release(&mut self, answer: Answer) {
        let honest = self.honest().count();
        let lies =
            self.alive & BYZANTINE != 0 && !matches!(answer, Answer::Honest | Answer::Nothing);
        // With three openings a false one is noticed, and nothing is released.
        if lies && honest == 2 {
            self.phase = Phase::Failed;
            return;
        }
        for at in self.honest() {
            self.refused |= self.aggregators[at].release(lies).is_err();
        }
        let byzantine = usize::from(self.alive & BYZANTINE != 0 && answer != Answer::Nothing);
        self.phase = match honest + byzantine >= 2 {
            true => Phase::Released,
            false => Phase::Failed,
        };
    }
}

impl Model for HonestConductor {
    type State = Query;
    type Action = Action;

    fn init_states(&self) -> Vec<Query> {
        vec![Query {
            aggregators: Default::default(),
            runs: [Run {
                attempt: 0,
                stage: Stage::Asking,
            }; BATCHES],
            phase: Phase::Batches,
            alive: HONEST[0] | HONEST[1] | BYZANTINE,
            forgot: [0; BATCHES],
            forgetful: 0,
            refused: false,
            steps: 0,
        }]
    }

    fn actions(&self, query: &Query, actions: &mut Vec<Action>) {
        let answers = match query.alive & BYZANTINE {
            0 => &ANSWERS[..1],
            _ => &ANSWERS,
        };
        match query.phase {
            Phase::Guards => actions.extend(answers.iter().map(|one| Action::Guards(*one))),
            Phase::Release => actions.extend(answers.iter().map(|one| Action::Release(*one))),
            Phase::Released | Phase::Failed => {}
            Phase::Batches => {
                // Batches do not read each other's state, so that one order of them is enough.
                let runs = query.runs.iter().enumerate();
                let mut open = runs.filter(|(_, run)| run.stage != Stage::Done);
                let Some((batch, run)) = open.next() else {
                    return;
                };
                if run.stage == Stage::Asking {
                    actions.extend([false, true].map(|fails| Action::Ask { batch, fails }));
                    return;
                }
                for restarts in 0..=HONEST[0] | HONEST[1] {
                    actions.extend(answers.iter().map(|&answer| Action::Batch {
                        batch,
                        restarts,
                        answer,
                    }));
                }
            }
        }
    }

    fn next_state(&self, query: &Query, action: Action) -> Option<Query> {
        let mut next = *query;
        next.steps += 1;
        match action {
            Action::Ask { batch, fails: true } => next.again(batch, self),
            Action::Ask { batch, .. } => next.runs[batch].stage = Stage::Opening,
            Action::Batch {
                batch,
                restarts,
                answer,
            } => next.batch(batch, restarts, answer, self),
            Action::Guards(answer) => next.guards(answer, self),
            Action::Release(answer) => next.release(answer),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            // The number of steps is bounded, and every state but an end has a next step. So every path ends.
            Property::always(
                "a query ends after a bounded number of steps",
                |_, query: &Query| query.steps <= MOST_STEPS,
            ),
            Property::always(
                "a query that has not ended goes on",
                |rules: &Self, query: &Query| {
                    let mut actions = Vec::new();
                    rules.actions(query, &mut actions);
                    !actions.is_empty() || matches!(query.phase, Phase::Released | Phase::Failed)
                },
            ),
            Property::always("no honest aggregator refuses", |_, query: &Query| {
                !query.refused
            }),
            Property::always("only who forgets twice is out", |_, query: &Query| {
                let out = (HONEST[0] | HONEST[1]) & !query.alive;
                out & !query.forgetful == 0
            }),
            Property::sometimes(super::RELEASE, |_, query: &Query| {
                query.phase == Phase::Released
            }),
        ]
    }
}
