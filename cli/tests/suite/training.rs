//! Training from the command line: over the embedded network, and over one process per role.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{DISPERS, Ended, dispers, network::SampleNetwork, processes::settle};

const SHEET: &str = "../examples/nhefs.csv";
const FEATURES: &str = "age,domain(sex,'male','female'),'clamp(sbp, 80, 230)'";

fn features() -> String {
    FEATURES.replace("'clamp(sbp, 80, 230)'", "clamp(sbp, 80, 230)")
}

/// Runs `dispers sandbox train` for a model, with further arguments.
fn train(model: &str, more: &[&str]) -> Ended {
    let features = features();
    let first = [
        "sandbox",
        "train",
        model,
        "--from",
        "nhefs",
        "--features",
        &features,
    ];
    dispers(&[&first[..], more].concat())
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }
}

fn predict(model: &str, data: &str) -> Ended {
    dispers(&[
        "predict", "--model", model, "--data", data, "--format", "json",
    ])
}

/// Returns a Python that has onnxruntime, or `None` where none is named.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("DISPERS_ONNX_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped in part: DISPERS_ONNX_PYTHON names no Python with onnxruntime");
    }
    python
}

/// Compares the output of onnxruntime with that of `dispers predict`.
fn agrees_with_onnxruntime(files: &Files, predictions: &[Value]) {
    let Some(python) = python() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/onnx.py");
    let sheet = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/nhefs.csv");
    let output = Command::new(python)
        .args([script, &files.path("model.onnx"), sheet])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let given: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = given["rows"].as_array().unwrap();
    assert!(rows.len() > 1000);
    for (row, y) in rows.iter().zip(given["y"].as_array().unwrap()) {
        let said = &predictions[row.as_u64().unwrap() as usize]["score"];
        let y = y.as_array().unwrap().last().unwrap().as_f64().unwrap();
        let apart = (said.as_f64().unwrap() - y).abs();
        assert!(apart < 1e-3 * y.abs().max(1.0), "{said} {y}");
    }
}

