use dispers_core::{
    encoding::from_bytes,
    find::ListSegment,
    id::{BatchId, KeyEpoch, Name, QueryId, Timestamp},
    oprf::Pseudonym,
    subscription::{Entry, Handle, Upload, UploadEnvelopes},
};

use super::{Lease, NewQuery, Sqlite, State, Store};
use crate::Error;

const EPOCH: KeyEpoch = KeyEpoch(1);
const NOW: Timestamp = Timestamp(1_800_000_000_000);
const MOST: usize = 100;

fn handle(number: u8) -> Handle {
    Handle([number; 16])
}

/// An upload whose entries are numbered from `first`, under the pseudonyms given.
fn upload(first: u8, pseudonyms: &[u8]) -> Upload {
    Upload {
        key_epoch: EPOCH,
        partition: 0,
        envelopes: UploadEnvelopes {
            entries: vec![first],
            entry_count: pseudonyms.len() as u32,
            links: vec![first],
            link_count: 1,
        },
        entries: (0u32..)
            .zip(pseudonyms)
            .map(|(index, &pseudonym)| Entry {
                pseudonym: Pseudonym([pseudonym; 32]),
                index,
                ciphertext: vec![first + index as u8],
                withdrawal: handle(first + index as u8).hash(),
            })
            .collect(),
    }
}

/// The first batch of a partition.
fn batch(partition: u16) -> BatchId {
    BatchId {
        partition,
        number: 0,
    }
}

/// The ciphertexts under `pseudonyms`, upload by upload.
async fn listed(store: &dyn Store, epoch: KeyEpoch, pseudonyms: &[u8]) -> Vec<Vec<u8>> {
    let pseudonyms: Vec<Pseudonym> = pseudonyms.iter().map(|&p| Pseudonym([p; 32])).collect();
    let mut lists = Vec::new();
    for upload in store.uploads(epoch, 0).await.unwrap() {
        let bytes = store.segment(upload, &pseudonyms).await.unwrap();
        if !bytes.is_empty() {
            let segment: ListSegment = from_bytes(&bytes, 1 << 20, "segment").unwrap();
            lists.push(segment.entries.iter().map(|e| e.ciphertext[0]).collect());
        }
    }
    lists
}

async fn withdraw(store: &dyn Store, handles: &[u8]) -> u32 {
    let hashes = handles
        .iter()
        .map(|&number| handle(number).hash())
        .collect();
    store.withdraw(hashes).await.unwrap()
}

fn lease(holder: &str, until: u64) -> Lease {
    Lease {
        holder: holder.into(),
        until: NOW.plus(until),
    }
}

fn state(record: u8, ended: bool) -> State {
    State {
        record: vec![record],
        status: vec![record, record],
        totals: ended.then(|| vec![9]),
        ended,
    }
}

fn query(number: u8) -> NewQuery {
    NewQuery {
        id: QueryId([number; 32]),
        querier: Name::new("lab").unwrap(),
        expires: NOW.plus(3_600_000),
        manifest: vec![number],
        profiles: vec![1],
        pseudonyms: vec![Pseudonym([4; 32])],
        state: state(0, false),
    }
}

#[tokio::test]
async fn a_find_gets_the_entries_of_its_pseudonyms_and_no_other() {
    let store = Sqlite::in_memory().unwrap();
    store.add(upload(10, &[1, 2, 1]), MOST).await.unwrap();
    store.add(upload(20, &[2, 3]), MOST).await.unwrap();
    assert_eq!(listed(&store, EPOCH, &[1]).await, [vec![10, 12]]);
    assert_eq!(listed(&store, EPOCH, &[2]).await, [vec![11], vec![20]]);
    let both = listed(&store, EPOCH, &[3, 1]).await;
    assert_eq!(both, [vec![10, 12], vec![21]]);
    assert!(listed(&store, EPOCH, &[9]).await.is_empty());
    assert!(listed(&store, KeyEpoch(2), &[1]).await.is_empty());
}

#[tokio::test]
async fn an_upload_sent_again_does_not_bring_back_what_was_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conductor.db");
    let store = Sqlite::open(&path).unwrap();
    store.add(upload(10, &[1, 1]), MOST).await.unwrap();
    assert_eq!(withdraw(&store, &[10, 99]).await, 1);
    assert_eq!(withdraw(&store, &[10]).await, 0);
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    store.add(upload(10, &[1, 1]), MOST).await.unwrap();
    assert_eq!(listed(&store, EPOCH, &[1]).await, [vec![11]]);
}

