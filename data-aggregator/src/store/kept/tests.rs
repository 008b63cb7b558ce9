//! Tests of the file's contents, and that erased contents are absent.

use std::path::Path;

use dispers_base::{id::BatchId, keys::Signature, signed::Signed};
use dispers_privacy::{Expense, Rho};

use super::*;
use crate::{
    SCHEMA,
    store::ledger::{
        self, Ledger,
        tests::{EPOCH, expense, name},
    },
};

const QUERY_ID: QueryId = QueryId([7; 32]);
const NOW: Timestamp = Timestamp(1_800_000_000_000);
const LATER: Timestamp = Timestamp(1_800_003_600_000);
const MARK: &[u8] = b"a share of somebody's sum";

fn batch(number: u32) -> Part {
    let batch = BatchId {
        partition: 0,
        committee: 0,
        number,
    };
    Part::Batch { round: 0, batch }
}

fn record(bytes: &[u8]) -> Record {
    Record::new(Zeroizing::new(bytes.to_vec()))
}

fn manifest() -> SignedManifest {
    Signed::from_parts(b"the manifest's body".to_vec(), Signature([3; 64])).into()
}

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn kept(path: &Path) -> Kept {
    Kept::new(Database::open(path, &SCHEMA).unwrap(), &signing(1))
}

fn offer(expires: Timestamp) -> OpenOffer {
    OpenOffer {
        secret: EnvelopeSecretKey::generate(Suite::X25519, &mut rng()),
        querier: name("querier"),
        expires,
    }
}

fn read(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Charges nothing.
fn free(_: &Transaction<'_>) -> Charged {
    Ok(Ok(()))
}

fn wrapped_key(kept: &Kept) -> Vec<u8> {
    let select = "SELECT key FROM query";
    let key = kept
        .database
        .write(|rows| rows.query_one(select, [], |row| row.get(0)));
    key.unwrap()
}

#[test]
fn offers_and_queries_are_there_again_and_the_latest_of_each_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let (taken, open) = (offer(LATER), offer(LATER));
    let store = kept(&path);
    store.put_offer(&taken).unwrap();
    store.put_offer(&open).unwrap();
    let records = [(Part::Query, record(b"head")), (batch(1), record(b"D"))];
    let id = offer_id(&taken.secret.public());
    let key = store
        .replace(QUERY_ID, LATER, &manifest(), &records, Some(&id), free)
        .unwrap()
        .unwrap();
    let changed = [(batch(1), record(MARK)), (batch(2), record(b"D2"))];
    assert!(
        store
            .update(QUERY_ID, &key, &changed, free)
            .unwrap()
            .unwrap()
    );
    drop(store);

    let store = kept(&path);
    let offers = store.offers().unwrap();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].secret.public(), open.secret.public());
    assert_eq!(
        (offers[0].querier.as_str(), offers[0].expires),
        ("querier", LATER)
    );
    let [query] = &store.queries().unwrap()[..] else {
        panic!("one query");
    };
    assert!(query.manifest == manifest() && query.expires == LATER);
    let mut records: Vec<(Part, &[u8])> = query
        .records
        .iter()
        .map(|(part, record)| (*part, record.as_bytes()))
        .collect();
    records.sort_unstable();
    let expected: [(Part, &[u8]); 3] =
        [(Part::Query, b"head"), (batch(1), MARK), (batch(2), b"D2")];
    assert_eq!(records, expected);
    // The restored key is the key of the offer.
    assert!(
        store
            .update(QUERY_ID, &query.key, &changed, free)
            .unwrap()
            .unwrap()
    );
    assert_eq!(store.queries().unwrap().len(), 1);
}

