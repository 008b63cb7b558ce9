//! Tests of the inputs from which an aggregation starts: its own offer and the finder's grant.

use super::scene;
use crate::{
    aggregation::{Aggregation, AggregationError},
    find::{Cut, Grant, SealedGrant, SignedGrant},
    testing::{Scene, Setting, key_of, member, name},
};
use dispers_base::{encoding::Message, id::QueryId, signed::Signed};
use dispers_crypto::envelope::{EnvelopeSecretKey, Sealed};

/// Returns the finder's grant to the first aggregator after `change`, signed with the key of `key`.
fn granted(scene: &mut Scene, key: &str, change: impl FnOnce(&mut Grant)) -> SealedGrant {
    let query = scene.question.manifest.query();
    let context = Grant::context(query, 0, 0, member(1));
    let secret = scene.question.offered[0].as_ref().unwrap();
    let signed = scene
        .grant_of(member(1))
        .open(secret, &context, SignedGrant::LIMIT);
    let mut grant = signed.unwrap().unverified().unwrap();
    change(&mut grant);
    let signed = Signed::new(&grant, &key_of(key));
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
    let refusal_of_cut = |sizes: &[&[u32]]| {
        let cut = Cut::of(sizes.iter().map(|sizes| sizes.to_vec()).collect());
        refusal("finder", &|g| g.batches = cut.clone())
    };
    assert_eq!(refusal_of_cut(&[&[33, 3]]), bad);
    assert_eq!(refusal_of_cut(&[&[32, 4]]), None);
    assert_eq!(refusal_of_cut(&[&[997, 4]]), bad);
    // These cuts have batches of another committee, or no batch.
    assert_eq!(refusal_of_cut(&[&[32, 4], &[4]]), bad);
    assert_eq!(refusal_of_cut(&[&[]]), bad);
    assert_eq!(refusal_of_cut(&[]), bad);
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
    let one = scene.segments[..1].to_vec();
    let fewer = scene.find(&one).unwrap();
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
        EnvelopeSecretKey::from_bytes(secret.suite(), &bytes[..]).unwrap()
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
