//! Tests of opening and verifying out of order, or with input that belongs to another batch.

use super::{batches, heard, said, scene};
use crate::{
    aggregation::{AggregationError, Quorum},
    ask::BatchAnswer,
    testing::{Scene, Setting, key_of, member, name},
};
use dispers_base::{
    id::{QueryId, Work},
    labels,
};

/// Returns the answer after `change`, signed again by its Target.
fn restated(answer: &BatchAnswer, change: impl FnOnce(&mut BatchAnswer)) -> BatchAnswer {
    let mut answer = answer.clone();
    change(&mut answer);
    let digest = answer.statement.digest();
    answer.signature = key_of("target").sign(labels::SIGN_GROUPS, &digest);
    answer
}

#[test]
fn groups_without_a_grant_are_refused() {
    let mut scene = scene();
    let answer = scene.honest(scene.work(0, 0));
    let fresh = scene.aggregation(member(1));
    scene.aggregators.insert(member(1), fresh);
    let refusal = scene.open_at(member(1), &answer).err();
    assert_eq!(refusal, Some(AggregationError::NoGrant));
}

#[test]
fn other_groups_for_an_attempt_are_refused_and_the_same_get_the_same_share() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let (answer, other) = (scene.honest(work), scene.honest(work));
    let first = scene.open_at(member(1), &answer).unwrap();
    let refusal = scene.open_at(member(1), &other).err();
    assert_eq!(refusal, Some(AggregationError::OtherGroups));
    let again = scene.open_at(member(1), &answer).unwrap();
    assert_eq!(first.len(), 2);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(heard(&scene, first).hash, heard(&scene, again).hash);
    }
    // The refusal stays the same once the aggregator verifies.
    for number in [2, 3].map(member) {
        let randomness = scene.open_at(number, &answer).unwrap();
        scene.verify_at(member(1), work, &randomness).unwrap();
    }
    let refusal = scene.open_at(member(1), &other).err();
    assert_eq!(refusal, Some(AggregationError::OtherGroups));
    let again = scene.open_at(member(1), &answer).unwrap();
    assert_eq!(heard(&scene, &first[0]).hash, heard(&scene, &again[0]).hash);
}

#[test]
fn groups_that_the_target_did_not_sign_are_refused() {
    let mut scene = scene();
    let honest = scene.honest(scene.work(0, 0));
    let mut forged = Vec::new();
    let mut unsigned = honest.clone();
    unsigned.signature.0[5] ^= 1;
    forged.push(unsigned);
    // A node that is no Target signs in its own name, and then in the name of a Target.
    let mut finder = honest.clone();
    finder.statement.target = name("finder");
    let digest = finder.statement.digest();
    finder.signature = key_of("finder").sign(labels::SIGN_GROUPS, &digest);
    forged.push(finder);
    let mut in_its_name = honest.clone();
    let digest = in_its_name.statement.digest();
    in_its_name.signature = key_of("finder").sign(labels::SIGN_GROUPS, &digest);
    forged.push(in_its_name);
    forged.push(restated(&honest, |a| a.statement.target = name("nobody")));
    forged.push(restated(&honest, |a| a.statement.digests[0][0] ^= 1));
    forged.push(restated(&honest, |a| a.statement.digests.truncate(2)));
    forged.push(restated(&honest, |a| a.groups.swap(0, 1)));
    forged.push(restated(&honest, |a| a.groups[0].reverse()));
    forged.push(restated(&honest, |a| a.groups[0].truncate(1)));
    for answer in &forged {
        let refusal = scene.open_at(member(1), answer).err();
        assert_eq!(refusal, Some(AggregationError::BadGroups));
    }
    assert!(scene.open_at(member(1), &honest).is_ok());
}

#[test]
fn work_beyond_the_query_is_refused() {
    let mut scene = scene();
    let honest = scene.honest(scene.work(0, 0));
    let mut refusal = |change: &dyn Fn(&mut Work)| {
        let answer = restated(&honest, |answer| change(&mut answer.statement.work));
        scene.open_at(member(1), &answer).err()
    };
    let wrong = Some(AggregationError::WrongWork);
    assert_eq!(refusal(&|w| w.batch.number = 1), wrong);
    assert_eq!(refusal(&|w| w.batch.number = u32::MAX), wrong);
    assert_eq!(refusal(&|w| w.attempt = 3), wrong);
    assert_eq!(refusal(&|w| w.round = 1), wrong);
    assert_eq!(refusal(&|w| w.query = QueryId([1; 32])), wrong);
    let none = Some(AggregationError::NoGrant);
    assert_eq!(refusal(&|w| w.batch.partition = 1), none);
    // A group that was sealed for another attempt does not open.
    let unopened = AggregationError::Unopened { groups: 2, of: 2 };
    assert_eq!(refusal(&|w| w.attempt = 2), Some(unopened));
}

