//! A model of the aggregation (protocol.md §8 and §9) that is checked exhaustively.
//!
//! The model has three aggregators, a threshold of two, and two batches. Aggregator 3 and the conductor are Byzantine.
//! So is the target, as far as it matters here: for every work there may be any number of D. The answers of aggregators
//! 1 and 2 are in [`aggregator`]. A Byzantine party may send any message of its own, and any message that an honest
//! aggregator ever sent. The model has no action for messages that a Byzantine party cannot make, or that honest
//! aggregators refuse for their content.
//!
//! [`conformance`] replays the steps of the real state machines in the same honest aggregators.

mod aggregator;
mod conductor;
mod conformance;
mod follower;

use stateright::{Model, Property};

use aggregator::{Aggregator, BATCHES, Decision, Mistake, Proposal, Request, Step};

pub(crate) use conformance::Call;
pub(crate) use follower::Follower;

/// Bits of the honest aggregators in a quorum. `BYZANTINE` is the bit of the Byzantine one.
const HONEST: [u8; 2] = [0b001, 0b010];
const BYZANTINE: u8 = 0b100;
/// Every set of two or more members.
const QUORUMS: [u8; 4] = [0b011, 0b101, 0b110, 0b111];

/// Parameters of one search.
#[derive(Debug, Clone, Copy)]
struct Rules {
    min_verified: u32,
    attempts: usize,
    /// True if the notary signs only one proposal.
    honest_notary: bool,
    /// True if all steps of a batch come before those of the next. Steps of different batches commute, and a release
    /// reads only what was committed, so that this loses no outcome.
    /// `batches_that_come_one_after_the_other_end_as_in_any_order` tests this.
    in_order: bool,
    mistake: Option<Mistake>,
}

impl Rules {
    const fn new(min_verified: u32) -> Self {
        Self {
            min_verified,
            attempts: 2,
            honest_notary: true,
            in_order: true,
            mistake: None,
        }
    }

    fn quorums(&self) -> impl Iterator<Item = u8> {
        let least = self.min_verified;
        QUORUMS
            .into_iter()
            .filter(move |quorum| quorum.count_ones() >= least)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct State {
    aggregators: [Aggregator; 2],
    /// Proposal that the notary signed.
    certified: Option<Proposal>,
    /// Number of batches that are over, if batches come one after another.
    over: u8,
}

/// Next event. `at` is the place of an honest aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Take {
        at: usize,
        batch: usize,
        attempt: usize,
        request: Request,
    },
    /// The aggregator restarts while it holds contributions of this batch.
    Restart {
        at: usize,
        batch: usize,
    },
    /// The notary signs a proposal.
    Certify {
        proposal: Proposal,
    },
    Guards {
        at: usize,
        proposal: Proposal,
    },
    /// The total is sealed, with the openings of all three members, or with the Byzantine member's alone. That opening
    /// may be false.
    Release {
        at: usize,
        lies: bool,
    },
    /// Nothing more happens at the next batch.
    Over,
}

impl State {
    fn other(&self, at: usize) -> &Aggregator {
        &self.aggregators[1 - at]
    }

    /// Returns the highest name that a D may have at an aggregator that opens groups. Name 0 is the first D that was
    /// frozen. Name 1 stands for a D that was made after the randomness was known.
    fn digests(&self, batch: usize, attempt: usize) -> u8 {
        let frozen = self
            .aggregators
            .iter()
            .filter_map(|one| one.batches[batch].attempts[attempt].frozen);
        frozen.max().map_or(0, |highest| (highest + 1).min(1))
    }

    /// Returns whether the honest members of `quorum` other than `at` sent messages about this D.
    fn has_messages(&self, at: usize, work: (usize, usize), digest: u8, quorum: u8) -> bool {
        let other = &self.other(at).batches[work.0].attempts[work.1];
        quorum & HONEST[1 - at] == 0 || (other.verified && other.frozen == Some(digest))
    }

    /// Returns whether the honest members of the decision's quorum other than `at` acknowledged it.
    fn has_acknowledgements(&self, at: usize, work: (usize, usize), decision: Decision) -> bool {
        let other = &self.other(at).batches[work.0].attempts[work.1];
        decision.quorum & HONEST[1 - at] == 0 || other.acknowledged == Some(decision)
    }

