//! Tests of the asks that a Target or a stack refuses.

use super::*;
use crate::testing::{Scene, Setting, copy_of, key_of, logged, name};
use dispers_base::{
    encoding,
    id::{BatchId, QueryId},
    labels,
    signed::Signed,
};
use dispers_training::home::State;

fn scene() -> Scene {
    Scene::new(Setting {
        batch_size: 18,
        ..Setting::default()
    })
}

fn refusal(scene: &Scene, work: Work, message: &BatchMessage) -> Option<AskError> {
    let request = TargetRequest {
        manifest: scene.question.signed.clone(),
        inclusion: logged(&scene.network, &scene.question.signed),
        work,
        parameters: None,
        batch: copy_of(message),
    };
    open_batch(
        &request,
        &scene.question.manifest,
        &name("target"),
        &scene.network.directory,
        &scene.network.target,
    )
    .err()
}

/// Returns the first batch with its statement after `change`, signed with the key of `key`.
fn restated(scene: &Scene, key: &str, change: impl FnOnce(&mut BatchStatement)) -> BatchMessage {
    let mut message = copy_of(&scene.found.batches[0]);
    let mut statement = message.statement.unverified().unwrap();
    change(&mut statement);
    message.statement = Signed::new(&statement, &key_of(key));
    message
}

#[test]
fn a_batch_that_the_finder_did_not_sign_so_is_not_asked() {
    let scene = scene();
    let work = scene.work(0, 0);
    assert_eq!(refusal(&scene, work, &scene.found.batches[0]), None);
    let mut changed: Vec<BatchMessage> = (0..3).map(|_| copy_of(&scene.found.batches[0])).collect();
    *changed[0].sealed.last_mut().unwrap() ^= 1;
    *changed[1].statement.body.last_mut().unwrap() ^= 1;
    changed[2].statement.signature.0[0] ^= 1;
    changed.push(restated(&scene, "target", |_| {}));
    changed.push(restated(&scene, "target", |s| s.finder = name("target")));
    changed.push(restated(&scene, "nobody", |s| s.finder = name("nobody")));
    changed.push(restated(&scene, "finder", |s| s.query = QueryId([1; 32])));
    changed.push(restated(&scene, "finder", |s| s.batch.number = 1));
    changed.push(restated(&scene, "finder", |s| s.digest[0] ^= 1));
    changed.push(restated(&scene, "finder", |s| s.count -= 1));
    changed.push(copy_of(&scene.found.batches[1]));
    for message in &changed {
        assert_eq!(refusal(&scene, work, message), Some(AskError::NotChosen));
    }
    assert_eq!(
        refusal(&scene, work, &restated(&scene, "finder", |_| {})),
        None
    );
}

#[test]
fn an_attempt_is_asked_by_the_target_that_the_finder_gave_it_to() {
    let scene = scene();
    let other = name("target2");
    let change = |s: &mut BatchStatement| s.targets = vec![other.clone(), name("target")];
    let message = restated(&scene, "finder", change);
    let elsewhere = Some(AskError::OtherTarget);
    assert_eq!(refusal(&scene, scene.work(0, 0), &message), elsewhere);
    assert_eq!(refusal(&scene, scene.work(0, 1), &message), None);
    assert_eq!(refusal(&scene, scene.work(0, 2), &message), elsewhere);
    let nobody = restated(&scene, "finder", |s| s.targets.clear());
    assert_eq!(refusal(&scene, scene.work(0, 0), &nobody), elsewhere);
}

#[test]
fn work_beyond_the_query_or_of_another_batch_is_not_asked() {
    let scene = scene();
    let message = &scene.found.batches[0];
    let with = |change: fn(&mut Work)| {
        let mut work = scene.work(0, 0);
        change(&mut work);
        refusal(&scene, work, message)
    };
    let wrong = Some(AskError::WrongWork);
    assert_eq!(with(|w| w.query = QueryId([1; 32])), wrong);
    assert_eq!(with(|w| w.round = 1), wrong);
    assert_eq!(with(|w| w.attempt = 3), wrong);
    assert_eq!(with(|w| w.attempt = 2), None);
    let not = Some(AskError::NotChosen);
    assert_eq!(with(|w| w.batch.number = 1), not);
    assert_eq!(with(|w| w.batch.partition = 1), not);
}

#[test]
fn a_signed_batch_below_the_cohort_is_not_asked() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let context = TargetBatch::context(work.query, work.batch);
    let sealed: Sealed<reader::Target, TargetBatch> =
        encoding::from_bytes(&scene.found.batches[0].sealed, MAX_BATCH, "batch").unwrap();
    let mut content = sealed
        .open(&scene.network.target, &context, MAX_BATCH)
        .unwrap();
    content.targets.truncate(3);
    let key = scene.network.target.public();
    let sealed = encoding::to_bytes(&Sealed::<reader::Target, _>::seal(
        &content,
        &key,
        &context,
        &mut scene.rng,
    ));
    let mut message = restated(&scene, "finder", |statement| {
        statement.count = 3;
        statement.digest = encoding::hash(labels::HASH_BATCH, &[&sealed]);
    });
    message.sealed = sealed;
    assert_eq!(refusal(&scene, work, &message), Some(AskError::BelowCohort));
}