#[test]
fn only_four_batches_hold_contributions_at_a_time() {
    let mut scene = batches(7);
    let answers: Vec<_> = (0..6).map(|b| scene.honest(scene.work(b, 0))).collect();
    for answer in &answers[..4] {
        scene.open_at(member(1), answer).unwrap();
    }
    let refusal = scene.open_at(member(1), &answers[4]).err();
    assert_eq!(refusal, Some(AggregationError::TooManyInFlight));
    // A later attempt at one of the four batches takes the place of the earlier attempt.
    let again = scene.honest(scene.work(2, 1));
    assert!(scene.open_at(member(1), &again).is_ok());
    scene.commit(&answers[0]);
    assert!(scene.open_at(member(1), &answers[4]).is_ok());
}

#[test]
fn randomness_for_other_groups_or_other_work_does_not_count() {
    let mut scene = batches(18);
    let work = scene.work(0, 0);
    let (mine, theirs) = (scene.honest(work), scene.honest(work));
    scene.open_at(member(1), &mine).unwrap();
    let mut messages = Vec::new();
    for number in [2, 3].map(member) {
        messages.extend(scene.open_at(number, &theirs).unwrap());
    }
    let members = vec![member(2), member(3)];
    let none = Some(AggregationError::Unread { members });
    assert_eq!(scene.verify_at(member(1), work, &messages).err(), none);
    assert_eq!(scene.verify_at(member(1), work, &[]).err(), none);
    let other = scene.honest(scene.work(1, 0));
    let elsewhere = scene.open_at(member(2), &other).unwrap();
    assert_eq!(scene.verify_at(member(1), work, &elsewhere).err(), none);
    // The second and third aggregators have the same D and verify.
    assert!(scene.verify_at(member(2), work, &messages).is_ok());
}

#[test]
fn a_share_that_another_aggregator_passes_off_as_its_own_does_not_count() {
    let mut scene = Scene::new(Setting {
        committee: (3, 5),
        ..Setting::default()
    });
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    scene.open_at(member(1), &answer).unwrap();
    let messages = scene.open_at(member(2), &answer).unwrap();
    let to_me = messages
        .iter()
        .find(|message| message.to == member(1))
        .unwrap();
    let share = heard(&scene, to_me).content;
    let repeated = said(&mut scene, 3, 1, share);
    // The envelope binds the sender's name that stands beside it.
    let mut renamed = to_me.clone();
    renamed.from = member(4);
    let messages = [messages, vec![repeated, renamed]].concat();
    let refusal = scene.verify_at(member(1), work, &messages).err();
    let members = [3, 4, 5].map(member).to_vec();
    assert_eq!(refusal, Some(AggregationError::Unread { members }));
}

#[test]
fn steps_out_of_order_are_refused() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let quorum = scene.quorum();
    let wrong = Some(AggregationError::WrongStep);
    assert_eq!(scene.verify_at(member(1), work, &[]).err(), wrong);
    assert_eq!(scene.decide_at(member(1), work, &quorum, &[]).err(), wrong);
    assert_eq!(scene.commit_at(member(1), work, &[]).err(), wrong);
    assert_eq!(scene.release_at(member(1), &[]).err(), wrong);
    let answer = scene.honest(work);
    let randomness = scene.open(&answer);
    assert_eq!(scene.decide_at(member(1), work, &quorum, &[]).err(), wrong);
    assert_eq!(scene.commit_at(member(1), work, &[]).err(), wrong);
    let messages = scene.verify(work, &randomness);
    // Verifying again gives the same messages and needs no input.
    let again = scene.verify_at(member(1), work, &[]).unwrap();
    assert_eq!(
        heard(&scene, &again[0]).hash,
        heard(&scene, &messages[0]).hash
    );
    let decided = scene.decide(work, &messages).unwrap();
    let again = scene.decide_at(member(1), work, &quorum, &[]);
    assert_eq!(again, Ok(decided[0].clone()));
    let smaller = Quorum::new([1, 2].map(member));
    let other = scene.decide_at(member(1), work, &smaller, &messages);
    assert_eq!(other.err(), wrong);
    assert_eq!(scene.verify_at(member(1), work, &randomness).err(), wrong);
}
