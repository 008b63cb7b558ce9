//! Random requests to three real aggregators, followed in the model. They include requests that an honest conductor
//! never sends.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use zeroize::Zeroizing;

use super::aggregator::MOST_ATTEMPTS;
use super::conformance::{Call, Conformance};
use super::{BATCHES, Mistake};
use crate::{
    aggregation::{Aggregation, AggregationError, Part, Quorum, Record, visible::VisibleStep},
    ask::BatchAnswer,
    peer::PeerMessage,
    release::{CommittedBatch, Proposal, SignedAcknowledgement},
    testing::{Scene, Setting, member},
};
use dispers_base::id::{MemberNumber, Work};
use dispers_circuit::Row;

/// Messages by the number of their sender and the index of the D that the sender froze.
type Messages = BTreeMap<(u8, usize), Vec<PeerMessage>>;

/// Messages sent about one work.
#[derive(Default)]
struct Sent {
    /// Two answers of the target, with different D.
    answers: Vec<BatchAnswer>,
    /// Index of the answer that each member froze.
    frozen: BTreeMap<u8, usize>,
    randomness: Messages,
    verifier: Messages,
    acknowledgements: Vec<SignedAcknowledgement>,
}

struct Walk {
    scene: Scene,
    /// Second state of member 3, which is Byzantine: it tells some members that it froze another D.
    twin: Aggregation,
    rng: StdRng,
    sent: BTreeMap<(u32, u8), Sent>,
    guards: BTreeMap<[u8; 32], Messages>,
    certified: Option<Proposal>,
    disks: BTreeMap<u8, BTreeMap<Part, Vec<u8>>>,
    model: Conformance,
}

fn setting(min_verified: u8) -> Setting {
    let row = |number: u64| Row {
        group: (number % 2) as usize,
        levels: vec![Some(1 << (number / 2)), None],
    };
    Setting {
        rows: (0..12).map(|number| Some(row(number))).collect(),
        batch_size: 6,
        min_verified,
        ..Setting::default()
    }
}

impl Walk {
    fn new(min_verified: u8, seed: u64, mistake: Option<Mistake>) -> Self {
        let scene = Scene::new(setting(min_verified));
        let mut twin = scene.aggregation(member(3));
        let grant = scene.grant_of(member(3));
        twin.grant(0, &grant, &scene.network.directory).unwrap();
        let mut walk = Self {
            twin,
            scene,
            rng: StdRng::seed_from_u64(seed),
            sent: BTreeMap::new(),
            guards: BTreeMap::new(),
            certified: None,
            disks: BTreeMap::new(),
            model: Conformance::with(min_verified, mistake),
        };
        (1..=2).for_each(|number| walk.write(number));
        walk
    }

    fn sent(&mut self, work: Work) -> &mut Sent {
        let key = (work.batch.number, work.attempt);
        if !self.sent.contains_key(&key) {
            let mut answers = vec![self.scene.honest(work)];
            let mut fewer = self.scene.answers(work);
            fewer.truncate(1);
            answers.push(self.scene.collect(work, fewer));
            let sent = Sent {
                answers,
                ..Sent::default()
            };
            self.sent.insert(key, sent);
        }
        self.sent.get_mut(&key).unwrap()
    }

    /// Takes a step of a member, and compares it with the model.
    fn step<T>(
        &mut self,
        number: u8,
        twin: bool,
        call: Call<'_>,
        step: impl FnOnce(&mut Scene, MemberNumber) -> Result<T, AggregationError>,
        said: impl FnOnce(&T) -> Option<SignedAcknowledgement>,
    ) -> Result<Option<T>, String> {
        let at = member(number);
        self.swap(twin);
        let outcome = step(&mut self.scene, at);
        self.swap(twin);
        let said = outcome.as_ref().map(said);
        let followed = match &said {
            Ok(said) => Ok(said.as_ref()),
            Err(error) => Err(*error),
        };
        let visible = self.scene.aggregators[&at].visible();
        self.model.step(at, call, followed, &visible)?;
        if self.rng.random_range(0..40) > 0 {
            self.write(number);
            return Ok(outcome.ok());
        }
        // The answer is lost with the process.
        self.restart(number)?;
        Ok(None)
    }

    fn swap(&mut self, twin: bool) {
        if twin {
            let three = self.scene.aggregators.get_mut(&member(3)).unwrap();
            std::mem::swap(three, &mut self.twin);
        }
    }

