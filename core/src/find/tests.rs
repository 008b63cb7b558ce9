//! Tests of the homes that a find chooses, and of the finds that are refused.

use std::collections::BTreeSet;

use super::*;
use crate::testing::{
    Found, Home, NOW, Scene, Setting, copy_of, find_by, home, name, pseudonym, segment, upload,
};
use dispers_query::catalogue::EVERY_HOME;

fn of(rows: u64, batch_size: u32) -> Scene {
    Scene::new(Setting {
        rows: (0..rows).map(home).collect(),
        batch_size,
        ..Setting::default()
    })
}

/// Encodes a find, to compare it to the byte with a repeated find.
fn bytes(found: &Found) -> (Vec<u8>, Vec<Vec<u8>>) {
    let batches = found.batches.iter().map(encoding::to_bytes).collect();
    (encoding::to_bytes(&found.summary), batches)
}

fn start(scene: &mut Scene, opening: &ProfileOpening) -> Result<(), FindError> {
    let question = &scene.question;
    let request = question.find_request(&scene.network, opening, 100, &mut scene.rng);
    let manifest = question.manifest.clone();
    Finding::new(manifest, &request, &scene.network.finder_keys()).map(drop)
}

#[test]
fn a_profile_that_the_manifest_does_not_commit_to_is_refused() {
    let mut scene = of(8, 100);
    let right = scene.question.opening();
    assert_eq!(start(&mut scene, &right), Ok(()));
    let mut salted = scene.question.opening();
    salted.salt[0] ^= 1;
    assert_eq!(start(&mut scene, &salted), Err(FindError::Profile));
    let other = ProfileOpening {
        profile: Profile::atom(pseudonym("asthma>1")),
        ..scene.question.opening()
    };
    assert_eq!(start(&mut scene, &other), Err(FindError::Profile));
}

#[test]
fn a_profile_sealed_for_another_query_does_not_open() {
    let mut scene = of(8, 100);
    let opening = scene.question.opening();
    let question = &scene.question;
    let mut request = question.find_request(&scene.network, &opening, 100, &mut scene.rng);
    let context = ProfileOpening::context(QueryId([1; 32]));
    request.profile = Sealed::seal(
        &opening,
        &scene.network.finder.public(),
        &context,
        &mut scene.rng,
    );
    let manifest = question.manifest.clone();
    let started = Finding::new(manifest, &request, &scene.network.finder_keys());
    assert_eq!(started.err(), Some(FindError::Profile));
}

#[test]
fn repeating_a_find_gives_the_same_bytes_and_other_lists_or_sizes_do_not() {
    let mut scene = of(40, 10);
    let first = bytes(&scene.found);
    let segments = scene.segments.clone();
    assert_eq!(bytes(&scene.find(&segments).unwrap()), first);
    let reversed: Vec<_> = segments.iter().rev().cloned().collect();
    let other = bytes(&scene.find(&reversed).unwrap());
    assert_ne!(other.0, first.0);
    scene.batch_size = 20;
    let other = bytes(&scene.find(&segments).unwrap());
    assert_ne!(other.0, first.0);
    assert!(other.1.iter().all(|batch| !first.1.contains(batch)));
}

#[test]
fn every_home_is_chosen_once_in_batches_of_at_least_the_cohort() {
    for (homes, batch_size) in [(40, 10), (41, 10), (13, 1), (7, 4), (4, 100)] {
        let scene = of(homes, batch_size);
        let summary = &scene.found.summary;
        assert_eq!(summary.targets, homes);
        assert_eq!(summary.batches.homes(), homes);
        let cut: Vec<u32> = summary.batches.batches(0).map(|(_, size)| size).collect();
        assert_eq!(cut.len(), scene.found.batches.len());
        let mut seen = BTreeSet::new();
        for (batch, size) in (0..).zip(cut) {
            let asks = scene.asks(scene.work(batch, 0));
            assert_eq!(asks.count, size);
            assert!(asks.count >= 4);
            let asked: Vec<_> = asks.asks.into_values().flat_map(|ask| ask.homes).collect();
            assert_eq!(asked.len(), asks.count as usize);
            let indices: BTreeSet<u32> = asked.iter().map(|home| home.index).collect();
            assert_eq!(indices, (0..asks.count).collect());
            for home in asked {
                assert!(seen.insert(home.home));
            }
        }
        assert_eq!(seen.len() as u64, homes);
    }
}

