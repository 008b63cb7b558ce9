use std::{path::Path, thread};

use dispers_base::{
    id::{BatchId, KeyEpoch},
    keys::SigningKey,
};
use dispers_node::rng;
use dispers_training::{Family, Feature, Training};

use super::*;
use crate::{
    Effect, Otherwise, Rule, Rules, rule_file,
    testing::{BOUNDS, decide, decide_at, home, later, place, query},
};

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("stack.db")).unwrap()
}

#[test]
fn rules_that_two_processes_add_at_the_same_time_all_stay() {
    let folder = tempfile::tempdir().unwrap();
    let owner = home("a");
    open(folder.path())
        .set_rules([&owner], Rules::default())
        .unwrap();
    let rule = Rule {
        number: 0,
        ..Rules::allow_everything().rules[0].clone()
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            let store = open(folder.path());
            let (owner, rule) = (&owner, &rule);
            scope.spawn(move || {
                for _ in 0..10 {
                    store
                        .change_rules([owner], |rules| rules.rules.push(rule.clone()))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(open(folder.path()).rules(&owner).unwrap().rules.len(), 20);
}

#[test]
fn a_home_without_rules_refuses_and_its_history_says_so() {
    let store = Store::in_memory().unwrap();
    store
        .set_rules([&home("a")], Rules::allow_everything())
        .unwrap();
    let asked = query(1, Some(1_000_000), now().0);
    let outcomes = decide(&store, &asked, false, &["a", "b", "left"]);
    use Outcome::{Allowed, Uncovered, Withdrawn};
    assert_eq!(outcomes, [Allowed, Uncovered, Withdrawn]);
    for (name, outcome) in [("a", Allowed), ("b", Uncovered), ("left", Withdrawn)] {
        let history = store.history(&home(name), 0, 10).unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].outcome, outcome);
        assert_eq!(history[0].query, asked.0.query());
        assert_eq!(history[0].manifest, asked.1);
        assert_eq!(history[0].sent, None);
    }
    assert!(store.history(&home("c"), 0, 10).unwrap().is_empty());
    let groups = [SentGroup {
        aggregator: "da-1".into(),
        bytes: 123,
    }];
    let batch = BatchId {
        partition: 1,
        committee: 0,
        number: 2,
    };
    store.note_sent(asked.0.query(), batch, 3, &groups).unwrap();
    let entry = store.entry(&home("b"), asked.0.query()).unwrap().unwrap();
    assert_eq!(entry.sent, Some((3, groups.to_vec())));
    // Bytes of further attempts and rounds are added.
    let more = ["da-1", "da-2"].map(|aggregator| SentGroup {
        aggregator: aggregator.into(),
        bytes: 7,
    });
    store.note_sent(asked.0.query(), batch, 3, &more).unwrap();
    let entry = store.entry(&home("b"), asked.0.query()).unwrap().unwrap();
    let bytes: Vec<u64> = entry
        .sent
        .unwrap()
        .1
        .iter()
        .map(|group| group.bytes)
        .collect();
    assert_eq!(bytes, [130, 7]);
    // A decision stands, whatever changes.
    store
        .set_rules([&home("b")], Rules::allow_everything())
        .unwrap();
    assert_eq!(decide(&store, &asked, false, &["b"]), [Uncovered]);
}

#[test]
fn a_year_s_epsilon_is_never_overspent_by_queries_at_the_same_time_or_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = Rules::allow_everything();
    rules.epsilon_per_year = Some(5.0);
    open(folder.path()).set_rules([&home("a")], rules).unwrap();
    let allowed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let folder = folder.path();
                scope.spawn(move || {
                    // A store of its own stands for another process.
                    let store = open(folder);
                    let asked = (0..4).map(|n| query(1 + thread * 4 + n, Some(700_000), now().0));
                    asked
                        .filter(|asked| decide(&store, asked, false, &["a"])[0] == Outcome::Allowed)
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(allowed, 7);
    let store = open(folder.path());
    let spent = store.spent(&home("a")).unwrap();
    assert_eq!(
        (spent.all.pure, spent.by_rule[&1].pure),
        (4_900_000, 4_900_000)
    );
    let more = |epsilon| decide(&store, &query(100, Some(epsilon), now().0), false, &["a"]);
    assert_eq!(more(100_001), [Outcome::Spent]);
    assert_eq!(more(100_000), [Outcome::Allowed]);
    assert_eq!(store.history(&home("a"), 0, 100).unwrap().len(), 34);
    assert_eq!(store.history(&home("a"), 30, 100).unwrap().len(), 4);
}

#[test]
fn a_denial_in_a_file_that_was_put_in_the_place_of_an_open_one_stops_the_stack_that_has_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.db");
    let running = Store::open(&path).unwrap();
    running
        .set_rules([&home("a")], Rules::allow_everything())
        .unwrap();
    assert_eq!(
        decide(&running, &query(1, None, 0), false, &["a"]),
        [Outcome::Allowed]
    );
    let beside = |end: &str| folder.path().join(format!("host.db{end}"));
    for end in ["", "-wal", "-shm"] {
        std::fs::copy(beside(end), folder.path().join("copy")).unwrap();
        std::fs::rename(folder.path().join("copy"), beside(end)).unwrap();
    }
    // The command line opens the file that is at the path now.
    let denying = Store::open(&path).unwrap();
    denying.set_rules([&home("a")], Rules::default()).unwrap();
    let (signed, manifest) = query(2, None, 0);
    let deciding = Deciding {
        signed: &signed,
        manifest: &manifest,
        cost: Loss::of(manifest.privacy.as_ref(), 1),
        place: place(),
        announced: false,
        bounds: BOUNDS,
    };
    let decided = running.decide(&deciding, &[(home("a"), true)]);
    for refused in [
        decided.map(drop),
        running.rules(&home("a")).map(drop),
        running.homes().map(drop),
        running.set_rules([&home("a")], Rules::default()),
    ] {
        let refused = refused.unwrap_err().to_string();
        for words in ["host.db was removed or replaced", "restart the stack"] {
            assert!(refused.contains(words), "{refused}");
        }
    }
    let again = query(3, None, 0);
    assert_ne!(decide(&denying, &again, false, &["a"]), [Outcome::Allowed]);
    // A removed file is detected too.
    drop(running);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(end));
    }
    assert!(denying.rules(&home("a")).is_err());
}

