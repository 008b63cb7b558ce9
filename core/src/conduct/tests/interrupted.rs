//! Tests of a Conductor whose process dies, and whose query is resumed from its record.

use std::collections::VecDeque;

use super::honest::{exact, setting};
use crate::{
    conduct::{Command, Conduct, Event, Failure, Options, Phase, Record, StepError},
    testing::{Scene, addressee, aggregator, failed, label},
};
use dispers_base::encoding::{from_bytes, to_bytes};

/// Resumes the query from its encoded record.
fn taken_up(scene: &Scene, conduct: &Conduct) -> (Conduct, VecDeque<Command>) {
    let bytes = to_bytes(&conduct.record());
    let record: Record = from_bytes(&bytes, 1 << 20, "record").unwrap();
    let (conduct, commands) =
        Conduct::resume(scene.question.manifest.clone(), Options::default(), record);
    (conduct, commands.into())
}

/// Drives a query whose conductor dies after each number of commands in `deaths`. The events before a death are in its
/// record, and the event of the last command is lost. Returns the number of commands that the query took.
fn drive(scene: &mut Scene, deaths: &[usize]) -> (Conduct, usize) {
    let (mut conduct, commands) = Conduct::new(scene.question.manifest.clone(), Options::default());
    let mut commands = VecDeque::from(commands);
    for count in 0.. {
        let Some(command) = commands.pop_front() else {
            return (conduct, count);
        };
        let event = scene.carry_out(&command);
        if deaths.contains(&count) {
            (conduct, commands) = taken_up(scene, &conduct);
        } else {
            commands.extend(conduct.handle(event));
        }
    }
    unreachable!("the count has no end")
}

#[test]
fn a_conductor_that_dies_at_any_step_releases_every_home_once() {
    let whole = drive(&mut Scene::new(setting((2, 3), &[])), &[]).1;
    for death in 0..whole {
        let mut scene = Scene::new(setting((2, 3), &[]));
        let (conduct, _) = drive(&mut scene, &[death]);
        exact(&scene, &conduct, 3);
    }
}

#[test]
fn a_conductor_may_die_twice_as_long_as_attempts_are_left() {
    let whole = drive(&mut Scene::new(setting((2, 3), &[])), &[]).1;
    for death in (0..whole).step_by(3) {
        let mut scene = Scene::new(setting((2, 3), &[]));
        let (conduct, _) = drive(&mut scene, &[death, death + 7]);
        exact(&scene, &conduct, 3);
    }
}

#[test]
fn a_batch_that_is_interrupted_at_every_attempt_ends_the_query() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let (mut conduct, commands) = Conduct::new(scene.question.manifest.clone(), Options::default());
    let mut commands = VecDeque::from(commands);
    for _ in 0..100 {
        let Some(command) = commands.pop_front() else {
            break;
        };
        if label(&command) == "ask" {
            (conduct, commands) = taken_up(&scene, &conduct);
            continue;
        }
        let event = scene.carry_out(&command);
        commands.extend(conduct.handle(event));
    }
    assert_eq!(conduct.status().failure, Some(Failure::Interrupted));
}

#[test]
fn who_was_out_of_the_query_stays_out_of_it() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let (mut conduct, commands) = Conduct::new(scene.question.manifest.clone(), Options::default());
    let mut commands = VecDeque::from(commands);
    let mut died = false;
    while let Some(command) = commands.pop_front() {
        let event = if addressee(&command) == Some(aggregator(3)) {
            failed(&command, StepError::Unreachable)
        } else {
            scene.carry_out(&command)
        };
        commands.extend(conduct.handle(event));
        if !died && conduct.status().phase == Phase::Ask {
            died = true;
            (conduct, commands) = taken_up(&scene, &conduct);
            assert!(commands.iter().all(|c| addressee(c) != Some(aggregator(3))));
        }
    }
    exact(&scene, &conduct, 2);
    assert_eq!(conduct.status().missing, [aggregator(3)]);
}

#[test]
fn a_query_that_has_ended_stays_as_it_ended() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let mut done = scene.drive(|_, _| None);
    assert!(done.record().has_ended());
    let (again, commands) = taken_up(&scene, &done);
    assert!(commands.is_empty());
    assert!(again.totals() == done.totals());
    assert!(!done.end(Failure::Cancelled), "it is done");

    let (mut running, _) = Conduct::new(scene.question.manifest.clone(), Options::default());
    assert!(!running.record().has_ended());
    assert!(running.end(Failure::Cancelled));
    let (cancelled, commands) = taken_up(&scene, &running);
    assert!(commands.is_empty());
    assert_eq!(cancelled.status().failure, Some(Failure::Cancelled));
}

#[test]
fn an_aggregator_that_forgot_a_batch_once_is_asked_again_with_the_others() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let mut forgets = 1;
    let conduct = scene.drive(|_, command| {
        let forgot = label(command) == "verify" && addressee(command) == Some(aggregator(2));
        (forgot && std::mem::take(&mut forgets) == 1).then(|| failed(command, StepError::Forgotten))
    });
    exact(&scene, &conduct, 3);

    // An aggregator that forgets the same batch a second time is left out.
    let mut scene = Scene::new(setting((2, 3), &[]));
    let conduct = scene.drive(|_, command| {
        let forgot = label(command) == "verify" && addressee(command) == Some(aggregator(2));
        forgot.then(|| failed(command, StepError::Forgotten))
    });
    exact(&scene, &conduct, 2);
    assert_eq!(conduct.status().missing, [aggregator(2)]);
}

#[test]
fn an_event_of_before_the_end_changes_nothing() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let (mut conduct, commands) = Conduct::new(scene.question.manifest.clone(), Options::default());
    let event: Event = scene.carry_out(&commands[0]);
    conduct.end(Failure::Cancelled);
    assert!(conduct.handle(event).is_empty());
    assert_eq!(conduct.status().failure, Some(Failure::Cancelled));
}
