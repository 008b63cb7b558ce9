//! Tests of deciding and committing: the statements on which a quorum must agree.

use super::{batches, heard, said, scene};
use crate::{
    aggregation::{AggregationError, Quorum},
    ask::BatchAnswer,
    peer::{PeerContent, PeerMessage},
    release::SignedAcknowledgement,
    testing::{Draft, Scene, Setting, key_of, member},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    field,
    weakness::{Weakness, without},
};

#[test]
fn a_quorum_that_is_too_small_or_not_complete_is_refused() {
    let mut scene = Scene::new(Setting {
        committee: (3, 5),
        min_verified: 4,
        ..Setting::default()
    });
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    let messages = scene.verified(&answer);
    let of = |numbers: &[u8]| Quorum::new(numbers.iter().map(|&n| member(n)));
    let without = |absent: u8| -> Vec<PeerMessage> {
        let messages = messages.iter().filter(|m| m.from != member(absent));
        messages.cloned().collect()
    };
    let mut refusal = |quorum: &Quorum, messages: &[PeerMessage]| {
        scene.decide_at(member(1), work, quorum, messages).err()
    };
    let bad = Some(AggregationError::BadQuorum);
    assert_eq!(refusal(&of(&[1, 2, 3]), &messages), bad);
    assert_eq!(refusal(&of(&[2, 3, 4, 5]), &messages), bad);
    let unread = |from| {
        let members = vec![member(from)];
        Some(AggregationError::Unread { members })
    };
    assert_eq!(refusal(&of(&[1, 2, 3, 4]), &without(4)), unread(4));
    assert_eq!(refusal(&of(&[1, 2, 3, 4, 6]), &messages), unread(6));
    // A received quorum may list a member twice.
    let twice = [1, 2, 3, 3].map(member).to_vec();
    let twice: Quorum = from_bytes(&to_bytes(&twice), 100, "quorum").unwrap();
    assert_eq!(refusal(&twice, &messages), bad);
    assert_eq!(refusal(&of(&[1, 2, 3, 4]), &without(5)), None);
}

#[test]
fn verifier_messages_about_other_groups_do_not_complete_a_quorum() {
    let mut scene = batches(18);
    let (first, second) = (scene.work(0, 0), scene.work(1, 0));
    let (mine, other) = (scene.honest(first), scene.honest(second));
    scene.verified(&mine);
    let elsewhere = scene.verified(&other);
    let quorum = scene.quorum();
    let refusal = scene.decide_at(member(1), first, &quorum, &elsewhere).err();
    let members = vec![member(2), member(3)];
    assert_eq!(refusal, Some(AggregationError::Unread { members }));
}

/// Returns the answer to a draft in which one aggregator's share of one home of each host is changed.
fn inconsistent(scene: &mut Scene, attempt: u8) -> BatchAnswer {
    let draft = Draft::new(scene, scene.work(0, attempt));
    let mut shared = draft.share(scene);
    for index in own(&draft, 1) {
        let element = &mut shared.elements(1, index)[0];
        *element = field::add(*element, 1);
    }
    let answers = shared.seal(scene);
    scene.collect(draft.work, answers)
}

/// Returns the indices of the first `homes` homes of each host.
fn own(draft: &Draft, homes: usize) -> Vec<u32> {
    draft
        .stacks
        .iter()
        .flat_map(|sent| sent.iter().take(homes))
        .map(|sent| sent.index)
        .collect()
}

/// Creates a scene with a 3-of-5 committee, so that two members may be left out.
fn five() -> Scene {
    Scene::new(Setting {
        committee: (3, 5),
        ..Setting::default()
    })
}

/// Returns an answer in which the shares of one host's homes are changed at two aggregators in turn, so that neither is
/// suspected. Also returns the indices of these homes.
fn contradicting(scene: &mut Scene) -> (BatchAnswer, Vec<u32>) {
    let draft = Draft::new(scene, scene.work(0, 0));
    let homes: Vec<u32> = own(&draft, 9)[..9].to_vec();
    let mut shared = draft.share(scene);
    for (place, index) in homes.iter().enumerate() {
        let element = &mut shared.elements(1 + place % 2, *index)[0];
        *element = field::add(*element, 1);
    }
    let answers = shared.seal(scene);
    (scene.collect(draft.work, answers), homes)
}

#[test]
fn a_host_whose_homes_contradict_at_two_aggregators_fails_no_attempt() {
    let mut scene = five();
    let (answer, homes) = contradicting(&mut scene);
    let expected = scene.sums_without(&homes);
    assert_eq!(scene.released(&answer).outputs, expected);
    let fails = without(Weakness::HostFailsBatch, || {
        let mut scene = five();
        let (answer, _) = contradicting(&mut scene);
        let messages = scene.verified(&answer);
        scene.decide(answer.statement.work, &messages).is_err()
    });
    assert!(fails, "the attempt succeeds without the defence");
}

