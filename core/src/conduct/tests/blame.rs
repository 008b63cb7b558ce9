//! Tests of blame for groups that the Target did not sign, or that do not open.

use super::adverse::{exact, scene};
use crate::{
    ask::{BatchAnswer, SealedGroup},
    conduct::{Command, Conduct, Event, Failure, StepError},
    testing::{Scene, Shared, aggregator, failed, key_of, name},
};
use dispers_base::{
    id::Work,
    weakness::{Weakness, without},
};

/// Returns a group that no aggregator can open.
fn garbage(scene: &mut Scene, work: Work) -> SealedGroup {
    let other = Work {
        attempt: work.attempt + 1,
        ..work
    };
    Shared::seal_bytes(scene, other, 2, vec![0; 64])
}

/// Signs the groups of a changed answer as the Target does.
fn signed(mut answer: BatchAnswer) -> BatchAnswer {
    let groups = answer.groups.iter();
    answer.statement.digests = groups
        .map(|groups| crate::ask::GroupsStatement::digest_of(groups))
        .collect();
    let digest = answer.statement.digest();
    answer.signature = key_of("target").sign(dispers_base::labels::SIGN_GROUPS, &digest);
    answer
}

/// Runs the query with a Target that applies `lie` to its answers to the attempts before `honest_from`.
fn with_target(
    honest_from: u8,
    lie: impl Fn(&mut Scene, BatchAnswer) -> BatchAnswer,
) -> (Scene, Conduct) {
    let mut scene = scene();
    let conduct = scene.drive(|scene, command| match command {
        Command::Ask { work, .. } if work.attempt < honest_from => {
            let answer = scene.honest(*work);
            Some(Event::Asked(*work, Ok(lie(scene, answer))))
        }
        _ => None,
    });
    (scene, conduct)
}

type Lie = fn(&mut Scene, BatchAnswer) -> BatchAnswer;

/// Changed answers, each aimed at the third aggregator.
const LIES: [(&str, Lie); 10] = [
    ("other bytes than were signed", |scene, mut answer| {
        answer.groups[2][0] = garbage(scene, answer.statement.work);
        answer
    }),
    ("nothing", |_, mut answer| {
        answer.groups[2].clear();
        answer
    }),
    ("nothing, and signs it", |_, mut answer| {
        answer.groups[2].clear();
        signed(answer)
    }),
    ("one group less, and signs it", |_, mut answer| {
        answer.groups[2].pop();
        signed(answer)
    }),
    (
        "a multitude of groups, and signs it",
        |scene, mut answer| {
            let other = garbage(scene, answer.statement.work);
            for groups in &mut answer.groups {
                groups.extend(std::iter::repeat_n(other.clone(), 30));
            }
            signed(answer)
        },
    ),
    ("what another was to get, and signs it", |_, mut answer| {
        answer.groups.swap(1, 2);
        signed(answer)
    }),
    ("what does not open, and signs it", |scene, mut answer| {
        let other = garbage(scene, answer.statement.work);
        let mine = answer.groups[2].iter_mut();
        mine.for_each(|group| *group = other.clone());
        signed(answer)
    }),
    (
        "one honest group in the place of each, and signs it",
        |_, mut answer| {
            let one = answer.groups[2][0].clone();
            answer.groups[2].fill(one);
            signed(answer)
        },
    ),
    ("groups of nobody, and signs it", |scene, mut answer| {
        // The encoding of a group without entries: a version, no entries, and a seed for no shares.
        let nobody = [&[1, 0, 0, 0, 0, 0][..], &[7; 32]].concat();
        let nobody = Shared::seal_bytes(scene, answer.statement.work, 2, nobody);
        answer.groups[2].fill(nobody);
        signed(answer)
    }),
    ("an invalid signature", |_, mut answer| {
        answer.signature = key_of("nobody").sign("none", &[]);
        answer
    }),
];

#[test]
fn a_target_that_sends_one_aggregator_other_bytes_costs_an_attempt_and_no_aggregator() {
    for (what, lie) in LIES {
        let (scene, conduct) = with_target(1, lie);
        assert_eq!(conduct.status().missing, [], "{what}");
        exact(&scene, &conduct);
        assert_eq!(conduct.status().verified, 3, "{what}");
    }
}

#[test]
fn a_target_that_always_sends_other_bytes_ends_the_query_by_its_name() {
    for (what, lie) in LIES {
        let (_, conduct) = with_target(u8::MAX, lie);
        let status = conduct.status();
        let Some(Failure::OtherBytes { target, .. }) = &status.failure else {
            panic!("{what}: {status:?}");
        };
        assert_eq!((target, &status.missing[..]), (&name("target"), &[][..]));
        let words = status.failure.unwrap().to_string();
        assert!(words.starts_with("target target sent "), "{words}");
    }
}

#[test]
fn without_the_comparison_a_target_puts_out_whom_it_likes() {
    let evicts = |lie: Lie| {
        without(Weakness::OtherBytesEvict, || {
            with_target(u8::MAX, lie).1.status().missing
        })
    };
    assert_eq!(evicts(LIES[0].1), [aggregator(3)]);
    assert_eq!(evicts(LIES[6].1), [aggregator(3)]);
}

/// Runs the query with aggregators that refuse the groups of each attempt and accuse the attempt's target in `targets`.
fn with_accusers(accusers: &[u8], targets: [&str; 3]) -> (Scene, Conduct) {
    let mut scene = scene();
    let conduct = scene.drive(|_, command| match command {
        Command::Open {
            aggregator: to,
            answer,
            ..
        } if accusers.contains(&to.member.point()) => {
            let attempt = usize::from(answer.statement.work.attempt);
            let target = name(targets[attempt]);
            Some(failed(command, StepError::OtherBytes { target }))
        }
        _ => None,
    });
    (scene, conduct)
}

#[test]
fn an_aggregator_that_alone_refuses_the_groups_of_two_targets_is_out() {
    let (scene, conduct) = with_accusers(&[3], ["one", "two", "one"]);
    exact(&scene, &conduct);
    let status = conduct.status();
    assert_eq!((status.missing, status.verified), (vec![aggregator(3)], 2));
    assert_eq!(
        conduct.out()[&aggregator(3)],
        StepError::AccusedTargets,
        "it stays out of later rounds"
    );
}

#[test]
fn one_target_that_one_aggregator_refuses_again_and_again_is_named_with_it() {
    let (_, conduct) = with_accusers(&[3], ["one"; 3]);
    let status = conduct.status();
    let failure = Failure::OtherBytes {
        target: name("one"),
        accusers: vec![aggregator(3)],
    };
    assert_eq!((status.failure, status.missing), (Some(failure), vec![]));
}

#[test]
fn targets_that_several_aggregators_refuse_put_none_of_them_out() {
    let (_, conduct) = with_accusers(&[2, 3], ["one", "two", "one"]);
    let status = conduct.status();
    assert_eq!(status.missing, []);
    assert!(matches!(status.failure, Some(Failure::OtherBytes { .. })));
}
