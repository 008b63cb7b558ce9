//! The plan of a coalition as data: a campaign follows from a seed, prints, and shrinks.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::super::schedule::{self, Fault, Op};
use super::ground::SHAPES;
use super::moves::{FalseNoise, Move};

/// Party that may be Byzantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Conductor,
    Target,
    /// The finder of the network's one partition, which is also the notary.
    Finder,
    Querier,
    /// The smaller host.
    Host,
    /// The last aggregator. This is t−1 of them, since t is two.
    Aggregator,
}

use Party::{Aggregator, Conductor, Finder, Host, Querier, Target};

/// Coalitions that are drawn. None holds both the target finder and the target: these two are not claimed to be
/// harmless together.
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

/// Homes that a query is for.
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

/// Noise of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noise {
    /// ε in millionths.
    pub(super) epsilon: u32,
    /// δ in billionths; 0 for pure ε.
    pub(super) delta: u32,
}

impl Noise {
    /// Noise in which budgets are counted.
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
    /// True if some homes have joined since the first query.
    pub(super) late: bool,
    /// True if the query only counts homes, and reads no field.
    pub(super) counts: bool,
    /// Rounds of updates of a session that is asked instead of the query; 0 for the query.
    pub(super) updates: u16,
    /// True if the key epoch of the first query is over.
    pub(super) next_epoch: bool,
}

impl Ask {
    /// Returns the homes that the query is for.
    pub(super) fn homes(&self) -> std::collections::BTreeSet<usize> {
        self.whom.homes(self.late)
    }
}

/// Queries of one querier, and the moves of a coalition during them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Campaign {
    pub(super) seed: u64,
    /// Index into [`SHAPES`].
    pub(super) shape: usize,
    pub(super) coalition: Vec<Party>,
    pub(super) asks: Vec<Ask>,
    /// Moves, each with the place of the query during which it is made.
    pub(super) moves: Vec<(usize, Move)>,
    /// Faults, each with the place of the query during which it happens.
    pub(super) faults: Vec<(usize, Op)>,
    /// True if owners allow the first query for good by a click, instead of everything.
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
    /// Draws the campaign of a seed, with a coalition of its own.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let coalition = COALITIONS.choose(&mut rng).unwrap();
        Self::drawn(seed, coalition, &mut rng)
    }

    /// Draws a campaign of this coalition.
    pub(super) fn by(seed: u64, coalition: &[Party]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self::drawn(seed, coalition, &mut rng)
    }

    fn drawn(seed: u64, coalition: &[Party], rng: &mut StdRng) -> Self {
        let shape = rng.random_range(0..SHAPES.len());
        // Only coalitions that may gain from several queries ask several: a querier compares answers, and others use
        // messages of earlier queries again.
        let queries = match coalition {
            _ if coalition.contains(&Querier) => rng.random_range(1..=3),
            [Conductor] | [Target] | [Host] => *[1, 1, 1, 2].choose(rng).unwrap(),
            _ => 1,
        };
        let joined = rng.random_range(0..=queries);
        // Most campaigns end before their key epoch does.
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
            // A batch of one find replaces a batch of another.
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

    /// Gives a querier's campaign an aim that independently drawn queries rarely have.
    fn aim(&mut self, rng: &mut StdRng) {
        match rng.random_range(0..8) {
            // Spends the budget of one population, with other aggregators each time.
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
            // Asks a profile again, after homes joined and another profile was asked.
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
            // Asks a count that its owner allows for good, then another query.
            2 if self.asks.len() > 1 => {
                self.clicks = true;
                self.asks[0].counts = true;
                self.asks[0].updates = 0;
                self.asks[1].counts = false;
            }
            _ => {}
        }
    }

    /// Adds a move that an independently drawn query rarely allows, and changes the first query so that it does.
    fn plot(&mut self, rng: &mut StdRng) {
        let (querier, dealer) = (self.has(Querier), self.has(Aggregator));
        let (conductor, target) = (self.has(Conductor), self.has(Target));
        let first = &mut self.asks[0];
        let made = if dealer {
            // In a session all aggregators deal noise.
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

    /// Returns the faults during a query.
    pub(super) fn faults(&self, ask: usize) -> Vec<Op> {
        let of = self.faults.iter().filter(|(of, _)| *of == ask);
        of.map(|(_, op)| *op).collect()
    }

    /// Returns whether a message of a query may be changed on its way.
    pub(super) fn corrupts(&self, ask: usize) -> bool {
        let mut faults = self.faults.iter().filter(|(of, _)| *of == ask);
        faults.any(|(_, op)| {
            let corrupts =
                |fault| matches!(fault, Fault::CorruptRequest(_) | Fault::CorruptReply(_));
            matches!(op, Op::Request(_, fault) if corrupts(*fault))
        })
    }

    /// Returns the moves during a query.
    pub(super) fn moves(&self, ask: usize) -> Vec<Move> {
        let of = self.moves.iter().filter(|(of, _)| *of == ask);
        of.map(|(_, made)| *made).collect()
    }

    pub(super) fn has(&self, party: Party) -> bool {
        self.coalition.contains(&party)
    }

    /// Returns the campaigns that are smaller by one thing: a move, a fault, a query, or a party without moves.
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

    /// Makes the campaign smaller while `fails` still holds.
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
