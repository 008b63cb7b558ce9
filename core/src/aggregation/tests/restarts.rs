//! Tests that an aggregator that restarts continues from the records that it wrote.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{batches, heard, scene};
use crate::{
    aggregation::{Aggregation, AggregationError, Part, Record, batch::Attempt},
    conduct::{Command, Event, StepError},
    release::{Certificate, CommittedBatch},
    testing::{Scene, Setting, addressee, key_of, member},
};
use dispers_base::id::{MemberNumber, Work};

/// Records that each aggregator wrote.
#[derive(Default)]
pub(super) struct Disks(BTreeMap<MemberNumber, BTreeMap<Part, Vec<u8>>>);

impl Disks {
    fn write(&mut self, scene: &mut Scene, member: MemberNumber) {
        let aggregation = scene.aggregators.get_mut(&member).unwrap();
        let disk = self.0.entry(member).or_default();
        let Some(changes) = aggregation.changes() else {
            return;
        };
        if changes.whole {
            disk.clear();
        }
        let records = changes.records.iter();
        disk.extend(records.map(|(part, record)| (*part, record.as_bytes().to_vec())));
        aggregation.saved();
    }

    pub(super) fn of(scene: &mut Scene) -> Self {
        let mut disks = Self::default();
        for member in scene.members() {
            disks.write(scene, member);
        }
        disks
    }

    fn restore(&self, scene: &Scene, member: MemberNumber) -> Aggregation {
        let manifest = scene.question.manifest.clone();
        let records = self.0[&member].iter();
        let records = records.map(|(part, bytes)| (*part, record(bytes)));
        Aggregation::restore(manifest, 0, member, records, |secret| secret).unwrap()
    }

    pub(super) fn restart(&self, scene: &mut Scene, member: MemberNumber) {
        let restored = self.restore(scene, member);
        assert!(restored.changes().is_none());
        scene.aggregators.insert(member, restored);
    }
}

fn record(bytes: &[u8]) -> Record {
    Record::new(Zeroizing::new(bytes.to_vec()))
}

fn forgotten(event: &Event) -> bool {
    matches!(
        event,
        Event::Verified(_, _, Err(StepError::Forgotten))
            | Event::Decided(_, _, Err(StepError::Forgotten))
    )
}

/// Returns the work of a command that needs the contributions of an attempt, or opens them.
fn opening(command: &Command) -> Option<Work> {
    match command {
        Command::Open { answer, .. } => Some(answer.statement.work),
        Command::Verify { work, .. } | Command::Decide { work, .. } => Some(*work),
        _ => None,
    }
}

/// Drives a query in which an aggregator restarts before each of its commands for which `restarts` returns true. If it
/// answers that it forgot an attempt, it gets the earlier commands of that attempt again. Returns the outputs that the
/// querier reads, and the number of such answers.
fn driven(
    scene: &mut Scene,
    mut restarts: impl FnMut(&Command) -> bool,
) -> (Vec<Option<u64>>, usize) {
    let mut disks = Disks::of(scene);
    let mut said: BTreeMap<(MemberNumber, Work), Vec<Command>> = BTreeMap::new();
    let mut again = 0;
    let conduct = scene.drive(|scene, command| {
        let member = addressee(command)?.member;
        if restarts(command) {
            disks.restart(scene, member);
        }
        let mut event = scene.carry_out(command);
        disks.write(scene, member);
        if let Some(work) = opening(command) {
            let said = said.entry((member, work)).or_default();
            if forgotten(&event) {
                again += 1;
                for before in said.iter() {
                    scene.carry_out(before);
                    disks.write(scene, member);
                }
                event = scene.carry_out(command);
                disks.write(scene, member);
            }
            said.push(command.clone());
        }
        Some(event)
    });
    let totals = conduct.totals().expect("the query is released");
    assert_eq!(totals.len(), 3);
    (scene.read(totals).unwrap().outputs, again)
}

fn everybody(scene: &Scene) -> Vec<Option<u64>> {
    scene.sums(scene.homes.iter().map(|home| &home.row))
}