#[test]
fn a_home_whose_tag_is_of_another_partition_is_left_out() {
    let mut scene = of(40, 10);
    let opening = scene.question.opening();
    let (network, question) = (&scene.network, &scene.question);
    let request = question.find_request(network, &opening, 10, &mut scene.rng);
    let keys = FinderKeys {
        partitions: 2,
        ..network.finder_keys()
    };
    let mut finding = Finding::new(question.manifest.clone(), &request, &keys).unwrap();
    for segment in &scene.segments {
        let opened = finding.opener().open(segment, &keys).unwrap();
        finding.add(opened).unwrap();
    }
    let found = finding.candidates.tags();
    assert!(found.iter().all(|tag| tag.partition(2) == 0));
    let own = scene.homes.iter().filter(|home| home.tag.partition(2) == 0);
    assert_eq!(found.len(), own.count());
    assert!((1..40).contains(&found.len()));
}

#[test]
fn batches_are_spread_over_the_targets_and_each_attempt_goes_to_the_next() {
    let targets = ["a", "b", "c"].map(name);
    let assigned_to = |partition, committee, number| {
        let batch = BatchId {
            partition,
            committee,
            number,
        };
        assigned(&targets, batch)
    };
    let names: Vec<Name> = (0..4)
        .map(|number| assigned_to(0, 0, number)[0].clone())
        .collect();
    assert_eq!(names, ["a", "b", "c", "a"].map(name));
    assert_eq!(assigned_to(1, 0, 0)[0], name("b"));
    assert_eq!(assigned_to(0, 1, 0)[0], name("b"));
    assert_eq!(assigned_to(0, 0, 1), ["b", "c", "a"].map(name));
}

#[test]
fn fewer_homes_than_the_cohort_or_more_than_allowed_are_refused() {
    let mut scene = of(8, 100);
    let one = scene.segments[..1].to_vec();
    assert_eq!(scene.find(&one).unwrap().summary.targets, 4);
    assert_eq!(scene.find(&[]).err(), Some(FindError::Sizes(4)));

    let mut scene = of(4, 100);
    let one = scene.segments[..1].to_vec();
    assert_eq!(scene.find(&one).err(), Some(FindError::Sizes(4)));
}

#[test]
fn a_home_in_several_uploads_is_chosen_once() {
    let mut scene = of(8, 100);
    let host = name("host1");
    let homes: Vec<&Home> = scene.homes.iter().filter(|h| h.host == host).collect();
    let again = upload(
        &scene.network,
        &host,
        &homes,
        &[EVERY_HOME, EVERY_HOME],
        &mut scene.rng,
    );
    let mut segments = scene.segments.clone();
    segments.push(encoding::to_bytes(&segment(again)));
    segments.push(segments[0].clone());
    assert_eq!(scene.find(&segments).unwrap().summary.targets, 8);
}

#[test]
fn an_entry_moved_under_another_pseudonym_index_or_upload_is_left_out() {
    type Change = fn(&mut ListSegment, &ListSegment);
    let changes: [(Change, u64); 5] = [
        (|_, _| {}, 20),
        // An entry of a concept that the query does not ask for, which the conductor passes off as one of the query's
        // list.
        (
            |own, other| own.entries[0].ciphertext = other.entries[0].ciphertext.clone(),
            19,
        ),
        (|own, _| own.entries[0].index = own.entries[1].index, 19),
        (|own, _| own.entries[0].ciphertext[3] ^= 1, 19),
        (|own, _| own.envelopes.entry_count += 1, 10),
    ];
    for (change, targets) in changes {
        let mut scene = of(20, 100);
        let host = name("host2");
        let homes: Vec<&Home> = scene.homes.iter().filter(|h| h.host == host).collect();
        let other = upload(&scene.network, &host, &homes, &["asthma>1"], &mut scene.rng);
        let mut segments = scene.segments.clone();
        let mut own: ListSegment =
            encoding::from_bytes(&segments[0], MAX_UPLOAD, "segment").unwrap();
        change(&mut own, &segment(other));
        segments[0] = encoding::to_bytes(&own);
        assert_eq!(scene.find(&segments).unwrap().summary.targets, targets);
    }
}

