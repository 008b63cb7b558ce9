//! Attacks on real roles over their sockets, by a conductor that the test controls.

mod aggregator;
mod conductor;
mod indexor;
mod log;
mod querier;
mod stack;
mod target;
mod target_finder;

use std::{collections::VecDeque, sync::Arc};

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{AggregatorId, MemberNumber, Name},
    keys::SigningKey,
    labels,
};
use dispers_conductor::{Config, Driver, InMemory, Log, Submission};
use dispers_core::{
    ask::{BatchAnswer, GroupsStatement, SealedGroup},
    conduct::{self, Command, Conduct, Event, Status, StepError},
    find::{ListSegment, ListedEntry, SealedProfile},
    log::Inclusion,
    manifest::SignedManifest,
    subscription::Upload,
};
use dispers_crypto::oprf::Pseudonym;
use dispers_querier::{
    Question,
    steps::{self, Prepared},
};
use dispers_sandbox::{Network, Options};
use dispers_sql::decode::{Table, Value};

use crate::{log_of, logged, options, plain::write};

/// Number of homes of the attacked network, half of them in each of two cities.
const HOMES: u32 = 60;
const SQL: &str = "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 100, 1)) AS ages FROM people";

/// Means of a dishonest conductor: the conductor's place and keys, the lists that it was sent, and a query that an
/// honest querier prepared.
struct Forge {
    network: Network,
    prepared: Prepared,
    uploads: Vec<Upload>,
    /// Log that the test's conductor keeps of its queries.
    log: Arc<Log>,
}

/// Result of an attacked query.
struct Ended {
    status: Status,
    table: Option<Table>,
}

impl Ended {
    /// Returns the text of the failure.
    fn failure(&self) -> String {
        let failure = self.status.failure.as_ref();
        failure.expect("the query failed").to_string()
    }

    /// Returns the number of homes and the sum of their ages.
    fn row(&self) -> (i128, i128) {
        let table = self.table.as_ref();
        match table.expect("the query was answered").rows[0][..] {
            [Value::Integer(n), Value::Integer(ages)] => (n, ages),
            _ => panic!("two numbers are asked for"),
        }
    }
}

/// Returns the number of all homes and the sum of their ages.
fn everybody() -> (i128, i128) {
    (HOMES.into(), (0..i128::from(HOMES)).sum())
}

fn aggregator(number: u8) -> AggregatorId {
    AggregatorId {
        committee: 0,
        member: MemberNumber::new(number).unwrap(),
    }
}

impl Forge {
    async fn new() -> Self {
        Self::asking(SQL).await
    }

    async fn asking(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.csv");
        let row = |home: u32| format!("p{home},{home},{}", ["lyon", "paris"][home as usize % 2]);
        write(&path, "home,age,city", (0..HOMES).map(row));
        let options = Options {
            home_column: Some("home".into()),
            concepts: vec!["city".into()],
            record: true,
            ..options(vec![path])
        };
        let network = Network::start(&options, |_| {}).await.unwrap();
        let prepared = Self::prepare(&network, sql).await;
        // The uploads as the conductor opened them.
        let record = network.recording().unwrap();
        let record = record
            .records()
            .find(|(name, ..)| name.as_str() == "conductor");
        let uploads = record
            .unwrap()
            .2
            .received()
            .opened
            .iter()
            .filter(|opened| opened.purpose == labels::ENVELOPE_UPLOAD)
            .map(|opened| from_bytes(&opened.plaintext, 1 << 24, "upload").unwrap())
            .collect();
        Self {
            log: log_of(&network),
            network,
            prepared,
            uploads,
        }
    }

    async fn prepare(network: &Network, sql: &str) -> Prepared {
        let question = Question::new(sql, "sandbox").exact();
        steps::prepare(network.querier(), &question).await.unwrap()
    }

    /// Returns the query's lists as they were uploaded, for a test to change.
    fn segments(&self) -> Vec<ListSegment> {
        let mut segments = self.every_list();
        let asked = self.prepared.pseudonyms();
        for segment in &mut segments {
            segment
                .entries
                .retain(|entry| asked.contains(&entry.pseudonym));
        }
        segments
    }

    /// Returns all lists as they were uploaded.
    fn every_list(&self) -> Vec<ListSegment> {
        let segment = |upload: &Upload| ListSegment {
            key_epoch: upload.key_epoch,
            envelopes: upload.envelopes.clone(),
            entries: upload
                .entries
                .iter()
                .map(|entry| ListedEntry {
                    pseudonym: entry.pseudonym,
                    index: entry.index,
                    ciphertext: entry.ciphertext.clone(),
                })
                .collect(),
        };
        self.uploads.iter().map(segment).collect()
    }

    /// Returns a driver that carries out commands like the real conductor, with this manifest, these profiles and these
    /// segments.
    fn driver(
        &self,
        manifest: &SignedManifest,
        profiles: &[SealedProfile],
        segments: &[ListSegment],
    ) -> Arc<Driver> {
        self.driver_and_kept(manifest, profiles, segments).0
    }

    /// Returns the same driver, with the batches that it keeps.
    fn driver_and_kept(
        &self,
        manifest: &SignedManifest,
        profiles: &[SealedProfile],
        segments: &[ListSegment],
    ) -> (Arc<Driver>, Arc<InMemory>) {
        self.driver_that_cuts(20, manifest, profiles, segments)
    }

