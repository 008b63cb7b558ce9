//! What a coalition does, as data: a campaign follows from a seed, prints, and shrinks.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::super::schedule::{self, Fault, Op};
use super::ground::SHAPES;
use super::moves::{FalseNoise, Move};

/// Who may be Byzantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Conductor,
    Target,
    /// The finder of the network's one partition, which is also the notary.
    Finder,
    Querier,
    /// The smaller host.
    Host,
    /// The last aggregator: t−1 of them, since t is two.
    Aggregator,
}

use Party::{Aggregator, Conductor, Finder, Host, Querier, Target};

/// Every coalition that is drawn. The target finder and the target together are not claimed to be harmless.
pub(super) const COALITIONS: [&[Party]; 16] = [
    &[Conductor],
    &[Querier],
    &[Target],
    &[Finder],
    &[Host],
    &[Aggregator],
    &[Conductor, Target],
    &[Conductor, Querier],
    &[Target, Querier],
    &[Target, Aggregator],
    &[Conductor, Finder],
    &[Querier, Host],
    &[Querier, Aggregator],
    &[Conductor, Host],
    &[Conductor, Aggregator],
    &[Conductor, Target, Host],
];

/// Which homes a query is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Everybody,
    A,
    B,
    NotA,
    NotB,
    AOrB,
    AAndNotB,
}

/// The noise of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noise {
    /// In millionths.
    pub(super) epsilon: u32,
    /// δ in billionths; 0 for pure ε.
    pub(super) delta: u32,
}

impl Noise {
    /// The noise that budgets are counted in.
    pub(super) const ORDINARY: Self = Self {
        epsilon: 400_000,
        delta: 0,
    };
}

/// One query of the campaign's querier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) whom: Whom,
    pub(super) noise: Option<Noise>,
    /// Homes per batch that the conductor prefers.
    pub(super) batch_size: u32,
    /// Whether some homes have joined since the first query.
    pub(super) late: bool,
    /// Whether it only counts homes, and reads no field.
    pub(super) counts: bool,
    /// Rounds of updates of a session that is asked instead of the query; 0 for the query.
    pub(super) updates: u16,
    /// Whether the key epoch of the first query is over.
    pub(super) next_epoch: bool,
}

impl Ask {
    /// The homes that it is for.
    pub(super) fn homes(&self) -> std::collections::BTreeSet<usize> {
        self.whom.homes(self.late)
    }
}

/// Queries of one querier, and what a coalition does meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Campaign {
    pub(super) seed: u64,
    /// Which of the [`SHAPES`].
    pub(super) shape: usize,
    pub(super) coalition: Vec<Party>,
    pub(super) asks: Vec<Ask>,
    /// Moves, each with the place of the query during which it is made.
    pub(super) moves: Vec<(usize, Move)>,
    /// What goes wrong, each with the place of the query.
    pub(super) faults: Vec<(usize, Op)>,
    /// Whether owners allow the first query for good by a click, instead of everything.
    pub(super) clicks: bool,
}

fn whom(rng: &mut StdRng) -> Whom {
    use Whom::*;
    let all = [Everybody, Everybody, A, B, NotA, NotB, AOrB, AAndNotB];
    *all.choose(rng).unwrap()
}

/// Draws a query or a session.
fn ask(late: bool, next_epoch: bool, rng: &mut StdRng) -> Ask {
    let updates = *[0, 0, 0, 0, 0, 0, 1, 2].choose(rng).unwrap();
    let noise = (rng.random_range(0..4) == 0).then(|| Noise {
        epsilon: match updates {
            0 => *[400_000, 400_000, 1].choose(rng).unwrap(),
            _ => 400_000,
        },
        // A session has Gaussian noise.
        delta: match updates {
            0 => *[0, 0, 1000, 150_000_000].choose(rng).unwrap(),
            _ => *[1000, 1000, 150_000_000].choose(rng).unwrap(),
        },
    });
    Ask {
        whom: whom(rng),
        noise,
        counts: rng.random_range(0..8) == 0,
        batch_size: *[6, 8, 8, 16, 16, 16].choose(rng).unwrap(),
        late,
        updates,
        next_epoch,
    }
}