#[test]
fn what_was_written_is_there_however_the_process_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = kept(&folder.path().join("aggregator.db"));
    let records = [(Part::Query, record(b"head"))];
    let key = store
        .replace(QUERY_ID, LATER, &manifest(), &records, None, free)
        .unwrap()
        .unwrap();
    let changed = [(batch(1), record(MARK))];
    assert!(
        store
            .update(QUERY_ID, &key, &changed, free)
            .unwrap()
            .unwrap()
    );
    // Copies of the files while the process still runs.
    let after = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), after.path().join(file.file_name())).unwrap();
    }
    let queries = kept(&after.path().join("aggregator.db")).queries().unwrap();
    assert_eq!(queries[0].records.len(), 2);
}

#[test]
fn a_copy_of_the_file_says_nothing_and_opens_for_no_other_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let store = kept(&path);
    let open = offer(LATER);
    store.put_offer(&open).unwrap();
    let records = [(Part::Query, record(MARK))];
    store
        .replace(QUERY_ID, LATER, &manifest(), &records, None, free)
        .unwrap()
        .unwrap();
    drop(store);
    let bytes = read(folder.path());
    assert!(contains(&bytes, &QUERY_ID.0));
    let seed = open.secret.to_seed_bytes();
    for secret in [MARK, b"the manifest's body", &*seed] {
        assert!(!contains(&bytes, secret));
    }
    let other = Kept::new(Database::open(&path, &SCHEMA).unwrap(), &signing(2));
    for words in [
        other.offers().err().unwrap().to_string(),
        other.queries().err().unwrap().to_string(),
    ] {
        assert!(words.contains("aggregator.db") && words.contains("another signing key"));
    }
}

#[test]
fn an_entry_that_was_changed_or_moved_does_not_open() {
    let second = QueryId([8; 32]);
    let changes = [
        "UPDATE record SET body = (SELECT body FROM record AS r WHERE r.part <> record.part)",
        "UPDATE record SET body = substr(body, 1, length(body) - 1)",
        "UPDATE record SET part = x'0101000000ffffffff' WHERE part = (SELECT max(part) FROM record)",
        "UPDATE query SET key = zeroblob(72)",
        "UPDATE query SET manifest = zeroblob(72)",
        "UPDATE query SET id = zeroblob(32)",
    ];
    for change in changes {
        let store = Kept::new(Database::in_memory(&SCHEMA).unwrap(), &signing(1));
        let records = [(Part::Query, record(b"head")), (batch(1), record(b"D"))];
        store
            .replace(QUERY_ID, LATER, &manifest(), &records, None, free)
            .unwrap()
            .unwrap();
        assert!(store.queries().is_ok());
        store
            .database
            .write(|rows| rows.execute(change, []))
            .unwrap();
        let refused = store.queries().err();
        assert!(
            matches!(refused, Some(DatabaseError::Unreadable { .. })),
            "{change}"
        );
        assert!(
            !store
                .update(second, &StorageKey::generate(&mut rng()), &[], free)
                .unwrap()
                .unwrap()
        );
    }
}

#[test]
fn what_is_replaced_or_expires_leaves_no_key_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let store = kept(&path);
    let records = [(Part::Query, record(b"head")), (batch(1), record(MARK))];
    store
        .replace(QUERY_ID, LATER, &manifest(), &records, None, free)
        .unwrap()
        .unwrap();
    let first = wrapped_key(&store);
    assert!(contains(&read(folder.path()), &first));
    let released = [(Part::Release { round: 0 }, record(b"sealed total"))];
    store
        .replace(QUERY_ID, LATER, &manifest(), &released, None, free)
        .unwrap()
        .unwrap();
    let second = wrapped_key(&store);
    assert_ne!(first, second);
    let bytes = read(folder.path());
    assert!(!contains(&bytes, &first) && contains(&bytes, &second));
    assert_eq!(store.queries().unwrap()[0].records.len(), 1);

    store.put_offer(&offer(NOW)).unwrap();
    // The query is kept for as long as clocks may differ.
    store.expire(LATER.plus(Timestamp::SKEW)).unwrap();
    assert_eq!(store.queries().unwrap().len(), 1);
    assert!(store.offers().unwrap().is_empty());
    store.expire(LATER.plus(Timestamp::SKEW + 1)).unwrap();
    assert!(store.queries().unwrap().is_empty());
    assert!(!contains(&read(folder.path()), &second));
    let key = StorageKey::generate(&mut rng());
    let written = store.update(QUERY_ID, &key, &records, free).unwrap();
    assert!(!written.unwrap());
}