#[test]
fn a_home_answers_so_many_exact_queries_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let homes = ["a", "b"].map(home);
    store.set_rules(&homes, Rules::allow_everything()).unwrap();
    let (first, second, third) = (query(1, None, 0), query(2, None, 0), query(3, None, 0));
    assert_eq!(
        decide(&store, &first, false, &["a", "b"]),
        [Outcome::Allowed; 2]
    );
    assert_eq!(decide(&store, &second, false, &["a"]), [Outcome::Allowed]);
    drop(store);
    let store = open(folder.path());
    let outcomes = decide(&store, &third, false, &["a", "b"]);
    assert_eq!(outcomes, [Outcome::TooManyExact, Outcome::Allowed]);
    // Another attempt at the same query gets the same decision.
    assert_eq!(decide(&store, &first, false, &["a"]), [Outcome::Allowed]);
    let noisy = query(4, Some(1_000_000), 0);
    assert_eq!(decide(&store, &noisy, false, &["a"]), [Outcome::Allowed]);
    // In the next key epoch the count begins again.
    let (_, mut manifest) = query(5, None, 0);
    manifest.key_epoch = KeyEpoch(2);
    let next = (manifest.sign(&SigningKey::generate(&mut rng())), manifest);
    assert_eq!(decide(&store, &next, false, &["a"]), [Outcome::Allowed]);
}

#[test]
fn an_owner_is_asked_and_decides_once() {
    let store = Store::in_memory().unwrap();
    let rules = Rules {
        otherwise: Otherwise::Ask,
        epsilon_per_year: Some(2.0),
        ..Rules::default()
    };
    let homes = ["a", "b", "c", "d"].map(home);
    store.set_rules(&homes, rules).unwrap();
    let asked = query(1, Some(1_500_000), later());
    let id = asked.0.query();
    let names = ["a", "b", "c"];
    assert_eq!(decide(&store, &asked, true, &names), [Outcome::Waiting; 3]);
    let word = |name: &str, query: &(SignedManifest, Manifest), allow| {
        store.word(&home(name), query.0.query(), allow, BOUNDS)
    };
    let said = |name, query, allow| word(name, query, allow).unwrap_err().to_string();
    assert_eq!(word("a", &asked, true).unwrap(), Outcome::AllowedByOwner);
    assert!(said("a", &asked, false).contains("decided before: allowed-by-owner"));
    assert_eq!(word("b", &asked, false).unwrap(), Outcome::DeniedByOwner);
    assert!(said("d", &asked, true).contains("was not asked"));
    // A second announcement changes no word. When the query is asked, an owner who said nothing refuses.
    let told = decide(&store, &asked, true, &names);
    assert_eq!(told[2], Outcome::Waiting);
    use Outcome::{AllowedByOwner, DeniedByOwner, Late};
    let answered = decide(&store, &asked, false, &names);
    assert_eq!(answered, [AllowedByOwner, DeniedByOwner, Late]);
    assert!(said("c", &asked, true).contains("decided before: not-answered-in-time"));
    assert_eq!(store.entry(&home("c"), id).unwrap().unwrap().outcome, Late);
    // Nobody is asked once it is time to answer.
    assert_eq!(decide(&store, &asked, false, &["d"]), [Late]);
    let over = query(2, Some(100_000), now().0 - 1);
    assert_eq!(decide(&store, &over, true, &["a"]), [Outcome::Waiting]);
    assert!(said("a", &over, true).contains("is over"));
    // A query that its owner allows counts for the year too, and cannot exceed the year's limit.
    let more = query(3, Some(600_000), later());
    assert_eq!(decide(&store, &more, true, &["a"]), [Outcome::Waiting]);
    assert!(said("a", &more, true).contains("raise epsilon-per-year"));
    assert_eq!(store.spent(&home("a")).unwrap().all.pure, 1_500_000);
    assert_eq!(word("a", &more, false).unwrap(), DeniedByOwner);
}

