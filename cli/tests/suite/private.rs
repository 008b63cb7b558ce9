//! Files that the program makes belong to their owner alone, whatever the shell's umask.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{network::SampleNetwork, survival::detach};

/// Formats of results that this build writes.
const FORMATS: &[&str] = if cfg!(feature = "files") {
    &["csv", "arrow", "parquet"]
} else {
    &["csv"]
};

/// Collects every file and folder in `folder`.
fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        }
        found.insert(path);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Network in which the test itself made some files.
struct Watched {
    network: SampleNetwork,
    given: BTreeSet<PathBuf>,
}

impl Watched {
    fn give(&mut self, file: &str, text: &str) {
        let path = self.network.path(file);
        fs::write(&path, text).unwrap();
        self.given.insert(path);
    }

    /// Writes the output of a command to a file, like a shell's `>`.
    fn save(&mut self, line: &str, file: &str) {
        let printed = self.network.done(line).stdout;
        self.give(file, &printed);
    }

    /// Returns the files that the program made, after checking that each is private.
    fn made(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        walk(&self.network.path(""), &mut found);
        for path in found.difference(&self.given) {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            let mode = mode(path);
            assert_eq!(mode, expected, "{} has mode {mode:o}", path.display());
        }
        found.difference(&self.given).cloned().collect()
    }
}