#[test]
fn a_stack_answers_only_with_tickets_that_its_homes_open() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let ask = scene.asks(work).asks.into_values().next().unwrap();
    let all = ask.homes.len() as u32;
    let keys: Vec<HomeKey> = ask
        .homes
        .iter()
        .map(|asked| scene.home(&asked.home.0).key.clone())
        .collect();
    let mut homes = ask.homes;
    homes[0].index += 1;
    let (left, right) = homes.split_at_mut(2);
    std::mem::swap(&mut left[1].ticket, &mut right[0].ticket);
    let manifest = &scene.question.manifest;
    let mut answered = |work: Work, find| {
        let opened = homes.iter().zip(&keys);
        let opened = opened.filter_map(|(home, key)| AnsweringHome::open(work, &find, home, key));
        let answer = answer(
            manifest,
            work,
            &[0; 32],
            &opened.collect::<Vec<_>>(),
            &mut scene.rng,
        );
        answer.map(|answer| answer.homes)
    };
    assert_eq!(answered(work, ask.find), Ok(all - 3));
    assert_eq!(answered(work, FindId([1; 32])), Ok(0));
    let batch = BatchId {
        number: 1,
        ..work.batch
    };
    assert_eq!(answered(Work { batch, ..work }, ask.find), Ok(0));
    let late = Work { attempt: 3, ..work };
    assert_eq!(answered(late, ask.find), Err(AskError::WrongWork));
    let query = QueryId([1; 32]);
    let foreign = Work { query, ..work };
    assert_eq!(answered(foreign, ask.find), Err(AskError::WrongWork));
}

#[test]
fn a_row_that_the_circuit_has_no_place_for_silences_its_home_only() {
    let mut scene = scene();
    let row = scene.homes[0].row.as_mut().unwrap();
    row.levels[0] = Some(101);
    let batch = (0..2)
        .find(|&batch| {
            let rows = scene.rows(batch).into_values().flatten();
            rows.into_iter().any(|row| row.levels[0] == Some(101))
        })
        .unwrap();
    let honest = scene.honest(scene.work(batch, 0));
    assert_eq!(honest.answered, 18);
    let committed = scene.commit(&honest);
    let other = scene.honest(scene.work(1 - batch, 0));
    let mut batches = vec![committed, scene.commit(&other)];
    batches.sort_by_key(|batch| batch.batch);
    let totals = scene.release(&batches);
    let released = scene.read(&totals).unwrap();
    assert_eq!(released.accepted, 36);
    let expected = scene.sums(scene.homes[1..].iter().map(|home| &home.row));
    assert_eq!(released.outputs, expected);
}

#[test]
fn parameters_that_the_querier_did_not_sign_for_the_round_reach_no_stack() {
    let mut scene = Scene::new(Setting {
        updates: 3,
        ..Setting::default()
    });
    let query = scene.question.manifest.query();
    let key = SessionKey::new(&scene.question.salt, query);
    let mut sealed = |round, signer: &str| {
        let (state, signer) = (State::empty(), key_of(signer));
        SignedParameters::seal(query, round, &state, &key, &signer, &mut scene.rng)
    };
    let (first, second, forged) = (
        sealed(1, "querier"),
        sealed(2, "querier"),
        sealed(2, "conductor"),
    );
    let open = |round, parameters: Option<&SignedParameters>| {
        let request = TargetRequest {
            manifest: scene.question.signed.clone(),
            inclusion: logged(&scene.network, &scene.question.signed),
            work: Work {
                round,
                ..scene.work(0, 0)
            },
            parameters: parameters.cloned(),
            batch: copy_of(&scene.found.batches[0]),
        };
        let manifest = &scene.question.manifest;
        let (me, directory) = (name("target"), &scene.network.directory);
        open_batch(&request, manifest, &me, directory, &scene.network.target).err()
    };
    let wrong = Some(AskError::WrongWork);
    assert_eq!(open(0, None), None);
    assert_eq!(open(0, Some(&first)), wrong);
    assert_eq!(open(2, Some(&second)), None);
    for parameters in [None, Some(&first), Some(&forged)] {
        assert_eq!(open(2, parameters), wrong);
    }
}

#[test]
fn a_full_batch_fits_an_answer_for_every_committee_and_round() {
    for committee in [(2, 3), (3, 5), (4, 7)] {
        let scene = Scene::new(Setting {
            committee,
            updates: 2,
            held_out: 200,
            ..Setting::default()
        });
        let manifest = &scene.question.manifest;
        let homes = most_homes(manifest) as usize;
        let offers = manifest.offers(0).count();
        assert_eq!(offers, usize::from(committee.1));
        for round in 0..manifest.rounds {
            let limit = contribution_limit(manifest.circuit_of(round), offers);
            let whole = offers * homes * (limit + GROUP);
            assert!(whole <= MAX_ANSWER, "{round}");
        }
        assert!(homes > 10_000, "{homes}");
    }
}