#[test]
fn a_model_is_kept_drawn_read_again_and_says_the_same_in_onnxruntime() {
    for (model, label, more) in [
        (
            "logistic",
            "death",
            &["--solver", "newton", "--rounds", "6"][..],
        ),
        ("linear", "clamp(weight82_kg, 30, 150)", &[]),
        ("svm", "quit", &["--rounds", "6"]),
        ("mlp", "death", &["--rounds", "3", "--hidden", "4,3"]),
    ] {
        let files = Files::new();
        let (json, onnx, svg) = (
            files.path("model.json"),
            files.path("model.onnx"),
            files.path("loss.svg"),
        );
        let mut words = vec!["--label", label, "--output", &json, "--onnx", &onnx];
        if model != "linear" {
            words.extend(["--plot", &svg]);
        }
        let trained = train(model, &[&words[..], more].concat());
        assert_eq!(trained.code, Some(0), "{}", trained.stderr);
        assert!(trained.stdout.starts_with(&format!("{model} of ")));
        assert!(trained.stderr.contains("round 0: "), "{}", trained.stderr);
        if model != "linear" {
            assert!(fs::read_to_string(&svg).unwrap().contains("</svg>"));
        }
        let kept = files.json("model.json");
        assert_eq!(kept["schema"], "dispers model");
        assert_eq!(kept["model"], model);
        assert_eq!(kept["query"].as_str().unwrap().len(), 32);
        assert_eq!(kept["columns"][0]["name"], "age");
        assert_eq!(kept["columns"][2]["lo"], 80.0);
        let history = kept["history"].as_array().unwrap();
        assert!(
            history
                .iter()
                .all(|round| round["homes"].as_u64() > Some(200))
        );

        let said = predict(&json, SHEET).json();
        let predictions = said["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 1629);
        agrees_with_onnxruntime(&files, predictions);
        // A row that lacks a value gets no prediction.
        let without = predictions.iter().filter(|one| one["score"].is_null());
        assert_eq!(without.count(), 77);
    }
}

#[test]
fn models_without_onnx_are_kept_and_read_too() {
    for (model, more) in [
        ("naive-bayes", &["--label", "death"][..]),
        ("kmeans", &["--rounds", "3"]),
    ] {
        let files = Files::new();
        let json = files.path("model.json");
        let trained = train(model, &[&["--output", &json][..], more].concat());
        assert_eq!(trained.code, Some(0), "{}", trained.stderr);
        let said = predict(&json, SHEET).json();
        let labels: std::collections::BTreeSet<String> = said["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["label"].to_string())
            .collect();
        assert!(labels.len() > 2, "{labels:?}");
    }
}

#[test]
fn a_noisy_session_says_what_it_spent_and_is_of_use() {
    let files = Files::new();
    let json = files.path("model.json");
    let words = [
        "--label",
        "death",
        "--rounds",
        "12",
        "--epsilon",
        "8",
        "--delta",
        "1e-5",
        "--output",
        &json,
    ];
    let trained = train("logistic", &words);
    assert_eq!(trained.code, Some(0), "{}", trained.stderr);
    assert!(
        trained
            .stdout
            .contains("the session spent epsilon 8, delta 0.00001"),
        "{}",
        trained.stdout
    );
    let kept = files.json("model.json");
    assert_eq!(kept["privacy"]["rounds"], 14);
    // Without noise it is 0.85. The noise takes a good part of that from a validation over 300 homes.
    assert!(kept["metrics"]["accuracy"].as_f64().unwrap() > 0.65);
    // Age is the feature that matters most.
    let coefficients = kept["coefficients"].as_array().unwrap();
    assert!(coefficients[1]["standardised"].as_f64().unwrap() > 0.4);
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_starts() {
    let refused = [
        (&["logistic"][..], "this model needs a label"),
        (
            &["kmeans", "--label", "death"],
            "unexpected argument '--label'",
        ),
        (&["svm", "--label", "age"], "write a condition"),
        (&["svm", "--label", "exercise"], "--positive"),
        (&["linear", "--label", "nothing"], "nothing"),
        (
            &[
                "svm",
                "--label",
                "domain(exercise, 'much', 'moderate', 'little')",
            ],
            "two classes",
        ),
        (
            &["naive-bayes", "--label", "death", "--onnx", "m.onnx"],
            "unexpected argument '--onnx'",
        ),
        (
            &[
                "linear",
                "--label",
                "death",
                "--output",
                "/no/such/folder/m",
            ],
            "there is no such folder",
        ),
        (&["logistic", "--label", "death", "--lr", "-1"], "--lr"),
        (&["logistic", "--label", "death", "--lr", "NaN"], "--lr"),
        (
            &["logistic", "--label", "death", "--momentum", "1"],
            "--momentum",
        ),
        (
            &["logistic", "--label", "death", "--validation", "1.5"],
            "--validation",
        ),
        (&["logistic", "--label", "death", "--rounds", "0"], "round"),
        (&["logistic", "--label", "death", "--bits", "7"], "bits"),
        (&["logistic", "--label", "death", "--clip", "0"], "above 0"),
        (&["mlp", "--label", "death", "--hidden", "0"], "hidden"),
        (
            &[
                "logistic",
                "--label",
                "domain(exercise, 'much', 'moderate', 'little')",
                "--solver",
                "newton",
            ],
            "two classes",
        ),
        (
            &["svm", "--label", "death", "--solver", "newton"],
            "invalid value 'newton' for '--solver",
        ),
        (
            &[
                "logistic", "--label", "death", "--solver", "newton", "--lr", "0.5",
            ],
            "--solver newton has no use for --lr",
        ),
        (
            &["linear", "--label", "death", "--rounds", "3"],
            "unexpected argument '--rounds'",
        ),
        (
            &["naive-bayes", "--label", "death", "--plot", "p.svg"],
            "unexpected argument '--plot'",
        ),
        (
            &["logistic", "--label", "death", "--epochs", "3"],
            "unexpected argument '--epochs'",
        ),
        (&["forest", "--label", "death"], "unrecognized subcommand"),
        (&["logistic", "--label", "death, quit"], "list"),
        (
            &["logistic", "--label", "death", "--epsilon", "1"],
            "--delta",
        ),
    ];
    for (words, hint) in refused {
        let ended = train(words[0], &words[1..]);
        assert_eq!(ended.code, Some(64), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(hint), "{words:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty());
        assert!(!ended.stderr.contains("round 0"), "{}", ended.stderr);
    }
    for (features, hint) in [
        ("", "feature"),
        ("cigarettes2", "cigarettes2"),
        ("exercise", "domain("),
        ("age,age", "once"),
        ("death", "label"),
        ("clamp(age, 5, 5)", "clamp"),
    ] {
        let ended = dispers(&[
            "sandbox",
            "train",
            "logistic",
            "--from",
            "nhefs",
            "--label",
            "death",
            "--features",
            features,
        ]);
        assert_eq!(ended.code, Some(64), "{features}: {}", ended.stderr);
        assert!(ended.stderr.contains(hint), "{features}: {}", ended.stderr);
    }
}

#[test]
fn what_turns_out_to_have_nothing_to_learn_is_named() {
    let same = train("logistic", &["--label", "age > 5"]);
    assert_eq!(same.code, Some(1), "{}", same.stderr);
    assert!(
        same.stderr
            .contains("the label is the same in all documents"),
        "{}",
        same.stderr
    );
    let few = train("logistic", &["--label", "death", "--where", "age > 73"]);
    assert_eq!(few.code, Some(1), "{}", few.stderr);
    assert!(
        few.stderr.contains("fewer homes than the minimum cohort"),
        "{}",
        few.stderr
    );
    let long = train("svm", &["--label", "death", "--lr", "90", "--rounds", "9"]);
    assert_eq!(long.code, Some(0), "{}", long.stderr);
    assert!(
        long.stdout.contains("give a smaller --lr"),
        "{}",
        long.stdout
    );
}

#[test]
fn a_model_file_that_is_none_or_of_another_version_is_refused() {
    let files = Files::new();
    let json = files.path("model.json");
    let trained = train("linear", &["--label", "death", "--output", &json]);
    assert_eq!(trained.code, Some(0), "{}", trained.stderr);
    let good = fs::read_to_string(&json).unwrap();
    for (from, to, hint) in [
        ("\"version\": 1", "\"version\": 2", "of version 2"),
        ("\"dispers model\"", "\"model\"", "no model file"),
        ("{", "", "no JSON"),
        ("\"plan\": \"0", "\"plan\": \"f", "damaged"),
        ("\"weights\": [", "\"weights\": [1.0,", "damaged"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&json, good.replacen(from, to, 1)).unwrap();
        let ended = predict(&json, SHEET);
        assert_eq!(ended.code, Some(64), "{from}: {}", ended.stderr);
        assert!(ended.stderr.contains(hint), "{from}: {}", ended.stderr);
        assert!(ended.stdout.is_empty());
    }
    fs::write(&json, good).unwrap();
    let other = files.path("other.csv");
    fs::write(&other, "age,sex\n40,male\n").unwrap();
    let ended = predict(&json, &other);
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("has no column sbp"),
        "{}",
        ended.stderr
    );
    let ended = predict(&json, &files.path("none.csv"));
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
}

/// A session, with the lines of its progress as they come.
struct Session {
    child: std::process::Child,
    told: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Session {
    fn start(network: &SampleNetwork, more: &[&str]) -> Self {
        let features = features();
        let mut child = Command::new(DISPERS)
            .args(["train", "logistic", "--label", "death", "--from", "nhefs"])
            .args(["--features", &features, "--config", "querier.toml"])
            .args(["--purpose", "heart study", "--epsilon", "off"])
            .args(more)
            .current_dir(network.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            told: BufReader::new(child.stderr.take().unwrap()),
            child,
            said: String::new(),
        }
    }

    /// Waits until a round has ended.
    fn until(&mut self, round: u16) {
        let wanted = format!("round {round}: ");
        loop {
            let mut line = String::new();
            let read = self.told.read_line(&mut line).unwrap();
            assert!(read > 0, "{wanted} never came: {}", self.said);
            self.said += &line;
            if line.starts_with(&wanted) {
                return;
            }
        }
    }

    fn end(mut self) -> Ended {
        let mut rest = String::new();
        self.told.read_to_string(&mut rest).unwrap();
        let mut ended = Ended::of(self.child.wait_with_output().unwrap());
        ended.stderr = self.said + &rest;
        ended
    }
}

#[test]
fn a_session_outlives_the_crash_of_any_role() {
    let mut network = SampleNetwork::start();
    settle(&network);
    // A rule that allows queries does not allow training.
    let refused = Session::start(&network, &["--rounds", "2"]).end();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for host in ["host-1", "host-2"] {
        network.done(&format!(
            "home allow --every-home --exact --training --config {host}.toml"
        ));
    }
    let mut session = Session::start(
        &network,
        &[
            "--rounds",
            "16",
            "--lr",
            "0.5",
            "--validation",
            "0",
            "--output",
            "model.json",
        ],
    );
    for (round, name) in [
        (1, "conductor"),
        (3, "data-aggregator-2"),
        (5, "target"),
        (7, "target-finder"),
        (9, "host-2"),
        (11, "conductor"),
        (13, "data-aggregator-1"),
    ] {
        session.until(round);
        network.kill(name);
        network.start_again(name);
    }
    let ended = session.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let kept = fs::read_to_string(network.path("model.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["ended"], Value::Null, "{}", ended.stderr);
    let history = kept["history"].as_array().unwrap();
    assert_eq!(history.len(), 17, "{}", ended.stderr);
    let loss = |round: usize| history[round]["loss"].as_f64().unwrap();
    assert!((loss(1) - 2f64.ln()).abs() < 1e-2);
    assert!(loss(16) < 0.45, "{}", ended.stderr);

    // The querier may also be killed.
    let words = ["--rounds", "9", "--lr", "0.5", "--validation", "0"];
    let mut session = Session::start(&network, &words);
    session.until(4);
    session.child.kill().unwrap();
    let told = session.end().stderr;
    let id = told
        .lines()
        .find_map(|line| line.strip_prefix("session ")?.split(':').next());
    let id = id.expect("the session told its id").to_owned();
    let resumed = network.dispers(&[
        "resume",
        &id,
        "--config",
        "querier.toml",
        "--output",
        "resumed.json",
    ]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    let kept = fs::read_to_string(network.path("resumed.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let history = kept["history"].as_array().unwrap();
    assert_eq!(history.len(), 10, "{}", resumed.stderr);
    for (number, round) in history.iter().enumerate() {
        assert_eq!(round["round"], number);
        assert_eq!(round["homes"], history[0]["homes"]);
    }
    // Rounds that were released before the process died are the same after it is resumed.
    for line in told.lines().filter(|line| line.starts_with("round ")) {
        let said = |line: &str| line.rsplit_once(',').map(|(before, _)| before.to_owned());
        let same = resumed
            .stderr
            .lines()
            .filter(|other| said(other) == said(line));
        assert_eq!(same.count(), 1, "{line}");
    }
    // A session that has ended is no longer kept.
    let again = network.dispers(&["resume", &id, "--config", "querier.toml"]);
    assert_eq!(again.code, Some(64), "{}", again.stderr);
    assert!(again.stderr.contains("no session"), "{}", again.stderr);
}