    /// Returns whether the openings exist that an aggregator needs to release.
    fn has_openings(&self, at: usize, lies: bool, rules: &Rules) -> bool {
        let own = self.aggregators[at].releasing.map(|of| of.proposal);
        let other = self.other(at).releasing.map(|of| of.proposal);
        // Three openings on one line reveal a false one. Two openings always lie on a line.
        let both = own == other && !lies;
        both || rules.min_verified <= 2 || rules.mistake == Some(Mistake::CountsNoOpenings)
    }

    /// Adds the requests about one batch that an aggregator may get.
    fn requests(&self, at: usize, batch: usize, rules: &Rules, actions: &mut Vec<Action>) {
        for attempt in 0..rules.attempts {
            let mut take = |request| {
                actions.push(Action::Take {
                    at,
                    batch,
                    attempt,
                    request,
                });
            };
            for digest in 0..=self.digests(batch, attempt) {
                take(Request::Open { digest });
            }
            // The aggregator's own share of the randomness and the Byzantine member's are enough.
            take(Request::Verify);
            let own = &self.aggregators[at].batches[batch].attempts[attempt];
            for quorum in rules.quorums().filter(|quorum| quorum & HONEST[at] != 0) {
                let digest = own.frozen.unwrap_or(0);
                if !self.has_messages(at, (batch, attempt), digest, quorum) {
                    continue;
                }
                let words: &[Option<u8>] = match quorum & BYZANTINE {
                    0 => &[Some(0), None],
                    _ => &[Some(0), Some(1), None],
                };
                for &word in words {
                    take(Request::Decide { quorum, word });
                }
            }
            let prepared = own.acknowledged.filter(|_| own.step == Step::Prepared);
            let agreed = |decision| self.has_acknowledgements(at, (batch, attempt), decision);
            if prepared.is_some_and(agreed) {
                take(Request::Commit);
            }
        }
        actions.push(Action::Restart { at, batch });
    }

    /// Returns the proposals of which an honest aggregator committed every batch. Honest aggregators refuse every
    /// other.
    fn proposals(&self) -> Vec<Proposal> {
        let mut proposals = Vec::new();
        for one in &self.aggregators {
            let committed = one.batches.map(|batch| batch.committed);
            for listed in 1..1 << BATCHES {
                let mut proposal = committed;
                for (batch, place) in proposal.iter_mut().enumerate() {
                    *place = place.filter(|_| listed >> batch & 1 == 1);
                }
                if proposal.iter().any(Option::is_some) && !proposals.contains(&proposal) {
                    proposals.push(proposal);
                }
            }
        }
        proposals
    }

    /// Removes the details of a batch that no later step reads. Only whether the decisions of both aggregators are
    /// equal is kept.
    fn close(&mut self, batch: usize) {
        let [first, second] = self.aggregators.map(|one| one.batches[batch].committed);
        let named = |word| {
            move |(attempt, _)| {
                let decision = Decision {
                    digest: 0,
                    quorum: 0b111,
                    word,
                };
                (attempt, decision)
            }
        };
        let differs = first.is_some() && first != second;
        let committed = [first.map(named(0)), second.map(named(u8::from(differs)))];
        for (one, committed) in self.aggregators.iter_mut().zip(committed) {
            one.batches[batch] = aggregator::Batch {
                attempts: Default::default(),
                committed,
            };
        }
        self.over += 1;
    }
}

