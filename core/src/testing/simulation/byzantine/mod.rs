//! Coalitions of Byzantine roles, and the invariants that hold whatever they do (docs/testing.md).
//!
//! A campaign is a few queries of one querier over one network, and the moves of a coalition. Honest roles run the
//! functions that the real ones run: manifests are verified, homes are found over sealed lists, stacks open tickets and
//! answer, aggregators aggregate. The conductor is the real state machine, and the coalition's moves replace the honest
//! steps of its members. After every query the [`invariants`] are checked against the harness's knowledge of all homes.

mod aggregating;
mod asking;
mod campaign;
mod crossing;
mod drive;
mod earlier;
mod eyes;
mod faults;
mod find;
mod finder;
mod granting;
mod ground;
mod invariants;
mod moves;
mod purse;
mod query;
mod reached;
mod releasing;
mod stacks;
mod tests;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::{conduct::StepError, find::Memory, testing::name};
use campaign::Campaign;
use earlier::Earlier;
use ground::Ground;
use invariants::Invariants;
use purse::Ledgers;
use query::{Lasting, Query};
use reached::Reached;
use stacks::Stacks;

/// Counts of the queries of campaigns that broke no invariant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Queries that were refused before they began.
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) released: u64,
    /// Rounds of sessions, after the first, that were released.
    pub(super) rounds: u64,
    /// Queries that were followed in the model.
    pub(super) followed: u64,
    /// Kinds of moves that were drawn.
    pub(super) drawn: BTreeSet<String>,
    /// Number of times that each kind of move changed something.
    pub(super) reached: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.refused += other.refused;
        self.failed += other.failed;
        self.released += other.released;
        self.rounds += other.rounds;
        self.followed += other.followed;
        self.drawn.extend(other.drawn.iter().cloned());
        for (kind, times) in &other.reached {
            *self.reached.entry(kind.clone()).or_default() += times;
        }
    }

    /// Returns the kinds of moves that never changed anything.
    pub(super) fn idle(&self) -> Vec<&String> {
        let kinds = self.drawn.iter();
        kinds
            .filter(|kind| !self.reached.contains_key(*kind))
            .collect()
    }
}

/// Networks by shape, each made once for many campaigns.
#[derive(Default)]
pub(super) struct Grounds(BTreeMap<usize, Ground>);

impl Grounds {
    /// Runs a campaign. Returns the invariant that breaks as an error.
    fn run(&mut self, campaign: &Campaign) -> Result<Tally, String> {
        let run = AssertUnwindSafe(|| self.course(campaign));
        let run = catch_unwind(run).unwrap_or_else(|_| Err("it panicked".into()));
        // A failure may leave the network in any state, so that it is not used again.
        if run.is_err() {
            self.0.remove(&campaign.shape);
        }
        run
    }

    /// Runs the campaign of a seed. Returns the invariant that breaks as an error, with the smallest campaign that
    /// breaks one.
    pub(super) fn run_seed(&mut self, seed: u64) -> Result<Tally, String> {
        let campaign = Campaign::of(seed);
        self.run(&campaign).map_err(|reason| {
            let small = campaign.shrunk(|one| self.run(one).is_err());
            let now = self.run(&small).err().unwrap_or(reason);
            format!("{now}: {small:?}")
        })
    }

    fn course(&mut self, campaign: &Campaign) -> Result<Tally, String> {
        let ground = self.0.entry(campaign.shape);
        let ground = ground.or_insert_with(|| Ground::new(campaign.shape));
        // Campaigns repeat the random draws of the network.
        dispers_crypto::aead::record::forget();
        ground.scene.rng = StdRng::seed_from_u64(campaign.seed ^ 0xb42a);
        let mut stacks = Stacks::new(campaign.clicks);
        let mut ledgers = Ledgers::new(ground.budget());
        // The finders of each key epoch begin with an empty memory.
        let mut finders: [[Memory; 2]; 2] = Default::default();
        let mut earlier = Earlier::default();
        let reached = Reached::default();
        let mut invariants = Invariants::new(campaign);
        let mut tally = Tally::default();
        for (ask, asked) in campaign.asks.iter().enumerate() {
            ground.enter(asked.next_epoch);
            let lasting = Lasting {
                stacks: &mut stacks,
                ledgers: &mut ledgers,
                finders: &mut finders[usize::from(asked.next_epoch)],
                earlier: &mut earlier,
                reached: &reached,
            };
            let Some(ended) = Query::run(ground, campaign, ask, lasting) else {
                tally.refused += 1;
                continue;
            };
            tally.followed += u64::from(ended.follower.is_some());
            ground.leak.found()?;
            stacks.homes.check(&ground.scene.network.directory)?;
            let released = invariants.check(&ground.scene, ask, &stacks, &ended)?;
            if released == 0 {
                tally.failed += 1;
                continue;
            }
            tally.released += 1;
            tally.rounds += released - 1;
            ledgers.released(&ended.expenses)?;
        }
        tally.drawn = campaign.moves.iter().map(|(_, made)| made.kind()).collect();
        tally.reached = reached.kinds();
        Ok(tally)
    }
}

/// Returns the refusal of an aggregator whose groups are not those that the target signed.
fn other_bytes() -> StepError {
    StepError::OtherBytes {
        target: name("target"),
    }
}

/// Runs the campaign of a seed, and prints it with its result.
pub(super) fn show(seed: u64) {
    println!("{:#?}", Campaign::of(seed));
    match Grounds::default().run_seed(seed) {
        Ok(tally) => println!("{tally:?}"),
        Err(reason) => panic!("{reason}"),
    }
}