#[test]
fn homes_with_the_same_rules_share_them_and_one_that_changes_changes_alone() {
    let store = Store::in_memory().unwrap();
    let homes: Vec<HomeId> = (0..100).map(|n| home(&n.to_string())).collect();
    store.set_rules(&homes, Rules::allow_everything()).unwrap();
    let mut rules = Rules::default();
    rules.rules.push(Rule::new(Effect::Deny));
    store.set_rules([&homes[3]], rules).unwrap();
    assert_eq!(
        store.rules(&homes[3]).unwrap().rules[0].effect,
        Effect::Deny
    );
    assert_eq!(store.rules(&homes[4]).unwrap(), Rules::allow_everything());
    assert_eq!(store.rules(&home("other")).unwrap(), Rules::default());
    let count = "SELECT COUNT(*) FROM rules";
    let count = store
        .database
        .read(|rows| rows.query_one(count, [], |row| row.get::<_, i64>(0)));
    assert_eq!(count.unwrap(), 2);
}

/// Returns a query that trains a model in `rounds` rounds.
fn session(number: u32, epsilon: Option<u64>, rounds: u16) -> (SignedManifest, Manifest) {
    let (_, mut manifest) = query(number, epsilon, now().0);
    manifest.training = Some(Training {
        guarded: true,
        features: vec![Feature::Number(0)],
        label: None,
        family: Family::KMeans {
            clusters: 2,
            candidates: 8,
        },
        bits: 8,
        clip: 1.0,
        held_out: 0,
        updates: rounds,
    });
    manifest.rounds = rounds;
    (manifest.sign(&SigningKey::generate(&mut rng())), manifest)
}

#[test]
fn a_home_that_withdraws_or_denies_during_a_session_contributes_zeros_from_then_on() {
    let store = Store::in_memory().unwrap();
    let homes = [home("a"), home("left")];
    store.set_rules(&homes, Rules::allow_everything()).unwrap();
    let asked = session(1, Some(1_000_000), 40);
    let subscribed: Vec<(HomeId, bool)> = homes.iter().map(|home| (home.clone(), true)).collect();
    let deciding = Deciding {
        signed: &asked.0,
        manifest: &asked.1,
        cost: Loss::of(asked.1.privacy.as_ref(), 1),
        place: place(),
        announced: false,
        bounds: BOUNDS,
    };
    use Outcome::{Allowed, Denied, Withdrawn};
    let outcomes = store.decide(&deciding, &subscribed).unwrap().outcomes;
    assert_eq!(outcomes, [Some(Allowed), Some(Allowed)]);
    // One home is now subscribed to nothing.
    assert_eq!(
        decide(&store, &asked, false, &["a", "left"]),
        [Allowed, Withdrawn]
    );
    let mut rules = Rules::allow_everything();
    rules.rules.push(Rule::new(Effect::Deny));
    store.set_rules([&home("a")], rules).unwrap();
    assert_eq!(
        decide(&store, &asked, false, &["a", "left"]),
        [Denied, Withdrawn]
    );
    // A rule that no longer covers the session does not take the decision back.
    store.set_rules([&home("a")], Rules::default()).unwrap();
    assert_eq!(decide(&store, &asked, false, &["a"]), [Allowed]);
}

#[test]
fn an_exact_session_counts_as_a_query_for_every_twenty_rounds() {
    let store = Store::in_memory().unwrap();
    store
        .set_rules([&home("a")], Rules::allow_everything())
        .unwrap();
    use Outcome::{Allowed, TooManyExact};
    // The limit is two queries.
    let outcome = |asked: &(SignedManifest, Manifest)| decide(&store, asked, false, &["a"])[0];
    assert_eq!(outcome(&session(1, None, 41)), TooManyExact);
    assert_eq!(outcome(&session(2, Some(1_000_000), 1024)), Allowed);
    let first = session(3, None, 20);
    assert_eq!(outcome(&first), Allowed);
    assert_eq!(outcome(&session(4, None, 21)), TooManyExact);
    assert_eq!(outcome(&query(5, None, now().0)), Allowed);
    assert_eq!(outcome(&query(6, None, now().0)), TooManyExact);
    // A session that was begun goes on.
    assert_eq!(outcome(&first), Allowed);
}