    /// Returns such a driver of a conductor that asks for batches of another size.
    fn driver_that_cuts(
        &self,
        batch_size: u32,
        manifest: &SignedManifest,
        profiles: &[SealedProfile],
        segments: &[ListSegment],
    ) -> (Arc<Driver>, Arc<InMemory>) {
        let lists = self.prepared.pseudonyms();
        self.driver_and_kept_over(lists, batch_size, manifest, profiles, segments)
    }

    /// Returns such a driver whose find names these lists.
    fn driver_over(
        &self,
        lists: &[Pseudonym],
        manifest: &SignedManifest,
        profiles: &[SealedProfile],
        segments: &[ListSegment],
    ) -> Arc<Driver> {
        self.driver_and_kept_over(lists, 20, manifest, profiles, segments)
            .0
    }

    fn driver_and_kept_over(
        &self,
        lists: &[Pseudonym],
        batch_size: u32,
        manifest: &SignedManifest,
        profiles: &[SealedProfile],
        segments: &[ListSegment],
    ) -> (Arc<Driver>, Arc<InMemory>) {
        let node = self.network.node("conductor").unwrap().clone();
        let config = Config {
            batch_size,
            step_timeout_ms: 4_000,
            ..Config::default()
        };
        let kept = Arc::new(InMemory {
            lists: lists.to_vec(),
            segments: segments.iter().map(to_bytes).collect(),
            ..InMemory::default()
        });
        let driver = Driver::new(
            node,
            config,
            // A dishonest conductor sends another manifest than the one that it verified.
            Submission {
                signed: manifest.clone(),
                manifest: self.prepared.manifest().clone(),
                profiles: profiles.to_vec(),
                pseudonyms: lists.to_vec(),
            },
            kept.clone(),
            self.log.clone(),
        );
        (Arc::new(driver), kept)
    }

    /// Publishes the query in the log, and returns the proof that it is there.
    async fn inclusion(&self) -> Inclusion {
        logged(&self.log, self.prepared.signed()).await
    }

    fn honest_driver(&self) -> Arc<Driver> {
        let prepared = &self.prepared;
        self.driver(prepared.signed(), prepared.profiles(), &self.segments())
    }

    /// Drives the query to its end. `command` returns the commands that are carried out in place of each command.
    /// `event` returns the event that the honest state machine gets in place of each event.
    async fn run(
        &self,
        driver: &Arc<Driver>,
        mut command: impl FnMut(Command) -> Vec<Command>,
        mut event: impl FnMut(Event) -> Event,
    ) -> Ended {
        let (mut conduct, commands) = Conduct::new(
            self.prepared.manifest().clone(),
            conduct::Options::default(),
        );
        let mut queue: VecDeque<Command> = commands.into();
        while let Some(next) = queue.pop_front() {
            for next in command(next) {
                let happened = event(driver.clone().carry_out(next).await);
                queue.extend(conduct.handle(happened));
            }
        }
        let table = conduct.totals().map(|totals| {
            let opened = steps::open(self.network.querier(), self.prepared.asked(), totals);
            opened.unwrap().1
        });
        Ended {
            status: conduct.status(),
            table,
        }
    }

    /// Runs the query with this driver, without changes.
    async fn driven(&self, driver: &Arc<Driver>) -> Ended {
        self.run(driver, |command| vec![command], |event| event)
            .await
    }

    /// Runs the query, and changes the events that the state machine gets.
    async fn told(&self, event: impl FnMut(Event) -> Event) -> Ended {
        self.run(&self.honest_driver(), |command| vec![command], event)
            .await
    }

    /// Runs the query, and changes the commands that are carried out.
    async fn carrying_out(&self, command: impl FnMut(Command) -> Vec<Command>) -> Ended {
        self.run(&self.honest_driver(), command, |event| event)
            .await
    }

    /// Runs the query honestly, up to and including the first event for which `stop` holds.
    async fn until(&self, driver: &Arc<Driver>, stop: impl Fn(&Event) -> bool) -> Event {
        let (mut conduct, commands) = Conduct::new(
            self.prepared.manifest().clone(),
            conduct::Options::default(),
        );
        let mut queue: VecDeque<Command> = commands.into();
        while let Some(next) = queue.pop_front() {
            let event = driver.clone().carry_out(next).await;
            if stop(&event) {
                return event;
            }
            queue.extend(conduct.handle(event));
        }
        panic!("the query ended before the event");
    }

    fn signing(&self, node: &str) -> &SigningKey {
        &self.network.node(node).unwrap().signing
    }

    /// Signs changed groups of a batch as a dishonest target.
    fn as_target(&self, answer: &BatchAnswer, groups: Vec<Vec<SealedGroup>>) -> BatchAnswer {
        let statement = GroupsStatement {
            parameters: [0; 32],
            target: Name::new("target").unwrap(),
            work: answer.statement.work,
            digests: groups
                .iter()
                .map(|g| GroupsStatement::digest_of(g))
                .collect(),
        };
        BatchAnswer {
            signature: self
                .signing("target")
                .sign(labels::SIGN_GROUPS, &statement.digest()),
            statement,
            answered: answer.answered,
            groups,
        }
    }
}

/// Returns the text of a refusal.
fn refusal<T>(result: Result<T, StepError>) -> String {
    match result {
        Err(StepError::Refused(reason)) => reason,
        Err(other) => panic!("{other:?} is no refusal"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_meddling_the_forge_gets_the_right_answer() {
    let forge = Forge::new().await;
    let ended = forge.driven(&forge.honest_driver()).await;
    assert_eq!(ended.row(), everybody());
    assert_eq!(ended.status.batches, 3);
    forge.network.stop().await;
}
