//! Tests of the charges of a noisy query, and of the steps that make them.

use super::restarts::Disks;
use crate::{
    aggregation::{AggregationError, DealRequest},
    peer::PeerMessage,
    release::CommittedBatch,
    testing::{Scene, Setting, member},
};
use dispers_base::{
    id::{BatchId, Work},
    weakness::{self, Weakness},
};
use dispers_privacy::Expense;

fn noisy() -> Scene {
    Scene::new(Setting {
        noise: Some((1.0, None)),
        ..Setting::default()
    })
}

/// Deals the noise of all dealers and exchanges the verifier messages. Returns the work of the noise and these
/// messages.
fn dealt(scene: &mut Scene) -> (Work, Vec<PeerMessage>) {
    let work = Work {
        batch: BatchId::noise(0),
        ..scene.work(0, 0)
    };
    let dealers = vec![member(1), member(2)];
    let request = DealRequest { work, dealers };
    let deals: Vec<_> = [1, 2]
        .map(|dealer| scene.deal_at(member(dealer), &request).unwrap())
        .into();
    let members = scene.members().into_iter();
    let opened: Vec<PeerMessage> = members
        .flat_map(|member| scene.open_deals_at(member, &request, &deals).unwrap())
        .collect();
    (work, scene.verify(work, &opened))
}

#[test]
fn no_guard_opens_before_every_verifying_aggregator_charged_the_query_for_good() {
    let mut scene = noisy();
    let answer = scene.honest(scene.work(0, 0));
    let homes = scene.commit(&answer);
    let (work, messages) = dealt(&mut scene);
    for aggregation in scene.aggregators.values() {
        assert_eq!(aggregation.changes().unwrap().charges, []);
    }
    let acknowledgements = scene.decide(work, &messages).unwrap();
    // The changes that are written before an acknowledgement leaves include the charge.
    let charged = |scene: &Scene| {
        let mut all = scene.aggregators.values();
        all.all(|aggregation| {
            let expected = aggregation.expenses().map(|expense| Expense {
                released: true,
                ..expense
            });
            let charges = aggregation.changes().unwrap().charges;
            charges.len() == 1 && charges.into_iter().eq(expected)
        })
    };
    assert!(charged(&scene));
    let before = weakness::without(Weakness::ReleasedUncharged, || charged(&scene));
    assert!(!before);
    // A restarted aggregator keeps the charge.
    let disks = Disks::of(&mut scene);
    disks.restart(&mut scene, member(1));
    assert_eq!(scene.aggregators[&member(1)].charges().len(), 1);
    scene.commit_at(member(1), work, &acknowledgements).unwrap();
    let noise = CommittedBatch {
        batch: work.batch,
        attempt: work.attempt,
        decision: acknowledgements[0].body.decision,
        accepted: acknowledgements[0].body.accepted,
    };
    let proposal = scene.proposal(&[homes, noise]);
    let certificate = scene.certificate(&proposal);
    // One aggregator opens a guard alone, but the others have charged the query too.
    let opened = scene.guards_at(member(1), &proposal, &certificate);
    assert_eq!(opened.err(), None);
    assert_eq!(scene.aggregators[&member(1)].charges().len(), 1);
    assert_eq!(scene.aggregators[&member(3)].charges().len(), 1);
}

#[test]
fn noise_is_not_acknowledged_before_all_that_is_charged_is_known() {
    let mut scene = noisy();
    let ungranted = scene.aggregation(member(3));
    scene.aggregators.insert(member(3), ungranted);
    let (work, messages) = dealt(&mut scene);
    let quorum = scene.quorum();
    let refused = scene.decide_at(member(3), work, &quorum, &messages).err();
    assert_eq!(refused, Some(AggregationError::NoGrant));
    assert!(scene.decide_at(member(1), work, &quorum, &messages).is_ok());
}
