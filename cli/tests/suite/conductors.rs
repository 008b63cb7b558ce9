//! Two conductors on one PostgreSQL database: if one stops, the other goes on.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use dispers_node::private;
use dispers_testing::cluster::Cluster;

use crate::{
    DISPERS, EXAMPLE, Ended, assert_about,
    network::SampleNetwork,
    processes::settle,
    survival::{EVERYBODY, PATIENCE, is_exact, of, until_asked},
};

/// A sample network with two conductors, whose homes answer slowly.
struct Shared {
    network: SampleNetwork,
    cluster: Cluster,
    database: String,
}

fn free_port() -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    free.local_addr().unwrap().port()
}

impl Shared {
    /// Starts the network. Returns `None` where PostgreSQL is not installed.
    fn start() -> Option<Self> {
        let cluster = Cluster::start()?;
        let database = cluster.database();
        let mut network = SampleNetwork::start();
        network.new_keys(
            "conductor",
            "conductor-2",
            "conductor-2",
            " --pool-of conductor.key",
        );
        network.edit("host-1.toml", &[("quantum-ms = 100", "quantum-ms = 1500")]);
        network.edit(
            "host-2.toml",
            &[("[stack]", "[stack]\nanswer-quantum-ms = 1500")],
        );
        let url = format!("\"{}\"", cluster.url(&database));
        network.edit(
            "conductor.toml",
            &[
                ("[conductor]", "[conductor]\nlease-ms = 500"),
                ("\"conductor.db\"", &url),
            ],
        );
        let config = fs::read_to_string(network.path("conductor.toml")).unwrap();
        let listen = config.lines().find(|line| line.starts_with("listen"));
        let first = listen.unwrap().split('"').nth(1).unwrap().to_owned();
        let second = format!("127.0.0.1:{}", free_port());
        let config = config.replace(&first, &second);
        let shadow = config.replace(&second, &format!("127.0.0.1:{}", free_port()));
        let config = config.replace("\"conductor\"", "\"conductor-2\"");
        let config = config.replace("conductor.key", "conductor-2.key");
        private::write(&network.path("conductor-2.toml"), config).unwrap();
        // A second process with the first conductor's name and keys.
        private::write(&network.path("conductor-shadow.toml"), shadow).unwrap();

        // This directory lists only the second conductor, so its reader reaches only that one.
        let copy = |from: &str, to: &str| fs::copy(network.path(from), network.path(to)).unwrap();
        copy("directory.bin", "first.bin");
        copy("directory.toml", "second.toml");
        let only_second = [
            ("\"conductor.pub\"", "\"conductor-2.pub\""),
            (&*first, &*second),
        ];
        network.edit("second.toml", &only_second);
        network.done("directory new second.toml --output second.bin");
        network.done("directory sign second.bin --key root.key");
        for (number, directory) in [(1, "first.bin"), (2, "second.bin")] {
            let querier = format!("querier-{number}.toml");
            copy("querier.toml", &querier);
            network.edit(&querier, &[("directory.bin", directory)]);
        }
        let node = format!(
            "[[node]]\nkeys = \"conductor-2.pub\"\noperator = \"operator-a\"\naddress = \"{second}\"\n\n[[node]]"
        );
        network.edit(
            "directory.toml",
            &[("epoch = 1", "epoch = 2"), ("[[node]]", &node)],
        );
        let told = network.renew(&["root"]);
        assert!(
            told.iter().any(|line| line.contains("conductor-2")),
            "{told:?}"
        );
        network.restart(&["conductor-2"]);
        settle(&network);
        Some(Self {
            network,
            cluster,
            database,
        })
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.run(&self.database, sql)
    }

    /// Returns the conductor that drives a query, and the other one.
    fn driving(&self, id: &str) -> [&'static str; 2] {
        let holder = self.sql(&format!(
            "SELECT holder FROM query WHERE encode(id, 'hex') LIKE '{id}%'"
        ));
        match holder.split(' ').next() {
            Some("conductor") => ["conductor", "conductor-2"],
            Some("conductor-2") => ["conductor-2", "conductor"],
            _ => panic!("{holder:?} drives"),
        }
    }

    /// Asks the example's question through one conductor, and waits until homes are asked.
    fn detach(&self, querier: u8) -> String {
        let config = format!("querier-{querier}.toml");
        let words = [
            "--purpose",
            "heart study",
            "--epsilon",
            "off",
            "--config",
            &config,
        ];
        let asked = self
            .network
            .dispers(&[&["query", EXAMPLE, "--detach"][..], &words].concat());
        assert_eq!(asked.code, Some(0), "{}", asked.stderr);
        let id = asked.stdout.trim().to_owned();
        self.until_asked(&id, querier);
        id
    }

    fn of(&self, verb: &str, id: &str, querier: u8) -> Ended {
        let config = format!("querier-{querier}.toml");
        let words = [verb, id, "--config", &config, "--format", "json"];
        self.network.dispers(&words)
    }