/// Returns a released expense of a query on one population.
fn released(query: u8, rho: u64) -> Expense {
    Expense {
        expires: LATER,
        released: true,
        ..expense(1, query, rho)
    }
}

/// Charges 60 of a budget of 100.
fn charge(rows: &Transaction<'_>) -> Charged {
    let charged = released(7, 60);
    ledger::charge(rows, &name("querier"), EPOCH, &[charged], Rho(100), NOW)
}

/// Returns the numbers of the query's records and of its released expenses in the file.
fn in_file(path: &Path) -> (usize, usize) {
    let store = kept(path);
    let records = store.queries().unwrap()[0].records.len();
    let held = Ledger(store.database()).of(&name("querier"), EPOCH, LATER);
    let held = held.unwrap().into_iter().filter(|expense| expense.released);
    (records, held.count())
}

#[test]
fn a_crash_between_any_two_writes_frees_nothing_that_was_released() {
    let release = [(Part::Release { round: 0 }, record(MARK))];
    // Table whose write fails, in the order of the writes of a step.
    for full in [Some("expense"), Some("record"), None] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aggregator.db");
        let store = kept(&path);
        let head = [(Part::Query, record(b"head"))];
        let key = store
            .replace(QUERY_ID, LATER, &manifest(), &head, None, free)
            .unwrap()
            .unwrap();
        for whole in [false, true] {
            if let Some(table) = full {
                let trigger = format!(
                    "CREATE TEMP TRIGGER disk_full BEFORE INSERT ON {table}
                     BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
                );
                store
                    .database
                    .write(|rows| rows.execute(&trigger, []))
                    .unwrap();
            }
            let all = [
                (Part::Query, record(b"head")),
                (Part::Release { round: 0 }, record(MARK)),
            ];
            let written = match whole {
                false => store.update(QUERY_ID, &key, &release, charge).map(drop),
                true => store
                    .replace(QUERY_ID, LATER, &manifest(), &all, None, charge)
                    .map(drop),
            };
            assert_eq!(written.is_err(), full.is_some(), "{full:?}");
            if full.is_some() {
                store
                    .database
                    .write(|rows| rows.execute("DROP TRIGGER disk_full", []))
                    .unwrap();
            }
            // The file has both or neither, wherever the process ends.
            let expected = if full.is_some() { (1, 0) } else { (2, 1) };
            let after = tempfile::tempdir().unwrap();
            for file in std::fs::read_dir(folder.path()).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), after.path().join(file.file_name())).unwrap();
            }
            assert_eq!(
                in_file(&after.path().join("aggregator.db")),
                expected,
                "{full:?}"
            );
        }
    }
}

#[test]
fn a_step_whose_charge_the_budget_does_not_allow_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let store = kept(&path);
    let head = [(Part::Query, record(b"head"))];
    let key = store
        .replace(QUERY_ID, LATER, &manifest(), &head, None, free)
        .unwrap()
        .unwrap();
    let ledger = Ledger(store.database());
    let charged = ledger.charge(&name("querier"), EPOCH, &[released(8, 41)], Rho(100), NOW);
    charged.unwrap().unwrap();
    let release = [(Part::Release { round: 0 }, record(MARK))];
    assert!(
        store
            .update(QUERY_ID, &key, &release, charge)
            .unwrap()
            .is_err()
    );
    drop(store);
    assert_eq!(in_file(&path), (1, 1));
}
