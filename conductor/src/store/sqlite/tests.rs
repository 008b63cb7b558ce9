//! Tests of the file itself: an older or newer version, a full disk, a read-only or a removed file.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::store::tests::{NOW, batch, lease, query, state, upload};

fn refusal(path: &Path) -> String {
    Sqlite::open(path).err().expect("it is refused").to_string()
}

fn pragma(store: &Sqlite, name: &str, value: i64) {
    let set = store.0.read(|file| file.pragma_update(None, name, value));
    set.unwrap();
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conductor.db");
    let old = dispers_node::connect(&path).unwrap().unwrap();
    old.execute_batch(SCHEMA.migrations[0]).unwrap();
    old.pragma_update(None, "application_id", SCHEMA.application)
        .unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let envelopes = to_bytes(&upload(1, &[1]).envelopes);
    old.execute(
        "INSERT INTO upload (name, key_epoch, envelopes, entries) VALUES (x'01', 1, ?1, 1)",
        [envelopes],
    )
    .unwrap();
    old.execute("INSERT INTO entry VALUES (?1, 1, 0, x'07')", [[4u8; 32]])
        .unwrap();
    drop(old);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.uploads(KeyEpoch(1), 0).await.unwrap(), [1]);
    let segment = store.segment(1, &[Pseudonym([4; 32])]).await.unwrap();
    let segment: ListSegment = from_bytes(&segment, 1 << 20, "segment").unwrap();
    assert_eq!(segment.entries[0].ciphertext, [7]);
    assert!(store.begin(query(1), &lease("a"), 9, NOW).await.unwrap());
}

#[tokio::test]
async fn a_newer_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conductor.db");
    drop(Sqlite::open(&path).unwrap());
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let before = fs::read(&path).unwrap();
    let refused = refusal(&path);
    assert!(
        refused.contains("newer dispers (version 99") && refused.contains("run that one"),
        "{refused}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_and_keeps_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("conductor.db")).unwrap();
    store.add(upload(10, &[1]), 99).await.unwrap();
    let id = query(1).id;
    store.begin(query(1), &lease("a"), 9, NOW).await.unwrap();
    pragma(&store, "max_page_count", 1);
    let large = || {
        let mut large = upload(20, &[1]);
        large.entries[0].ciphertext = vec![7; 1 << 20];
        large
    };
    let mut grown = state(1, false);
    grown.record = vec![7; 1 << 20];
    for refused in [
        store.add(large(), 99).await,
        store.keep(id, "a", batch(0), vec![7; 1 << 20]).await,
        store.save(id, "a", 0, grown.clone()).await,
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Storage(_)));
        let refused = refused.to_string();
        assert!(
            refused.contains("no space is left") && refused.contains("free some"),
            "{refused}"
        );
    }
    assert_eq!(store.uploads(KeyEpoch(1), 0).await.unwrap(), [1]);
    pragma(&store, "max_page_count", 100_000);
    store.add(large(), 2).await.unwrap();
    store.save(id, "a", 0, grown).await.unwrap();
}

#[tokio::test]
async fn a_file_that_may_not_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conductor.db");
    let store = Sqlite::open(&path).unwrap();
    pragma(&store, "query_only", 1);
    let refused = store.add(upload(1, &[1]), 9).await.unwrap_err().to_string();
    assert!(
        refused.contains("read-only: let this user write it"),
        "{refused}"
    );
    pragma(&store, "query_only", 0);
    store.add(upload(1, &[1]), 9).await.unwrap();
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    // A user with all privileges can open the file all the same.
    if let Err(error) = Sqlite::open(&path) {
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_removed_in_the_middle_is_noticed_before_anything_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conductor.db");
    let store = Sqlite::open(&path).unwrap();
    let id = query(1).id;
    store.begin(query(1), &lease("a"), 9, NOW).await.unwrap();
    fs::remove_file(&path).unwrap();
    for refused in [
        store.save(id, "a", 0, state(1, false)).await,
        store.add(upload(1, &[1]), 9).await,
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("was removed or replaced") && refused.contains("restart"),
            "{refused}"
        );
    }
    // A new file in its place is not the same file.
    fs::write(&path, "").unwrap();
    let refused = store.add(upload(1, &[1]), 9).await.unwrap_err();
    assert!(refused.to_string().contains("was removed or replaced"));
    drop(store);
    fs::remove_file(&path).unwrap();
    let store = Sqlite::open(&path).unwrap();
    assert!(matches!(store.see(id).await, Err(Error::UnknownQuery)));
}