    fn until_asked(&self, id: &str, querier: u8) {
        let deadline = Instant::now() + PATIENCE;
        while self.of("status", id, querier).json()["phase"] != "ask" {
            assert!(Instant::now() < deadline, "no home is asked");
            sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the answer, through one conductor.
    fn result(&self, id: &str, querier: u8) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.of("result", id, querier);
            match result.code {
                Some(69 | 75) if Instant::now() < deadline => sleep(Duration::from_millis(100)),
                _ => return result.json(),
            }
        }
    }
}

/// Starts `dispers query`, which waits for its answer.
struct Waiting {
    query: Child,
    id: String,
    rest: thread::JoinHandle<String>,
}

impl Waiting {
    fn start(network: &SampleNetwork) -> Self {
        let mut query = Command::new(DISPERS)
            .args(["query", EXAMPLE, "--config", "querier.toml"])
            .args([
                "--purpose",
                "heart study",
                "--epsilon",
                "off",
                "--format",
                "json",
            ])
            .current_dir(network.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(query.stderr.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let id = line.trim().strip_prefix("query ").expect(&line).to_owned();
        let rest = thread::spawn(move || {
            let mut rest = String::new();
            told.read_to_string(&mut rest).unwrap();
            rest
        });
        until_asked(network, &id);
        Self { query, id, rest }
    }

    fn answer(self) -> serde_json::Value {
        let output = self.query.wait_with_output().unwrap();
        let mut ended = Ended::of(output);
        ended.stderr = self.rest.join().unwrap();
        ended.json()
    }
}

#[test]
fn when_the_conductor_that_drives_is_killed_the_other_one_finishes_and_the_querier_goes_on() {
    let Some(mut shared) = Shared::start() else {
        return;
    };
    for _ in 0..2 {
        let waiting = Waiting::start(&shared.network);
        let [driving, other] = shared.driving(&waiting.id);
        shared.network.kill(driving);
        let answer = waiting.answer();
        assert_eq!(is_exact(&answer), EVERYBODY);
        let ended = "SELECT COUNT(*) FROM query WHERE NOT ended";
        assert_eq!(shared.sql(ended), "0");
        // The remaining conductor serves everybody, also hosts that reach it through the target.
        let again = shared.network.dispers(&[
            "stack",
            "withdraw",
            "--all",
            "--home",
            "7",
            "--config",
            "host-2.toml",
        ]);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        let again = shared.network.dispers(&[
            "stack",
            "subscribe",
            "home>all",
            "--home",
            "7",
            "--config",
            "host-2.toml",
        ]);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        shared.network.start_again(driving);
        // In the next turn the other conductor drives, if the querier's random choice falls on it.
        assert!(shared.network.running().contains(&other));
    }
}

#[test]
fn a_query_is_followed_and_cancelled_through_a_conductor_that_does_not_drive_it() {
    let Some(mut shared) = Shared::start() else {
        return;
    };
    let id = shared.detach(1);
    assert_eq!(shared.driving(&id)[0], "conductor");
    shared.until_asked(&id, 2);
    let answer = shared.result(&id, 2);
    assert_eq!(is_exact(&answer), EVERYBODY);

    let id = shared.detach(2);
    assert_eq!(shared.driving(&id)[0], "conductor-2");
    let cancelled = shared
        .network
        .dispers(&["cancel", &id, "--config", "querier-1.toml"]);
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.stderr);
    let deadline = Instant::now() + PATIENCE;
    let ended = format!("SELECT ended FROM query WHERE encode(id, 'hex') LIKE '{id}%'");
    while shared.sql(&ended) != "t" {
        assert!(Instant::now() < deadline, "the query is not cancelled");
        sleep(Duration::from_millis(20));
    }
    let totals = format!("SELECT COUNT(totals) FROM query WHERE encode(id, 'hex') LIKE '{id}%'");
    assert_eq!(shared.sql(&totals), "0");

    // A conductor that only stopped responding loses the queries that it drove, and works again afterwards.
    let id = shared.detach(1);
    shared.network.signal("conductor", "-STOP");
    let answer = shared.result(&id, 2);
    assert_eq!(is_exact(&answer), EVERYBODY);
    let kept = format!(
        "SELECT holder, version, md5(totals) FROM query WHERE encode(id, 'hex') LIKE '{id}%'"
    );
    let before = shared.sql(&kept);
    assert!(before.starts_with("conductor-2 "), "{before}");
    shared.network.signal("conductor", "-CONT");
    let id = shared.detach(1);
    assert_eq!(is_exact(&shared.result(&id, 1)), EVERYBODY);
    assert_eq!(shared.sql(&kept), before);

    // Two processes with one name and one configuration hold their queries separately.
    shared.network.start_again("conductor-shadow");
    shared.network.stop("conductor-2");
    let id = shared.detach(1);
    let holder = format!("SELECT holder FROM query WHERE encode(id, 'hex') LIKE '{id}%'");
    let first = shared.sql(&holder);
    shared.network.kill("conductor");
    let deadline = Instant::now() + PATIENCE;
    let ended = format!("SELECT ended FROM query WHERE encode(id, 'hex') LIKE '{id}%'");
    while shared.sql(&ended) != "t" {
        assert!(Instant::now() < deadline, "nobody has taken the query up");
        sleep(Duration::from_millis(50));
    }
    let second = shared.sql(&holder);
    assert!(first.starts_with("conductor ") && second.starts_with("conductor "));
    assert_ne!(first, second);
    shared.network.start_again("conductor");
    assert_eq!(is_exact(&shared.result(&id, 1)), EVERYBODY);
}

#[test]
fn when_postgresql_stops_in_the_middle_of_a_query_it_goes_on_afterwards() {
    let Some(mut shared) = Shared::start() else {
        return;
    };
    let waiting = Waiting::start(&shared.network);
    shared.cluster.stop();
    let away = of(&shared.network, "status", &waiting.id);
    assert_eq!(away.code, Some(69), "{}", away.stderr);
    assert!(
        away.stderr.contains("cannot reach its database"),
        "{}",
        away.stderr
    );
    shared.cluster.start_again();
    assert_eq!(is_exact(&waiting.answer()), EVERYBODY);

    let withdraw = |home: &str| {
        let words = ["stack", "withdraw", "--all", "--config", "host-2.toml"];
        shared
            .network
            .dispers(&[&words[..], &["--home", home]].concat())
    };
    shared.cluster.stop();
    let refused = withdraw("7");
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot reach its database"),
        "{}",
        refused.stderr
    );
    shared.cluster.start_again();
    // The withdrawal that failed while the database was down succeeds now.
    let told = withdraw("8");
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let answer = shared.network.query(EXAMPLE).json();
    assert_about(&answer["homes"]["targeted"], EVERYBODY - 2);
}

