//! Grants and the steps of a batch, each out of order or with input that is not its own.

use crate::aggregation::{Aggregation, AggregationError, Quorum};
use crate::ask::BatchAnswer;
use crate::encoding::{from_bytes, to_bytes};
use crate::envelope::Sealed;
use crate::field;
use crate::find::{Grant, SealedGrant, SignedGrant};
use crate::id::{QueryId, Work};
use crate::labels;
use crate::peer::{Channel, OpenedPeer, PeerContent, PeerMessage};
use crate::release::SignedAcknowledgement;
use crate::testing::{Draft, Scene, Setting, copy_of, key_of, member, name};

fn scene() -> Scene {
    Scene::new(Setting::default())
}

fn batches(batch_size: u32) -> Scene {
    Scene::new(Setting {
        batch_size,
        ..Setting::default()
    })
}

fn channel(scene: &Scene) -> Channel {
    Channel {
        query: scene.question.manifest.query(),
        committee: 0,
    }
}

/// What its reader opens.
fn heard(scene: &Scene, message: &PeerMessage) -> OpenedPeer {
    let secret = scene.question.offered[message.to.index()].as_ref().unwrap();
    let directory = &scene.network.directory;
    let opened = channel(scene).open(message, message.to, secret, directory);
    opened.unwrap()
}

/// A message that `from` really signs, to `to`.
fn said(scene: &mut Scene, from: u8, to: u8, content: PeerContent) -> PeerMessage {
    let channel = channel(scene);
    let signed = channel.sign(member(from), content, &key_of(&format!("aggregator{from}")));
    let key = scene.question.offered[usize::from(to) - 1]
        .as_ref()
        .unwrap();
    let key = key.public();
    channel.seal(&signed, member(from), member(to), &key, &mut scene.rng)
}

/// The answer, signed by its Target, after `change`.
fn restated(answer: &BatchAnswer, change: impl FnOnce(&mut BatchAnswer)) -> BatchAnswer {
    let mut answer = copy_of(answer);
    change(&mut answer);
    let digest = answer.statement.digest();
    answer.signature = key_of("target").sign(labels::SIGN_GROUPS, &digest);
    answer
}

/// A grant of the finder after `change`, to the first aggregator.
fn granted(scene: &mut Scene, key: &str, change: impl FnOnce(&mut Grant)) -> SealedGrant {
    let query = scene.question.manifest.query();
    let context = Grant::context(query, 0, 0, member(1));
    let secret = scene.question.offered[0].as_ref().unwrap();
    let signed = scene.grant_of(member(1)).open(secret, &context, 1 << 20);
    let mut grant: Grant = from_bytes(&signed.unwrap().body, 1 << 20, "grant").unwrap();
    change(&mut grant);
    let body = to_bytes(&grant);
    let signature = key_of(key).sign(labels::SIGN_FIND, &body);
    let signed = SignedGrant { body, signature };
    Sealed::seal(&signed, &secret.public(), &context, &mut scene.rng)
}

#[test]
fn a_grant_that_is_not_the_finder_s_for_this_query_is_refused() {
    let refusal = |key: &str, change: &dyn Fn(&mut Grant)| {
        let mut scene = scene();
        let grant = granted(&mut scene, key, change);
        let mut fresh = scene.aggregation(member(1));
        fresh.grant(0, &grant, &scene.network.directory).err()
    };
    assert_eq!(refusal("finder", &|_| {}), None);
    let bad = Some(AggregationError::BadGrant);
    assert_eq!(refusal("target", &|_| {}), bad);
    assert_eq!(refusal("target", &|g| g.finder = name("target")), bad);
    assert_eq!(refusal("finder", &|g| g.finder = name("nobody")), bad);
    assert_eq!(refusal("finder", &|g| g.query = QueryId([1; 32])), bad);
    assert_eq!(refusal("finder", &|g| g.partition = 1), bad);
    assert_eq!(refusal("finder", &|g| g.batches = vec![33, 3]), bad);
    assert_eq!(refusal("finder", &|g| g.batches = vec![32, 4]), None);
    assert_eq!(refusal("finder", &|g| g.batches = vec![997, 4]), bad);
}

#[test]
fn a_grant_is_for_one_aggregator_and_one_partition() {
    let scene = scene();
    let grant = scene.grant_of(member(1));
    let directory = &scene.network.directory;
    let mut second = scene.aggregation(member(2));
    let bad = Err(AggregationError::BadGrant);
    assert_eq!(second.grant(0, &grant, directory), bad);
    let mut first = scene.aggregation(member(1));
    assert_eq!(first.grant(1, &grant, directory), bad);
    assert_eq!(first.grant(0, &grant, directory), Ok(()));
}