    fn write(&mut self, number: u8) {
        let aggregation = self.scene.aggregators.get_mut(&member(number)).unwrap();
        let Some(changes) = aggregation.changes() else {
            return self.model.written(member(number));
        };
        let disk = self.disks.entry(number).or_default();
        if changes.whole {
            disk.clear();
        }
        let records = changes.records.iter();
        disk.extend(records.map(|(part, record)| (*part, record.as_bytes().to_vec())));
        aggregation.saved();
        self.model.written(member(number));
    }

    fn restart(&mut self, number: u8) -> Result<(), String> {
        // The model does not follow the state of the Byzantine member.
        if number == 3 {
            return Ok(());
        }
        let records = self.disks[&number].iter();
        let records =
            records.map(|(part, bytes)| (*part, Record::new(Zeroizing::new(bytes.clone()))));
        let manifest = self.scene.question.manifest.clone();
        let restored = Aggregation::restore(manifest, 0, member(number), records, |key| key);
        let restored = restored.unwrap();
        let visible = restored.visible();
        self.scene.aggregators.insert(member(number), restored);
        self.model.restarted(member(number), &visible)
    }

    /// Makes one request. Mostly it is the next one for a member, else any.
    fn next(&mut self) -> Result<(), String> {
        let number = self.rng.random_range(1..=3);
        let batch = self.rng.random_range(0..BATCHES as u32);
        let opened = self
            .sent
            .iter()
            .filter(|((of, _), sent)| *of == batch && !sent.frozen.is_empty());
        let latest = opened.map(|((_, attempt), _)| *attempt).max().unwrap_or(0);
        let attempt = match self.rng.random_range(0..20) {
            0 => self.rng.random_range(0..MOST_ATTEMPTS as u8),
            1 => (latest + 1).min(MOST_ATTEMPTS as u8 - 1),
            _ => latest,
        };
        let work = self.scene.work(batch, attempt);
        // An honest member uses the D that it froze. Only member 3 chooses between two.
        let other = usize::from(self.rng.random_range(0..8) == 0);
        let face = match number {
            3 => other,
            _ => *self.sent(work).frozen.get(&number).unwrap_or(&other),
        };
        let twin = number == 3 && face == 1;
        let request = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(0..7),
            _ => self.sensible(number, twin, work),
        };
        match request {
            0 => self.open(number, twin, work, if number == 3 { face } else { other }),
            1 => self.verify(number, twin, work, face),
            2 => self.decide(number, twin, work, face),
            3 => self.commit(number, twin, work),
            4 => self.guards(number),
            5 => self.release(number),
            _ => self.restart(number),
        }
    }

    /// Returns the number of the next sensible request for a member.
    fn sensible(&mut self, number: u8, twin: bool, work: Work) -> u8 {
        self.swap(twin);
        let visible = self.scene.aggregators[&member(number)].visible();
        self.swap(twin);
        if !visible.releases.is_empty() {
            return 5;
        }
        if visible.committed.contains_key(&(0, work.batch)) {
            return 4 + u8::from(self.rng.random_range(0..4) == 0);
        }
        match visible.attempts.get(&(0, work.batch, work.attempt)) {
            None | Some(VisibleStep::Forgotten(_)) => 0,
            Some(VisibleStep::Frozen(_)) => 1,
            Some(VisibleStep::Verifying(_)) => 2,
            Some(_) => 3,
        }
    }

    fn open(&mut self, number: u8, twin: bool, work: Work, face: usize) -> Result<(), String> {
        let answer = &self.sent(work).answers[face];
        let answer: BatchAnswer = answer.clone();
        let call = Call::Open(work, answer.statement.digest());
        let step = |scene: &mut Scene, at| scene.open_at(at, &answer);
        if let Some(messages) = self.step(number, twin, call, step, |_| None)? {
            let sent = self.sent(work);
            sent.frozen.entry(number).or_insert(face);
            sent.randomness.insert((number, face), messages);
        }
        Ok(())
    }

    fn verify(&mut self, number: u8, twin: bool, work: Work, face: usize) -> Result<(), String> {
        let messages = of(&self.sent(work).randomness, face);
        let step = |scene: &mut Scene, at| scene.verify_at(at, work, &messages);
        if let Some(said) = self.step(number, twin, Call::Verify(work), step, |_| None)? {
            self.sent(work).verifier.insert((number, face), said);
        }
        Ok(())
    }

    fn decide(&mut self, number: u8, twin: bool, work: Work, face: usize) -> Result<(), String> {
        let messages = of(&self.sent(work).verifier, face);
        let mut members: Vec<u8> = vec![1, 2, 3];
        if self.rng.random_range(0..4) == 0 {
            members.remove(self.rng.random_range(0..3));
        }
        let quorum = Quorum::new(members.into_iter().map(member));
        let step = |scene: &mut Scene, at| scene.decide_at(at, work, &quorum, &messages);
        let call = Call::Decide(work, &quorum);
        let said = |said: &SignedAcknowledgement| Some(said.clone());
        if let Some(said) = self.step(number, twin, call, step, said)? {
            self.sent(work).acknowledgements.push(said);
        }
        Ok(())
    }

    fn commit(&mut self, number: u8, twin: bool, work: Work) -> Result<(), String> {
        let said = self.sent(work).acknowledgements.clone();
        let step = |scene: &mut Scene, at| scene.commit_at(at, work, &said);
        self.step(number, twin, Call::Commit(work), step, |()| None)?;
        Ok(())
    }

    fn guards(&mut self, number: u8) -> Result<(), String> {
        let of = *[number, number, 1, 2].choose(&mut self.rng).unwrap();
        let visible = self.scene.aggregators[&member(of)].visible();
        let mut listed: Vec<CommittedBatch> = visible
            .committed
            .iter()
            .map(
                |((_, batch), (attempt, decision, accepted))| CommittedBatch {
                    batch: *batch,
                    attempt: *attempt,
                    decision: *decision,
                    accepted: *accepted,
                },
            )
            .collect();
        if self.rng.random() {
            listed.truncate(1);
        }
        let mut proposal = self.scene.proposal(&listed);
        // The notary signs one proposal. A proposal that it signed may come again.
        match &self.certified {
            _ if listed.is_empty() => {}
            Some(certified) => proposal = certified.clone(),
            None if self.rng.random_range(0..3) > 0 => self.certified = Some(proposal.clone()),
            None => {}
        }
        let certificate = self.scene.certificate(&proposal);
        if self.certified.as_ref() != Some(&proposal) {
            return Ok(());
        }
        let step = |scene: &mut Scene, at| scene.guards_at(at, &proposal, &certificate);
        if let Some(said) = self.step(number, false, Call::Guards(&proposal), step, |_| None)? {
            let guards = self.guards.entry(proposal.hash()).or_default();
            guards.insert((number, 0), said);
        }
        Ok(())
    }

    fn release(&mut self, number: u8) -> Result<(), String> {
        let guards = self.guards.values().next().cloned().unwrap_or_default();
        let messages = of(&guards, 0);
        let step = |scene: &mut Scene, at| scene.release_at(at, &messages);
        self.step(number, false, Call::Release, step, |_| None)?;
        Ok(())
    }
}

