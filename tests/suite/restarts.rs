//! Tests of nodes that restart in the middle of a query: the answer is exact, or the query fails cleanly.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{AggregatorId, BatchId, MemberNumber, Name, Work},
    labels,
};
use dispers_conductor::{Config, Driver, InMemory, Log, Submission};
use dispers_core::{
    ask::{Answer, Ask, MAX_ANSWER},
    conduct::{self, Command, Conduct, Event, Status, StepError},
    find::{ListSegment, ListedEntry},
    subscription::Upload,
    ticket::FindId,
};
use dispers_node::Channels;
use dispers_proto::{Messages, chunks, v1::stack_client::StackClient};
use dispers_querier::{
    Querier, Question,
    steps::{self, Prepared},
};
use dispers_sandbox::{Network, Options};
use dispers_sql::decode::{Table, Value};
use tempfile::TempDir;

use crate::{log_of, logged, options, plain::write};

const HOMES: u32 = 60;
const SQL: &str = "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 100, 1)) AS ages FROM people";
/// Steps of an aggregator, in order.
const STEPS: [&str; 7] = [
    "begin", "open", "verify", "decide", "commit", "guards", "release",
];

/// Network whose nodes keep their state in a folder, driven step by step.
struct Stage {
    network: Network,
    segments: Vec<Vec<u8>>,
    log: Arc<Log>,
    folder: TempDir,
}

/// One query of the network.
struct Asked {
    querier: Querier,
    prepared: Prepared,
    driver: Arc<Driver>,
}

/// Result of a query.
struct Ended {
    status: Status,
    table: Option<Table>,
    /// Number of times that an aggregator had forgotten an attempt.
    forgotten: usize,
}

impl Ended {
    fn row(&self) -> (i128, i128) {
        let table = self.table.as_ref();
        match table.expect("the query was answered").rows[0][..] {
            [Value::Integer(n), Value::Integer(ages)] => (n, ages),
            _ => panic!("two numbers are asked for"),
        }
    }
}

fn everybody() -> (i128, i128) {
    (HOMES.into(), (0..i128::from(HOMES)).sum())
}

fn aggregator(number: u8) -> AggregatorId {
    AggregatorId {
        committee: 0,
        member: MemberNumber::new(number).unwrap(),
    }
}

fn node_of(aggregator: AggregatorId) -> String {
    format!("data-aggregator-{}", aggregator.member)
}

/// Returns the step of a command, and the aggregator that takes it.
fn step(command: &Command) -> Option<(&'static str, AggregatorId)> {
    Some(match command {
        Command::Find { .. } | Command::Ask { .. } | Command::Notarise { .. } => return None,
        Command::Begin { aggregator, .. } => ("begin", *aggregator),
        Command::Deal { aggregator, .. } => ("deal", *aggregator),
        Command::OpenDeals { aggregator, .. } => ("open deals", *aggregator),
        Command::Open { aggregator, .. } => ("open", *aggregator),
        Command::Verify { aggregator, .. } => ("verify", *aggregator),
        Command::Decide { aggregator, .. } => ("decide", *aggregator),
        Command::Commit { aggregator, .. } => ("commit", *aggregator),
        Command::Guards { aggregator, .. } => ("guards", *aggregator),
        Command::Release { aggregator, .. } => ("release", *aggregator),
    })
}

fn forgotten(event: &Event) -> bool {
    let (Event::Verified(_, _, Err(error)) | Event::Decided(_, _, Err(error))) = event else {
        return false;
    };
    *error == StepError::Forgotten
}