#[test]
fn a_home_takes_part_in_a_query_where_it_reached_it_first_and_pays_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let names = ["a", "b", "c"];
    let homes: Vec<HomeId> = names.iter().map(|name| home(name)).collect();
    store.set_rules(&homes, Rules::allow_everything()).unwrap();
    let asked = query(1, Some(1_000_000), 0);
    let at = |store: &Store, place: Place, announced, homes: &[&str]| {
        decide_at(store, (&asked.0, &asked.1), place, announced, homes)
    };
    let allowed = Some(Outcome::Allowed);
    let (first, find) = (place(), place().find);
    let batch = |number| BatchId {
        number,
        ..place().batch
    };
    let other_batch = Place {
        find,
        batch: batch(3),
    };
    let other_find = Place {
        find: dispers_core::ticket::FindId([2; 32]),
        batch: batch(2),
    };
    // An ask and an announcement both count as the first time.
    assert_eq!(at(&store, first, false, &["a"]), [allowed]);
    assert_eq!(at(&store, other_batch, true, &["b"]), [allowed]);
    let spent = store.spent(&home("a")).unwrap();
    drop(store);
    let store = open(folder.path());
    for elsewhere in [other_batch, other_find] {
        assert_eq!(at(&store, elsewhere, false, &["a"]), [None]);
        assert_eq!(at(&store, elsewhere, true, &["a"]), [None]);
    }
    assert_eq!(at(&store, first, false, &["b"]), [None]);
    assert_eq!(
        at(&store, other_find, false, &["a", "c", "b"]),
        [None, allowed, None]
    );
    assert_eq!(store.spent(&home("a")).unwrap(), spent);
    // At its first place the home still takes part in further attempts and rounds.
    assert_eq!(at(&store, first, false, &["a"]), [allowed]);
    assert_eq!(at(&store, other_batch, false, &["b"]), [allowed]);
    let another = query(2, Some(1_000_000), 0);
    let elsewhere = decide_at(&store, (&another.0, &another.1), other_batch, false, &["a"]);
    assert_eq!(elsewhere, [allowed]);
}

#[test]
fn a_new_rule_does_not_begin_with_what_a_removed_one_spent() {
    let store = Store::in_memory().unwrap();
    let homes = ["a", "b"].map(home);
    let limited = |number| Rule {
        number,
        epsilon_per_year: Some(1.0),
        ..Rule::everything()
    };
    let file = "[[rule]]\neffect = 'allow'\nexact = true\ntraining = true\nepsilon-per-year = 1.0";
    let file = || rule_file::parse(file).unwrap();
    store.set_rules(&homes, file()).unwrap();
    let asked = |number| query(number, Some(1_000_000), now().0);
    let numbers = |home| -> Vec<u32> {
        let rules = store.rules(home).unwrap().rules;
        rules.iter().map(|rule| rule.number).collect()
    };
    assert_eq!(decide(&store, &asked(1), false, &["a"]), [Outcome::Allowed]);
    assert_eq!(decide(&store, &asked(2), false, &["a"]), [Outcome::Spent]);
    // The same file again is the same rule, which has spent its ε.
    store.set_rules(&homes, file()).unwrap();
    assert_eq!(numbers(&homes[0]), [1]);
    assert_eq!(decide(&store, &asked(3), false, &["a"]), [Outcome::Spent]);
    for next in 2..4 {
        store
            .change_rules([&homes[0]], |rules| rules.rules.clear())
            .unwrap();
        assert!(numbers(&homes[0]).is_empty());
        let add = |rules: &mut Rules| rules.rules.push(limited(0));
        store.change_rules([&homes[0]], add).unwrap();
        assert_eq!(numbers(&homes[0]), [next]);
        let allowed = decide(&store, &asked(2 + next), false, &["a"]);
        assert_eq!(allowed, [Outcome::Allowed]);
    }
    // Both homes get the same rule, with a number that is new at each.
    let add = |rules: &mut Rules| rules.rules.push(Rule::new(Effect::Deny));
    store.change_rules(&homes, add).unwrap();
    assert_eq!(
        (numbers(&homes[0]), numbers(&homes[1])),
        (vec![3, 4], vec![1, 2])
    );
}