impl Campaign {
    /// The campaign of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let coalition = COALITIONS.choose(&mut rng).unwrap();
        Self::drawn(seed, coalition, &mut rng)
    }

    /// A campaign of this coalition.
    pub(super) fn by(seed: u64, coalition: &[Party]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self::drawn(seed, coalition, &mut rng)
    }

    fn drawn(seed: u64, coalition: &[Party], rng: &mut StdRng) -> Self {
        let shape = rng.random_range(0..SHAPES.len());
        // Whoever may compare answers, or use again what passed in one query, asks several times.
        let queries = match coalition {
            _ if coalition.contains(&Querier) => rng.random_range(1..=3),
            [Conductor] | [Target] | [Host] => *[1, 1, 1, 2].choose(rng).unwrap(),
            _ => 1,
        };
        let joined = rng.random_range(0..=queries);
        // Most campaigns are over before their key epoch is.
        let epoch = rng.random_range(0..4 * (queries + 1));
        let asks = (0..queries).map(|place| ask(place >= joined, place >= epoch, rng));
        let mut campaign = Self {
            seed,
            shape,
            coalition: coalition.to_vec(),
            asks: asks.collect(),
            moves: Vec::new(),
            faults: Vec::new(),
            clicks: rng.random_range(0..8) == 0,
        };
        if coalition.contains(&Querier) {
            campaign.aim(rng);
        } else if coalition.contains(&Conductor) && rng.random_range(0..8) == 0 {
            // One find's batch in the place of another's.
            let batch = rng.random_range(0..2);
            let cut = Move::Cut(rng.random_range(4..16));
            let moves = [cut, Move::BatchOf { batch, find: 1 }];
            campaign.moves.extend(moves.map(|made| (0, made)));
        }
        if rng.random_range(0..6) == 0 {
            campaign.plot(rng);
        }
        let queries = campaign.asks.len();
        for _ in 0..rng.random_range(1..=5) {
            let party = *coalition.choose(rng).unwrap();
            let place = rng.random_range(0..queries);
            let session = campaign.asks[place].updates > 0;
            let made = Move::draw(party, session, rng);
            campaign.moves.push((place, made));
        }
        if rng.random_range(0..4) == 0 {
            for _ in 0..rng.random_range(1..=3) {
                let op = schedule::of_campaign(rng, SHAPES[shape].0.1);
                campaign.faults.push((rng.random_range(0..queries), op));
            }
        }
        campaign
    }

    /// Gives a querier's campaign one of the aims that queries drawn apart from each other rarely have.
    fn aim(&mut self, rng: &mut StdRng) {
        match rng.random_range(0..8) {
            // The budget of one population, with other aggregators each time.
            0 => {
                let noise = Some(Noise::ORDINARY);
                let same = Ask {
                    noise,
                    updates: 0,
                    ..self.asks[0]
                };
                self.asks = vec![same; 3];
                for place in 0..self.asks.len() {
                    if rng.random_range(0..3) > 0 {
                        let without = rng.random_range(1..=3);
                        self.moves.push((place, Move::WithoutOffer(without)));
                    }
                }
            }
            // A profile again, after homes joined and another profile was asked.
            1 => {
                let exact = |whom, late| Ask {
                    whom,
                    noise: None,
                    batch_size: 16,
                    late,
                    counts: false,
                    updates: 0,
                    next_epoch: false,
                };
                let first = whom(rng);
                self.asks = vec![
                    exact(first, false),
                    exact(whom(rng), true),
                    exact(first, true),
                ];
                self.clicks = false;
            }
            // A count that its owner allows for good, then something else.
            2 if self.asks.len() > 1 => {
                self.clicks = true;
                self.asks[0].counts = true;
                self.asks[0].updates = 0;
                self.asks[1].counts = false;
            }
            _ => {}
        }
    }

    /// Adds a move that a query drawn by itself rarely leaves room for, and makes the first query such a one.
    fn plot(&mut self, rng: &mut StdRng) {
        let (querier, dealer) = (self.has(Querier), self.has(Aggregator));
        let (conductor, target) = (self.has(Conductor), self.has(Target));
        let first = &mut self.asks[0];
        let made = if dealer {
            // All aggregators deal the noise of a session.
            first.updates = 1;
            first.noise = Some(Noise {
                delta: 1000,
                ..Noise::ORDINARY
            });
            Move::FalseDeal(*FalseNoise::ALL.choose(rng).unwrap())
        } else if querier && conductor {
            (first.noise, first.updates) = (None, 1);
            let batch = rng.random_range(0..2);
            Move::OtherParameters { batch }
        } else if querier && target {
            (first.noise, first.updates) = (None, 1);
            Move::ParametersOfHost
        } else {
            return;
        };
        self.moves.push((0, made));
    }

    /// What goes wrong during a query.
    pub(super) fn faults(&self, ask: usize) -> Vec<Op> {
        let of = self.faults.iter().filter(|(of, _)| *of == ask);
        of.map(|(_, op)| *op).collect()
    }

    /// Returns whether anything that is received during a query may not be what was sent.
    pub(super) fn corrupts(&self, ask: usize) -> bool {
        let mut faults = self.faults.iter().filter(|(of, _)| *of == ask);
        faults.any(|(_, op)| {
            let corrupts =
                |fault| matches!(fault, Fault::CorruptRequest(_) | Fault::CorruptReply(_));
            matches!(op, Op::Request(_, fault) if corrupts(*fault))
        })
    }

    /// The moves during a query.
    pub(super) fn moves(&self, ask: usize) -> Vec<Move> {
        let of = self.moves.iter().filter(|(of, _)| *of == ask);
        of.map(|(_, made)| *made).collect()
    }

    pub(super) fn has(&self, party: Party) -> bool {
        self.coalition.contains(&party)
    }

    /// The campaigns that are smaller by one thing: a move, a query, a member that does nothing.
    fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for place in 0..self.moves.len() {
            let mut one = self.clone();
            one.moves.remove(place);
            smaller.push(one);
        }
        for place in 0..self.faults.len() {
            let mut one = self.clone();
            one.faults.remove(place);
            smaller.push(one);
        }
        for place in (0..self.asks.len()).filter(|_| self.asks.len() > 1) {
            let mut one = self.clone();
            one.asks.remove(place);
            one.moves.retain(|(of, _)| *of != place);
            one.faults.retain(|(of, _)| *of != place);
            let moves = one.moves.iter_mut().map(|(of, _)| of);
            for of in moves.chain(one.faults.iter_mut().map(|(of, _)| of)) {
                *of -= usize::from(*of > place);
            }
            smaller.push(one);
        }
        for party in self.coalition.iter().filter(|_| self.coalition.len() > 1) {
            let mut one = self.clone();
            one.coalition.retain(|other| other != party);
            if one.moves.iter().all(|(_, made)| made.party() != *party) {
                smaller.push(one);
            }
        }
        smaller
    }

    /// Makes the campaign smaller while it still `fails`.
    pub(super) fn shrunk(mut self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        loop {
            let smaller = self.smaller().into_iter().find(|one| fails(one));
            match smaller {
                Some(one) => self = one,
                None => return self,
            }
        }
    }
}

#[test]
fn a_campaign_shrinks_to_what_it_fails_for() {
    let fails = |one: &Campaign| one.moves.iter().any(|(_, made)| *made == Move::OtherFinder);
    let campaign = (0..1000)
        .map(Campaign::of)
        .find(|one| one.moves.len() > 3 && one.asks.len() > 1 && fails(one));
    let small = campaign.unwrap().shrunk(fails);
    assert_eq!((small.moves.len(), small.asks.len()), (1, 1));
    assert_eq!(small.coalition, [Conductor]);
}
