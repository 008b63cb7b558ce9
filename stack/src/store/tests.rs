//! Tests of the store of a stack.

use dispers_base::id::KeyEpoch;
use dispers_core::subscription::{Handle, HomeId};
use dispers_query::local::FieldValue;

use super::*;
use crate::{Selector, Sheet};

const PEOPLE: &str = "id,Age,name\na,40,Ann\nb,,Bob\na,41,Ann\nc,50,Cy\n";

fn id(home: &str) -> HomeId {
    HomeId(home.into())
}

fn filled() -> Store {
    let store = Store::in_memory().unwrap();
    let sheet = Sheet::parse("people.csv", PEOPLE.as_bytes()).unwrap();
    let homes = sheet.homes(Some("ID")).unwrap();
    assert_eq!(
        store
            .import("People", &sheet, homes.iter().zip(0..))
            .unwrap(),
        4
    );
    store
}

#[test]
fn the_named_fields_of_the_named_homes_are_read_and_nothing_else() {
    let store = filled();
    let homes = [id("c"), id("a"), id("nobody")];
    let mut read = store
        .documents("PEOPLE", &["AGE"], &homes, &Selector::default())
        .unwrap();
    read.sort_by_key(|(place, _)| *place);
    let ages: Vec<(u32, Vec<FieldValue>)> = [(0, 50), (1, 40), (1, 41)]
        .map(|(place, age)| (place, vec![FieldValue::Integer(age)]))
        .into();
    assert!(read == ages);
    let missing = store
        .documents(
            "people",
            &["age", "height"],
            &[id("b")],
            &Selector::default(),
        )
        .unwrap();
    assert!(missing == [(0, vec![FieldValue::Null, FieldValue::Null])]);
}

#[test]
fn a_field_name_is_never_taken_for_sql_or_a_path() {
    let store = filled();
    for name in ["age\", '$.name", "') FROM secret --", "$", ""] {
        let read = store
            .documents("people", &[name], &[id("a")], &Selector::default())
            .unwrap();
        assert!(read.iter().all(|(_, values)| *values == [FieldValue::Null]));
    }
}

#[test]
fn a_home_keeps_its_secrets_within_an_epoch_and_changes_them_with_it() {
    let store = filled();
    let tag = |home: &str, epoch| store.secrets(&id(home), KeyEpoch(epoch)).unwrap().tag;
    assert_eq!(tag("a", 1), tag("a", 1));
    assert_ne!(tag("a", 1), tag("a", 2));
    assert_ne!(tag("a", 1), tag("b", 1));
}

#[test]
fn a_home_consents_once_it_is_subscribed() {
    let store = filled();
    let (a, epoch) = (id("a"), KeyEpoch(1));
    assert!(store.asked(&a, epoch).unwrap().is_none());
    store.secrets(&a, epoch).unwrap();
    assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, false))));
    let subscription = [(a.clone(), "city>lyon".to_owned(), Handle([1; 16]))];
    store.sending(&subscription).unwrap();
    store.subscribed(epoch, &subscription, false).unwrap();
    assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, true))));
    assert_eq!(store.subscriptions(&a, epoch).unwrap(), ["city>lyon"]);
    assert!(store.subscriptions(&a, KeyEpoch(2)).unwrap().is_empty());
}

#[test]
fn a_handle_is_known_from_before_it_is_sent_until_its_withdrawal_arrived() {
    let store = filled();
    let (a, epoch) = (id("a"), KeyEpoch(1));
    store.secrets(&a, epoch).unwrap();
    let of = |concept: &str, byte| (a.clone(), concept.to_owned(), Handle([byte; 16]));
    let both = [of("home>all", 1), of("city>lyon", 2)];
    store.sending(&both).unwrap();
    // While an upload is on its way, another process does not withdraw it.
    assert!(store.leaving().unwrap().is_empty());
    store.lost(&both).unwrap();
    assert_eq!(store.leaving().unwrap().len(), 2);
    store
        .left(&both.clone().map(|(_, _, handle)| handle))
        .unwrap();
    store.sending(&both).unwrap();
    store.subscribed(epoch, &both, false).unwrap();
    assert!(store.leaving().unwrap().is_empty());

    assert_eq!(store.leave(&a, Some("city>paris")).unwrap(), 0);
    assert_eq!(store.leave(&a, Some("city>lyon")).unwrap(), 1);
    assert_eq!(store.leaving().unwrap(), [Handle([2; 16])]);
    assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, true))));
    assert_eq!(store.leave(&a, None).unwrap(), 1);
    assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, false))));
    store.left(&[Handle([2; 16])]).unwrap();
    assert_eq!(store.leaving().unwrap(), [Handle([1; 16])]);
}

