//! The conductor's loop over a query or session, with the faults on the way.

use std::collections::VecDeque;

use super::campaign::Party;
use super::moves::Move;
use super::query::Query;
use crate::{
    conduct::{Command, Conduct, Event, Options, Phase},
    release::SealedTotal,
    session::{SessionKey, SignedParameters},
    testing::{Scene, key_of},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::AggregatorId,
};
use dispers_training::home::State;

/// Largest number of commands of a round, so that a loop without end fails.
const MOST_COMMANDS: usize = 2000;

/// Release of one round.
pub(super) struct Round {
    pub(super) number: u16,
    pub(super) totals: Vec<(AggregatorId, SealedTotal)>,
    /// Batches and attempts that count.
    pub(super) proposal: Option<crate::release::Proposal>,
}

impl Query<'_> {
    /// Conducts the query to its end. Returns the rounds that were released.
    pub(super) fn drive(&mut self, scene: &mut Scene) -> (Conduct, Vec<Round>) {
        let manifest = scene.question.manifest.clone();
        let (mut conduct, mut commands) = Conduct::new(manifest, Options::default());
        let mut rounds = Vec::new();
        loop {
            self.follow(scene, &mut conduct, commands);
            if let Some(totals) = conduct.totals() {
                rounds.push(Round {
                    number: scene.round,
                    totals: totals.to_vec(),
                    proposal: self.certified.get(&scene.round).cloned(),
                });
            }
            if conduct.status().phase != Phase::Between {
                return (conduct, rounds);
            }
            match self.next_round(scene, &mut conduct) {
                Some(next) => commands = next,
                None => return (conduct, rounds),
            }
        }
    }

    /// Carries out these commands and all commands that follow from them.
    fn follow(&mut self, scene: &mut Scene, conduct: &mut Conduct, commands: Vec<Command>) {
        let mut commands = VecDeque::from(commands);
        let mut record = self.faults.interrupt().then(|| to_bytes(&conduct.record()));
        for _ in 0..MOST_COMMANDS {
            let Some(command) = commands.pop_front() else {
                return;
            };
            let event = self.step(scene, &command);
            // A Byzantine conductor passes on what a Byzantine target made up.
            let both = self.is(Party::Conductor) && self.is(Party::Target);
            let event = match &event {
                Event::Asked(work, _) if both || self.refusable.contains_key(work) => event,
                _ => scene.received(event),
            };
            let death = self.faults.death();
            if death != Some(false) {
                let next = conduct.handle(event);
                commands.extend(next);
            }
            if let (Some(_), Some(record)) = (death, &mut record) {
                if death == Some(true) {
                    *record = to_bytes(&conduct.record());
                }
                // The conductor is back with the record that it wrote. Answers that it waited for are lost.
                let kept = from_bytes(record, 1 << 20, "record").expect("it was written");
                let manifest = scene.question.manifest.clone();
                let (resumed, again) = Conduct::resume(manifest, Options::default(), kept);
                *conduct = resumed;
                commands = again.into();
            }
            if let Some(record) = &mut record {
                *record = to_bytes(&conduct.record());
            }
        }
        panic!("the query does not end");
    }

    /// Creates the parameters of a round, signed with the key of `signer`.
    pub(super) fn parameters(
        scene: &mut Scene,
        round: u16,
        weight: f64,
        signer: &str,
    ) -> SignedParameters {
        let state = State {
            weights: vec![weight; 3],
            ..State::empty()
        };
        let query = scene.question.manifest.query();
        let key = SessionKey::new(&scene.question.salt, query);
        let rng = &mut scene.rng;
        SignedParameters::seal(query, round, &state, &key, &key_of(signer), rng)
    }

    /// Sends the next round's parameters as the querier. Returns `None` if the session ends.
    fn next_round(&mut self, scene: &mut Scene, conduct: &mut Conduct) -> Option<Vec<Command>> {
        let rounds = scene.question.manifest.rounds;
        let mut round = scene.round + 1;
        if round + 1 < rounds && self.makes(Move::SkipRounds) {
            round = rounds - 1;
        }
        let parameters = Self::parameters(scene, round, 1.0, "querier");
        let commands = Self::advance(scene, conduct, &parameters)?;
        if self.makes(Move::ParametersTwice) {
            let other = Self::parameters(scene, round, 2.0, "querier");
            let twice = Self::advance(scene, conduct, &other);
            assert!(twice.is_none(), "a round begins twice");
        }
        scene.begin_round(round, parameters.digest());
        self.earlier.parameters.push(parameters);
        Some(commands)
    }

    fn advance(
        scene: &Scene,
        conduct: &mut Conduct,
        parameters: &SignedParameters,
    ) -> Option<Vec<Command>> {
        let manifest = &scene.question.manifest;
        let verified = parameters.verify(manifest, &scene.network.directory).ok()?;
        conduct.advance(&verified, parameters.clone()).ok()
    }

    /// Takes a step at its node, with the faults of the step.
    fn step(&mut self, scene: &mut Scene, command: &Command) -> Event {
        match self.faults.next(command) {
            Some(fault) => self.faulty(scene, command, fault),
            None => self.carry_out(scene, command),
        }
    }

    /// Takes a step at its node, which writes its changes before its answer leaves.
    pub(super) fn carry_out(&mut self, scene: &mut Scene, command: &Command) -> Event {
        let event = self.intervene(scene, command);
        let event = event.unwrap_or_else(|| scene.carry_out(command));
        if let (_, Some(aggregator)) = command.step() {
            self.written(scene, aggregator.member);
        }
        event
    }
}
