//! Tests of the differences between two editions.

use super::*;
use crate::directory::{Change, NotNext};
use dispers_base::fingerprint::Fingerprint;

/// Returns the differences of the edition that follows a valid body after `change`.
fn next(change: impl FnOnce(&mut DirectoryBody)) -> Result<Vec<Change>, NotNext> {
    let old = valid();
    let mut new = valid();
    new.epoch += 1;
    change(&mut new);
    new.changes_since(&old)
}

/// Returns the description of the only difference after `change`, and whether it weakens.
fn only(change: impl FnOnce(&mut DirectoryBody)) -> (String, bool) {
    let changes = next(change).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    (changes[0].to_string(), changes[0].weakens)
}

#[test]
fn an_edition_that_only_lasts_longer_changes_nothing() {
    let later = next(|b| b.expires = b.expires.plus(HOUR)).unwrap();
    assert_eq!(later, []);
    let (told, _) = only(|b| b.expires = Timestamp(b.expires.0 - 1));
    assert!(told.contains("before the one it replaces"), "{told}");
}

#[test]
fn only_the_next_edition_of_the_same_network_follows() {
    let network = next(|b| b.network = name("other"));
    assert!(matches!(network, Err(NotNext::Network { .. })));
    let old = valid().epoch;
    for new in [0, old, old + 2] {
        assert_eq!(next(|b| b.epoch = new), Err(NotNext::Epoch { old, new }));
    }
    for epoch in [0, 2, 5] {
        let refused = next(|b| b.key_epoch = KeyEpoch(epoch));
        assert!(matches!(refused, Err(NotNext::KeyEpoch { .. })), "{epoch}");
    }
}

#[test]
fn keys_that_subscriptions_are_sealed_to_change_with_the_key_epoch_only() {
    let mut forge = Forge {
        rng: StdRng::seed_from_u64(7),
        keys: 100,
    };
    let fresh = forge.envelope_key();
    let dealt = deal(Threshold::new(2, 3).unwrap(), &mut forge.rng).public;
    let changes: [&dyn Fn(&mut DirectoryBody); 2] =
        [&|b| b.pools[1].envelope_key = fresh.clone(), &|b| {
            b.indexors = dealt.clone()
        }];
    for change in changes {
        let refused = next(change);
        assert!(matches!(refused, Err(NotNext::SameKeyEpoch { .. })));
        let told = next(|b| {
            change(b);
            b.key_epoch = KeyEpoch(4);
        });
        let told: Vec<String> = told.unwrap().iter().map(Change::to_string).collect();
        assert!(told[0].contains("key epoch 4 follows 3"), "{told:?}");
        assert!(told[1].contains("another key"), "{told:?}");
    }
}

#[test]
fn a_pool_is_removed_with_the_key_epoch_only() {
    for pool in [0, 1] {
        let refused = next(|b| drop(b.pools.remove(pool)));
        let refused = refused.unwrap_err();
        assert!(matches!(refused, NotNext::SameKeyEpoch { .. }), "{refused}");
        assert!(refused.to_string().contains("lacks pool"), "{refused}");
        let removed = next(|b| {
            b.pools.remove(pool);
            b.key_epoch = KeyEpoch(4);
        });
        assert!(removed.is_ok());
    }
}

