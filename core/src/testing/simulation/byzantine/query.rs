//! One query or session of a campaign, with the coalition's moves.

use std::collections::{BTreeMap, BTreeSet};

use super::campaign::{Campaign, Party};
use super::drive::Round;
use super::earlier::{Earlier, copy_of_found};
use super::faults::Faults;
use super::find::{finds, pose};
use super::ground::Ground;
use super::moves::Move;
use super::purse::Ledgers;
use super::reached::Reached;
use super::stacks::Stacks;
use crate::{
    conduct::{Command, Conduct, Event, StepError},
    find::{MAX_BATCH, Memory, TargetBatch},
    log::Inclusion,
    release::Proposal,
    session::NO_PARAMETERS,
    testing::{Found, Scene, logged, model::Follower, step_error},
};
use dispers_base::{
    encoding::from_bytes,
    id::{AggregatorId, MemberNumber, Work},
};
use dispers_crypto::envelope::{Sealed, reader};
use dispers_privacy::Expense;

/// Result of a query.
pub(super) struct Ended {
    pub(super) conduct: Conduct,
    /// Rounds that were released.
    pub(super) rounds: Vec<Round>,
    /// Homes that were found, in every find whose batches were asked.
    pub(super) found: BTreeSet<usize>,
    /// Number of contributions that were counted in another batch than the one to which the granted find assigned their
    /// homes.
    pub(super) misplaced: u32,
    /// Cost of the query for each population.
    pub(super) expenses: Vec<Expense>,
    /// Ciphertexts that finders sealed.
    pub(super) sealed: Vec<Sealing>,
    /// Model beside the query, if the query is followed.
    pub(super) follower: Option<Follower>,
}

/// Encapsulation, and the ciphertext under it.
pub(super) type Sealing = (Vec<u8>, Vec<u8>);

/// Returns the ciphertexts of a find: its grants and batches.
fn sealings(found: &Found) -> Vec<Sealing> {
    fn of<R: reader::Reader, T>(sealed: &Sealed<R, T>) -> Sealing {
        (sealed.encapsulated().to_vec(), sealed.ciphertext().to_vec())
    }
    let grants = found.summary.grants.iter().map(|(_, _, grant)| of(grant));
    let batches = found.batches.iter().filter_map(|message| {
        let sealed = from_bytes(&message.sealed, MAX_BATCH, "batch").ok()?;
        Some(of::<reader::Target, TargetBatch>(&sealed))
    });
    grants.chain(batches).collect()
}

/// State that lasts from one query of a campaign to the next.
pub(super) struct Lasting<'a> {
    pub(super) stacks: &'a mut Stacks,
    pub(super) ledgers: &'a mut Ledgers,
    pub(super) finders: &'a mut [Memory; 2],
    pub(super) earlier: &'a mut Earlier,
    pub(super) reached: &'a Reached,
}

/// One query in progress.
pub(super) struct Query<'a> {
    pub(super) campaign: &'a Campaign,
    pub(super) moves: Vec<Move>,
    /// Finds after the first.
    pub(super) others: Vec<Found>,
    pub(super) stacks: &'a mut Stacks,
    pub(super) ledgers: &'a mut Ledgers,
    pub(super) earlier: &'a mut Earlier,
    pub(super) reached: &'a Reached,
    /// Place of the query in the campaign.
    pub(super) place: usize,
    pub(super) inclusion: Inclusion,
    /// Cost of the query for each population.
    pub(super) expenses: Vec<Expense>,
    pub(super) asked: bool,
    pub(super) found: BTreeSet<usize>,
    /// Proposals that the notary signed, by round.
    pub(super) certified: BTreeMap<u16, Proposal>,
    /// Works for which other homes were asked than those that the first find has in the batch.
    pub(super) foreign: BTreeSet<Work>,
    /// Answers to a batch that was asked once more.
    pub(super) again: BTreeMap<Work, crate::ask::BatchAnswer>,
    /// Answers of a target that an honest conductor refuses, by the work that was asked.
    pub(super) refusable: BTreeMap<Work, crate::ask::BatchAnswer>,
    pub(super) faults: Faults,
}

pub(super) fn refused(why: &str) -> StepError {
    StepError::Refused(why.into())
}

/// Returns the number of a member of the committee. Numbers that are too large wrap around.
pub(super) fn counted(scene: &Scene, number: u8) -> MemberNumber {
    let members = scene.members();
    members[usize::from(number.saturating_sub(1)) % members.len()]
}

/// Returns the last member that offers a key. It is the Byzantine aggregator if there is one.
pub(super) fn last(scene: &Scene) -> MemberNumber {
    *scene.members().last().expect("a committee has members")
}