#[test]
fn every_file_that_any_command_makes_is_private_whatever_the_umask() {
    // Every process of the network runs with umask 000.
    let mut watched = Watched {
        network: SampleNetwork::start(),
        given: BTreeSet::new(),
    };
    for host in ["host-1", "host-2"] {
        let row = |n: usize| format!("{host}-{n},{n},{},male\n", 100 + n);
        let rows: String = (0..40).map(row).collect();
        watched.give(&format!("{host}.csv"), &format!("home,age,sbp,sex\n{rows}"));
        let rows: String = (0..40).map(|n| format!("{host}-{n},home>all\n")).collect();
        watched.give(&format!("{host}.list"), &format!("home,concepts\n{rows}"));
        for line in [
            "stack import HOST.csv --doctype nhefs --home-column home --config HOST.toml",
            "home allow --every-home --exact --training --config HOST.toml",
            "stack sync --homes HOST.list --config HOST.toml",
        ] {
            watched.network.done(&line.replace("HOST", host));
        }
    }
    let list = fs::read_to_string(watched.network.path("host-1.list")).unwrap();
    watched.give("host-1.list", &list.replace("host-1-3,home>all\n", ""));
    watched
        .network
        .done("stack sync --homes host-1.list --receipts receipts/of-today --config host-1.toml");
    let ask = |more: &[&str]| {
        let sql = "SELECT COUNT(*) AS homes FROM nhefs";
        let first = ["query", sql, "--config", "querier.toml", "--epsilon", "off"];
        let purpose = ["--purpose", "heart study"];
        let ended = watched
            .network
            .dispers(&[&first[..], &purpose, more].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    for format in FORMATS {
        let (file, plot) = (format!("result.{format}"), format!("{format}.svg"));
        ask(&["--format", format, "--output", &file, "--plot", &plot]);
    }
    detach(&watched.network);
    let trained = watched.network.dispers(&[
        "train",
        "linear",
        "--config",
        "querier.toml",
        "--purpose",
        "heart study",
        "--epsilon",
        "off",
        "--from",
        "nhefs",
        "--label",
        "clamp(sbp, 80, 230)",
        "--features",
        "age",
        "--validation",
        "0",
        "--output",
        "model.json",
        "--onnx",
        "model.onnx",
    ]);
    assert_eq!(trained.code, Some(0), "{}", trained.stderr);
    for line in [
        "log verify --state log.state --config querier.toml",
        "keys new root --name r --output new-root.key",
        "keys split new-root.key --shares 3 --threshold 2",
        "keys deal --needed 2 --members 3 --output-dir deep/dealt",
        "stack init --name host-9 --output deep/host-9 --root ROOT",
    ] {
        watched
            .network
            .done(&line.replace("ROOT", &"ab".repeat(32)));
    }
    for role in [
        "conductor",
        "concept-indexor",
        "target-finder",
        "target",
        "querier",
    ] {
        let line = format!("keys new {role} --name new --output new-{role}.key");
        watched.network.done(&line);
    }
    let members = (1..=3).map(|n| format!("data-aggregator-{n}.pub"));
    let members = members.collect::<Vec<_>>().join(" ");
    watched.save(
        &format!(
            "keys ceremony start --network sample --role data-aggregator --needed 2 --members {members}"
        ),
        "ceremony.toml",
    );
    watched
        .network
        .done("keys ceremony enrol ceremony.toml --keys data-aggregator-1.key --secret one.secret");
    let description = fs::read_to_string(watched.network.path("directory.toml")).unwrap();
    watched.give(
        "next.toml",
        &description.replace("\nepoch = 1", "\nepoch = 2"),
    );
    watched
        .network
        .done("directory renew directory.bin --description next.toml --output next.bin");
    watched
        .network
        .done("directory sign next.bin --key root.key");

    let made = watched.made();
    // The list shows that a file of every kind was made and checked.
    let names: BTreeSet<String> = made
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    for name in [
        "conductor.db",
        "conductor.db-wal",
        "target-finder.db",
        "data-aggregator-1.db",
        "data-aggregator-1.witness.db",
        "data-aggregator-1.witness.db-wal",
        "host-1.db",
        "host-1.db-wal",
        "host-1.db-shm",
        "queries",
        "csv.svg",
        "model.json",
        "model.onnx",
        "log.state",
        "new-root.key",
        "share-1.key",
        "one.secret",
        "next.bin",
        "stack.toml",
        "stack.key",
        "host-9",
        "of-today",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    for format in FORMATS {
        let name = format!("result.{format}");
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let ends = |end: &str| names.iter().any(|name| name.ends_with(end));
    assert!(
        ends(".query") && ends(".json") && !ends(".part"),
        "{names:?}"
    );
}

#[test]
fn what_holds_people_s_data_or_a_password_and_others_may_read_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file);
    let run = |line: &str| {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| word.replace("AT", folder.path().to_str().unwrap()))
            .collect();
        crate::dispers(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let root = "ab".repeat(32);
    let init = run(&format!("stack init --name h --output AT --root {root}"));
    assert_eq!(init.code, Some(0), "{}", init.stderr);
    fs::write(path("people.csv"), "home,age\na,1\n").unwrap();
    let import = "stack import AT/people.csv --home-column home --config AT/stack.toml";
    assert_eq!(run(import).code, Some(0));
    for wide in [0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(path("stack.db"), fs::Permissions::from_mode(wide)).unwrap();
        let before = fs::read(path("stack.db")).unwrap();
        for line in [import, "home history --home a --config AT/stack.toml"] {
            let refused = run(line);
            assert_eq!(
                refused.code,
                Some(64),
                "{wide:o} {line}: {}",
                refused.stderr
            );
            let command = format!("run chmod 600 {}", path("stack.db").display());
            assert!(refused.stderr.contains(&command), "{}", refused.stderr);
        }
        assert_eq!(fs::read(path("stack.db")).unwrap(), before);
    }
    fs::set_permissions(path("stack.db"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(import).code, Some(0));
}

#[test]
fn the_unit_gives_nobody_else_files_or_memory() {
    let unit = fs::read_to_string("../deploy/dispers@.service").unwrap();
    let lines: BTreeSet<&str> = unit.lines().collect();
    for line in ["UMask=0077", "StateDirectoryMode=0700", "LimitCORE=0"] {
        assert!(lines.contains(line), "{line}");
    }
}

#[test]
fn a_configuration_with_a_secret_is_refused_if_others_may_read_it() {
    let mut network = SampleNetwork::start();
    network.stop("host-1");
    let config = network.path("host-1.toml");
    let text = fs::read_to_string(&config).unwrap();
    let wide = || fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    for secret in ["user:mistyped@127.0.0.1", "127.0.0.1/?token=mistyped"] {
        let notify = format!("\n[stack.notify]\nwebhook = \"https://{secret}\"\n");
        fs::write(&config, text.clone() + &notify).unwrap();
        wide();
        let refused = network.dispers(&["serve", "stack", "--config", "host-1.toml"]);
        assert_eq!(refused.code, Some(64), "{}", refused.stderr);
        let command = "run chmod 600 host-1.toml";
        assert!(refused.stderr.contains(command), "{}", refused.stderr);
        assert!(!refused.stderr.contains("mistyped"), "{}", refused.stderr);
    }
}

/// Calls that make files or folders with the process's default mode.
const MAKERS: [&str; 9] = [
    "fs::write(",
    "fs::copy(",
    "File::create",
    "create_dir",
    "OpenOptions",
    "DirBuilder",
    "Connection::open(",
    "tokio::fs",
    "tempfile",
];

#[test]
fn nothing_makes_a_file_but_the_functions_for_private_ones() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = BTreeSet::new();
    for part in fs::read_dir(&top).unwrap() {
        let part = part.unwrap().path();
        let source = part.join("src");
        // The crate of tests is not part of the program.
        if source.is_dir() && !part.ends_with("tests") {
            walk(&source, &mut sources);
        }
    }
    let mut looked_at = 0;
    for path in &sources {
        let name = path.strip_prefix(&top).unwrap().to_str().unwrap();
        let is_test = name.contains("/tests") || name.contains("testing");
        if is_test || !name.ends_with(".rs") || name == "node/src/private.rs" {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code = code.split("#[cfg(all(test").next().unwrap();
        // Examples in documentation make folders of their own.
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for maker in MAKERS {
            let allowed =
                usize::from(name == "node/src/database.rs" && maker == "Connection::open(");
            assert_eq!(
                code.matches(maker).count(),
                allowed,
                "{name} has {maker}: make files with dispers_node::private"
            );
        }
        looked_at += 1;
    }
    assert!(looked_at > 200, "{looked_at}");
}

#[test]
fn a_node_whose_file_was_replaced_answers_nothing() {
    let network = SampleNetwork::start();
    for host in ["host-1", "host-2"] {
        let rows: String = (0..30).map(|n| format!("{host}-{n},{n}\n")).collect();
        fs::write(
            network.path(&format!("{host}.csv")),
            format!("home,age\n{rows}"),
        )
        .unwrap();
        for line in [
            "stack import HOST.csv --doctype nhefs --home-column home --config HOST.toml",
            "stack subscribe home>all --every-home --config HOST.toml",
            "home allow --every-home --exact --config HOST.toml",
        ] {
            network.done(&line.replace("HOST", host));
        }
    }
    let ask = || network.query("SELECT COUNT(*) AS homes FROM nhefs");
    assert_eq!(ask().json()["homes"]["accepted"], 60);

    // The file is replaced by a copy with the same bytes, as a restored backup would be, and then put back.
    let replaced = |files: &[&str], asked: &dyn Fn()| {
        let (away, copy) = (network.path("away"), network.path("copy"));
        fs::create_dir_all(&away).unwrap();
        for file in files {
            let path = network.path(file);
            fs::copy(&path, &copy).unwrap();
            fs::rename(&path, away.join(file)).unwrap();
            fs::rename(&copy, &path).unwrap();
        }
        asked();
        for file in files {
            fs::rename(away.join(file), network.path(file)).unwrap();
        }
    };
    let fails = || {
        let refused = ask();
        assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    };
    replaced(&["conductor.db"], &fails);
    replaced(&["target-finder.db"], &fails);
    replaced(&["data-aggregator-1.db", "data-aggregator-2.db"], &fails);
    replaced(
        &[
            "data-aggregator-1.witness.db",
            "data-aggregator-2.witness.db",
        ],
        &fails,
    );
    replaced(&["host-1.db"], &|| {
        // The command line writes into the file at the path; the stack has the other one open.
        network.done("home deny --every-home --config host-1.toml");
        let answer = ask();
        if answer.code == Some(0) {
            assert_eq!(answer.json()["homes"]["answered"], 30, "{}", answer.stdout);
        }
    });
    assert_eq!(ask().json()["homes"]["accepted"], 60);
}