#[test]
fn entries_of_another_concept_under_its_own_pseudonym_are_not_chosen() {
    let mut scene = of(8, 100);
    let host = name("host1");
    let homes: Vec<&Home> = scene.homes.iter().collect();
    let other = upload(&scene.network, &host, &homes, &["asthma>1"], &mut scene.rng);
    let mut relabelled = segment(other);
    for entry in &mut relabelled.entries {
        entry.pseudonym = pseudonym(EVERY_HOME);
    }
    let found = scene.find(&[encoding::to_bytes(&relabelled)]);
    assert_eq!(found.err(), Some(FindError::Sizes(4)));
}

#[test]
fn a_segment_that_is_none_or_of_another_list_or_key_epoch_is_refused() {
    let mut scene = of(8, 100);
    let mut own: ListSegment =
        encoding::from_bytes(&scene.segments[0], MAX_UPLOAD, "segment").unwrap();
    own.key_epoch = KeyEpoch(4);
    let whole = &scene.segments[0];
    let mut other: ListSegment =
        encoding::from_bytes(&scene.segments[0], MAX_UPLOAD, "segment").unwrap();
    other.entries[0].pseudonym = pseudonym("asthma>1");
    let segments = [
        encoding::to_bytes(&own),
        encoding::to_bytes(&other),
        Vec::new(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], &[0]].concat(),
    ];
    for segment in segments {
        assert_eq!(scene.find(&[segment]).err(), Some(FindError::Segment));
    }
}

/// Counts the homes with one concept and not the other, and leaves the other's list out of the find.
fn leaves_a_list_out() -> Result<(), FindError> {
    let sql = "SELECT COUNT(*) AS n FROM people \
               WHERE concept('sex>female') AND NOT concept('asthma>1')";
    let setting = Setting {
        sql,
        ..Setting::default()
    };
    let mut scene = Scene::new(Setting::default());
    let question = crate::testing::Question::new(&scene.network, &setting, &mut scene.rng);
    let opening = question.opening();
    let network = &scene.network;
    let mut request = question.find_request(network, &opening, 100, &mut scene.rng);
    request.lists.retain(|list| *list != pseudonym("asthma>1"));
    Finding::new(question.manifest.clone(), &request, &network.finder_keys()).map(drop)
}

#[test]
fn a_querier_that_leaves_a_list_out_asks_nobody() {
    assert_eq!(leaves_a_list_out(), Err(FindError::Lists));
    let without = weakness::without(Weakness::ListsLeftOut, leaves_a_list_out);
    assert_eq!(without, Ok(()));
    let mut scene = of(8, 100);
    let opening = scene.question.opening();
    let question = &scene.question;
    let mut request = question.find_request(&scene.network, &opening, 100, &mut scene.rng);
    request.lists.push(pseudonym("asthma>1"));
    let manifest = question.manifest.clone();
    let more = Finding::new(manifest, &request, &scene.network.finder_keys());
    assert_eq!(more.err(), Some(FindError::Lists));
}

#[test]
fn a_query_that_is_not_in_the_log_finds_nobody() {
    let mut scene = of(8, 100);
    let opening = scene.question.opening();
    let (network, question) = (&scene.network, &scene.question);
    let mut request = question.find_request(network, &opening, 100, &mut scene.rng);
    let verified = |request: &FindRequest| request.verify(&network.directory, NOW).err();
    assert_eq!(verified(&request), None);
    request.inclusion.index += 1;
    assert_eq!(verified(&request), Some(FindError::Log(LogError::Missing)));
    request.inclusion.head.witnesses.clear();
    assert!(matches!(
        verified(&request),
        Some(FindError::Log(LogError::Unwitnessed { .. }))
    ));
}

