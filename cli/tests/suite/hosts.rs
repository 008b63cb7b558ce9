//! The life of a host, from its first command to a home that leaves, and what owners do at the command line.

use std::fs;

use crate::{dispers, network::SampleNetwork};

const COUNT: &str = "SELECT COUNT(*) AS homes FROM people";

/// Sixty people at each of the two hosts.
fn settle(network: &SampleNetwork) {
    for host in ["host-1", "host-2"] {
        let rows: Vec<String> = (0..60).map(|n| format!("{host}-{n},{n}")).collect();
        let csv = format!("home,age\n{}\n", rows.join("\n"));
        fs::write(network.path(&format!("{host}.csv")), csv).unwrap();
        network.done(&format!(
            "stack import {host}.csv --doctype nhefs --home-column home --config {host}.toml"
        ));
        let rows: Vec<String> = (0..60).map(|n| format!("{host}-{n},home>all")).collect();
        let list = format!("home,concepts\n{}\n", rows.join("\n"));
        fs::write(network.path(&format!("{host}.list")), list).unwrap();
        network.done(&format!(
            "home allow --every-home --exact --config {host}.toml"
        ));
    }
}

#[test]
fn a_host_is_made_looked_at_kept_in_line_and_its_homes_leave_with_a_receipt() {
    let network = SampleNetwork::start();
    settle(&network);

    // First a dry run, then the change itself.
    let dry = network.done("stack sync --homes host-1.list --dry-run --config host-1.toml");
    assert!(
        dry.stderr
            .contains("60 new subscriptions of 60 homes, 0 that end"),
        "{}",
        dry.stderr
    );
    for host in ["host-1", "host-2"] {
        network.done(&format!(
            "stack sync --homes {host}.list --config {host}.toml"
        ));
    }
    let again = network.done("stack sync --homes host-1.list --config host-1.toml");
    assert!(
        again.stderr.contains("0 new subscriptions"),
        "{}",
        again.stderr
    );
    let counted = |homes: u64| {
        let answer = network.query(&COUNT.replace("people", "nhefs")).json();
        assert_eq!(answer["rows"][0]["homes"], homes);
    };
    counted(120);

    let doctor = network.dispers(&["stack", "doctor", "--config", "host-1.toml"]);
    assert_eq!(doctor.code, Some(0), "{}{}", doctor.stdout, doctor.stderr);
    assert!(!doctor.stdout.contains("FAIL"), "{}", doctor.stdout);
    assert!(
        doctor.stdout.contains("60 homes, 0 without rules"),
        "{}",
        doctor.stdout
    );
    let doctor = network
        .done("stack doctor --format json --config host-2.toml")
        .json();
    assert_eq!(doctor["ready"], true);

    // Two homes leave. The next query does not find them, and each gets a receipt.
    let list = fs::read_to_string(network.path("host-1.list")).unwrap();
    let left: Vec<&str> = list
        .lines()
        .filter(|line| !line.starts_with("host-1-1,") && !line.starts_with("host-1-2,"))
        .collect();
    fs::write(network.path("host-1.list"), left.join("\n") + "\n").unwrap();
    let synced =
        network.done("stack sync --homes host-1.list --receipts receipts --config host-1.toml");
    let receipts: Vec<&str> = synced.stdout.lines().collect();
    assert_eq!(receipts.len(), 2);
    let receipt = fs::read_to_string(network.path(receipts[0])).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["host"], "host-1");
    assert_eq!(
        (receipt["documents"].as_u64(), receipt["history"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(receipt["conductor_told"], true);
    counted(118);
    let erased = network
        .done("home erase --home host-1-3 --config host-1.toml")
        .json();
    assert_eq!(erased["home"], "host-1-3");
    counted(117);
    let gone = network.dispers(&[
        "home",
        "history",
        "--home",
        "host-1-3",
        "--config",
        "host-1.toml",
    ]);
    assert_eq!(gone.code, Some(64), "{}", gone.stderr);

    // A list that has lost half of its homes is not believed.
    fs::write(network.path("short.list"), "home\nhost-2-1\n").unwrap();
    let refused = network.dispers(&[
        "stack",
        "sync",
        "--homes",
        "short.list",
        "--config",
        "host-2.toml",
    ]);
    assert_eq!(refused.code, Some(64));
    assert!(
        refused.stderr.contains("write --erase 59"),
        "{}",
        refused.stderr
    );
    for (list, said) in [
        ("home\n", "lists no home"),
        (
            "home\na\na\n",
            "line 3: the home has no id, or that of another line",
        ),
        ("home,colour\na,red\n", "is no list of homes"),
        (
            "home,concepts\nhost-2-1,no>such\n",
            "no concept \"no>such\"",
        ),
    ] {
        fs::write(network.path("wrong.list"), list).unwrap();
        let refused = network.dispers(&[
            "stack",
            "sync",
            "--homes",
            "wrong.list",
            "--config",
            "host-2.toml",
        ]);
        assert_eq!(refused.code, Some(64), "{list}: {}", refused.stderr);
        assert!(refused.stderr.contains(said), "{list}: {}", refused.stderr);
    }
    counted(117);
}

#[test]
fn an_owner_decides_and_looks_back_at_the_command_line() {
    let network = SampleNetwork::start();
    settle(&network);
    for host in ["host-1", "host-2"] {
        network.done(&format!(
            "stack sync --homes {host}.list --config {host}.toml"
        ));
    }
    let home = |line: &str| {
        network.dispers(
            &format!("home {line} --home host-1-7 --config host-1.toml")
                .split(' ')
                .collect::<Vec<_>>(),
        )
    };
    let done = |line: &str| {
        let ended = home(line);
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        ended
    };
    done("deny --fields age,weight");
    done(
        "allow --querier querier --doctype nhefs --min-cohort 50 --epsilon 1 --epsilon-per-year 5",
    );
    let rules = done("rules").stdout;
    assert!(
        rules.contains("number = 2\neffect = \"deny\"") && rules.contains("epsilon-per-year = 5.0"),
        "{rules}"
    );
    fs::write(
        network.path("own.rules"),
        rules.replace("effect = \"deny\"", "effect = \"allow\""),
    )
    .unwrap();
    done("rules --set own.rules");
    fs::write(network.path("wrong.rules"), "otherwize = 'ask'\n").unwrap();
    let refused = home("rules --set wrong.rules");
    assert_eq!(refused.code, Some(64));
    assert!(
        refused.stderr.contains("unknown field `otherwize`"),
        "{}",
        refused.stderr
    );

    let answer = network
        .query("SELECT COUNT(*) AS homes, AVG(clamp(age, 0, 90, 1)) AS age FROM nhefs")
        .json();
    assert_eq!(answer["rows"][0]["homes"], 120);
    let table = done("history").stdout;
    assert!(
        table.contains("querier: heart study  age of nhefs"),
        "{table}"
    );
    let id = table.split_whitespace().last().unwrap();
    let shown = done(&format!("history --query {id}")).stdout;
    for words in [
        "heart study",
        "allowed",
        "bytes to data-aggregator-1, sealed, of 60 homes",
        "FROM nhefs",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let all = done("history --format json").json();
    assert_eq!(all["history"][0]["outcome"], "allowed");
    assert_eq!(all["subscriptions"][0], "home>all");
    let late = home(&format!("allow --query {id}"));
    assert_eq!(late.code, Some(1), "{}", late.stderr);
    assert!(
        late.stderr.contains("decided before: allowed"),
        "{}",
        late.stderr
    );
    let unknown = home("deny --query 00112233445566778899aabbccddeeff");
    assert!(
        unknown.stderr.contains("was not asked such a query"),
        "{}",
        unknown.stderr
    );
    let link = home("link");
    assert_eq!(link.code, Some(64));
    assert!(
        link.stderr.contains("write [stack.page]"),
        "{}",
        link.stderr
    );
    done("withdraw");
    let answer = network.query("SELECT COUNT(*) AS homes FROM nhefs").json();
    assert_eq!(answer["rows"][0]["homes"], 119);
}

#[test]
fn anybody_listed_reads_the_log_and_checks_that_it_is_one() {
    let network = SampleNetwork::start();
    settle(&network);
    for host in ["host-1", "host-2"] {
        network.done(&format!(
            "stack sync --homes {host}.list --config {host}.toml"
        ));
    }
    let empty = network.dispers(&["log", "verify", "--config", "querier.toml"]);
    assert_eq!(empty.code, Some(69), "{}", empty.stderr);
    assert!(
        empty.stderr.contains("nothing was verified"),
        "{}",
        empty.stderr
    );
    let ask = |field: &str| {
        let sql = format!("SELECT AVG(clamp({field}, 0, 99, 1)) AS mean FROM nhefs");
        network.query(&sql).json()["query"]
            .as_str()
            .map(str::to_owned)
    };
    ask("age");
    let verify = |who: &str, more: &str| {
        let line = format!("log verify --config {who}.toml --state {who}.state{more}");
        network.dispers(&line.split(' ').collect::<Vec<_>>())
    };
    let seen = verify("querier", "");
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);
    assert!(seen.stdout.starts_with("OK: 1 queries"), "{}", seen.stdout);
    ask("sbp");
    // A stack, an aggregator and the querier read the same log. Each head continues those that the others
    // saw.
    for who in ["host-1", "data-aggregator-1", "querier"] {
        let seen = verify(who, " --compare querier.state");
        assert_eq!(seen.code, Some(0), "{}", seen.stderr);
        assert!(seen.stdout.starts_with("OK: 2 queries"), "{}", seen.stdout);
    }
    let listed = network.done("log list --config host-2.toml");
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[1].contains("querier: heart study  nhefs"),
        "{}",
        lines[1]
    );
    let entries = network
        .done("log list --format json --config querier.toml")
        .json();
    assert_eq!(entries["entries"][0]["fields"][0], "age");
    let id = entries["entries"][1]["query"].as_str().unwrap();
    let shown = network.done(&format!("log show {id} --config host-1.toml"));
    assert!(
        shown.stdout.contains("SELECT clamp(sbp, 0, 99, 1)"),
        "{}",
        shown.stdout
    );
    let shown = network
        .done("log show 0 --format json --config querier.toml")
        .json();
    assert_eq!(shown["query"], entries["entries"][0]["query"]);
    let unknown = network.dispers(&["log", "show", "77", "--config", "querier.toml"]);
    assert_eq!(unknown.code, Some(64), "{}", unknown.stderr);
    // A head of another history.
    let state = fs::read_to_string(network.path("querier.state")).unwrap();
    let at = state.find("0200000000000000").unwrap() + 16;
    let digit = if &state[at..=at] == "0" { "1" } else { "0" };
    let forked = format!("{}{digit}{}", &state[..at], &state[at + 1..]);
    fs::write(network.path("forked.state"), forked).unwrap();
    let wrong = verify("querier", " --compare forked.state");
    assert_eq!(wrong.code, Some(64));
    // A head that no conductor signed accuses nobody.
    let words = "is not signed by a conductor";
    assert!(wrong.stderr.contains(words), "{}", wrong.stderr);
    fs::write(network.path("forked.state"), "nonsense").unwrap();
    let wrong = verify("querier", " --compare forked.state");
    assert_eq!(wrong.code, Some(64));
}

#[test]
fn a_new_host_has_a_configuration_that_the_doctor_reads() {
    let folder = tempfile::tempdir().unwrap();
    let stack = folder.path().join("stack");
    let output = stack.to_str().unwrap();
    let root = "0".repeat(64);
    let init = |more: &[&str]| {
        let line = [
            "stack", "init", "--name", "host-9", "--root", &root, "--output", output,
        ];
        dispers(&[&line[..], more].concat())
    };
    let made = init(&[
        "--address",
        "stack.example.org:7131",
        "--page-url",
        "https://consent.example.org",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(
        made.stdout
            .starts_with("[[host]]\nversion = 1\nname = \"host-9\"\n"),
        "{}",
        made.stdout
    );
    assert!(
        made.stdout.contains("address = \"stack.example.org:7131\""),
        "{}",
        made.stdout
    );
    assert!(made.stderr.contains("stack doctor"), "{}", made.stderr);
    let config = stack.join("stack.toml");
    let config = config.to_str().unwrap();
    // There is no directory yet, and the doctor reports that.
    let doctor = dispers(&["stack", "doctor", "--config", config]);
    assert_eq!(doctor.code, Some(1));
    for line in [
        "ok    configuration",
        "ok    database",
        "ok    page",
        "FAIL  directory",
    ] {
        assert!(doctor.stdout.contains(line), "{line}: {}", doctor.stdout);
    }
    let again = init(&[]);
    assert_eq!(again.code, Some(64));
    assert!(
        again.stderr.contains("has a stack already"),
        "{}",
        again.stderr
    );
    let wrong = dispers(&[
        "stack", "init", "--name", "h", "--root", "ff", "--output", "/tmp/x",
    ]);
    assert!(
        wrong.stderr.contains("is not a root key"),
        "{}",
        wrong.stderr
    );
    let broken = fs::read_to_string(config)
        .unwrap()
        .replace("parallel-asks", "paralel-asks");
    fs::write(config, broken).unwrap();
    let doctor = dispers(&["stack", "doctor", "--config", config]);
    assert!(
        doctor.stdout.contains("FAIL  configuration"),
        "{}",
        doctor.stdout
    );
}