/// Returns an answer in which one host's group for the fourth aggregator does not open, and the indices of that host's
/// homes.
fn unopened(scene: &mut Scene) -> (BatchAnswer, Vec<u32>) {
    let draft = Draft::new(scene, scene.work(0, 0));
    let homes = draft.stacks[0].iter().map(|sent| sent.index).collect();
    let mut answers = draft.share(scene).seal(scene);
    answers[0].groups[3] = answers[0].groups[0].clone();
    (scene.collect(draft.work, answers), homes)
}

#[test]
fn a_host_that_sends_one_aggregator_what_does_not_open_puts_it_not_out() {
    let mut scene = five();
    let (answer, homes) = unopened(&mut scene);
    let expected = scene.sums_without(&homes);
    assert_eq!(scene.released(&answer).outputs, expected);
    let named = without(Weakness::HostFailsBatch, || {
        let mut scene = five();
        let (answer, _) = unopened(&mut scene);
        let messages = scene.verified(&answer);
        scene.decide(answer.statement.work, &messages).err()
    });
    let Some(AggregationError::TooManyInconsistent { suspect, .. }) = named else {
        panic!("{named:?}: the attack succeeds without the defence");
    };
    assert_eq!(suspect, Some(member(4)));
}

#[test]
fn an_aggregator_that_gets_what_does_not_open_of_several_hosts_freezes_nothing() {
    let mut scene = five();
    let work = scene.work(0, 0);
    let mut answers = scene.answers(work);
    for answer in &mut answers {
        answer.groups[3] = answer.groups[0].clone();
    }
    let answer = scene.collect(work, answers);
    let refusal = scene.open_at(member(4), &answer).err();
    let unopened = AggregationError::Unopened { groups: 2, of: 2 };
    assert_eq!(refusal, Some(unopened));
    assert!(scene.open_at(member(1), &answer).is_ok());
}

#[test]
fn too_many_inconsistent_contributions_fail_the_attempt_and_the_next_one_counts() {
    let mut scene = scene();
    let answer = inconsistent(&mut scene, 0);
    let work = scene.work(0, 0);
    let messages = scene.verified(&answer);
    let too_many = AggregationError::TooManyInconsistent {
        rejected: 2,
        count: 36,
        suspect: Some(member(2)),
    };
    // An aggregator does not accuse itself.
    for number in [1, 3].map(member) {
        let quorum = scene.quorum();
        let mut decide = || scene.decide_at(number, work, &quorum, &messages).err();
        assert_eq!(decide(), Some(too_many.clone()));
        assert_eq!(decide(), Some(AggregationError::WrongStep));
    }
    let refusal = scene.open_at(member(1), &answer).err();
    assert_eq!(refusal, Some(AggregationError::OtherGroups));
    let again = scene.honest(scene.work(0, 1));
    let expected = scene.sums_without(&[]);
    assert_eq!(scene.released(&again).outputs, expected);
}

/// Change that an aggregator makes to its own messages: to the bits that say which contributions it holds, and to the
/// elements.
type Lie = fn(&mut Vec<u8>, &mut Vec<u64>);

#[test]
fn an_aggregator_that_lies_about_its_messages_is_suspected_and_the_others_go_on() {
    let lies: [(&str, Lie); 4] = [
        ("constant", |_, elements| elements.fill(1)),
        ("random", |_, elements| {
            let mut x = 7u64;
            elements.iter_mut().for_each(|element| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *element = x % field::MODULUS;
            });
        }),
        ("selective", |_, elements| {
            let some = elements.iter_mut().step_by(41);
            some.for_each(|element| *element = field::add(*element, 9));
        }),
        ("absent", |present, elements| {
            present.fill(0);
            elements.fill(0);
        }),
    ];
    for (name, lie) in lies {
        let mut scene = scene();
        let work = scene.work(0, 0);
        let answer = scene.honest(work);
        let mut messages = scene.verified(&answer);
        for place in messages.iter_mut().filter(|m| m.from == member(3)) {
            let PeerContent::Verifier {
                work,
                digest,
                mut present,
                messages: mut elements,
                joints,
            } = heard(&scene, place).content
            else {
                panic!("a verifier message");
            };
            lie(&mut present, &mut elements);
            let content = PeerContent::Verifier {
                work,
                digest,
                present,
                messages: elements,
                joints,
            };
            *place = said(&mut scene, 3, place.to.point(), content);
        }
        let quorum = scene.quorum();
        for honest in [1, 2].map(member) {
            let decided = scene.decide_at(honest, work, &quorum, &messages);
            let Err(AggregationError::TooManyInconsistent { suspect, .. }) = decided else {
                panic!("{name}: it was decided");
            };
            assert_eq!(suspect, Some(member(3)), "{name}");
        }
        // Without the liar, the next attempt is exact.
        let next = scene.work(0, 1);
        let again = scene.honest(next);
        let messages = scene.verified(&again);
        let pair = Quorum::new([1, 2].map(member));
        let acknowledgements = [1, 2].map(member).map(|honest| {
            let decided = scene.decide_at(honest, next, &pair, &messages);
            decided.unwrap()
        });
        assert_eq!(acknowledgements[0].body.accepted, 36, "{name}");
        for honest in [1, 2].map(member) {
            let committed = scene.commit_at(honest, next, &acknowledgements);
            assert_eq!(committed, Ok(()), "{name}");
        }
    }
}