#[test]
fn a_conductor_that_cannot_use_its_database_says_what_to_mend() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let mut network = SampleNetwork::start();
    network.stop("conductor");
    let config = fs::read_to_string(network.path("conductor.toml")).unwrap();
    let serve = |database: &str| {
        let config = config.replace("\"conductor.db\"", &format!("\"{database}\""));
        fs::write(network.path("conductor.toml"), config).unwrap();
        network.dispers(&["serve", "conductor", "--config", "conductor.toml"])
    };
    let wrong = serve(&cluster.url_of("conductor", "mistyped", "postgres"));
    assert_eq!(wrong.code, Some(64), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("refuses the user or its password"));
    assert!(!wrong.stderr.contains("mistyped"), "{}", wrong.stderr);
    let open = serve("postgres://c:mistyped@127.0.0.1/dispers\" \"");
    assert_eq!(open.code, Some(64), "{}", open.stderr);
    assert!(
        open.stderr.contains("conductor.toml: line 10"),
        "{}",
        open.stderr
    );
    assert!(!open.stderr.contains("mistyped"), "{}", open.stderr);
    let nobody = format!("postgres://c:mistyped@127.0.0.1:{}/dispers", free_port());
    let nobody = serve(&nobody);
    assert_eq!(nobody.code, Some(69), "{}", nobody.stderr);
    assert!(
        nobody
            .stderr
            .contains("cannot reach database dispers at 127.0.0.1")
    );
    assert!(!nobody.stderr.contains("mistyped"), "{}", nobody.stderr);
    // A configuration with a password is itself a secret.
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(network.path("conductor.toml"), readable).unwrap();
    let exposed = serve("postgres://c:mistyped@127.0.0.1/dispers");
    assert_eq!(exposed.code, Some(64), "{}", exposed.stderr);
    let command = "run chmod 600 conductor.toml";
    assert!(exposed.stderr.contains(command), "{}", exposed.stderr);
    assert!(!exposed.stderr.contains("mistyped"), "{}", exposed.stderr);
}

#[test]
fn two_conductors_with_a_file_each_do_not_start() {
    let mut network = SampleNetwork::start();
    network.new_keys(
        "conductor",
        "conductor-2",
        "conductor-2",
        " --pool-of conductor.key",
    );
    let node = "[[node]]\nkeys = \"conductor-2.pub\"\noperator = \"operator-a\"\naddress = \"127.0.0.1:9\"\n\n[[node]]";
    network.edit(
        "directory.toml",
        &[("epoch = 1", "epoch = 2"), ("[[node]]", node)],
    );
    network.renew(&["root"]);
    network.stop("conductor");
    let refused = network.dispers(&["serve", "conductor", "--config", "conductor.toml"]);
    assert_eq!(refused.code, Some(64), "{}", refused.stderr);
    for words in ["lists 2 conductors", "postgres://"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    // A conductor with an envelope key of its own could not open what was sealed for the others.
    let third = network.dispers(&[
        "keys",
        "new",
        "conductor",
        "--name",
        "conductor-3",
        "--output",
        "conductor-3.key",
    ]);
    fs::write(network.path("conductor-3.pub"), third.stdout).unwrap();
    network.edit("directory.toml", &[("conductor-2.pub", "conductor-3.pub")]);
    let refused = network.dispers(&["directory", "new", "directory.toml", "--output", "x.bin"]);
    assert!(
        refused.stderr.contains("make its keys with --pool-of"),
        "{}",
        refused.stderr
    );
}
