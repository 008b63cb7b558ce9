//! Tests of failures, and of events that the Conductor does not expect.

use std::collections::VecDeque;

use crate::{
    ask::BatchAnswer,
    conduct::{Command, Conduct, Event, Failure, Options, Phase, StepError},
    release::SignedAcknowledgement,
    testing::{Draft, Scene, Setting, aggregator, copy_of, failed, home, key_of, label},
};
use dispers_base::{field, id::Work};

/// Creates a scene of two batches of 20 homes.
pub(super) fn scene() -> Scene {
    Scene::new(Setting {
        rows: (0..40).map(home).collect(),
        batch_size: 20,
        ..Setting::default()
    })
}

/// Checks that the query ended without a failure, and with the exact sums over all homes.
pub(super) fn exact(scene: &Scene, conduct: &Conduct) {
    assert_eq!(conduct.status().failure, None);
    let released = scene.read(conduct.totals().unwrap()).unwrap();
    let expected = scene.sums(scene.homes.iter().map(|home| &home.row));
    assert_eq!(released.outputs, expected);
}

/// Returns the Target's answer in which the shares of one home of each host are inconsistent.
fn inconsistent(scene: &mut Scene, work: Work) -> BatchAnswer {
    let draft = Draft::new(scene, work);
    let mut shared = draft.share(scene);
    let first_of_each: Vec<u32> = draft.stacks.iter().map(|sent| sent[0].index).collect();
    for index in first_of_each {
        let element = &mut shared.elements(2, index)[0];
        *element = field::add(*element, 1);
    }
    let answers = shared.seal(scene);
    scene.collect(work, answers)
}

#[test]
fn an_event_that_comes_twice_changes_nothing_the_second_time() {
    let mut scene = scene();
    let (mut conduct, commands) = Conduct::new(scene.question.manifest.clone(), Options::default());
    let mut commands = VecDeque::from(commands);
    while let Some(command) = commands.pop_front() {
        let event = scene.carry_out(&command);
        commands.extend(conduct.handle(event));
        let before = conduct.status();
        let again = conduct.handle(failed(&command, StepError::Unreachable));
        assert!(again.is_empty(), "{}", label(&command));
        assert_eq!(conduct.status(), before, "{}", label(&command));
    }
    exact(&scene, &conduct);
}

#[test]
fn an_event_that_nothing_waits_for_changes_nothing() {
    let mut scene = scene();
    // Collects one command of each kind, as an honest run gives them.
    let mut kinds: Vec<Command> = Vec::new();
    scene.drive(|_, command| {
        if kinds.iter().all(|known| label(known) != label(command)) {
            kinds.push(command.clone());
        }
        None
    });
    assert_eq!(kinds.len(), 10);
    let mut scene = self::scene();
    let (mut conduct, commands) = Conduct::new(scene.question.manifest.clone(), Options::default());
    let mut commands = VecDeque::from(commands);
    while let Some(command) = commands.pop_front() {
        let awaited: Vec<&str> = commands.iter().chain([&command]).map(label).collect();
        for stray in kinds.iter().filter(|kind| !awaited.contains(&label(kind))) {
            let before = conduct.status();
            let next = conduct.handle(failed(stray, StepError::Unreachable));
            assert!(next.is_empty());
            assert_eq!(conduct.status(), before, "{} at {awaited:?}", label(stray));
        }
        let event = scene.carry_out(&command);
        commands.extend(conduct.handle(event));
    }
    exact(&scene, &conduct);
}

#[test]
fn an_event_of_another_attempt_or_query_changes_nothing() {
    let mut scene = scene();
    let (mut conduct, commands) = Conduct::new(scene.question.manifest.clone(), Options::default());
    let mut commands = VecDeque::from(commands);
    while let Some(command) = commands.pop_front() {
        let mut later = scene.work(0, 1);
        let mut foreign = scene.work(0, 0);
        foreign.query.0[0] ^= 1;
        later.batch.number = 1;
        let before = conduct.status();
        for work in [later, foreign] {
            let lost = || StepError::Unreachable;
            let one = aggregator(1);
            for event in [
                Event::Asked(work, Err(lost())),
                Event::Opened(one, work, Err(lost())),
                Event::Verified(one, work, Err(lost())),
                Event::Decided(one, work, Err(lost())),
                Event::Committed(one, work, Err(lost())),
            ] {
                assert!(conduct.handle(event).is_empty());
            }
        }
        assert_eq!(conduct.status(), before);
        let event = scene.carry_out(&command);
        commands.extend(conduct.handle(event));
    }
    exact(&scene, &conduct);
}

#[test]
fn a_target_that_fails_every_attempt_fails_the_query() {
    let mut scene = scene();
    let mut asked = Vec::new();
    let conduct = scene.drive(|_, command| match command {
        Command::Ask { work, .. } if work.batch.number == 0 => {
            asked.push(work.attempt);
            Some(failed(command, StepError::Unreachable))
        }
        _ => None,
    });
    assert_eq!(asked, [0, 1, 2]);
    let failure = conduct.status().failure;
    assert_eq!(failure, Some(Failure::Ask(StepError::Unreachable)));
    assert!(conduct.totals().is_none());
}

#[test]
fn a_target_that_fails_twice_is_asked_a_third_time() {
    let mut scene = scene();
    let conduct = scene.drive(|_, command| match command {
        Command::Ask { work, .. } if work.attempt < 2 => {
            Some(failed(command, StepError::Unreachable))
        }
        _ => None,
    });
    exact(&scene, &conduct);
    assert_eq!(conduct.status().homes.answered, 40);
}

