//! What a coalition does, as data: a campaign follows from a seed, prints, and shrinks.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::ground::SHAPES;

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
}

impl Ask {
    /// The homes that it is for.
    pub(super) fn homes(&self) -> std::collections::BTreeSet<usize> {
        self.whom.homes(self.late)
    }
}

/// One thing that a member of the coalition does during one query. Numbers are counted around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Q: asks with this minimum cohort.
    Cohort(u32),
    /// Q: allows no more homes than this.
    MostHomes(u64),
    /// Q: demands this answer rate, in thousandths.
    AnswerRate(u16),
    /// Q: names a notary that is none, noise that it did not plan, or too few verifying.
    Verifying(u8),
    /// Q: does without the offer of this aggregator.
    WithoutOffer(u8),
    /// Q: leaves a concept's pseudonym out of what the conductor streams.
    LeaveOutList(u8),
    /// C: finds again with another batch size.
    Cut(u32),
    /// C: finds at the other finder of the pool too.
    OtherFinder,
    /// C: finds again without an entry of the lists.
    DropEntry(u32),
    /// C: streams a list's segment twice, in the first find.
    RepeatSegment(u32),
    /// C: has this batch asked as another find cut it.
    BatchOf { batch: u32, find: u8 },
    /// C: hands this aggregator the grants of another find.
    GrantOf { member: u8, find: u8 },
    /// C: has every batch asked under another find first.
    AskBefore { find: u8 },
    /// C: has a batch asked once more, under another attempt, and opens the answer of the first.
    ReplayAttempt { batch: u32 },
    /// C: leaves this aggregator out of what it tells the others at this step (0 to 3).
    Hide { member: u8, step: u8 },
    /// C: tells this aggregator another quorum.
    OtherQuorum { member: u8 },
    /// C: proposes without this batch.
    Propose { without: u32 },
    /// T: drops every home with this index in a batch, or a host.
    DropHost { host: u8 },
    /// T: sends this aggregator the groups of another order, or none.
    OtherBytes { member: u8 },
    /// T: adds the groups of a batch that was asked before.
    AddGroups,
    /// TF: has the homes of a batch asked in the next one too, with tickets of its own.
    AskTwice { batch: u32 },
    /// TF: certifies whatever it is asked.
    CertifyAll,
    /// A host: the contributions of two of its homes are not on one polynomial, each at another aggregator.
    BadShares,
    /// A host: nothing that it seals for this aggregator opens.
    Unopenable { member: u8 },
    /// A host: says nothing.
    Silent,
    /// A host: one of its homes sends no legal row.
    IllegalRow,
    /// DA: its verifier messages are false from this index on.
    FalseMessages { from: u32 },
    /// DA: says that the groups were others.
    ClaimsOtherBytes,
    /// DA: its guard counts are false.
    FalseGuards,
    /// DA: its total is false.
    FalseTotal,
    /// DA: says nothing at this step (0 to 5).
    Refuses { step: u8 },
}

impl Move {
    /// Returns who makes it.
    pub(super) fn party(self) -> Party {
        use Move::*;
        match self {
            Cohort(_) | MostHomes(_) | AnswerRate(_) | Verifying(_) | WithoutOffer(_)
            | LeaveOutList(_) => Querier,
            Cut(_)
            | OtherFinder
            | DropEntry(_)
            | RepeatSegment(_)
            | BatchOf { .. }
            | GrantOf { .. }
            | AskBefore { .. }
            | ReplayAttempt { .. }
            | Hide { .. }
            | OtherQuorum { .. }
            | Propose { .. } => Conductor,
            DropHost { .. } | OtherBytes { .. } | AddGroups => Target,
            AskTwice { .. } | CertifyAll => Finder,
            BadShares | Unopenable { .. } | Silent | IllegalRow => Host,
            FalseMessages { .. } | ClaimsOtherBytes | FalseGuards | FalseTotal | Refuses { .. } => {
                Aggregator
            }
        }
    }

