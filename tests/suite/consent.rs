//! Tests that homes answer only queries that their owners allow, by rule or by word.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use dispers_core::subscription::HomeId;
use dispers_querier::PrivacyLoss;
use dispers_sandbox::{Host, Network, Options, Through};
use dispers_sql::decode::Value;
use dispers_stack::{
    Bounds, Connector, Document, Effect, Otherwise, Outcome, Rule, Rules, Selector,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{options, plain::write};

const SQL: &str = "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 100, 1)) AS ages FROM people";

/// Returns a network of eighty people at two hosts; person `n` has age `n`.
fn people(rules: Rules) -> (TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    write(
        &path,
        "home,age,weight",
        (0..80).map(|n| format!("p{n},{n},70")),
    );
    let options = Options {
        home_column: Some("home".into()),
        hosts: 2,
        attached: 1,
        rules,
        ..options(vec![path])
    };
    (folder, options)
}

fn age(home: &HomeId) -> i64 {
    home.0[1..].parse().unwrap()
}

/// Sets `rules` for the homes of a host whose age `chosen` selects.
fn set(host: &Host, rules: &Rules, chosen: impl Fn(i64) -> bool) {
    let homes = host.store.homes().unwrap();
    let homes: Vec<&HomeId> = homes.iter().filter(|home| chosen(age(home))).collect();
    host.store.set_rules(homes, rules.clone()).unwrap();
}

fn one(rule: Rule) -> Rules {
    Rules {
        rules: vec![rule],
        ..Rules::default()
    }
}

/// Computes the answer over the homes whose age `chosen` selects, in the clear.
fn plain(chosen: impl Fn(i64) -> bool) -> Vec<Value> {
    let ages: Vec<i128> = (0..80).filter(|n| chosen(*n)).map(i128::from).collect();
    let sum = ages.iter().sum();
    vec![Value::Integer(ages.len() as i128), Value::Integer(sum)]
}

#[tokio::test(flavor = "multi_thread")]
async fn homes_answer_what_their_rules_allow_and_nobody_learns_who_refused() {
    let (_folder, options) = people(Rules::default());
    let network = Network::start(&options, |_| {}).await.unwrap();
    // By default no home answers truly, but all contribute.
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!((result.homes.targeted, result.homes.accepted), (80, 80));
    assert_eq!(result.table.rows.len(), 0);

    let exact = |rule: Rule| Rule {
        exact: true,
        ..rule
    };
    let ages = Rule {
        fields: Some(vec!["age".into()]),
        ..exact(Rule::new(Effect::Allow))
    };
    for host in network.hosts() {
        set(host, &one(ages.clone()), |n| n < 50);
        let large = Rule {
            min_cohort: Some(30),
            ..ages.clone()
        };
        set(host, &one(large), |n| (50..60).contains(&n));
        let mut rules = one(exact(Rule::new(Effect::Allow)));
        rules.rules.push(Rule {
            fields: Some(vec!["weight".into()]),
            ..Rule::new(Effect::Deny)
        });
        set(host, &rules, |n| (60..65).contains(&n));
        let others = Rule {
            queriers: Some(vec!["somebody".into()]),
            ..ages.clone()
        };
        set(host, &one(others), |n| n >= 65);
    }
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!(result.homes.accepted, 80);
    assert_eq!(
        result.table.rows[0],
        plain(|n| n < 50 || (60..65).contains(&n))
    );
    let result = network.ask(SQL, Some(30), |_| {}).await.unwrap();
    assert_eq!(result.table.rows[0], plain(|n| n < 65));
    // A field that a rule does not name cannot be read, nor can one that a rule denies.
    let weights = "SELECT COUNT(*) AS n FROM people WHERE weight > 0";
    let result = network.ask(weights, None, |_| {}).await.unwrap();
    assert_eq!((result.homes.accepted, result.table.rows.len()), (80, 0));

    for host in network.hosts() {
        for home in host.store.homes().unwrap() {
            let history = host.store.history(&home, 0, 10).unwrap();
            let outcomes: Vec<Outcome> = history.iter().map(|entry| entry.outcome).collect();
            use Outcome::{Allowed, Denied, Uncovered};
            let expected = match age(&home) {
                0..50 => [Uncovered, Allowed, Allowed, Uncovered],
                50..60 => [Uncovered, Allowed, Uncovered, Uncovered],
                60..65 => [Denied, Allowed, Allowed, Uncovered],
                _ => [Uncovered; 4],
            };
            assert_eq!(outcomes, expected, "{}", home.0);
            // Homes that refused sent as much as the others.
            for entry in history {
                let (homes, groups) = entry.sent.unwrap();
                assert!(homes > 20 && groups.len() == 3);
                assert!(groups.iter().all(|group| group.bytes > 500));
            }
        }
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_who_decide_each_time_have_until_it_is_time_to_answer() {
    let ask = Rules {
        otherwise: Otherwise::Ask,
        ..Rules::default()
    };
    let (_folder, options) = people(ask);
    let options = Options {
        batch_size: 25,
        ..options
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    // Without time to ask the owners, no home answers truly.
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!((result.homes.accepted, result.table.rows.len()), (80, 0));

    let loss = Some(PrivacyLoss {
        epsilon: 50.0,
        delta: None,
    });
    let question = network.question(SQL, None, loss);
    let question = question.ask_owners(Duration::from_secs(4));
    let asking = network.querier().ask(&question).into_future();
    let speaking = async {
        // The owners of homes with even numbers allow the query, those of homes 1, 11, 21 and so on deny it, and the
        // others do not decide.
        let mut said = 0;
        while said < 48 {
            sleep(Duration::from_millis(50)).await;
            for host in network.hosts() {
                for home in host.store.homes().unwrap() {
                    let entry = host.store.history(&home, 0, 1).unwrap().pop();
                    let waiting = entry.filter(|entry| entry.outcome == Outcome::Waiting);
                    let Some(entry) = waiting else { continue };
                    let allow = age(&home) % 2 == 0;
                    if allow || age(&home) % 10 == 1 {
                        let bounds = Bounds {
                            exact_queries: 10,
                            max_delta: 1e-5,
                        };
                        host.store.word(&home, entry.query, allow, bounds).unwrap();
                        said += 1;
                    }
                }
            }
        }
    };
    let (result, ()) = tokio::join!(asking, speaking);
    let result = result.unwrap();
    assert_eq!(result.homes.accepted, 80);
    let (low, high) = result.table.intervals[0][0].unwrap();
    assert!(
        low <= 42.0 && 38.0 <= high && high - low < 4.0,
        "{low} {high}"
    );
    for host in network.hosts() {
        for home in host.store.homes().unwrap() {
            let entry = host.store.history(&home, 0, 1).unwrap().pop().unwrap();
            let (outcome, spent) = match age(&home) {
                n if n % 2 == 0 => (Outcome::AllowedByOwner, 50_000_000),
                n if n % 10 == 1 => (Outcome::DeniedByOwner, 0),
                _ => (Outcome::Late, 0),
            };
            assert_eq!(entry.outcome, outcome);
            assert_eq!(host.store.spent(&home).unwrap().all.pure, spent);
        }
    }
    network.stop().await;
}

/// Record of reads: the fields, and the homes.
#[derive(Default)]
struct Reads(Mutex<Vec<(BTreeSet<String>, Vec<HomeId>)>>);

/// Connector that passes reads on to a host's documents, and records them.
struct Recorder(Arc<dyn Connector>, Arc<Reads>);

impl Connector for Recorder {
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        selector: &Selector,
    ) -> Result<Vec<Document>, dispers_stack::Error> {
        let read = fields.iter().map(|field| (*field).to_owned()).collect();
        self.1.0.lock().unwrap().push((read, homes.to_vec()));
        self.0.documents(doctype, fields, homes, selector)
    }

    fn holds(&self, home: &HomeId) -> Result<bool, dispers_stack::Error> {
        self.0.holds(home)
    }

    fn homes(&self) -> Result<Vec<HomeId>, dispers_stack::Error> {
        self.0.homes()
    }
}

const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

/// Draws some of the fields, at least one.
fn some(rng: &mut StdRng) -> BTreeSet<String> {
    let first = FIELDS[rng.random_range(0..4)].to_owned();
    let more = FIELDS.iter().filter(|_| rng.random_bool(0.4));
    more.map(|field| (*field).to_owned())
        .chain([first])
        .collect()
}

/// Draws rules. Also returns the fields that may be read together, and the fields that may not be read at all.
fn random_rules(rng: &mut StdRng) -> (Rules, BTreeSet<String>, BTreeSet<String>) {
    let allowed = some(rng);
    let denied = if rng.random_bool(0.3) {
        some(rng)
    } else {
        BTreeSet::new()
    };
    let list = |fields: &BTreeSet<String>| Some(fields.iter().cloned().collect::<Vec<String>>());
    let mut rules = one(Rule {
        fields: list(&allowed),
        exact: true,
        ..Rule::new(Effect::Allow)
    });
    if !denied.is_empty() {
        rules.rules.push(Rule {
            fields: list(&denied),
            ..Rule::new(Effect::Deny)
        });
    }
    (rules, allowed, denied)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_an_owner_did_not_allow_is_never_read() {
    let rng = &mut StdRng::seed_from_u64(11);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    write(
        &path,
        "home,a,b,c,d",
        (0..60).map(|n| format!("p{n},1,2,3,4")),
    );
    let reads = Arc::new(Reads::default());
    let noted = reads.clone();
    let through = Through(Arc::new(move |documents| -> Arc<dyn Connector> {
        Arc::new(Recorder(documents, noted.clone()))
    }));
    let options = Options {
        home_column: Some("home".into()),
        hosts: 2,
        exact_queries: 1000,
        min_cohort: 2,
        through: Some(through),
        ..options(vec![path])
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..12 {
        let mut owners = BTreeMap::new();
        for host in network.hosts() {
            for home in host.store.known().unwrap() {
                let (rules, allowed, denied) = random_rules(rng);
                host.store.set_rules([&home], rules).unwrap();
                owners.insert(home, (allowed, denied));
            }
        }
        assert_eq!(owners.len(), 60);
        let fields = some(rng);
        let conditions: Vec<String> = fields.iter().map(|field| format!("{field} > 0")).collect();
        let sql = format!(
            "SELECT COUNT(*) AS n FROM people WHERE {}",
            conditions.join(" AND ")
        );
        reads.0.lock().unwrap().clear();
        let result = network.ask(&sql, None, |_| {}).await.unwrap();
        let mut read = BTreeSet::new();
        for (of, homes) in reads.0.lock().unwrap().iter() {
            assert_eq!(*of, fields);
            read.extend(homes.iter().cloned());
        }
        let allows = |(allowed, denied): &(BTreeSet<String>, BTreeSet<String>)| {
            fields.is_subset(allowed) && fields.is_disjoint(denied)
        };
        let expected: BTreeSet<HomeId> = owners
            .iter()
            .filter(|(_, rules)| allows(rules))
            .map(|(home, _)| home.clone())
            .collect();
        assert_eq!(read, expected, "{sql}");
        (answered, refused) = (answered + expected.len(), refused + 60 - expected.len());
        let count = result.table.rows.first().map(|row| row[0].clone());
        let released = (expected.len() > 1).then_some(Value::Integer(expected.len() as i128));
        assert_eq!(count, released, "{sql}");
    }
    assert!(answered > 50 && refused > 50, "{answered} {refused}");
    network.stop().await;
}
