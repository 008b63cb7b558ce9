//! Tests of a conductor that has one find made with several cuts, and takes each batch from the cut that suits it.

use crate::{
    aggregation::AggregationError,
    release::{CommittedBatch, Released},
    testing::{Found, Scene, Setting, home},
};
use dispers_base::weakness::{Weakness, without};
use dispers_circuit::Row;

/// Name of a home with a unique value, alone in the second group.
const VICTIM: &str = "home7";
const VALUE: u64 = 73;

/// Creates a scene of 200 homes, of which all but one have rows of the first group.
fn scene() -> Scene {
    let row = |seed: u64| {
        let mut row = home(seed * 5)?;
        row.group = 0;
        Some(row)
    };
    let mut rows: Vec<Option<Row>> = (0..200).map(row).collect();
    rows[7] = Some(Row {
        group: 1,
        levels: vec![Some(VALUE), None],
    });
    Scene::new(Setting {
        rows,
        batch_size: 50,
        ..Setting::default()
    })
}

/// Returns the finds that the finder makes over the same lists for several batch sizes. Each has four batches of 50
/// homes.
fn cuts(scene: &mut Scene) -> Vec<Found> {
    let segments = scene.segments.clone();
    let mut cuts = Vec::new();
    for batch_size in 50..=66 {
        scene.batch_size = batch_size;
        cuts.push(scene.find(&segments).unwrap());
    }
    assert!(
        cuts.iter()
            .all(|cut| cut.summary.batches == cuts[0].summary.batches)
    );
    cuts
}

/// Returns whether a batch of the scene's current find holds the victim.
fn holds_victim(scene: &Scene, batch: u32) -> bool {
    let asks = scene.asks(scene.work(batch, 0)).asks;
    let mut homes = asks.into_values().flat_map(|ask| ask.homes);
    homes.any(|asked| asked.home.0 == VICTIM)
}

/// Commits each batch from a cut in which the batch holds the victim, if the aggregators accept its groups.
fn commit_all_with_victim(scene: &mut Scene) -> Vec<CommittedBatch> {
    let mut batches = Vec::new();
    let mut cuts = cuts(scene);
    for batch in 0..4 {
        for cut in &mut cuts {
            std::mem::swap(&mut scene.found, cut);
            if holds_victim(scene, batch) {
                break;
            }
        }
        assert!(holds_victim(scene, batch));
        let answer = scene.honest(scene.work(batch, 0));
        let first = scene.members()[0];
        if scene.open_at(first, &answer).is_ok() {
            batches.push(scene.commit(&answer));
        }
    }
    batches
}

/// Returns the released numbers of the victim's group: its rows, and the sum of its values.
fn group_of_victim(scene: &Scene, released: &Released) -> (Option<u64>, Option<u64>) {
    let second = scene.question.plan.shape.moments.len() + 1;
    (released.outputs[second], released.outputs[second + 1])
}

#[test]
fn a_conductor_that_cuts_a_find_several_ways_counts_no_home_twice() {
    let mut scene = scene();
    for cut in &cuts(&mut scene)[1..] {
        for (_, member, grant) in &cut.summary.grants {
            let aggregation = scene.aggregators.get_mut(member).unwrap();
            let refused = aggregation.grant(0, grant, &scene.network.directory);
            assert_eq!(refused, Err(AggregationError::SecondFind));
        }
    }
    // The grants of one cut do not accept tickets of another.
    let accepted: Vec<u32> = commit_all_with_victim(&mut scene)
        .iter()
        .map(|batch| batch.accepted)
        .collect();
    assert!(accepted.len() <= 1, "{accepted:?}");
}

#[test]
fn without_its_cut_in_a_find_s_id_one_home_lifts_its_own_guard() {
    without(Weakness::SeveralCutsOfOneFind, || {
        let mut scene = scene();
        let batches = commit_all_with_victim(&mut scene);
        assert_eq!(batches.len(), 4);
        assert!(batches.iter().all(|batch| batch.accepted == 50));
        let totals = scene.release(&batches);
        let released = scene.read(&totals).unwrap();
        let group = group_of_victim(&scene, &released);
        assert_eq!(group, (Some(4), Some(4 * VALUE)));
    });
}

#[test]
fn a_group_of_one_home_is_withheld() {
    let mut scene = scene();
    let batches: Vec<CommittedBatch> = (0..4)
        .map(|batch| {
            let answer = scene.honest(scene.work(batch, 0));
            scene.commit(&answer)
        })
        .collect();
    let totals = scene.release(&batches);
    let released = scene.read(&totals).unwrap();
    assert_eq!(group_of_victim(&scene, &released), (None, None));
}