#[test]
fn one_finder_of_a_partition_finds_a_querier_s_queries_without_noise() {
    let scene = of(8, 100);
    let (network, manifest) = (&scene.network, &scene.question.manifest);
    let found = responsible(&network.directory, manifest, 0);
    assert_eq!(found.map(|node| &node.name), Some(&name("finder")));
    let check = |finder: &str| check_responsible(&network.directory, manifest, 0, &name(finder));
    assert_eq!(check("finder"), Ok(()));
    assert_eq!(
        check("another"),
        Err(FindError::OtherFinder(name("finder")))
    );
    let noisy = Scene::new(Setting {
        noise: Some((1.0, None)),
        ..Setting::default()
    });
    let manifest = &noisy.question.manifest;
    assert!(responsible(&network.directory, manifest, 0).is_none());
}

#[test]
fn a_profile_of_several_concepts_chooses_who_has_them() {
    let sql = "SELECT COUNT(*) AS n FROM people \
               WHERE concept('sex>female') AND NOT concept('asthma>1')";
    let mut scene = Scene::new(Setting::default());
    let setting = Setting {
        sql,
        ..Setting::default()
    };
    scene.question = crate::testing::Question::new(&scene.network, &setting, &mut scene.rng);
    let host = name("host1");
    let homes: Vec<&Home> = scene.homes.iter().collect();
    let both = &["sex>female", "asthma>1"];
    let mut uploads = Vec::new();
    for (homes, concepts) in [
        (&homes[..9], &both[..1]),
        (&homes[9..20], &both[..]),
        (&homes[20..], &both[1..]),
    ] {
        let upload = upload(&scene.network, &host, homes, concepts, &mut scene.rng);
        uploads.push(encoding::to_bytes(&segment(upload)));
    }
    let found = scene.find(&uploads).unwrap();
    assert_eq!(found.summary.targets, 9);
    assert_eq!(copy_of(&found.summary).grants.len(), 3);
}

/// Returns the finds of finders of one pool with these names over the same lists.
fn by_finders(names: &[&str]) -> Vec<Found> {
    let mut scene = of(40, 10);
    let segments = scene.segments.clone();
    let mut found = Vec::new();
    for finder in names {
        let (finder, signing) = (name(finder), crate::testing::key_of(finder));
        let keys = FinderKeys {
            name: &finder,
            signing: &signing,
            ..scene.network.finder_keys()
        };
        let (network, question) = (&scene.network, &scene.question);
        found.push(find_by(&keys, network, question, &segments, 10, &mut scene.rng).unwrap());
    }
    found
}

/// Returns the number of grants in which two finders used the same encapsulation.
fn shared(one: &Found, two: &Found) -> usize {
    let grants = one.summary.grants.iter().zip(&two.summary.grants);
    grants
        .filter(|(a, b)| a.2.encapsulated() == b.2.encapsulated())
        .count()
}

#[test]
fn two_finders_of_a_partition_share_no_encapsulation_of_a_grant_and_seal_the_same_batches() {
    // The second name has the same length as the first; the third has not.
    let found = by_finders(&["finder", "second", "finder-two", "finder"]);
    for (place, one) in found.iter().enumerate() {
        for two in &found[place + 1..] {
            let same = place == 0 && std::ptr::eq(two, &found[3]);
            assert_eq!(shared(one, two), if same { 3 } else { 0 });
            assert_eq!(one.summary.batches, two.summary.batches);
            let mut batches = one.batches.iter().zip(&two.batches);
            assert!(batches.all(|(a, b)| a.sealed == b.sealed));
        }
    }
}

#[test]
fn the_record_of_nonces_notices_two_finders_that_seal_from_a_seed_alone() {
    let caught = std::panic::catch_unwind(|| {
        dispers_base::weakness::without(Weakness::SealedFromASharedSeed, || {
            by_finders(&["finder", "second"]);
        });
    });
    let words = caught.unwrap_err();
    let words = words.downcast_ref::<&str>().unwrap();
    assert_eq!(*words, "an encapsulation seals a second plaintext");
}