#[test]
fn a_second_find_is_refused_and_the_first_one_again_is_not() {
    let mut scene = scene();
    let fewer = scene.find(&scene.segments[..1].to_vec()).unwrap();
    let grant = &fewer.summary.grants[0].2;
    let again = scene.grant_of(member(1));
    let first = scene.aggregators.get_mut(&member(1)).unwrap();
    let directory = &scene.network.directory;
    assert_eq!(
        first.grant(0, grant, directory),
        Err(AggregationError::SecondFind)
    );
    assert_eq!(first.grant(0, &again, directory), Ok(()));
}

#[test]
fn an_aggregation_needs_an_offer_of_this_very_key() {
    let scene = Scene::new(Setting {
        absent: vec![3],
        ..Setting::default()
    });
    let manifest = || scene.question.manifest.clone();
    let secret = |number: usize| {
        let secret = scene.question.offered[number].as_ref().unwrap();
        let bytes = secret.to_seed_bytes();
        crate::envelope::EnvelopeSecretKey::from_bytes(secret.suite(), &bytes[..]).unwrap()
    };
    let none = Some(AggregationError::NoOffer);
    let refusal = |committee, number, key| {
        Aggregation::new(manifest(), committee, member(number), secret(key)).err()
    };
    assert_eq!(refusal(0, 1, 0), None);
    assert_eq!(refusal(0, 1, 1), none);
    assert_eq!(refusal(0, 3, 0), none);
    assert_eq!(refusal(1, 1, 0), none);
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
    // Still so once it verifies.
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
    let mut unsigned = copy_of(&honest);
    unsigned.signature.0[5] ^= 1;
    forged.push(unsigned);
    // A node that is no Target signs in its own name, and in a Target's.
    let mut finder = copy_of(&honest);
    finder.statement.target = name("finder");
    let digest = finder.statement.digest();
    finder.signature = key_of("finder").sign(labels::SIGN_GROUPS, &digest);
    forged.push(finder);
    let mut in_its_name = copy_of(&honest);
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
    assert_eq!(refusal(&|w| w.attempt = 2), None);
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
    // Another attempt at one of them takes its place.
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
    let none = Some(AggregationError::NoRandomness);
    assert_eq!(scene.verify_at(member(1), work, &messages).err(), none);
    assert_eq!(scene.verify_at(member(1), work, &[]).err(), none);
    let other = scene.honest(scene.work(1, 0));
    let elsewhere = scene.open_at(member(2), &other).unwrap();
    assert_eq!(scene.verify_at(member(1), work, &elsewhere).err(), none);
    // Those two agree with each other.
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
    let told = scene.open_at(member(2), &answer).unwrap();
    let to_me = told.iter().find(|message| message.to == member(1)).unwrap();
    let share = heard(&scene, to_me).content;
    let repeated = said(&mut scene, 3, 1, share);
    // The sender's name beside the envelope is bound into it.
    let mut renamed = to_me.clone();
    renamed.from = member(4);
    let messages = [told, vec![repeated, renamed]].concat();
    let refusal = scene.verify_at(member(1), work, &messages).err();
    assert_eq!(refusal, Some(AggregationError::NoRandomness));
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
    // Verifying again says the same and asks for nothing.
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
    assert_eq!(refusal(&of(&[1, 2, 3, 4]), &without(4)), bad);
    assert_eq!(refusal(&of(&[1, 2, 3, 4, 6]), &messages), bad);
    // A received quorum may name a member twice.
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
    assert_eq!(refusal, Some(AggregationError::BadQuorum));
}

/// The answer to a draft in which two homes' shares of one aggregator are changed.
fn inconsistent(scene: &mut Scene, attempt: u8) -> BatchAnswer {
    let draft = Draft::new(scene, scene.work(0, attempt));
    let mut shared = draft.share(scene);
    for index in [4, 9] {
        let element = &mut shared.elements(1, index)[0];
        *element = field::add(*element, 1);
    }
    let answers = shared.seal(scene);
    scene.collect(draft.work, answers)
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
    };
    for number in [1, 2, 3].map(member) {
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
    // An attempt that was skipped is not taken up.
    let third = scene.honest(scene.work(0, 2));
    let mut other = self::scene();
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
    // Counted once, however often it is said.
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
    };
    *place = said(&mut scene, 3, 2, content);
    let acknowledgements = scene.decide(work, &messages).unwrap();
    for number in [1, 2, 3].map(member) {
        let committed = scene.commit_at(number, work, &acknowledgements);
        assert_eq!(committed.err(), Some(AggregationError::Unequal));
    }
}
