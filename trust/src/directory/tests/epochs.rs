//! Tests of the previous key epoch, and of the epoch that is asked.

use super::*;
use crate::directory::{NotNext, PreviousEpoch};

/// Returns a body in its grace. Its previous key epoch has the keys of `valid`.
fn grace() -> DirectoryBody {
    let old = valid();
    let mut body = valid();
    let mut forge = Forge {
        rng: StdRng::seed_from_u64(11),
        keys: 100,
    };
    body.epoch += 1;
    body.key_epoch = KeyEpoch(4);
    for pool in &mut body.pools {
        pool.key_epoch = KeyEpoch(4);
        pool.envelope_key = forge.envelope_key();
    }
    body.indexors = deal(Threshold::new(2, 3).unwrap(), &mut forge.rng).public;
    body.previous = Some(PreviousEpoch {
        key_epoch: old.key_epoch,
        indexors: old.indexors,
        transcripts: Vec::new(),
        pools: old.pools,
    });
    body
}

fn directory(body: &DirectoryBody) -> Directory {
    body.check().unwrap();
    Directory::new(body.clone())
}

#[test]
fn queries_are_under_the_epoch_before_while_it_is_listed() {
    let body = grace();
    let during = directory(&body);
    let listed = |directory: &Directory| -> Vec<u32> {
        directory.epochs().map(|keys| keys.key_epoch.0).collect()
    };
    assert_eq!(listed(&during), [3, 4]);
    assert_eq!(during.asked_keys().key_epoch, KeyEpoch(3));
    for (epoch, pools, indexors) in [
        (3, &valid().pools, &valid().indexors),
        (4, &body.pools, &body.indexors),
    ] {
        let keys = during.keys_of(KeyEpoch(epoch)).unwrap();
        assert_eq!(keys.pool(Role::Target, 0), pools.first());
        assert_eq!(keys.indexors, indexors);
    }
    assert!(during.keys_of(KeyEpoch(2)).is_none());

    let mut over = body;
    over.previous = None;
    let over = directory(&over);
    assert_eq!(listed(&over), [4]);
    assert_eq!(over.asked_keys().key_epoch, KeyEpoch(4));
    assert!(over.keys_of(KeyEpoch(3)).is_none());
}

#[test]
fn a_pool_may_keep_its_key() {
    let mut body = grace();
    body.pools[1].envelope_key = valid().pools[1].envelope_key.clone();
    body.indexors = valid().indexors;
    assert_eq!(body.check(), Ok(()));
}

#[test]
fn the_epoch_before_is_the_one_before_with_the_same_pools_and_members() {
    type Edit = fn(&mut DirectoryBody, &mut PreviousEpoch);
    let edits: [Edit; 11] = [
        |_, p| p.key_epoch = KeyEpoch(2),
        |_, p| p.key_epoch = KeyEpoch(4),
        |_, p| drop(p.pools.pop()),
        |_, p| p.pools.push(p.pools[0].clone()),
        |_, p| p.pools[1].partition = 7,
        |_, p| p.pools[0].key_epoch = KeyEpoch(4),
        |_, p| p.pools[0].envelope_key = p.pools[1].envelope_key.clone(),
        |b, p| p.pools[0].envelope_key = node(b, "c").envelope_key.clone().unwrap(),
        |b, p| p.pools[0].envelope_key = b.pools[1].envelope_key.clone(),
        |_, p| {
            let threshold = Threshold::new(2, 4).unwrap();
            p.indexors = deal(threshold, &mut StdRng::seed_from_u64(1)).public;
        },
        |b, p| p.indexors = b.committees[0].clone(),
    ];
    for (index, edit) in edits.into_iter().enumerate() {
        let mut body = grace();
        let mut previous = body.previous.take().unwrap();
        edit(&mut body, &mut previous);
        body.previous = Some(previous);
        let refused = body.check();
        let expected = matches!(refused, Err(DirectoryError::Previous(_)));
        assert!(expected, "edit {index}: {refused:?}");
    }
    let mut real = grace();
    real.trial = false;
    assert!(matches!(
        real.check(),
        Err(DirectoryError::MissingTranscript { .. })
    ));
}

#[test]
fn a_grace_begins_with_the_keys_that_were_listed_and_ends_with_the_next_edition() {
    let (old, body) = (valid(), grace());
    let told = body.changes_since(&old).unwrap();
    assert!(told[0].what.contains("which is still asked"), "{told:?}");

    // The previous key epoch has other keys than the edition before listed.
    for edit in [
        (|p| p.indexors = grace().indexors) as fn(&mut PreviousEpoch),
        |p| p.pools[0].envelope_key = grace().pools[0].envelope_key.clone(),
    ] {
        let mut forged = body.clone();
        edit(forged.previous.as_mut().unwrap());
        assert_eq!(forged.changes_since(&old), Err(NotNext::Previous));
    }

    let mut kept = body.clone();
    kept.epoch += 1;
    assert_eq!(kept.changes_since(&body), Ok(Vec::new()));
    let mut over = kept.clone();
    over.previous = None;
    let told = over.changes_since(&body).unwrap();
    assert!(told[0].what.contains("3 is over"), "{told:?}");
    // A grace that has ended does not begin again.
    over.epoch -= 1;
    assert_eq!(kept.changes_since(&over), Err(NotNext::Previous));
}
