//! Invariants that must hold after every query, whatever a coalition does.

use std::collections::{BTreeMap, BTreeSet};

use super::campaign::{Ask, Campaign, Party};
use super::drive::Round;
use super::ground::{AT_SMALLER_HOST, COHORT, HOMES, OUTPUTS, counted_in, is_at_smaller_host};
use super::moves::Move;
use super::query::Ended;
use super::stacks::Stacks;
use crate::{
    conduct::{Failure, Phase, StepError},
    release::Released,
    testing::{Scene, model::Follower},
};
use dispers_base::id::{MemberNumber, Work};

/// Homes that one query of the campaign asked, if the query was released.
struct Answered {
    ask: Ask,
    homes: BTreeSet<usize>,
}

/// Observations of a campaign so far.
pub(super) struct Invariants<'a> {
    campaign: &'a Campaign,
    answered: Vec<Answered>,
    /// Ciphertexts by their encapsulation.
    sealed: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'a> Invariants<'a> {
    pub(super) fn new(campaign: &'a Campaign) -> Self {
        Self {
            campaign,
            answered: Vec::new(),
            sealed: BTreeMap::new(),
        }
    }

    /// Checks a query that ended. Returns the number of its released rounds.
    pub(super) fn check(
        &mut self,
        scene: &Scene,
        ask: usize,
        stacks: &Stacks,
        ended: &Ended,
    ) -> Result<u64, String> {
        if let Some(differs) = ended.follower.as_ref().and_then(Follower::differs) {
            return Err(format!("not a path of the model: {differs}"));
        }
        self.ended(ended)?;
        self.sealed_once(ended)?;
        self.once(scene, stacks)?;
        self.placed(ask, ended)?;
        self.nobody_is_put_out(scene, ask, ended)?;
        if ended.rounds.is_empty() {
            self.released_where_it_must(ask)?;
            return Ok(0);
        }
        let noisy = scene.question.manifest.privacy.is_some();
        let mut read = 0;
        // Aggregators that were granted different finds name different finds in their totals.
        let moves = self.campaign.moves(ask);
        let parted = moves
            .iter()
            .any(|one| matches!(one, Move::FalseGrant { .. }));
        let may_contradict = self.may_falsify() || self.campaign.corrupts(ask) || parted;
        for round in &ended.rounds {
            let released = match scene.read(&round.totals) {
                Ok(released) => released,
                Err(_) if may_contradict => continue,
                Err(error) => return Err(format!("the totals do not open: {error}")),
            };
            read += 1;
            if released.round != round.number {
                return Err(format!(
                    "round {} is released for {}",
                    released.round, round.number
                ));
            }
            if noisy || self.may_forge(scene) {
                continue;
            }
            if self.campaign.asks[ask].updates > 0 {
                self.round(scene, ask, stacks, round, &released)?;
            } else if !self.campaign.asks[ask].counts {
                self.sums(ask, &released, ended)?;
            }
        }
        if read > 0 {
            self.answered.push(Answered {
                ask: self.campaign.asks[ask],
                homes: ended.found.clone(),
            });
            self.differences()?;
        }
        Ok(read)
    }

    /// Requires that a round of a session is a sum over homes that the session is for, each once, that they are enough,
    /// and that all were shown the same parameters.
    fn round(
        &self,
        scene: &Scene,
        ask: usize,
        stacks: &Stacks,
        round: &Round,
        released: &Released,
    ) -> Result<(), String> {
        let manifest = &scene.question.manifest;
        let Some(counted) = counted_in(manifest, round.number, &released.outputs) else {
            return Ok(());
        };
        let (rows, homes) = counted?;
        if homes.len() as u64 != rows {
            return Err(format!("a home counts twice: {rows} rows of {homes:?}"));
        }
        if !homes.is_subset(&self.campaign.asks[ask].homes()) {
            return Err(format!("homes count that were not meant: {homes:?}"));
        }
        if !self.are_enough(&homes) {
            return Err(format!("a round is of {homes:?}"));
        }
        let batches = round.proposal.iter().flat_map(|proposal| &proposal.batches);
        let works = batches.map(|batch| Work {
            query: manifest.query(),
            round: round.number,
            batch: batch.batch,
            attempt: batch.attempt,
        });
        let shown = works.filter_map(|work| stacks.shown.get(&work)).flatten();
        let shown = shown.filter(|(home, _)| homes.contains(home) && self.is_honest(**home));
        let models: BTreeSet<&[u8; 32]> = shown.map(|(_, digest)| digest).collect();
        match models.len() {
            0 | 1 => Ok(()),
            several => Err(format!("homes of a round were shown {several} models")),
        }
    }

    /// Returns whether the homes reach the cohort, and the honest ones the cohort less the homes of a Byzantine host.
    fn are_enough(&self, homes: &BTreeSet<usize>) -> bool {
        let honest = homes.iter().filter(|home| self.is_honest(**home)).count() as u64;
        let least = match self.campaign.has(Party::Host) {
            true => COHORT - AT_SMALLER_HOST as u64,
            false => COHORT,
        };
        homes.len() as u64 >= COHORT && honest >= least
    }

    fn ended(&self, ended: &Ended) -> Result<(), String> {
        let status = ended.conduct.status();
        match (status.phase, status.failure) {
            (Phase::Done, _) => Ok(()),
            (Phase::Failed, failure) if !matches!(failure, Some(Failure::Ended(_))) => Ok(()),
            (phase, failure) => Err(format!("it does not end: {phase:?}, {failure:?}")),
        }
    }

    /// Requires that no encapsulation seals two plaintexts: they would have the same key and nonce.
    fn sealed_once(&mut self, ended: &Ended) -> Result<(), String> {
        for (encapsulated, ciphertext) in &ended.sealed {
            let known = self.sealed.entry(encapsulated.clone());
            if known.or_insert_with(|| ciphertext.clone()) != ciphertext {
                return Err("two plaintexts are sealed under one key and nonce".into());
            }
        }
        Ok(())
    }

    /// Requires that a home of an honest stack contributes to a query in one batch of one find only.
    fn once(&self, scene: &Scene, stacks: &Stacks) -> Result<(), String> {
        let query = scene.question.manifest.query();
        for ((of, home), places) in &stacks.contributed {
            if *of == query && places.len() > 1 {
                return Err(format!("home {home} answers in {} places", places.len()));
            }
        }
        Ok(())
    }

    /// Requires that a contribution counts only in the batch to which the granted find assigned its home.
    fn placed(&self, ask: usize, ended: &Ended) -> Result<(), String> {
        let moves = self.campaign.moves(ask);
        let granted = |one: &Move| matches!(one, Move::GrantOf { .. });
        match ended.misplaced > 0 && !moves.iter().any(granted) {
            true => Err(format!("{} homes count in another batch", ended.misplaced)),
            false => Ok(()),
        }
    }

    /// Returns whether a total may be false.
    fn may_falsify(&self) -> bool {
        self.campaign.has(Party::Aggregator)
    }

    /// Returns whether exactly the threshold verifies and one of these aggregators is Byzantine. Then sums may be
    /// forged (protocol.md §13).
    fn may_forge(&self, scene: &Scene) -> bool {
        let manifest = &scene.question.manifest;
        self.may_falsify() && usize::from(manifest.min_verified) <= manifest.needed()
    }

    /// Requires that an honest conductor excludes nobody for the faults of others.
    fn nobody_is_put_out(&self, scene: &Scene, ask: usize, ended: &Ended) -> Result<(), String> {
        if self.campaign.has(Party::Conductor) {
            return Ok(());
        }
        let byzantine: Option<MemberNumber> = scene.members().last().copied();
        let byzantine = byzantine.filter(|_| self.campaign.has(Party::Aggregator));
        let moves = self.campaign.moves(ask);
        // An aggregator that gets a false grant cannot go on.
        let stopped = moves
            .iter()
            .any(|one| matches!(one, Move::FalseGrant { .. }));
        let faults = !self.campaign.faults(ask).is_empty();
        for (aggregator, error) in ended.conduct.out() {
            let excused = match error {
                // A spent budget is a valid reason.
                StepError::Refused(why) if why.contains("privacy budget") => true,
                StepError::Refused(_) | StepError::Unreachable | StepError::Forgotten => faults,
                _ => self.campaign.corrupts(ask),
            };
            let honest = Some(aggregator.member) != byzantine;
            if honest && !stopped && !excused {
                return Err(format!(
                    "honest aggregator {aggregator:?} is out: {error:?}"
                ));
            }
        }
        Ok(())
    }

    /// Requires that one host alone cannot stop a query.
    fn released_where_it_must(&self, ask: usize) -> Result<(), String> {
        let host =
            self.campaign.coalition == [Party::Host] && self.campaign.asks[ask].noise.is_none();
        let whom = self.campaign.asks[ask].homes();
        let honest = whom.iter().filter(|home| !is_at_smaller_host(**home));
        // The answer rate is 400 in a thousand.
        let enough = 1000 * honest.count() >= 400 * whom.len();
        let faults = !self.campaign.faults(ask).is_empty();
        match host && enough && !faults {
            true => Err("one host stops the query".into()),
            false => Ok(()),
        }
    }

    fn is_honest(&self, home: usize) -> bool {
        !(self.campaign.has(Party::Host) && is_at_smaller_host(home))
    }

    /// Requires that each released group is a sum over homes that the query is for, each once, and that they are
    /// enough.
    fn sums(&self, ask: usize, released: &Released, ended: &Ended) -> Result<(), String> {
        let whom = self.campaign.asks[ask].homes();
        let mut counted = BTreeSet::new();
        for (group, outputs) in released.outputs.chunks(OUTPUTS).enumerate() {
            let (Some(n), Some(sum)) = (outputs[0], outputs[1]) else {
                continue;
            };
            let homes: BTreeSet<usize> = (0..HOMES / 2)
                .filter(|bit| sum >> bit & 1 == 1)
                .map(|bit| 2 * bit + group)
                .collect();
            if homes.len() as u64 != n || sum >> (HOMES / 2) != 0 {
                return Err(format!(
                    "group {group} counts a home twice: n {n}, sum {sum:b}"
                ));
            }
            if !homes.is_subset(&whom) {
                return Err(format!(
                    "group {group} has homes that were not meant: {homes:?}"
                ));
            }
            if !self.are_enough(&homes) {
                return Err(format!("group {group} is of {homes:?}"));
            }
            counted.extend(homes);
        }
        // In steps of the cohort, the number of homes that answered gives no withheld number away.
        let rest = released.accepted.saturating_sub(counted.len() as u64);
        if (1..COHORT).contains(&rest) && !released.accepted.is_multiple_of(COHORT) {
            return Err(format!(
                "the number of homes tells that {rest} are withheld"
            ));
        }
        let all = counted == ended.found;
        let complete = released.outputs.iter().all(Option::is_some);
        let harmless = self.campaign.moves(ask).is_empty() && self.campaign.faults(ask).is_empty();
        let harmless = harmless && !self.campaign.clicks;
        if harmless && complete && !all {
            return Err(format!("an honest query counts {counted:?}"));
        }
        Ok(())
    }

    /// Requires that two exact answers of a querier are about the same set of homes, or about sets that differ by at
    /// least the cohort. Nothing is required of coalitions with a conductor, target, host or aggregator: a conductor or
    /// target may leave homes out of one of two equal queries (protocol.md §13).
    fn differences(&self) -> Result<(), String> {
        let others = [
            Party::Conductor,
            Party::Target,
            Party::Host,
            Party::Aggregator,
        ];
        if others.iter().any(|party| self.campaign.has(*party)) {
            return Ok(());
        }
        let exact = || self.answered.iter().filter(|one| one.ask.noise.is_none());
        for (first, second) in exact().flat_map(|one| exact().map(move |other| (one, other))) {
            // A finder remembers sets until the key epoch is over.
            if first.ask.next_epoch != second.ask.next_epoch {
                continue;
            }
            let apart = first.homes.symmetric_difference(&second.homes).count();
            if (1..COHORT as usize).contains(&apart) {
                return Err(format!(
                    "{:?} and {:?} differ by {apart} homes",
                    first.ask.whom, second.ask.whom
                ));
            }
        }
        Ok(())
    }
}