#[tokio::test]
async fn entries_and_queries_are_bounded() {
    let store = Sqlite::in_memory().unwrap();
    store.add(upload(10, &[1, 2]), 3).await.unwrap();
    let full = store.add(upload(20, &[1, 2]), 3).await;
    assert!(matches!(full, Err(Error::Full("subscriptions"))));
    assert_eq!(withdraw(&store, &[10]).await, 1);
    store.add(upload(20, &[1, 2]), 3).await.unwrap();

    let mine = lease("a", 1000);
    assert!(store.begin(query(1), &mine, 1, NOW).await.unwrap());
    assert!(!store.begin(query(1), &mine, 1, NOW).await.unwrap());
    let full = store.begin(query(2), &mine, 1, NOW).await;
    assert!(matches!(full, Err(Error::Full("queries"))));
    // What has expired makes room.
    let later = NOW.plus(3_600_001 + Timestamp::SKEW);
    assert!(store.begin(query(2), &mine, 1, later).await.unwrap());
    let gone = store.see(query(1).id).await;
    assert!(matches!(gone, Err(Error::UnknownQuery)));
}

#[tokio::test]
async fn a_query_is_taken_up_once_its_lease_is_over_and_by_one_only() {
    let store = Sqlite::in_memory().unwrap();
    let id = query(1).id;
    assert!(
        store
            .begin(query(1), &lease("a", 1000), 9, NOW)
            .await
            .unwrap()
    );
    let (one, two) = (batch(0), batch(1));
    store.keep(id, one, vec![7]).await.unwrap();
    store.save(id, "a", 0, state(1, false)).await.unwrap();
    let early = store.take_up(&lease("b", 2000), NOW.plus(1000)).await;
    assert!(early.unwrap().is_none());
    let late = NOW.plus(1001);
    let taken = store.take_up(&lease("b", 3000), late).await.unwrap();
    let taken = taken.expect("nobody renewed it");
    assert_eq!((taken.record, taken.version), (vec![1], 1));
    assert_eq!(taken.pseudonyms, [Pseudonym([4; 32])]);
    assert_eq!(store.batch(id, one).await.unwrap(), [7]);
    assert!(matches!(
        store.batch(id, two).await,
        Err(Error::UnknownQuery)
    ));
    let again = store.take_up(&lease("c", 3000), late).await;
    assert!(again.unwrap().is_none());
    // The first was only slow: what it does no longer counts.
    let slow = store.save(id, "a", 1, state(2, false)).await;
    assert!(matches!(slow, Err(Error::TakenOver)));
    store.save(id, "b", 1, state(3, true)).await.unwrap();
    let seen = store.see(id).await.unwrap();
    assert_eq!((seen.status, seen.totals), (vec![3, 3], Some(vec![9])));
    assert!(seen.ended);
    let ended = store.take_up(&lease("c", 9000), NOW.plus(8000)).await;
    assert!(ended.unwrap().is_none());
    assert!(matches!(
        store.batch(id, one).await,
        Err(Error::UnknownQuery)
    ));
}

#[tokio::test]
async fn a_lease_that_is_renewed_lasts_and_tells_what_to_cancel() {
    let store = Sqlite::in_memory().unwrap();
    assert!(
        store
            .begin(query(1), &lease("a", 1000), 9, NOW)
            .await
            .unwrap()
    );
    assert!(store.renew(&lease("a", 5000)).await.unwrap().is_empty());
    let early = store.take_up(&lease("b", 9000), NOW.plus(4000)).await;
    assert!(early.unwrap().is_none());
    store.cancel(query(1).id).await.unwrap();
    assert_eq!(store.renew(&lease("a", 5000)).await.unwrap(), [query(1).id]);
    store.give_up("a").await.unwrap();
    let given = store.take_up(&lease("b", 9000), NOW).await;
    assert!(given.unwrap().is_some());
    let cancelled = store.renew(&lease("b", 9000)).await.unwrap();
    assert_eq!(cancelled, [query(1).id]);
}
