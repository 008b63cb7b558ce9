//! Tests of queries in which nobody lies, and some aggregators may be lost.

use crate::{
    conduct::{Command, Conduct, Event, Failure, Funnel, Phase, StepError},
    testing::{Scene, Setting, addressee, aggregator, failed, home, label},
};
use dispers_sql::decode::Value;

pub(super) fn setting(committee: (u8, u8), absent: &[u8]) -> Setting {
    Setting {
        committee,
        rows: (0..40).map(home).collect(),
        batch_size: 10,
        absent: absent.to_vec(),
        ..Setting::default()
    }
}

/// Checks that the query ended with the exact sums over all homes.
pub(super) fn exact(scene: &Scene, conduct: &Conduct, verified: u8) {
    let status = conduct.status();
    assert_eq!((status.phase, status.failure), (Phase::Done, None));
    let released = scene.read(conduct.totals().unwrap()).unwrap();
    let expected = scene.sums(scene.homes.iter().map(|home| &home.row));
    assert_eq!(released.outputs, expected);
    assert_eq!((released.asked, released.accepted), (40, 40));
    assert_eq!(status.verified, verified);
    assert_eq!((status.batches, status.batches_done), (4, 4));
    let all = Funnel {
        targeted: 40,
        asked: 40,
        answered: 40,
        accepted: 40,
    };
    assert_eq!(status.homes, all);
}

#[test]
fn an_honest_run_gives_exactly_the_sums_in_the_clear() {
    for committee in [(2, 3), (3, 5)] {
        let mut scene = Scene::new(setting(committee, &[]));
        let conduct = scene.drive(|_, _| None);
        exact(&scene, &conduct, committee.1);
        assert_eq!(conduct.status().missing, []);
        let released = scene.read(conduct.totals().unwrap()).unwrap();
        assert_eq!(released.verified, committee.1);
        assert_eq!(released.aggregators.len(), usize::from(committee.1));
    }
}

#[test]
fn the_result_is_the_table_that_the_query_means() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let conduct = scene.drive(|_, _| None);
    let released = scene.read(conduct.totals().unwrap()).unwrap();
    let table = scene
        .question
        .plan
        .decoder
        .decode(&released.numbers(false), 4)
        .unwrap();
    assert_eq!(table.columns, ["band", "n", "s", "m", "t"]);
    let rows = ["a", "b"].into_iter().enumerate().map(|(group, band)| {
        let rows = scene.homes.iter().filter_map(|home| home.row.as_ref());
        let rows: Vec<_> = rows.filter(|row| row.group == group).collect();
        let levels = |variable: usize| rows.iter().filter_map(move |row| row.levels[variable]);
        let integer = |value: u64| Value::Integer(value.into());
        vec![
            Value::Text(band.into()),
            integer(rows.len() as u64),
            integer(levels(0).sum()),
            integer(levels(1).count() as u64),
            integer(levels(1).sum()),
        ]
    });
    assert_eq!(table.rows, rows.collect::<Vec<_>>());
    assert_eq!(table.suppressed_groups, Vec::<Vec<Value>>::new());
}

#[test]
fn an_aggregator_without_an_offer_is_not_missed() {
    for committee in [(2, 3), (3, 5)] {
        for absent in 1..=committee.1 {
            let mut scene = Scene::new(setting(committee, &[absent]));
            let conduct = scene.drive(|_, command| {
                assert_ne!(addressee(command), Some(aggregator(absent)));
                None
            });
            exact(&scene, &conduct, committee.1 - 1);
        }
    }
}

const STEPS: [&str; 7] = [
    "begin", "open", "verify", "decide", "commit", "guards", "release",
];

#[test]
fn an_aggregator_that_is_lost_at_any_step_is_not_missed() {
    for committee in [(2, 3), (3, 5)] {
        for (step, lost) in STEPS.into_iter().zip([1, 2, 3, 1, 2, 3, 1].map(aggregator)) {
            // The aggregator is lost at the second batch in steps that are taken per batch.
            let mut seen = 0;
            let mut scene = Scene::new(setting(committee, &[]));
            let mut gone = false;
            let conduct = scene.drive(|_, command| {
                if addressee(command) != Some(lost) {
                    return None;
                }
                seen += u32::from(label(command) == step);
                let late = matches!(step, "begin" | "guards" | "release");
                gone |= label(command) == step && (late || seen == 2);
                gone.then(|| failed(command, StepError::Unreachable))
            });
            assert!(gone, "{step}");
            // A loss after all batches are committed does not lower the number of verifying aggregators.
            let verified = match step {
                "guards" | "release" => committee.1,
                _ => committee.1 - 1,
            };
            exact(&scene, &conduct, verified);
            assert_eq!(conduct.status().missing, [lost], "{step}");
            let released = scene.read(conduct.totals().unwrap()).unwrap();
            let left = usize::from(committee.1) - 1;
            assert_eq!(released.aggregators.len(), left, "{step}");
        }
    }
}

#[test]
fn an_aggregator_that_refuses_is_out_and_its_reason_is_kept() {
    let mut scene = Scene::new(setting((2, 3), &[3]));
    let refused = StepError::Refused("full".into());
    let conduct = scene.drive(|_, command| {
        let begin = matches!(command, Command::Begin { aggregator: m, .. } if *m == aggregator(2));
        begin.then(|| failed(command, refused.clone()))
    });
    assert_eq!(
        conduct.status().failure,
        Some(Failure::TooFewAggregators {
            needed: 2,
            out: vec![(aggregator(2), refused)],
        })
    );
}

#[test]
fn two_aggregators_lost_of_three_end_the_query_and_are_named() {
    for step in STEPS {
        let mut scene = Scene::new(setting((2, 3), &[]));
        let conduct = scene.drive(|_, command| {
            let lost = addressee(command).is_some_and(|m| m != aggregator(2));
            (lost && label(command) == step).then(|| failed(command, StepError::Unreachable))
        });
        let status = conduct.status();
        assert_eq!(status.phase, Phase::Failed, "{step}");
        let failure = Failure::TooFewAggregators {
            needed: 2,
            out: [1, 3]
                .map(|n| (aggregator(n), StepError::Unreachable))
                .to_vec(),
        };
        assert_eq!(status.failure, Some(failure), "{step}");
        assert!(conduct.totals().is_none());
    }
}

#[test]
fn homes_without_data_count_as_zeros() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let without = scene.homes.iter().filter(|home| home.row.is_none()).count();
    assert_eq!(without, 8);
    let mut accepted = 0;
    scene.drive(|scene, command| {
        let event = scene.carry_out(command);
        if let Event::Decided(_, _, Ok(acknowledgement)) = &event {
            accepted += acknowledgement.body.accepted;
        }
        Some(event)
    });
    assert_eq!(accepted, 3 * 40);
}