/// Creates a scene in which all three aggregators must verify, so that none may be left out.
fn strict_scene() -> Scene {
    Scene::new(Setting {
        rows: (0..40).map(home).collect(),
        batch_size: 20,
        min_verified: 3,
        ..Setting::default()
    })
}

#[test]
fn an_aggregator_whose_messages_contradict_most_others_is_left_out() {
    let mut scene = scene();
    // In every batch, the shares of two homes are changed at the third aggregator, as if it lied about them.
    let conduct = scene.drive(|scene, command| match command {
        Command::Ask { work, .. } => Some(Event::Asked(*work, Ok(inconsistent(scene, *work)))),
        _ => None,
    });
    exact(&scene, &conduct);
    let status = conduct.status();
    assert_eq!((status.missing, status.verified), (vec![aggregator(3)], 2));
}

#[test]
fn one_voice_alone_leaves_nobody_out() {
    let mut scene = scene();
    // The second aggregator accuses the third once. No other aggregator saw a contradiction.
    let conduct = scene.drive(|_, command| match command {
        Command::Decide {
            aggregator: to,
            work,
            ..
        } if *to == aggregator(2) && work.attempt == 0 && work.batch.number == 0 => {
            let suspect = Some(aggregator(3).member);
            Some(failed(command, StepError::Inconsistent { suspect }))
        }
        _ => None,
    });
    exact(&scene, &conduct);
    assert_eq!(conduct.status().missing, []);
}

#[test]
fn where_nobody_may_be_left_out_what_contradicts_is_rejected_alone() {
    let mut scene = strict_scene();
    let mut attempts = 0;
    let conduct = scene.drive(|scene, command| match command {
        Command::Ask { work, .. } => {
            attempts += 1;
            Some(Event::Asked(*work, Ok(inconsistent(scene, *work))))
        }
        _ => None,
    });
    let status = conduct.status();
    assert_eq!((status.failure, status.missing), (None, vec![]));
    // In each of two batches, one home of each of two hosts is rejected.
    assert_eq!((status.homes.accepted, attempts), (36, 2));
}

#[test]
fn acknowledgements_that_differ_are_not_committed() {
    for lies in [1, 3] {
        let mut scene = scene();
        let mut committed = false;
        let conduct = scene.drive(|scene, command| {
            committed |= label(command) == "commit";
            let event = scene.carry_out(command);
            let Event::Decided(from, work, Ok(acknowledgement)) = &event else {
                return Some(event);
            };
            if *from != aggregator(3) || work.attempt >= lies {
                return Some(event);
            }
            let mut body = acknowledgement.body.clone();
            body.accepted += 1;
            let lie = SignedAcknowledgement::new(body, &key_of("aggregator3"));
            Some(Event::Decided(*from, *work, Ok(lie)))
        });
        if lies == 1 {
            exact(&scene, &conduct);
        } else {
            assert_eq!(conduct.status().failure, Some(Failure::NoAgreement));
            assert!(!committed);
        }
    }
}

#[test]
fn a_find_or_a_notary_that_fails_ends_the_query_with_its_reason() {
    let reason = StepError::Refused("no".into());
    let failing = |step: &str| {
        let conduct = scene()
            .drive(|_, command| (label(command) == step).then(|| failed(command, reason.clone())));
        let status = conduct.status();
        assert_eq!(status.phase, Phase::Failed);
        status.failure
    };
    assert_eq!(failing("find"), Some(Failure::Find(reason.clone())));
    assert_eq!(failing("notarise"), Some(Failure::Notary(reason.clone())));
}

#[test]
fn too_few_answers_end_the_query_before_the_notary() {
    let mut scene = scene();
    let mut exact = 0;
    let conduct = scene.drive(|scene, command| match command {
        Command::Ask { work, .. } => {
            let mut answers = scene.answers(*work);
            if work.batch.number == 0 {
                answers.clear();
            } else {
                answers.truncate(1);
            }
            exact += answers
                .iter()
                .map(|answer| u64::from(answer.homes))
                .sum::<u64>();
            Some(Event::Asked(*work, Ok(scene.collect(*work, answers))))
        }
        Command::Notarise { .. } => panic!("nothing may be released"),
        _ => None,
    });
    let Some(Failure::TooFewAnswers {
        accepted,
        asked: 40,
        rate: 400,
    }) = conduct.status().failure
    else {
        panic!("{:?}", conduct.status());
    };
    // The reported number of homes is not exact, but in steps of the cohort.
    let cohort = u64::from(scene.question.manifest.min_cohort);
    assert!(cohort > 1 && accepted < 16 && accepted.is_multiple_of(cohort));
    assert_ne!(exact, 0);
    assert!(!exact.is_multiple_of(cohort), "{exact}");
}

/// Runs the query with a finder whose summary is changed by `change`.
fn with_summary(change: impl Fn(&mut crate::find::FindSummary)) -> Conduct {
    let mut scene = scene();
    scene.drive(|scene, command| {
        if label(command) != "find" {
            return None;
        }
        let mut summary = copy_of(&scene.found.summary);
        change(&mut summary);
        Some(Event::Found(0, Ok(summary)))
    })
}

#[test]
fn a_find_without_grants_ends_the_query() {
    let conduct = with_summary(|summary| summary.grants.clear());
    let failure = conduct.status().failure;
    assert!(matches!(
        failure,
        Some(Failure::TooFewAggregators { needed: 2, .. })
    ));
}

#[test]
fn a_find_that_claims_more_homes_than_there_can_be_ends_the_query() {
    let conduct = with_summary(|summary| summary.targets = u64::MAX);
    let failure = conduct.status().failure;
    assert!(matches!(failure, Some(Failure::TooManyHomes(_))));
}