#[test]
fn an_attempt_is_over_once_a_later_one_is_open() {
    let mut scene = scene();
    let (first, second) = (scene.work(0, 0), scene.work(0, 1));
    let (old, new) = (scene.honest(first), scene.honest(second));
    let randomness = scene.open(&old);
    let verifying = scene.verify_at(member(2), first, &randomness).unwrap();
    scene.open(&new);
    let wrong = Some(AggregationError::WrongStep);
    let quorum = scene.quorum();
    assert_eq!(scene.verify_at(member(1), first, &randomness).err(), wrong);
    let decided = scene.decide_at(member(2), first, &quorum, &verifying);
    assert_eq!(decided.err(), wrong);
    assert_eq!(scene.commit_at(member(1), first, &[]).err(), wrong);
    // An attempt that was skipped cannot be opened later.
    let third = scene.honest(scene.work(0, 2));
    let mut other = super::scene();
    assert!(other.open_at(member(1), &third).is_ok());
    assert_eq!(other.open_at(member(1), &new).err(), wrong);
}

#[test]
fn an_attempt_cannot_be_committed_once_a_later_one_is_acknowledged() {
    let mut scene = scene();
    let (first, second) = (scene.work(0, 0), scene.work(0, 1));
    let old = scene.honest(first);
    let messages = scene.verified(&old);
    let before = scene.decide(first, &messages).unwrap();
    let new = scene.honest(second);
    let messages = scene.verified(&new);
    let after = scene.decide(second, &messages).unwrap();
    let refusal = scene.commit_at(member(1), first, &before).err();
    assert_eq!(refusal, Some(AggregationError::WrongStep));
    assert_eq!(scene.commit_at(member(1), second, &after), Ok(()));
    let refusal = scene.commit_at(member(1), first, &before).err();
    assert_eq!(refusal, Some(AggregationError::AlreadyCommitted));
}

#[test]
fn a_batch_is_counted_only_when_all_of_the_quorum_said_the_same() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    let messages = scene.verified(&answer);
    let right = scene.decide(work, &messages).unwrap();
    let mut refusal = |acknowledgements: &[SignedAcknowledgement]| {
        scene.commit_at(member(1), work, acknowledgements).err()
    };
    let unequal = Some(AggregationError::Unequal);
    assert_eq!(refusal(&[]), unequal);
    for place in 0..3 {
        let mut missing = right.clone();
        missing.remove(place);
        assert_eq!(refusal(&missing), unequal);
    }
    let forge = |change: &dyn Fn(&mut SignedAcknowledgement), key: &str| {
        let mut all = right.clone();
        change(&mut all[2]);
        all[2] = SignedAcknowledgement::new(all[2].body.clone(), &key_of(key));
        all
    };
    assert_eq!(refusal(&forge(&|_| {}, "aggregator2")), unequal);
    let own = "aggregator3";
    assert_eq!(refusal(&forge(&|a| a.body.accepted -= 1, own)), unequal);
    assert_eq!(refusal(&forge(&|a| a.body.decision[0] ^= 1, own)), unequal);
    assert_eq!(refusal(&forge(&|a| a.body.work.attempt = 1, own)), unequal);
    assert_eq!(
        refusal(&forge(&|a| a.body.member = member(2), own)),
        unequal
    );
    assert_eq!(refusal(&forge(&|_| {}, own)), None);
    // A repeated acknowledgement is counted once.
    assert_eq!(refusal(&right), None);
    assert_eq!(refusal(&[]), None);
}

#[test]
fn nothing_is_opened_verified_or_decided_after_the_commit() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    scene.commit(&answer);
    let quorum = scene.quorum();
    let again = scene.honest(scene.work(0, 1));
    let over = Some(AggregationError::AlreadyCommitted);
    assert_eq!(scene.open_at(member(1), &answer).err(), over);
    assert_eq!(scene.open_at(member(1), &again).err(), over);
    assert_eq!(scene.verify_at(member(1), work, &[]).err(), over);
    assert_eq!(scene.decide_at(member(1), work, &quorum, &[]).err(), over);
}

#[test]
fn an_aggregator_that_tells_others_different_things_gets_nothing_committed() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    let mut messages = scene.verified(&answer);
    let from_third = |m: &&mut PeerMessage| m.from == member(3) && m.to == member(2);
    let place = messages.iter_mut().find(from_third).unwrap();
    let PeerContent::Verifier {
        work,
        digest,
        present,
        messages: mut elements,
        joints,
    } = heard(&scene, place).content
    else {
        panic!("a verifier message");
    };
    elements[0] = field::add(elements[0], 1);
    let content = PeerContent::Verifier {
        work,
        digest,
        present,
        messages: elements,
        joints,
    };
    *place = said(&mut scene, 3, 2, content);
    let acknowledgements = scene.decide(work, &messages).unwrap();
    for number in [1, 2, 3].map(member) {
        let committed = scene.commit_at(number, work, &acknowledgements);
        assert_eq!(committed.err(), Some(AggregationError::Unequal));
    }
}