/// Returns the lists that the conductor was sent.
fn segments(network: &Network) -> Vec<Vec<u8>> {
    let mut records = network.recording().unwrap().records();
    let conductor = records.find(|(name, ..)| name.as_str() == "conductor");
    let received = conductor.unwrap().2.received();
    let uploads = received.opened.iter();
    let uploads = uploads.filter(|opened| opened.purpose == labels::ENVELOPE_UPLOAD);
    uploads
        .map(|opened| {
            let upload: Upload = from_bytes(&opened.plaintext, 1 << 24, "upload").unwrap();
            let entries = upload.entries.into_iter().map(|entry| ListedEntry {
                pseudonym: entry.pseudonym,
                index: entry.index,
                ciphertext: entry.ciphertext,
            });
            to_bytes(&ListSegment {
                key_epoch: upload.key_epoch,
                entries: entries.collect(),
                envelopes: upload.envelopes,
            })
        })
        .collect()
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.csv");
        let row = |home: u32| format!("p{home},{home}");
        write(&path, "home,age", (0..HOMES).map(row));
        let options = Options {
            home_column: Some("home".into()),
            hosts: 2,
            record: true,
            exact_queries: 1000,
            state: Some(folder.path().to_owned()),
            ..options(vec![path])
        };
        let network = Network::start(&options, |_| {}).await.unwrap();
        Self {
            segments: segments(&network),
            log: log_of(&network),
            network,
            folder,
        }
    }

    /// Prepares a query that `min_verified` aggregators must verify.
    async fn ask(&self, min_verified: u8) -> Asked {
        let node = self.network.node("querier").unwrap().clone();
        let mut config = dispers_querier::Config::default();
        config.min_verified = min_verified;
        let querier = Querier::new(node, config);
        let question = Question::new(SQL, "sandbox").exact();
        let prepared = steps::prepare(&querier, &question).await.unwrap();
        let config = Config {
            batch_size: 20,
            ..Config::default()
        };
        let kept = InMemory {
            lists: prepared.pseudonyms().to_vec(),
            segments: self.segments.clone(),
            ..InMemory::default()
        };
        let driver = Driver::new(
            self.network.node("conductor").unwrap().clone(),
            config,
            Submission {
                signed: prepared.signed().clone(),
                manifest: prepared.manifest().clone(),
                profiles: prepared.profiles().to_vec(),
                pseudonyms: prepared.pseudonyms().to_vec(),
            },
            Arc::new(kept),
            self.log.clone(),
        );
        Asked {
            querier,
            prepared,
            driver: Arc::new(driver),
        }
    }

    /// Drives a query to its end. Restarts the nodes that `restarts` returns before each command.
    async fn drive(
        &mut self,
        asked: &Asked,
        mut restarts: impl FnMut(&Command) -> Vec<String>,
    ) -> Ended {
        let (mut conduct, commands) = Conduct::new(
            asked.prepared.manifest().clone(),
            conduct::Options::default(),
        );
        let mut queue: VecDeque<Command> = commands.into();
        let mut forgot = 0;
        while let Some(command) = queue.pop_front() {
            for node in restarts(&command) {
                self.network.restart_node(&node).await.unwrap();
            }
            let event = asked.driver.clone().carry_out(command).await;
            forgot += usize::from(forgotten(&event));
            queue.extend(conduct.handle(event));
        }
        let table = conduct.totals().map(|totals| {
            let opened = steps::open(&asked.querier, asked.prepared.asked(), totals);
            opened.unwrap().1
        });
        Ended {
            status: conduct.status(),
            table,
            forgotten: forgot,
        }
    }
}