#[test]
fn a_query_is_exact_when_every_aggregator_restarts_before_every_step() {
    for min_verified in [2, 3] {
        let mut scene = Scene::new(Setting {
            batch_size: 9,
            min_verified,
            ..Setting::default()
        });
        let (outputs, again) = driven(&mut scene, |_| true);
        assert_eq!(outputs, everybody(&scene));
        // Each of three aggregators forgets each of four batches before verifying and before deciding.
        assert_eq!(again, 2 * 3 * 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_query_is_exact_wherever_aggregators_restart(steps in any::<u128>()) {
        let mut scene = batches(18);
        let mut step = 0;
        let (outputs, _) = driven(&mut scene, |_| {
            step += 1;
            steps >> (step % 128) & 1 == 1
        });
        prop_assert_eq!(outputs, everybody(&scene));
    }
}

#[test]
fn an_attempt_that_was_forgotten_takes_the_same_groups_and_no_others() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let (answer, other) = (scene.honest(work), scene.honest(work));
    let randomness = scene.open(&answer);
    let messages = scene.verify(work, &randomness);
    let disks = Disks::of(&mut scene);
    let one = member(1);
    disks.restart(&mut scene, one);
    let lost = Some(AggregationError::Forgotten);
    let quorum = scene.quorum();
    assert_eq!(scene.verify_at(one, work, &randomness).err(), lost);
    assert_eq!(scene.decide_at(one, work, &quorum, &messages).err(), lost);
    assert_eq!(scene.commit_at(one, work, &[]).err(), lost);
    let refusal = scene.open_at(one, &other).err();
    assert_eq!(refusal, Some(AggregationError::OtherGroups));
    // After the restart, the aggregator repeats its earlier messages to the byte.
    let of_one = |messages: &[crate::peer::PeerMessage]| {
        let mut messages = messages.iter().filter(|message| message.from == one);
        messages.next().unwrap().clone()
    };
    let again = scene.open_at(one, &answer).unwrap();
    let before = heard(&scene, &of_one(&randomness)).hash;
    assert_eq!(heard(&scene, &again[0]).hash, before);
    let again = scene.verify_at(one, work, &randomness).unwrap();
    let before = heard(&scene, &of_one(&messages)).hash;
    assert_eq!(heard(&scene, &again[0]).hash, before);
    let refusal = scene.open_at(one, &other).err();
    assert_eq!(refusal, Some(AggregationError::OtherGroups));
    assert!(scene.decide_at(one, work, &quorum, &messages).is_ok());
}

#[test]
fn an_attempt_that_was_forgotten_is_over_once_a_later_one_is_open() {
    let mut scene = scene();
    let (first, second) = (scene.work(0, 0), scene.work(0, 1));
    let (old, new) = (scene.honest(first), scene.honest(second));
    let randomness = scene.open(&old);
    let mut disks = Disks::of(&mut scene);
    disks.restart(&mut scene, member(1));
    scene.open(&new);
    disks.write(&mut scene, member(1));
    for _ in 0..2 {
        let refusal = scene.verify_at(member(1), first, &randomness).err();
        assert_eq!(refusal, Some(AggregationError::WrongStep));
        let refusal = scene.open_at(member(1), &old).err();
        assert_eq!(refusal, Some(AggregationError::OtherGroups));
        disks.restart(&mut scene, member(1));
    }
}

#[test]
fn attempts_that_were_forgotten_hold_no_place_until_they_are_opened_again() {
    let mut scene = batches(7);
    let answers: Vec<_> = (0..6).map(|b| scene.honest(scene.work(b, 0))).collect();
    for answer in &answers[..4] {
        scene.open_at(member(1), answer).unwrap();
    }
    Disks::of(&mut scene).restart(&mut scene, member(1));
    for answer in &answers[1..5] {
        scene.open_at(member(1), answer).unwrap();
    }
    let refusal = scene.open_at(member(1), &answers[0]).err();
    assert_eq!(refusal, Some(AggregationError::TooManyInFlight));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn no_element_of_a_contribution_is_ever_in_a_record() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    scene.open(&answer);
    let aggregation = &scene.aggregators[&member(1)];
    let batch = &aggregation.batches[&(0, work.batch)];
    let Some(Attempt::Frozen(frozen)) = batch.attempts.get(&0) else {
        panic!("it is frozen");
    };
    let mut elements: Vec<[u8; 8]> = Vec::new();
    frozen.contributions.for_each(|_, share, _, _| {
        elements.extend(share.iter().map(|element| element.to_le_bytes()));
    });
    assert!(elements.len() >= 36);
    let mut disks = Disks::default();
    let mut check = |scene: &mut Scene| {
        disks.write(scene, member(1));
        for bytes in disks.0[&member(1)].values() {
            assert!(!elements.iter().any(|element| contains(bytes, element)));
        }
    };
    check(&mut scene);
    let batch = scene.commit(&answer);
    check(&mut scene);
    scene.release(&[batch]);
    check(&mut scene);
}

/// Creates a query of two committed batches.
fn committed() -> (Scene, Vec<CommittedBatch>) {
    let mut scene = batches(18);
    let batches = (0..2).map(|batch| {
        let answer = scene.honest(scene.work(batch, 0));
        scene.commit(&answer)
    });
    let batches = batches.collect();
    (scene, batches)
}

#[test]
fn after_the_release_only_what_was_said_is_kept_and_is_said_again() {
    let (mut scene, batches) = committed();
    let one = member(1);
    let proposal = scene.proposal(&batches);
    let certificate = scene.certificate(&proposal);
    let key = scene.aggregators[&one].grants[&0].key.clone();
    let mut disks = Disks::of(&mut scene);
    assert_eq!(disks.0[&one].len(), 1 + 2);
    assert!(contains(&disks.0[&one][&Part::Query], key.as_bytes()));
    let messages = scene.guards(&proposal);
    let total = scene.release_at(one, &messages).unwrap();
    disks.write(&mut scene, one);

    let parts: Vec<Part> = disks.0[&one].keys().copied().collect();
    assert_eq!(parts, [Part::Query, Part::Release { round: 0 }]);
    let seed = scene.question.offered[0].as_ref().unwrap().to_seed_bytes();
    for bytes in disks.0[&one].values() {
        assert!(!contains(bytes, &*seed) && !contains(bytes, key.as_bytes()));
    }

    disks.restart(&mut scene, one);
    let mine: Vec<_> = messages.iter().filter(|m| m.from == one).collect();
    let again = scene.guards_at(one, &proposal, &certificate).unwrap();
    for (mine, again) in mine.into_iter().zip(&again) {
        assert_eq!(heard(&scene, mine).hash, heard(&scene, again).hash);
    }
    assert_eq!(scene.release_at(one, &[]).unwrap(), total);
    let smaller = scene.proposal(&batches[..1]);
    let other = scene.certificate(&smaller);
    let refusal = scene.guards_at(one, &smaller, &other).err();
    assert_eq!(refusal, Some(AggregationError::SecondRelease));
    let answer = scene.honest(scene.work(0, 1));
    let refusal = scene.open_at(one, &answer).err();
    assert_eq!(refusal, Some(AggregationError::WrongStep));
    let grant = scene.grant_of(one);
    let aggregation = scene.aggregators.get_mut(&one).unwrap();
    let refusal = aggregation.grant(0, &grant, &scene.network.directory);
    assert_eq!(refusal, Err(AggregationError::WrongStep));
}

#[test]
fn another_release_is_refused_after_a_restart_between_guards_and_release() {
    let (mut scene, batches) = committed();
    let proposal = scene.proposal(&batches);
    let messages = scene.guards(&proposal);
    Disks::of(&mut scene).restart(&mut scene, member(1));
    let smaller = scene.proposal(&batches[..1]);
    let certificate = Certificate::new(smaller.query, 0, smaller.hash(), &key_of("finder"));
    let refusal = scene.guards_at(member(1), &smaller, &certificate).err();
    assert_eq!(refusal, Some(AggregationError::SecondRelease));
    assert!(scene.release_at(member(1), &messages).is_ok());
}

#[test]
fn what_could_not_be_written_is_written_before_the_next_answer() {
    let mut scene = scene();
    let answer = scene.honest(scene.work(0, 0));
    Disks::of(&mut scene);
    scene.open_at(member(1), &answer).unwrap();
    // The write fails, and the same groups arrive again.
    scene.open_at(member(1), &answer).unwrap();
    let part = Part::of(answer.statement.work);
    let aggregation = scene.aggregators.get_mut(&member(1)).unwrap();
    let changes = aggregation.changes().unwrap();
    assert!(!changes.whole);
    assert!(changes.records.iter().map(|(part, _)| *part).eq([part]));
    aggregation.saved();
    assert!(aggregation.changes().is_none());
    // A step that changes nothing is not written again.
    scene.open_at(member(1), &answer).unwrap();
    assert!(scene.aggregators[&member(1)].changes().is_none());
}

#[test]
fn a_failed_attempt_stays_failed_after_a_restart() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    scene.open(&answer);
    let aggregation = scene.aggregators.get_mut(&member(1)).unwrap();
    let batch = aggregation.batches.get_mut(&(0, work.batch)).unwrap();
    batch.attempts.insert(0, Attempt::Withdrawn);
    Disks::of(&mut scene).restart(&mut scene, member(1));
    let refusal = scene.open_at(member(1), &answer).err();
    assert_eq!(refusal, Some(AggregationError::OtherGroups));
    let refusal = scene.verify_at(member(1), work, &[]).err();
    assert_eq!(refusal, Some(AggregationError::WrongStep));
}

#[test]
fn records_that_are_damaged_missing_or_of_another_query_restore_nothing() {
    let (mut scene, batches) = committed();
    scene.guards(&scene.proposal(&batches));
    let disks = Disks::of(&mut scene);
    let whole = &disks.0[&member(1)];
    let restored = |number, records: &BTreeMap<Part, Vec<u8>>| {
        let manifest = scene.question.manifest.clone();
        let records = records.iter();
        let records = records.map(|(part, bytes)| (*part, record(bytes)));
        Aggregation::restore(manifest, 0, member(number), records, |secret| secret).is_ok()
    };
    assert!(restored(1, whole));
    // The envelope secret is the one of aggregator 1.
    assert!(!restored(2, whole));
    for part in whole.keys() {
        let mut cut = whole.clone();
        cut.get_mut(part).unwrap().pop();
        assert!(!restored(1, &cut));
        let mut longer = whole.clone();
        longer.get_mut(part).unwrap().push(0);
        assert!(!restored(1, &longer));
    }
    let mut headless = whole.clone();
    headless.remove(&Part::Query);
    assert!(!restored(1, &headless));
    assert!(!restored(1, &BTreeMap::new()));
}
