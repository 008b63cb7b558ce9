//! Tests of each rule of the manifest, broken in turn.

use super::*;
use crate::{
    offer::OfferBody,
    testing::{HOUR, NOW, Scene, Setting, key_of, member, name, verified},
};
use dispers_base::keys::Signature;
use dispers_sql::plan::{Plan, PlanLimits};
use dispers_trust::directory::{DEFAULT_MAX_DELTA, DirectoryBody};

fn scene() -> Scene {
    Scene::new(Setting::default())
}

/// Returns the error for the valid manifest after `change`, signed again.
fn refusal(scene: &Scene, change: impl FnOnce(&mut Manifest)) -> Option<ManifestError> {
    let mut manifest = (*scene.question.manifest).clone();
    change(&mut manifest);
    let signed = manifest.sign(&key_of("querier"));
    signed.verify(&scene.network.directory, NOW).err()
}

/// Returns the error for the valid manifest under a changed directory.
fn refusal_under(scene: &Scene, change: impl FnOnce(&mut DirectoryBody)) -> Option<ManifestError> {
    let mut body = scene.network.directory.body().clone();
    change(&mut body);
    scene.question.signed.verify(&verified(&body), NOW).err()
}

#[test]
fn a_manifest_that_its_querier_did_not_sign_so_is_refused() {
    let scene = scene();
    let directory = &scene.network.directory;
    let signed = &scene.question.signed;
    assert!(signed.verify(directory, NOW).is_ok());
    let stranger = scene.question.manifest.sign(&key_of("neighbour"));
    let verified = stranger.verify(directory, NOW);
    assert_eq!(verified.err(), Some(ManifestError::Unsigned));
    let unlisted = refusal(&scene, |m| m.querier = name("nobody"));
    assert_eq!(unlisted, Some(ManifestError::Unsigned));
    let mut flipped = signed.signature;
    flipped.0[1] ^= 1;
    let verified = with(signed.body.clone(), flipped).verify(directory, NOW);
    assert_eq!(verified.err(), Some(ManifestError::Unsigned));
}

fn with(body: Vec<u8>, signature: Signature) -> SignedManifest {
    Signed::from_parts(body, signature).into()
}

#[test]
fn no_changed_or_missing_byte_passes() {
    let scene = scene();
    let signed = &scene.question.signed;
    let refused = |body: Vec<u8>| {
        let changed = with(body, signed.signature);
        let error = changed.verify(&scene.network.directory, NOW).unwrap_err();
        matches!(error, ManifestError::Malformed | ManifestError::Unsigned)
    };
    for place in 0..signed.body.len() {
        let mut body = signed.body.clone();
        body[place] ^= 1;
        assert!(refused(body), "{place}");
    }
    for length in (0..signed.body.len()).step_by(7) {
        assert!(refused(signed.body[..length].to_vec()), "{length}");
    }
    let longer = with([&signed.body[..], &[0]].concat(), signed.signature);
    let verified = longer.verify(&scene.network.directory, NOW);
    assert_eq!(verified.err(), Some(ManifestError::Malformed));
}

#[test]
fn another_network_key_epoch_or_purpose_is_refused() {
    let scene = scene();
    let foreign = Some(ManifestError::Foreign);
    assert_eq!(refusal(&scene, |m| m.network = name("other")), foreign);
    assert_eq!(refusal(&scene, |m| m.key_epoch = KeyEpoch(4)), foreign);
    let purpose = refusal(&scene, |m| m.purpose = "profit".into());
    assert_eq!(purpose, Some(ManifestError::Purpose("profit".into())));
}