fn of(messages: &Messages, face: usize) -> Vec<PeerMessage> {
    let mine = messages.iter().filter(|((_, of), _)| *of == face);
    mine.flat_map(|(_, messages)| messages.iter().cloned())
        .collect()
}

/// Walks at random until a step differs from the model. Returns that difference, and the number of walks that released.
fn walks(count: u64, steps: u32, mistake: Option<Mistake>) -> (Option<String>, u64) {
    let mut released = 0;
    for seed in 0..count {
        let mut walk = Walk::new(2 + (seed % 2) as u8, seed, mistake);
        for step in 0..steps {
            if let Err(what) = walk.next() {
                return (Some(format!("walk {seed}, step {step}: {what}")), released);
            }
        }
        let one = walk.scene.aggregators[&member(1)].visible();
        released += u64::from(one.releases.values().any(|(_, released)| *released));
    }
    (None, released)
}

#[test]
fn whatever_real_aggregators_are_asked_is_a_path_of_the_model() {
    let (differs, released) = walks(100, 150, None);
    assert_eq!(differs, None);
    println!("{released} releases");
    // Walks that do not reach a release would show little.
    assert!(released > 10, "{released}");
}

#[test]
fn a_model_with_a_mistake_is_not_what_real_aggregators_do() {
    for mistake in [
        Mistake::TakesAnotherDigest,
        Mistake::ForgetsDigest,
        Mistake::KeepsEarlierAttempts,
        Mistake::CommitsTwice,
        Mistake::TrustsProposals,
    ] {
        let (differs, _) = walks(100, 150, Some(mistake));
        assert!(differs.is_some(), "{mistake:?}");
    }
}