impl<'a> Query<'a> {
    /// Asks a query, from its manifest to its end. Returns `None` if the query is refused before any aggregator begins.
    pub(super) fn run(
        ground: &mut Ground,
        campaign: &'a Campaign,
        ask: usize,
        lasting: Lasting<'a>,
    ) -> Option<Ended> {
        let moves = campaign.moves(ask);
        let asked = &campaign.asks[ask];
        let reached = lasting.reached;
        ground.scene.begin_round(0, NO_PARAMETERS);
        ground.scene.question = pose(ground, asked, &moves, reached)?;
        let mut finds = finds(ground, asked, &moves, lasting.finders, reached);
        if finds.is_empty() {
            return None;
        }
        let scene = &mut ground.scene;
        scene.found = finds.remove(0);
        scene.aggregators.clear();
        let offers = scene.question.manifest.offers(0);
        let members: Vec<MemberNumber> = offers.map(|(member, _)| member).collect();
        for member in members {
            let aggregation = scene.aggregation(member);
            scene.aggregators.insert(member, aggregation);
        }
        lasting.earlier.parameters.clear();
        let mut query = Self {
            inclusion: logged(&scene.network, &scene.question.signed),
            campaign,
            moves,
            others: finds,
            stacks: lasting.stacks,
            ledgers: lasting.ledgers,
            earlier: lasting.earlier,
            reached,
            place: ask,
            expenses: Vec::new(),
            asked: false,
            found: BTreeSet::new(),
            certified: BTreeMap::new(),
            foreign: BTreeSet::new(),
            again: BTreeMap::new(),
            refusable: BTreeMap::new(),
            faults: Faults::new(campaign.faults(ask)),
        };
        let finds = std::iter::once(&scene.found).chain(&query.others);
        let sealed: Vec<Sealing> = finds.flat_map(sealings).collect();
        let models = query.is_modelled(scene);
        scene.follower = models.then(|| Follower::new(scene.question.manifest.min_verified));
        for member in scene.members() {
            query.written(scene, member);
        }
        let (conduct, rounds) = query.drive(scene);
        if campaign.asks.len() > ask + 1 {
            query.earlier.found = Some(copy_of_found(&scene.found));
        }
        Some(Ended {
            misplaced: query.misplaced(),
            conduct,
            rounds,
            found: query.found,
            expenses: query.expenses,
            sealed,
            follower: scene.follower.take(),
        })
    }

    /// Returns whether the model covers the query: its numbers of aggregators, batches and rounds, and an honest
    /// notary. A Byzantine finder may certify anything.
    fn is_modelled(&self, scene: &Scene) -> bool {
        let manifest = &scene.question.manifest;
        let mut finds = std::iter::once(&scene.found).chain(&self.others);
        let aggregators = (manifest.committees[0].needed, manifest.offers(0).count());
        aggregators == (2, 3)
            && manifest.rounds == 1
            && manifest.privacy.is_none()
            && !self.is(Party::Finder)
            && finds.all(|found| found.batches.len() <= 2)
    }

    /// Returns the number of contributions that were certified in another batch than their homes' own.
    fn misplaced(&self) -> u32 {
        let rounds = self.certified.iter();
        let batches = rounds.flat_map(|(round, one)| one.batches.iter().map(move |b| (round, b)));
        let misplaced = batches.filter(|(round, batch)| {
            let of = |work: &Work| {
                (work.round, work.batch, work.attempt) == (**round, batch.batch, batch.attempt)
            };
            self.foreign.iter().any(of)
        });
        misplaced.map(|(_, batch)| batch.accepted).sum()
    }

    pub(super) fn is(&self, party: Party) -> bool {
        self.campaign.has(party)
    }

    /// Returns whether a member of the coalition makes this move, and records the move.
    pub(super) fn makes(&self, made: Move) -> bool {
        let makes = self.moves.contains(&made);
        if makes {
            self.reached.note(made);
        }
        makes
    }

    /// Returns the first move that fits.
    pub(super) fn one(&self, fits: impl Fn(&Move) -> bool) -> Option<Move> {
        self.moves.iter().copied().find(|one| fits(one))
    }

    /// Returns whether an aggregator is the Byzantine one.
    pub(super) fn is_byzantine(&self, scene: &Scene, aggregator: AggregatorId) -> bool {
        self.is(Party::Aggregator) && aggregator.member == last(scene)
    }

    /// Returns the event of a command that the coalition changes, or `None` if honest parties carry the command out.
    pub(super) fn intervene(&mut self, scene: &mut Scene, command: &Command) -> Option<Event> {
        if let Some(event) = self.refuses(scene, command) {
            return Some(event);
        }
        match command {
            Command::Begin { aggregator, grants } => Some(self.begin(scene, *aggregator, grants)),
            Command::Ask { work, parameters } => {
                if !std::mem::replace(&mut self.asked, true) {
                    self.ask_before(scene);
                }
                let answer = self.ask(scene, *work, parameters.as_deref());
                Some(Event::Asked(*work, answer))
            }
            Command::Deal {
                aggregator,
                request,
            } => self.deal(scene, *aggregator, request),
            Command::Open {
                aggregator, answer, ..
            } => self.open(scene, *aggregator, answer),
            Command::Verify {
                aggregator,
                work,
                messages,
            } => {
                let handed = self.handed(scene, 1, *aggregator, messages)?;
                let verified = scene.verify_at(aggregator.member, *work, &handed);
                Some(Event::Verified(
                    *aggregator,
                    *work,
                    verified.map_err(|error| step_error(&error)),
                ))
            }
            Command::Decide {
                aggregator,
                work,
                quorum,
                messages,
            } => self.decide(scene, *aggregator, *work, quorum, messages),
            Command::Commit {
                aggregator,
                work,
                acknowledgements,
            } => self.commit(scene, *aggregator, *work, acknowledgements),
            Command::Notarise { proposal } => Some(self.notarise(proposal)),
            Command::Guards { aggregator, .. } => self.guards(scene, *aggregator, command),
            Command::Release {
                aggregator,
                messages,
                ..
            } => self.release(scene, *aggregator, messages),
            _ => None,
        }
    }
}