#[test]
fn a_subscription_sent_again_replaces_the_one_of_its_epoch_and_ends_in_every_epoch() {
    let store = filled();
    let a = id("a");
    let of = |byte| [(a.clone(), "home>all".to_owned(), Handle([byte; 16]))];
    let mut secrets = Vec::new();
    for (epoch, handle) in [(1, 1), (1, 2), (2, 3)] {
        secrets.push(store.secrets(&a, KeyEpoch(epoch)).unwrap().tag);
        store.sending(&of(handle)).unwrap();
        let noted = store.subscribed(KeyEpoch(epoch), &of(handle), handle > 1);
        assert_eq!(noted.unwrap(), 1);
    }
    assert_eq!(store.leaving().unwrap(), [Handle([1; 16])]);
    let subscribers = store.subscribers().unwrap();
    assert_eq!(subscribers[&a], ["home>all"]);
    assert_eq!(subscribers.len(), 1);

    // The first epoch is over.
    store.forget_before(KeyEpoch(2)).unwrap();
    assert!(store.asked(&a, KeyEpoch(1)).unwrap().is_none());
    assert!(store.subscriptions(&a, KeyEpoch(1)).unwrap().is_empty());
    assert_eq!(store.secrets(&a, KeyEpoch(2)).unwrap().tag, secrets[2]);

    // A withdrawal ends the subscription in both epochs, also one that is on its way.
    store.sending(&of(4)).unwrap();
    store.subscribed(KeyEpoch(3), &of(4), true).unwrap();
    store.sending(&of(5)).unwrap();
    assert_eq!(store.leave(&a, None).unwrap(), 1);
    assert_eq!(store.subscribed(KeyEpoch(3), &of(5), true).unwrap(), 0);
    assert!(store.subscribers().unwrap().is_empty());
    let mut leaving = store.leaving().unwrap();
    leaving.sort_by_key(|handle| handle.0);
    assert_eq!(leaving, [1, 3, 4, 5].map(|byte| Handle([byte; 16])));
}

#[test]
fn what_another_process_withdrew_on_its_way_is_not_noted() {
    let store = filled();
    let subscription = [(id("a"), "home>all".to_owned(), Handle([1; 16]))];
    store.sending(&subscription).unwrap();
    store.lost(&subscription).unwrap();
    store.left(&[Handle([1; 16])]).unwrap();
    assert_eq!(
        store.subscribed(KeyEpoch(1), &subscription, false).unwrap(),
        0
    );
    assert_eq!(store.leaving().unwrap(), [Handle([1; 16])]);
    assert!(store.subscribers().unwrap().is_empty());
}

#[test]
fn work_is_answered_once_also_after_a_restart_and_forgotten_with_its_query() {
    use dispers_base::id::{BatchId, QueryId, Timestamp, Work};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.db");
    let expires = Timestamp(1_800_000_000_000);
    let work = |attempt| Work {
        query: QueryId([1; 32]),
        round: 0,
        batch: BatchId {
            partition: 0,
            committee: 0,
            number: 0,
        },
        attempt,
    };
    let answer = |attempt, now| {
        let store = Store::open(&path).unwrap();
        store.answer_once(&work(attempt), expires, now)
    };
    answer(0, expires).unwrap();
    assert!(matches!(answer(0, expires), Err(Error::Repeated)));
    answer(1, expires).unwrap();
    // Until the clocks' largest difference has passed, the manifest may still be accepted.
    let skewed = expires.plus(Timestamp::SKEW);
    assert!(matches!(answer(1, skewed), Err(Error::Repeated)));
    answer(2, skewed.plus(1)).unwrap();
    let store = Store::open(&path).unwrap();
    let count = "SELECT COUNT(*) FROM answered_last";
    let count = store
        .database
        .read(|rows| rows.query_one(count, [], |row| row.get::<_, i64>(0)));
    assert_eq!(count.unwrap(), 1);
}

#[test]
fn a_session_takes_one_row_a_batch_and_no_round_is_answered_after_a_later_one() {
    use dispers_base::id::{BatchId, QueryId, Timestamp, Work};

    let store = Store::in_memory().unwrap();
    let expires = Timestamp(1_800_000_000_000);
    let work = |number, round, attempt| Work {
        query: QueryId([1; 32]),
        round,
        batch: BatchId {
            partition: 0,
            committee: 0,
            number,
        },
        attempt,
    };
    let answer = |work: Work| store.answer_once(&work, expires, expires);
    for round in 0..1024 {
        for number in 0..2 {
            answer(work(number, round, 0)).unwrap();
        }
    }
    answer(work(0, 1023, 2)).unwrap();
    for (number, round, attempt) in [(0, 1023, 2), (0, 1023, 1), (0, 7, 3), (1, 1022, 7)] {
        let repeated = answer(work(number, round, attempt));
        assert!(matches!(repeated, Err(Error::Repeated)), "{round}");
    }
    let count = "SELECT COUNT(*) FROM answered_last";
    let count = store
        .database
        .read(|rows| rows.query_one(count, [], |row| row.get::<_, i64>(0)));
    assert_eq!(count.unwrap(), 2);
}

#[test]
fn what_several_processes_write_at_once_waits_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.db");
    let stores: Vec<Store> = (0..4).map(|_| Store::open(&path).unwrap()).collect();
    std::thread::scope(|scope| {
        for (home, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                let home = id(&home.to_string());
                for number in 0..50u8 {
                    let handle = Handle([number; 16]);
                    let subscription = [(home.clone(), "home>all".to_owned(), handle)];
                    store.lost(&subscription).unwrap();
                    // A transaction that reads before it writes, between the writes of the other processes.
                    store.leave(&home, None).unwrap();
                }
            });
        }
    });
    assert_eq!(stores[0].leaving().unwrap().len(), 50);
}
