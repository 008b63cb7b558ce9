//! One exact query over two partitions and two committees, and a coalition that replays across them.
//!
//! A [`Course`] follows from a seed: the Byzantine parties, their moves, and the home that is left out of a second
//! world. The state machines are the real ones: a find per partition, an aggregation per committee and member, and the
//! conductor over all batches.

mod asking;
mod drive;
mod forge;
mod granting;
mod ground;
mod homes;
mod invariants;
mod moves;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::campaign::Party;
use crate::{
    aggregation::Aggregation,
    ask::BatchAnswer,
    consent::Place,
    peer::PeerMessage,
    release::SignedAcknowledgement,
    testing::{Found, same_key},
};
use dispers_base::id::{AggregatorId, BatchId};
use ground::Ground;
use homes::{HOMES, is_meant};
use invariants::Outcome;
use moves::{Cross, Handing};

/// Coalitions that are drawn.
const COALITIONS: [&[Party]; 7] = [
    &[Party::Conductor],
    &[Party::Target],
    &[Party::Finder],
    &[Party::Host],
    &[Party::Conductor, Party::Finder],
    &[Party::Conductor, Party::Target],
    &[Party::Conductor, Party::Host],
];

/// Coalition and moves of one query.
#[derive(Debug, Clone)]
struct Course {
    seed: u64,
    coalition: Vec<Party>,
    moves: Vec<Cross>,
    batch_size: u32,
    min_verified: u8,
    /// Home that is in no list.
    absent: Option<usize>,
}

impl Course {
    /// Draws the course of a seed, with a coalition of its own.
    fn of(seed: u64) -> Self {
        let place = seed as usize % COALITIONS.len();
        Self::by(seed, COALITIONS[place])
    }

    /// Draws the course of a seed and a coalition.
    fn by(seed: u64, coalition: &[Party]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut moves = Vec::new();
        let wanted = rng.random_range(1..=3);
        while moves.len() < wanted {
            let drawn = Cross::draw(&mut rng);
            let can = drawn
                .parties()
                .iter()
                .all(|party| coalition.contains(party));
            if can && !moves.contains(&drawn) {
                moves.push(drawn);
            }
            // Some parties alone have only one move, so that the loop may end with fewer moves than wanted.
            if rng.random_range(0..200) == 0 {
                break;
            }
        }
        Self {
            seed,
            coalition: coalition.to_vec(),
            moves,
            batch_size: rng.random_range(4..=20),
            min_verified: rng.random_range(2..=3),
            absent: None,
        }
    }

    /// Returns the same course with one home in no list. The seed chooses the home.
    fn without_a_home(&self) -> Self {
        let meant: Vec<usize> = (0..HOMES).filter(|home| is_meant(*home)).collect();
        Self {
            absent: Some(meant[(self.seed as usize * 7) % meant.len()]),
            ..self.clone()
        }
    }

    fn has(&self, party: Party) -> bool {
        self.coalition.contains(&party)
    }

    /// Runs the query in two worlds that differ by one home. Returns the invariant that breaks as an error.
    fn run(&self) -> Result<Outcome, String> {
        let run = catch_unwind(AssertUnwindSafe(|| self.worlds()));
        let run = run.unwrap_or_else(|_| Err("it panicked".into()));
        run.map_err(|reason| format!("{reason}: {self:?}"))
    }

    fn worlds(&self) -> Result<Outcome, String> {
        let outcome = Crossing::new(self.clone()).run()?;
        // A Byzantine finder asks any homes it likes.
        if outcome.counted.is_some() && !self.has(Party::Finder) {
            let fewer = Crossing::new(self.without_a_home()).run()?;
            outcome.moved(&fewer)?;
        }
        Ok(outcome)
    }
}

/// One query in progress.
struct Crossing {
    course: Course,
    ground: Ground,
    /// Segments of each partition.
    lists: Vec<Vec<Vec<u8>>>,
    found: BTreeMap<u16, Found>,
    aggregators: BTreeMap<AggregatorId, Aggregation>,
    /// Partitions of which an aggregator took the finder's grant.
    granted: BTreeMap<AggregatorId, BTreeSet<u16>>,
    answers: BTreeMap<BatchId, BatchAnswer>,
    messages: BTreeMap<(Handing, AggregatorId, Option<BatchId>), Vec<PeerMessage>>,
    acknowledged: BTreeMap<BatchId, Arc<Vec<SignedAcknowledgement>>>,
    /// Place at which each home is asked first.
    places: BTreeMap<usize, Place>,
    /// Places at which each home contributed.
    contributed: BTreeMap<usize, Vec<Place>>,
    reached: BTreeSet<String>,
    /// Moves that must be refused and were accepted.
    taken: BTreeSet<String>,
}

impl Crossing {
    fn new(course: Course) -> Self {
        // All queries draw the same keys, so that their uses must not be compared.
        dispers_crypto::aead::record::forget();
        let mut ground = Ground::new(&course);
        let lists = ground.lists(&course);
        let manifest = &ground.question.manifest;
        let aggregators = ground.offered.iter().map(|(at, secret)| {
            let secret = same_key(secret);
            let aggregation = Aggregation::new(manifest.clone(), at.committee, at.member, secret);
            (*at, aggregation.expect("it made an offer"))
        });
        let aggregators = aggregators.collect();
        let reached = course
            .moves
            .iter()
            .filter(|one| matches!(one, Cross::ListedTwice { .. }));
        Self {
            reached: reached.map(|one| one.kind()).collect(),
            course,
            ground,
            lists,
            found: BTreeMap::new(),
            aggregators,
            granted: BTreeMap::new(),
            answers: BTreeMap::new(),
            messages: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            places: BTreeMap::new(),
            contributed: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }

    /// Records that a move changes what happens.
    fn reached(&mut self, made: Cross) {
        self.reached.insert(made.kind());
    }

    /// Returns whether the coalition makes the move, and records the move.
    fn makes(&mut self, made: Cross) -> bool {
        let makes = self.course.moves.contains(&made);
        if makes {
            self.reached(made);
        }
        makes
    }

    /// Records a move that must be refused, and whether it was accepted.
    fn never(&mut self, made: Cross, taken: bool) {
        self.reached(made);
        if taken {
            self.taken.insert(made.kind());
        }
    }

    fn run(mut self) -> Result<Outcome, String> {
        let conduct = self.drive();
        self.check(&conduct)
    }
}
