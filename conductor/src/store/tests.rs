//! Tests that every store must pass, run for each kind of store.

use std::{path::PathBuf, time::Duration};

use dispers_base::{
    encoding::from_bytes,
    id::{BatchId, KeyEpoch, Name, QueryId, Timestamp},
};
use dispers_core::{
    find::ListSegment,
    subscription::{Entry, Handle, Upload, UploadEnvelopes},
};
use dispers_crypto::oprf::Pseudonym;

#[cfg(feature = "postgres")]
use dispers_testing::cluster;
use tempfile::TempDir;

use super::{Lease, NewQuery, Sqlite, State, Store};
#[cfg(feature = "postgres")]
use super::{Postgres, Settings};
use crate::Error;

const EPOCH: KeyEpoch = KeyEpoch(1);
pub(super) const NOW: Timestamp = Timestamp(1_800_000_000_000);
const MOST: usize = 100;

fn handle(number: u8) -> Handle {
    Handle([number; 16])
}

/// Returns an upload under the given pseudonyms, with entries numbered from `first`.
pub(super) fn upload(first: u8, pseudonyms: &[u8]) -> Upload {
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

/// Returns the id of the first batch of a partition.
pub(super) fn batch(partition: u16) -> BatchId {
    BatchId {
        partition,
        committee: 0,
        number: 0,
    }
}

/// Returns the ciphertexts under `pseudonyms`, one list per upload that has any.
async fn listed(store: &dyn Store, epoch: KeyEpoch, pseudonyms: &[u8]) -> Vec<Vec<u8>> {
    let pseudonyms: Vec<Pseudonym> = pseudonyms.iter().map(|&p| Pseudonym([p; 32])).collect();
    let mut lists = Vec::new();
    for upload in store.uploads(epoch, 0).await.unwrap() {
        let bytes = store.segment(upload, &pseudonyms).await.unwrap();
        if !bytes.is_empty() {
            let segment: ListSegment = from_bytes(&bytes, 16 << 20, "segment").unwrap();
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

/// Returns a lease that is over at once, so that no test waits for a clock.
pub(super) fn over(holder: &str) -> Lease {
    Lease {
        holder: holder.into(),
        length: Duration::ZERO,
    }
}

/// Returns a lease that outlasts the test.
pub(super) fn lease(holder: &str) -> Lease {
    Lease {
        holder: holder.into(),
        length: Duration::from_secs(3600),
    }
}

/// Location of a store, which can be opened several times.
enum Place {
    File(TempDir),
    #[cfg(feature = "postgres")]
    Postgres(Settings),
}

impl Place {
    fn file(&self) -> PathBuf {
        match self {
            Self::File(folder) => folder.path().join("conductor.db"),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => panic!("a database is no file"),
        }
    }

    async fn open(&self) -> Box<dyn Store> {
        match self {
            Self::File(_) => Box::new(Sqlite::open(&self.file()).unwrap()),
            #[cfg(feature = "postgres")]
            Self::Postgres(settings) => Box::new(Postgres::open(settings).await.unwrap()),
        }
    }
}

#[cfg(feature = "postgres")]
pub(super) fn settings(url: String) -> Settings {
    Settings {
        url,
        password: None,
        fallback: None,
        ca: None,
    }
}

/// Returns an empty location for every kind of store.
fn places() -> Vec<Place> {
    #[allow(unused_mut, reason = "a build without PostgreSQL has one kind")]
    let mut places = vec![Place::File(tempfile::tempdir().unwrap())];
    #[cfg(feature = "postgres")]
    places.extend(cluster::shared().map(|cluster| {
        let database = cluster.database();
        Place::Postgres(settings(cluster.url(&database)))
    }));
    places
}

pub(super) fn state(record: u8, ended: bool) -> State {
    State {
        record: vec![record],
        status: vec![record, record],
        totals: ended.then(|| vec![9]),
        ended,
    }
}

pub(super) fn query(number: u8) -> NewQuery {
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
    for place in places() {
        let store = &*place.open().await;
        store.add(upload(10, &[1, 2, 1]), MOST).await.unwrap();
        store.add(upload(20, &[2, 3]), MOST).await.unwrap();
        assert_eq!(listed(store, EPOCH, &[1]).await, [vec![10, 12]]);
        assert_eq!(listed(store, EPOCH, &[2]).await, [vec![11], vec![20]]);
        let both = listed(store, EPOCH, &[3, 1]).await;
        assert_eq!(both, [vec![10, 12], vec![21]]);
        // The entries come in the order of the requested pseudonyms.
        let turned = listed(store, EPOCH, &[2, 1]).await;
        assert_eq!(turned, [vec![11, 10, 12], vec![20]]);
        assert!(listed(store, EPOCH, &[9]).await.is_empty());
        assert!(listed(store, KeyEpoch(2), &[1]).await.is_empty());
        let mut other = upload(30, &[1]);
        other.partition = 1;
        store.add(other, MOST).await.unwrap();
        assert_eq!(listed(store, EPOCH, &[1]).await, [vec![10, 12]]);
        assert_eq!(store.uploads(EPOCH, 1).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_upload_sent_again_does_not_bring_back_what_was_withdrawn() {
    for place in places() {
        let store = place.open().await;
        store.add(upload(10, &[1, 1]), MOST).await.unwrap();
        assert_eq!(withdraw(&*store, &[10, 99]).await, 1);
        assert_eq!(withdraw(&*store, &[10]).await, 0);
        drop(store);
        let store = place.open().await;
        store.add(upload(10, &[1, 1]), MOST).await.unwrap();
        assert_eq!(listed(&*store, EPOCH, &[1]).await, [vec![11]]);
    }
}

#[tokio::test]
async fn an_upload_of_ten_thousand_entries_is_kept_and_withdrawn() {
    for place in places() {
        let store = &*place.open().await;
        let count = 10_000u32;
        let handle = |index: u32| {
            let mut handle = Handle([0; 16]);
            handle.0[..4].copy_from_slice(&index.to_be_bytes());
            handle
        };
        let mut large = upload(1, &[]);
        large.envelopes.entry_count = count;
        large.entries = (0..count)
            .map(|index| Entry {
                pseudonym: Pseudonym([(index % 7) as u8; 32]),
                index,
                ciphertext: vec![1; 200],
                withdrawal: handle(index).hash(),
            })
            .collect();
        store.add(large.clone(), 10_000).await.unwrap();
        store.add(large, 20_000).await.unwrap();
        let lists = listed(store, EPOCH, &[0, 1, 2, 3, 4, 5, 6]).await;
        assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [10_000]);
        let hashes = (0..count).step_by(2).map(|index| handle(index).hash());
        assert_eq!(store.withdraw(hashes.collect()).await.unwrap(), 5_000);
        let left = (0..count).filter(|index| index % 2 == 1 && index % 7 < 2);
        assert_eq!(listed(store, EPOCH, &[0, 1]).await[0].len(), left.count());
        // The withdrawn entries have made room.
        store.add(upload(2, &[1]), 5_001).await.unwrap();
    }
}

#[tokio::test]
async fn entries_and_queries_are_bounded() {
    for place in places() {
        let store = &*place.open().await;
        store.add(upload(10, &[1, 2]), 3).await.unwrap();
        let full = store.add(upload(20, &[1, 2]), 3).await;
        assert!(matches!(full, Err(Error::Full("subscriptions"))));
        assert_eq!(withdraw(store, &[10]).await, 1);
        store.add(upload(20, &[1, 2]), 3).await.unwrap();

        let mine = lease("a");
        assert!(store.begin(query(1), &mine, 1, NOW).await.unwrap());
        assert!(!store.begin(query(1), &mine, 1, NOW).await.unwrap());
        let full = store.begin(query(2), &mine, 1, NOW).await;
        assert!(matches!(full, Err(Error::Full("queries"))));
        // The expired query has made room.
        let later = NOW.plus(3_600_001 + Timestamp::SKEW);
        assert!(store.begin(query(2), &mine, 1, later).await.unwrap());
        let gone = store.see(query(1).id).await;
        assert!(matches!(gone, Err(Error::UnknownQuery)));
    }
}

#[tokio::test]
async fn a_query_is_taken_up_once_its_lease_is_over_and_by_one_only() {
    for place in places() {
        let store = &*place.open().await;
        let id = query(1).id;
        assert!(store.begin(query(1), &lease("a"), 9, NOW).await.unwrap());
        let (one, two) = (batch(0), batch(1));
        store.keep(id, "a", one, vec![6]).await.unwrap();
        store.keep(id, "a", one, vec![7]).await.unwrap();
        store.save(id, "a", 0, state(1, false)).await.unwrap();
        assert!(store.take_up(&lease("b")).await.unwrap().is_none());
        assert!(store.renew(&over("a"), &[id]).await.unwrap().is_empty());
        let taken = store.take_up(&lease("b")).await.unwrap();
        let taken = taken.expect("nobody renewed it");
        assert_eq!((taken.record, taken.version), (vec![1], 1));
        assert_eq!((taken.manifest, taken.profiles), (vec![1], vec![1]));
        assert_eq!(taken.pseudonyms, [Pseudonym([4; 32])]);
        assert_eq!(store.batch(id, one).await.unwrap(), [7]);
        assert!(matches!(
            store.batch(id, two).await,
            Err(Error::UnknownQuery)
        ));
        assert!(store.take_up(&lease("c")).await.unwrap().is_none());
        // The first process was only slow. Its writes no longer count.
        let slow = store.save(id, "a", 1, state(2, false)).await;
        assert!(matches!(slow, Err(Error::TakenOver)), "{slow:?}");
        let slow = store.keep(id, "a", one, vec![8]).await;
        assert!(matches!(slow, Err(Error::TakenOver)));
        assert_eq!(store.batch(id, one).await.unwrap(), [7]);
        assert!(store.renew(&lease("a"), &[id]).await.unwrap().is_empty());
        let old = store.save(id, "b", 0, state(2, false)).await;
        assert!(matches!(old, Err(Error::TakenOver)));
        store.save(id, "b", 1, state(3, true)).await.unwrap();
        let seen = store.see(id).await.unwrap();
        assert_eq!((seen.status, seen.totals), (vec![3, 3], Some(vec![9])));
        assert!(seen.ended);
        store.give_up("b").await.unwrap();
        assert!(store.take_up(&lease("c")).await.unwrap().is_none());
        assert!(matches!(
            store.batch(id, one).await,
            Err(Error::UnknownQuery)
        ));
    }
}

#[tokio::test]
async fn a_lease_that_is_renewed_lasts_and_tells_what_to_cancel() {
    for place in places() {
        let store = &*place.open().await;
        let id = query(1).id;
        assert!(store.begin(query(1), &over("a"), 9, NOW).await.unwrap());
        let renewed = store.renew(&lease("a"), &[id]).await.unwrap();
        assert!(renewed.is_empty());
        assert!(store.take_up(&lease("b")).await.unwrap().is_none());
        store.cancel(id).await.unwrap();
        assert_eq!(store.renew(&lease("a"), &[id]).await.unwrap(), [id]);
        store.give_up("a").await.unwrap();
        assert!(store.take_up(&lease("b")).await.unwrap().is_some());
        assert_eq!(store.renew(&lease("b"), &[id]).await.unwrap(), [id]);
    }
}

#[tokio::test]
async fn a_query_that_its_holder_does_not_drive_any_longer_is_not_renewed() {
    for place in places() {
        let store = &*place.open().await;
        assert!(store.begin(query(1), &over("a"), 9, NOW).await.unwrap());
        let none = store.renew(&lease("a"), &[query(2).id]).await.unwrap();
        assert!(none.is_empty());
        assert!(store.take_up(&lease("b")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn the_log_has_no_gaps_whoever_appends_and_stays_when_its_queries_are_gone() {
    for place in places() {
        let store = place.open().await;
        // Two Conductors append at the same time if they can share a store, each query twice.
        let other = match &place {
            #[cfg(feature = "postgres")]
            Place::Postgres(_) => Some(place.open().await),
            Place::File(_) => None,
        };
        let append = async |number: u8, turn: usize| {
            let both = [Some(&store), other.as_ref()];
            let store = both[turn % 2].unwrap_or(&store);
            let leaf = [number; 32];
            store
                .append(1, QueryId(leaf), leaf, vec![number])
                .await
                .unwrap()
        };
        let mut places = Vec::new();
        for number in 0..20 {
            let (one, two, again) = tokio::join!(
                append(number, 0),
                append(100 + number, 1),
                append(number, 1)
            );
            assert_eq!(one, again);
            places.extend([one, two]);
        }
        places.sort_unstable();
        assert!(places.iter().copied().eq(0..40));
        let leaves = store.leaves(1, 0, 100).await.unwrap();
        assert_eq!(leaves.len(), 40);
        assert_eq!(store.leaves(1, 5, 3).await.unwrap(), leaves[5..8]);
        assert!(store.leaves(1, 40, 3).await.unwrap().is_empty());
        let manifests = store.logged(1, 38, 100).await.unwrap();
        assert_eq!(manifests, [vec![leaves[38][0]], vec![leaves[39][0]]]);

        // The next log begins at place 0, and may have the same query.
        let again = store.append(2, QueryId([5; 32]), [5; 32], vec![5]).await;
        assert_eq!(again.unwrap(), 0);
        assert_eq!(store.leaves(2, 0, 9).await.unwrap(), [[5; 32]]);
        assert_eq!(store.head(2).await.unwrap(), None);
        assert_eq!(store.head(1).await.unwrap(), None);
        for (size, head) in [(7, 7), (9, 9), (8, 8)] {
            store.keep_head(1, size, vec![head]).await.unwrap();
        }
        assert_eq!(store.head(1).await.unwrap(), Some(vec![9]));
        assert!(store.begin(query(1), &lease("a"), 9, NOW).await.unwrap());
        store.expire(NOW.plus(1 << 40)).await.unwrap();
        drop((store, other));
        let store = place.open().await;
        assert_eq!(store.leaves(1, 0, 100).await.unwrap(), leaves);
        assert_eq!(store.head(1).await.unwrap(), Some(vec![9]));
    }
}

#[tokio::test]
async fn a_querier_that_takes_every_place_keeps_nobody_else_out() {
    for place in places() {
        let store = &*place.open().await;
        let mine = lease("a");
        let query_of = |number: u8, querier: &str| NewQuery {
            querier: Name::new(querier).unwrap(),
            ..query(number)
        };
        let begin = |number, querier| store.begin(query_of(number, querier), &mine, 8, NOW);
        // The share of one querier is a quarter of eight places.
        for number in [1, 2] {
            assert!(begin(number, "greedy").await.unwrap());
        }
        let refused = begin(3, "greedy").await.unwrap_err();
        assert!(matches!(refused, Error::OwnQueries(2)), "{refused}");
        assert_eq!(refused.fault(), dispers_node::Fault::TryLater);
        assert!(begin(4, "other").await.unwrap());
        // A query that was begun stays stored, whoever submits it again.
        assert!(!begin(1, "greedy").await.unwrap());
        // Ended queries take no place, and the latest of them are still answered.
        for number in 10..30 {
            assert!(begin(number, "busy").await.unwrap(), "{number}");
            let id = query(number).id;
            store.save(id, "a", 0, state(number, true)).await.unwrap();
        }
        let mut answered = Vec::new();
        for number in 10..30 {
            if store.see(query(number).id).await.is_ok() {
                answered.push(number);
            }
        }
        assert_eq!(answered.len(), 8, "{answered:?}");
        assert!(answered.contains(&29));
        for number in [1, 2, 4] {
            assert!(store.see(query(number).id).await.is_ok());
        }
    }
}