impl Model for Rules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let open = match self.in_order {
            true => usize::from(state.over)..usize::from(state.over + 1).min(BATCHES),
            false => 0..BATCHES,
        };
        for (at, batch) in (0..2).flat_map(|at| open.clone().map(move |batch| (at, batch))) {
            state.requests(at, batch, self, actions);
        }
        if self.in_order && !open.is_empty() {
            actions.push(Action::Over);
            return;
        }
        let proposals = state.proposals();
        for proposal in proposals {
            if self.honest_notary && state.certified.is_none() {
                actions.push(Action::Certify { proposal });
            }
            if !self.honest_notary || state.certified == Some(proposal) {
                actions.extend((0..2).map(|at| Action::Guards { at, proposal }));
            }
        }
        for (at, lies) in (0..2).flat_map(|at| [(at, false), (at, true)]) {
            if state.has_openings(at, lies, self) {
                actions.push(Action::Release { at, lies });
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Take {
                at,
                batch,
                attempt,
                request,
            } => next.aggregators[at]
                .take((batch, attempt), request, self.mistake)
                .ok()?,
            Action::Restart { at, batch } => next.aggregators[at].restart(batch),
            Action::Certify { proposal } => next.certified = Some(proposal),
            Action::Guards { at, proposal } => {
                next.aggregators[at].guards(proposal, self.mistake).ok()?;
            }
            Action::Release { at, lies } => next.aggregators[at].release(lies).ok()?,
            Action::Over => next.close(usize::from(state.over)),
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        PROPERTIES
            .map(|(name, holds)| Property::always(name, holds))
            .into_iter()
            .chain([Property::sometimes(RELEASE, |_, state: &State| {
                let mut aggregators = state.aggregators.iter();
                aggregators.all(|one| one.releasing.is_some_and(|of| of.released.is_some()))
            })])
            .collect()
    }
}

const ONE_DIGEST: &str = "no aggregator freezes two D for one work";
const EARLY_DIGEST: &str = "what counts was frozen before the randomness was known";
const ONE_ATTEMPT: &str = "one attempt of a batch counts, with one decision";
const ONE_PROPOSAL: &str = "no two proposals are released";
const OWN_BATCHES: &str = "a release is of what its aggregator committed, each batch once";
const CERTIFIED: &str = "no guard is opened before its proposal is certified";
const NO_MASK_LIFTED: &str = "no false opening lifts a mask";
const RELEASE: &str = "a release is possible";

type Holds = fn(&Rules, &State) -> bool;

fn attempts(state: &State) -> impl Iterator<Item = &aggregator::Attempt> {
    let batches = state.aggregators.iter().flat_map(|one| &one.batches);
    batches.flat_map(|batch| &batch.attempts)
}

fn committed(state: &State) -> impl Iterator<Item = [Option<(u8, Decision)>; 2]> + '_ {
    (0..BATCHES).map(|batch| state.aggregators.map(|one| one.batches[batch].committed))
}

const PROPERTIES: [(&str, Holds); 7] = [
    (ONE_DIGEST, |_, state| {
        attempts(state).all(|attempt| !attempt.froze_two)
    }),
    (EARLY_DIGEST, |_, state| {
        let mut committed = committed(state).flatten().flatten();
        committed.all(|(_, decision)| decision.digest == 0)
    }),
    (ONE_ATTEMPT, |_, state| {
        committed(state).all(|pair| match pair {
            [Some(first), Some(second)] => first == second,
            _ => true,
        })
    }),
    (ONE_PROPOSAL, |_, state| {
        let mut releasing = state.aggregators.iter().filter_map(|one| one.releasing);
        if releasing.any(|of| of.second) {
            return false;
        }
        let released = state.aggregators.map(|one| {
            let of = one.releasing.filter(|of| of.released.is_some());
            of.map(|of| of.proposal)
        });
        match released {
            [Some(first), Some(second)] => first == second,
            _ => true,
        }
    }),
    (OWN_BATCHES, |_, state| {
        state.aggregators.iter().all(|one| {
            let proposal = one.releasing.map(|of| of.proposal).unwrap_or_default();
            let mut listed = proposal.iter().zip(&one.batches);
            listed.all(|(listed, batch)| listed.is_none() || *listed == batch.committed)
        })
    }),
    (CERTIFIED, |rules, state| {
        let mut releasing = state.aggregators.iter().filter_map(|one| one.releasing);
        releasing.all(|of| !rules.honest_notary || state.certified == Some(of.proposal))
    }),
    (NO_MASK_LIFTED, |_, state| {
        let mut releasing = state.aggregators.iter().filter_map(|one| one.releasing);
        releasing.all(|of| of.released != Some(true))
    }),
];

mod tests;
mod walk;