    fn draw(party: Party, rng: &mut StdRng) -> Self {
        let member = rng.random_range(1..=3);
        let batch = rng.random_range(0..3);
        let find = rng.random_range(0..3);
        match party {
            Querier => match rng.random_range(0..6) {
                0 => Self::Cohort(rng.random_range(1..20)),
                1 => Self::MostHomes(rng.random_range(4..20)),
                2 => Self::AnswerRate(rng.random_range(300..=1001)),
                3 => Self::Verifying(rng.random_range(1..=4)),
                4 => Self::WithoutOffer(member),
                _ => Self::LeaveOutList(rng.random_range(0..3)),
            },
            Conductor => match rng.random_range(0..14) {
                0..=2 => Self::Cut(rng.random_range(1..20)),
                3 => Self::OtherFinder,
                4 => Self::DropEntry(rng.random_range(0..32)),
                5 => Self::RepeatSegment(rng.random_range(0..4)),
                6..=7 => Self::BatchOf { batch, find },
                8 => Self::GrantOf { member, find },
                9 => Self::AskBefore { find },
                10 => Self::ReplayAttempt { batch },
                11 => Self::Hide {
                    member,
                    step: rng.random_range(0..4),
                },
                12 => Self::OtherQuorum { member },
                _ => Self::Propose { without: batch },
            },
            Target => match rng.random_range(0..3) {
                0 => Self::DropHost {
                    host: rng.random_range(0..2),
                },
                1 => Self::OtherBytes { member },
                _ => Self::AddGroups,
            },
            Finder => match rng.random_range(0..2) {
                0 => Self::AskTwice { batch },
                _ => Self::CertifyAll,
            },
            Host => match rng.random_range(0..4) {
                0 => Self::BadShares,
                1 => Self::Unopenable { member },
                2 => Self::Silent,
                _ => Self::IllegalRow,
            },
            Aggregator => match rng.random_range(0..5) {
                0 => Self::FalseMessages {
                    from: rng.random_range(0..8),
                },
                1 => Self::ClaimsOtherBytes,
                2 => Self::FalseGuards,
                3 => Self::FalseTotal,
                _ => Self::Refuses {
                    step: rng.random_range(0..6),
                },
            },
        }
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
    /// Whether owners allow the first query for good by a click, instead of everything.
    pub(super) clicks: bool,
}

fn whom(rng: &mut StdRng) -> Whom {
    use Whom::*;
    let all = [Everybody, Everybody, A, B, NotA, NotB, AOrB, AAndNotB];
    *all.choose(rng).unwrap()
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
        let coalition = coalition.to_vec();
        // Whoever may compare answers asks several times.
        let queries = match coalition.contains(&Querier) {
            true => rng.random_range(1..=3),
            false => 1,
        };
        let joined = rng.random_range(0..=queries);
        let asks = (0..queries).map(|place| Ask {
            whom: whom(rng),
            noise: (rng.random_range(0..12) == 0).then(|| Noise {
                epsilon: *[400_000, 400_000, 1].choose(rng).unwrap(),
                delta: *[0, 0, 1000, 150_000_000].choose(rng).unwrap(),
            }),
            counts: rng.random_range(0..8) == 0,
            batch_size: *[6, 8, 8, 16, 16, 16].choose(rng).unwrap(),
            late: place >= joined,
        });
        let asks: Vec<Ask> = asks.collect();
        let count = rng.random_range(1..=5);
        let moves = (0..count).map(|_| {
            let party = *coalition.choose(rng).unwrap();
            (rng.random_range(0..queries), Move::draw(party, rng))
        });
        let moves = moves.collect();
        let clicks = rng.random_range(0..8) == 0;
        Self {
            seed,
            shape,
            coalition,
            asks,
            moves,
            clicks,
        }
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
        for place in (0..self.asks.len()).filter(|_| self.asks.len() > 1) {
            let mut one = self.clone();
            one.asks.remove(place);
            one.moves.retain(|(of, _)| *of != place);
            for (of, _) in &mut one.moves {
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