#[test]
fn times_outside_the_query_s_life_are_refused() {
    let scene = scene();
    let time = |change: fn(&mut Manifest)| match refusal(&scene, change) {
        Some(ManifestError::Time(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let future = time(|m| m.issued = NOW.plus(Timestamp::SKEW + 1));
    assert_eq!(future, "was issued in the future");
    let long = time(|m| m.expires = NOW.plus(MAX_LIFETIME + 1));
    assert_eq!(long, "lives longer than seven days");
    let outside = "has an answer time outside its own life";
    assert_eq!(time(|m| m.answer_by = m.expires.plus(1)), outside);
    assert_eq!(time(|m| m.answer_by = Timestamp(m.issued.0 - 1)), outside);
    assert_eq!(time(|m| m.answer_from = Timestamp(m.issued.0 - 1)), outside);
    assert_eq!(time(|m| m.answer_from = m.answer_by.plus(1)), outside);
    let signed = &scene.question.signed;
    let at = |now| signed.verify(&scene.network.directory, now).err();
    let end = NOW.plus(HOUR + Timestamp::SKEW);
    assert_eq!(at(end), None);
    let expired = ManifestError::Time("has expired: submit the query again");
    assert_eq!(at(end.plus(1)), Some(expired));
}

#[test]
fn less_than_the_floors_is_refused() {
    let scene = scene();
    let below = |what, got, floor| Some(ManifestError::BelowFloor { what, got, floor });
    let cohort = refusal(&scene, |m| m.min_cohort = 3);
    assert_eq!(cohort, below("minimum cohort", 3, 4));
    let rate = refusal(&scene, |m| m.answer_rate = 399);
    assert_eq!(rate, below("answer rate", 399, 400));
    let verified = refusal(&scene, |m| m.min_verified = 1);
    assert_eq!(verified, below("number of verifying aggregators", 1, 2));
    let higher = |m: &mut Manifest| (m.min_cohort, m.answer_rate, m.min_verified) = (5, 1000, 3);
    assert_eq!(refusal(&scene, higher), None);
}

#[test]
fn parameters_out_of_range_are_refused() {
    let scene = scene();
    let range = |change: &dyn Fn(&mut Manifest)| match refusal(&scene, change) {
        Some(ManifestError::OutOfRange(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let reason = range(&|m| m.answer_rate = 1001);
    assert_eq!(reason, "the answer rate is over 1000");
    let reason = range(&|m| m.max_homes = (1 << 40) + 1);
    assert_eq!(reason, "more homes may be asked than the network allows");
    for rounds in [0, 2] {
        let reason = range(&|m| m.rounds = rounds);
        assert_eq!(reason, "a query has exactly one round");
    }
    for attempts in [0, MAX_ATTEMPTS + 1] {
        let reason = range(&|m| m.attempts = attempts);
        assert_eq!(reason, "the number of attempts is not 1 to 8");
    }
    let reason = range(&|m| m.min_verified = 4);
    assert!(reason.starts_with("min_verified is not between"));
    for notary in ["target", "aggregator1", "querier", "nobody"] {
        let reason = range(&|m| m.notary = name(notary));
        assert_eq!(reason, "the notary is no target finder of the directory");
    }
    let hybrid = crate::testing::hybrid_key();
    let reason = range(&|m| m.reply_key = hybrid.clone());
    assert!(reason.starts_with("the reply key is of another suite"));
}

#[test]
fn sums_that_could_leave_the_field_are_refused() {
    let mut scene = scene();
    let sql = "SELECT SUM(clamp(x, 0, 1000000000, 1)) AS s FROM people";
    let limits = PlanLimits {
        max_homes: 1000,
        ..PlanLimits::default()
    };
    let catalogue = &scene.network.directory.catalogue;
    let local = Plan::new(sql, catalogue, &limits).unwrap().local;
    let most = Circuit::compile(&local.shape()).unwrap().capacity();
    assert!(most < 1 << 40);
    let with = |max_homes| {
        refusal(&scene, |m| {
            (m.local, m.max_homes) = (local.clone(), max_homes);
        })
    };
    assert_eq!(with(most), None);
    let reason =
        "the sums of so many homes could leave the field: use a coarser step, or a larger epsilon";
    assert_eq!(with(most + 1), Some(ManifestError::OutOfRange(reason)));
    // A query over a doctype that the catalogue does not list.
    scene.question.plan.local.doctype = "secrets".into();
    let unknown = scene.question.plan.local.clone();
    let refused = refusal(&scene, |m| m.local = unknown);
    assert!(matches!(refused, Some(ManifestError::Query(_))));
}

#[test]
fn committees_that_are_not_the_directory_s_are_refused() {
    let scene = scene();
    let foreign = Some(ManifestError::Committees);
    let indexors = *scene.network.directory.indexors.key();
    assert_eq!(refusal(&scene, |m| m.committees[0].key = indexors), foreign);
    assert_eq!(refusal(&scene, |m| m.committees[0].needed = 1), foreign);
    assert_eq!(refusal(&scene, |m| m.committees[0].needed = 3), foreign);
    assert_eq!(refusal(&scene, |m| m.committees.clear()), foreign);
    let twice = |m: &mut Manifest| m.committees.push(m.committees[0].clone());
    assert_eq!(refusal(&scene, twice), foreign);
    let fewer = |m: &mut Manifest| m.committees[0].offers.truncate(2);
    assert_eq!(refusal(&scene, fewer), foreign);
    let more = |m: &mut Manifest| m.committees[0].offers.push(None);
    assert_eq!(refusal(&scene, more), foreign);
}

/// Returns the error when the second offer is replaced by its body after `change`, signed with the key of `key`.
fn with_offer(
    scene: &Scene,
    key: &str,
    change: impl FnOnce(&mut OfferBody),
) -> Option<ManifestError> {
    refusal(scene, |manifest| {
        let offer = manifest.committees[0].offers[1].as_mut().unwrap();
        let mut body = offer.body.clone();
        change(&mut body);
        *offer = Offer::new(body, &key_of(key));
    })
}

#[test]
fn an_offer_that_is_not_the_aggregator_s_for_this_query_is_refused() {
    let scene = scene();
    let own = "aggregator2";
    let bad = Some(ManifestError::BadOffer(member(2)));
    assert_eq!(with_offer(&scene, own, |_| {}), None);
    assert_eq!(with_offer(&scene, "aggregator1", |_| {}), bad);
    let other = |o: &mut OfferBody| o.aggregator = name("aggregator1");
    assert_eq!(with_offer(&scene, "aggregator1", other), bad);
    let neighbour = |o: &mut OfferBody| o.querier = name("neighbour");
    assert_eq!(with_offer(&scene, own, neighbour), bad);
    let earlier = |o: &mut OfferBody| o.expires = Timestamp(o.expires.0 - 1);
    assert_eq!(with_offer(&scene, own, earlier), bad);
    let hybrid = crate::testing::hybrid_key();
    assert_eq!(with_offer(&scene, own, |o| o.key = hybrid), bad);
    let swapped = refusal(&scene, |m| m.committees[0].offers.swap(0, 1));
    assert_eq!(swapped, Some(ManifestError::BadOffer(member(1))));
}

#[test]
fn too_few_offers_are_refused() {
    let scene = scene();
    let one = refusal(&scene, |m| m.committees[0].offers[2] = None);
    assert_eq!(one, None);
    let two = refusal(&scene, |m| m.committees[0].offers[1..].fill(None));
    let few = |offered, needed| Some(ManifestError::TooFewOffers { offered, needed });
    assert_eq!(two, few(1, 2));
    let all = refusal(&scene, |m| {
        m.min_verified = 3;
        m.committees[0].offers[0] = None;
    });
    assert_eq!(all, few(2, 3));
}

#[test]
fn during_a_grace_only_the_epoch_before_is_asked() {
    let scene = scene();
    let asked = scene.question.manifest.key_epoch;
    let grace = |b: &mut DirectoryBody| {
        let mut previous = dispers_trust::directory::PreviousEpoch {
            key_epoch: b.key_epoch,
            indexors: b.indexors.clone(),
            transcripts: Vec::new(),
            pools: b.pools.clone(),
        };
        for pool in &mut previous.pools {
            pool.key_epoch = b.key_epoch;
        }
        b.key_epoch = KeyEpoch(asked.0 + 1);
        b.pools
            .iter_mut()
            .for_each(|p| p.key_epoch = KeyEpoch(asked.0 + 1));
        b.previous = Some(previous);
    };
    assert_eq!(refusal_under(&scene, grace), None);
    let over = refusal_under(&scene, |b| {
        grace(b);
        b.previous = None;
    });
    assert_eq!(over, Some(ManifestError::Foreign));

    // The next epoch is not asked before the grace is over.
    let mut body = scene.network.directory.body().clone();
    grace(&mut body);
    let mut next = (*scene.question.manifest).clone();
    next.key_epoch = KeyEpoch(asked.0 + 1);
    let next = next.sign(&key_of("querier"));
    let verify = |body: &DirectoryBody| next.verify(&verified(body), NOW).err();
    assert_eq!(verify(&body), Some(ManifestError::Foreign));
    body.previous = None;
    assert_eq!(verify(&body), None);
}

#[test]
fn a_querier_that_buys_nearly_exact_answers_with_a_large_delta_is_refused() {
    let scene = scene();
    let mut body = scene.network.directory.body().clone();
    body.floors.max_delta = DEFAULT_MAX_DELTA;
    let directory = verified(&body);
    let refusal = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = (*scene.question.manifest).clone();
        change(&mut manifest);
        manifest
            .sign(&key_of("querier"))
            .verify(&directory, NOW)
            .err()
    };
    let most = DEFAULT_MAX_DELTA;
    let cheap = |delta: f64, mechanism| Privacy {
        epsilon: 1,
        delta,
        mechanism,
    };
    for delta in [0.9, 0.5, 1e-3, most * 1.000001] {
        let rho = Rho::within(1e-6, delta);
        for mechanism in [Mechanism::Gaussian { rho }, Mechanism::Laplace] {
            let asked = |m: &mut Manifest| m.privacy = Some(cheap(delta, mechanism));
            let refused = refusal(&asked);
            let expected = ManifestError::Delta {
                delta: delta.to_string(),
                most: "0.00001".into(),
            };
            assert_eq!(refused, Some(expected), "{delta}");
            let before = weakness::without(Weakness::DeltaUnbounded, || refusal(&asked));
            assert!(!matches!(before, Some(ManifestError::Delta { .. })));
        }
    }
    // Below the ceiling, the noise itself is checked.
    let tight = refusal(&|m: &mut Manifest| {
        let rho = Rho::within(1.0, most);
        let mechanism = Mechanism::Gaussian { rho };
        m.privacy = Some(Privacy {
            epsilon: 1_000_000,
            ..cheap(most, mechanism)
        });
    });
    assert_eq!(tight, None);
}