/// Restarts aggregator 2 before its first step of this name.
fn second_before(wanted: &'static str) -> impl FnMut(&Command) -> Vec<String> {
    let mut done = false;
    move |command| {
        let now = !done && step(command) == Some((wanted, aggregator(2)));
        done |= now;
        now.then(|| node_of(aggregator(2))).into_iter().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_restarts_before_any_step_goes_on_and_the_answer_is_exact() {
    let mut stage = Stage::new().await;
    for min_verified in [2, 3] {
        for wanted in STEPS {
            let asked = stage.ask(min_verified).await;
            let ended = stage.drive(&asked, second_before(wanted)).await;
            assert_eq!(ended.row(), everybody(), "{wanted}");
            assert_eq!(ended.status.missing, [], "{wanted}");
            assert_eq!(ended.status.verified, 3, "{wanted}");
            // Only before verifying and deciding does the aggregator hold contributions.
            let held = matches!(wanted, "verify" | "decide");
            assert_eq!(ended.forgotten > 0, held, "{wanted}");
        }
    }
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_exact_when_every_aggregator_restarts_while_it_holds_contributions() {
    let mut stage = Stage::new().await;
    let asked = stage.ask(3).await;
    let mut restarted = BTreeSet::new();
    let each_once = |command: &Command| {
        let Command::Decide {
            aggregator, work, ..
        } = command
        else {
            return Vec::new();
        };
        let due = work.batch.number + 1 == u32::from(aggregator.member.point());
        let due = due && restarted.insert(*aggregator);
        due.then(|| node_of(*aggregator)).into_iter().collect()
    };
    let ended = stage.drive(&asked, each_once).await;
    assert_eq!(ended.row(), everybody());
    assert_eq!(ended.status.missing, []);
    assert!(ended.forgotten >= 3);
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_says_after_its_release_what_it_said_before() {
    let mut stage = Stage::new().await;
    let asked = stage.ask(2).await;
    let mut last = Vec::new();
    let ended = stage
        .drive(&asked, |command| {
            let of_second = step(command).filter(|(_, of)| *of == aggregator(2));
            if matches!(of_second, Some(("guards" | "release", _))) {
                last.push(command.clone());
            }
            Vec::new()
        })
        .await;
    assert_eq!(ended.row(), everybody());
    assert_eq!(last.len(), 2);
    let mut said = Vec::new();
    for _ in 0..2 {
        for command in &last {
            said.push(
                match asked.driver.clone().carry_out(command.clone()).await {
                    Event::Guarded(_, Ok(messages)) => to_bytes(&messages),
                    Event::Released(_, Ok(total)) => to_bytes(&total),
                    _ => panic!("it is said again"),
                },
            );
        }
        let node = node_of(aggregator(2));
        stage.network.restart_node(&node).await.unwrap();
    }
    assert_eq!(said[..2], said[2..]);
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notary_that_restarts_certifies_the_same_release_and_no_other() {
    let mut stage = Stage::new().await;
    let asked = stage.ask(2).await;
    let (mut whole, mut certified) = (None, None);
    let ended = stage
        .drive(&asked, |command| match command {
            Command::Notarise { proposal } => {
                whole = Some(proposal.clone());
                vec!["target-finder".into()]
            }
            // The notary restarts between the certificate and the release.
            Command::Guards {
                aggregator: of,
                certificate,
                ..
            } if *of == aggregator(1) => {
                certified = Some(certificate.clone());
                vec!["target-finder".into()]
            }
            _ => Vec::new(),
        })
        .await;
    assert_eq!(ended.row(), everybody());
    let proposal = whole.unwrap();
    let mut smaller = (*proposal).clone();
    smaller.batches.pop();
    let notarise = |proposal| {
        asked
            .driver
            .clone()
            .carry_out(Command::Notarise { proposal })
    };
    let Event::Notarised(Err(StepError::Refused(words))) = notarise(Arc::new(smaller)).await else {
        panic!("a second release is refused");
    };
    assert!(words.contains("another release"), "{words}");
    let Event::Notarised(Ok(again)) = notarise(proposal).await else {
        panic!("the same release is certified again");
    };
    assert_eq!(again, *certified.unwrap());
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_restarts_answers_no_work_twice() {
    let mut stage = Stage::new().await;
    let asked = stage.ask(2).await;
    let driver = &asked.driver;
    let found = driver
        .clone()
        .carry_out(Command::Find { partition: 0 })
        .await;
    assert!(matches!(found, Event::Found(_, Ok(_))));
    let work = |attempt| Work {
        query: asked.prepared.manifest().query(),
        round: 0,
        batch: BatchId {
            partition: 0,
            committee: 0,
            number: 0,
        },
        attempt,
    };
    let ask = Command::Ask {
        work: work(0),
        parameters: None,
    };
    let Event::Asked(_, Ok(answer)) = driver.clone().carry_out(ask).await else {
        panic!("the target answers");
    };
    assert_eq!(answer.answered, 20);
    for host in ["host-1", "host-2"] {
        stage.network.restart_node(host).await.unwrap();
        // The test asks in the target's name, since the target remembers too.
        let inclusion = logged(&stage.log, asked.prepared.signed()).await;
        let ask = |attempt| Ask {
            parameters: None,
            announced: false,
            inclusion: inclusion.clone(),
            manifest: asked.prepared.signed().clone(),
            work: work(attempt),
            find: FindId([0; 32]),
            homes: Vec::new(),
        };
        let words = ask_host(&stage.network, host, &ask(0)).await.unwrap_err();
        assert!(words.contains("answered before"), "{words}");
        assert_eq!(ask_host(&stage.network, host, &ask(1)).await, Ok(0));
    }
    stage.network.stop().await;
}

/// Asks a host in the target's name. Returns the number of homes that answer, or the text of the refusal.
pub(crate) async fn ask_host(network: &Network, host: &str, ask: &Ask) -> Result<u32, String> {
    let node = network.node("target").unwrap();
    let listed = network.directory().host(&Name::new(host).unwrap()).unwrap();
    let channel = Channels::new(node.clone()).to(&listed.address, listed.tls_key);
    let chunks = tokio_stream::iter(chunks([to_bytes(ask)]));
    let reply = StackClient::new(channel.unwrap()).ask(chunks).await;
    let reply = reply.map_err(|status| status.message().to_owned())?;
    let bytes = Messages::new(reply.into_inner()).expect(MAX_ANSWER).await;
    let answer: Answer = from_bytes(&bytes.unwrap(), MAX_ANSWER, "answer").unwrap();
    Ok(answer.homes)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_does_not_start_with_the_file_of_another() {
    let mut stage = Stage::new().await;
    // Each aggregator has made an offer.
    let asked = stage.ask(2).await;
    for number in [1, 2] {
        assert!(stage.network.end_node(&node_of(aggregator(number))).await);
    }
    let file = |number| {
        let name = format!("{}.db", node_of(aggregator(number)));
        stage.folder.path().join(name)
    };
    let kept = std::fs::read(file(2)).unwrap();
    std::fs::copy(file(1), file(2)).unwrap();
    let second = node_of(aggregator(2));
    let error = stage.network.restart_node(&second).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("data-aggregator-2.db"), "{words}");
    assert!(words.contains("another signing key"), "{words}");
    // With its own file the aggregator goes on. Two aggregators are enough.
    let path = stage.folder.path().join("data-aggregator-2.db");
    std::fs::write(path, kept).unwrap();
    stage.network.restart_node(&second).await.unwrap();
    let ended = stage.drive(&asked, |_| Vec::new()).await;
    assert_eq!(ended.row(), everybody());
    assert_eq!(ended.status.missing, [aggregator(1)]);
    stage.network.stop().await;
}