#[test]
fn what_protects_people_less_is_marked() {
    type Weaken = fn(&mut DirectoryBody);
    let weaker: [(&str, Weaken); 5] = [
        ("floor min-cohort is lowered from 50 to 49", |b| {
            b.floors.min_cohort -= 1;
        }),
        ("floor answer-rate is lowered from 800 to 0", |b| {
            b.floors.answer_rate = 0;
        }),
        ("floor min-verified is lowered from 2 to 1", |b| {
            b.floors.min_verified -= 1;
        }),
        ("may have delta 0.0001, and could have 0.00001", |b| {
            b.floors.max_delta = 1e-4;
        }),
        ("group 1 needs 1 of 3, before 2 of 3", |b| {
            let threshold = Threshold::new(1, 3).unwrap();
            b.committees[1] = deal(threshold, &mut StdRng::seed_from_u64(1)).public;
        }),
    ];
    for (text, change) in weaker {
        let changes = next(change).unwrap();
        assert!(changes[0].weakens && changes[0].what.contains(text));
    }
    let (text, weakens) = only(|b| b.floors.min_cohort += 1);
    assert_eq!(text, "floor min-cohort is raised from 50 to 51");
    assert!(!weakens);
    let (text, weakens) = only(|b| b.floors.max_delta = 1e-6);
    assert!(text.contains("may have delta 0.000001, and could have 0.00001") && !weakens);
    let mut real = valid();
    real.trial = false;
    let mut trial = valid();
    trial.epoch += 1;
    let changes = trial.changes_since(&real).unwrap();
    assert!(changes[0].weakens && changes[0].what.contains("becomes a trial"));
}

#[test]
fn every_entry_that_is_new_gone_or_different_is_named() {
    assert_eq!(
        only(|b| b.queriers[0].purposes.push("teaching".into())).0,
        "querier querier has purposes \"research, teaching\", before \"research\""
    );
    assert_eq!(only(|b| drop(b.hosts.pop())).0, "host host is removed");
    let keys = only(|b| {
        let node = node(b, "t");
        node.signing_key = SigningKey::from_seed(&[99; 32]).public();
        node.tls_key = TlsKey([99; 32]);
    });
    // Both keys are shown with the fingerprints that their holders read out.
    let before = valid();
    let before = before.nodes.iter().find(|n| n.name == name("t")).unwrap();
    let now = [
        Fingerprint::of(&SigningKey::from_seed(&[99; 32]).public().0),
        Fingerprint::of(&[99; 32]),
    ];
    assert_eq!(
        keys.0,
        format!(
            "target t has another signing-key, {}, before {}; another tls-key, {}, before {}",
            now[0],
            before.signing_key.fingerprint(),
            now[1],
            before.tls_key.fingerprint()
        )
    );
    let renamed = next(|b| node(b, "t").name = name("t2")).unwrap();
    let told: Vec<String> = renamed.iter().map(Change::to_string).collect();
    assert_eq!(
        told,
        [
            format!(
                "target t2 is added, of operator-of-t at t.example.org:7001; tls-key {}, signing-key {}",
                before.tls_key.fingerprint(),
                before.signing_key.fingerprint()
            ),
            "target t is removed".to_owned()
        ]
    );
    let fresh = deal(Threshold::new(2, 3).unwrap(), &mut StdRng::seed_from_u64(8)).public;
    let prints = [&fresh, &valid().committees[1]].map(crate::ceremony::fingerprint);
    assert_eq!(
        only(|b| b.committees[1] = fresh.clone()).0,
        format!(
            "the key of the data-aggregators' group 1 is another key, {}, before {}",
            prints[0], prints[1]
        )
    );
}

#[test]
fn every_difference_of_the_catalogue_is_named() {
    type Edit = fn(&mut Catalogue);
    let changes: [(&str, Edit); 6] = [
        ("concept b is added", |c| c.concepts.push("b".into())),
        ("concept asthma>1 is removed", |c| drop(c.concepts.pop())),
        ("field heartrate.bpm is removed", |c| {
            drop(c.doctypes[0].fields.pop());
        }),
        ("field heartrate.bpm has another", |c| {
            c.doctypes[0].fields[1].range = None;
        }),
        ("has One documents a home", |c| {
            c.doctypes[0].cardinality = Cardinality::One;
        }),
        ("doctype heartrate is removed", |c| c.doctypes.clear()),
    ];
    for (expected, change) in changes {
        let (told, _) = only(|b| change(&mut b.catalogue));
        assert!(told.contains(expected), "{told}");
    }
}
