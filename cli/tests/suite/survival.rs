//! Processes are killed in the middle of a query, and the answer is exact all the same.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{EXAMPLE, Ended, is_about, network::SampleNetwork, processes::settle};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Number of homes of host-1, which has every other row, beginning with the first.
const FIRST_HOST: u64 = 815;
pub(crate) const EVERYBODY: u64 = 1629;

pub(crate) fn detach(network: &SampleNetwork) -> String {
    let asked = network.dispers(&[
        "query",
        EXAMPLE,
        "--detach",
        "--config",
        "querier.toml",
        "--purpose",
        "heart study",
        "--epsilon",
        "off",
    ]);
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    asked.stdout.trim().to_owned()
}

pub(crate) fn of(network: &SampleNetwork, verb: &str, id: &str) -> Ended {
    network.dispers(&[verb, id, "--config", "querier.toml", "--format", "json"])
}

/// Waits until homes are being asked.
pub(crate) fn until_asked(network: &SampleNetwork, id: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = of(network, "status", id).json();
        if status["phase"] == "ask" {
            return status;
        }
        assert!(
            Instant::now() < deadline && status["failure"].is_null(),
            "{status}"
        );
        sleep(Duration::from_millis(20));
    }
}

/// Waits for the answer.
pub(crate) fn result(network: &SampleNetwork, id: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let result = of(network, "result", id);
        match result.code {
            Some(69 | 75) if Instant::now() < deadline => sleep(Duration::from_millis(100)),
            _ => return result.json(),
        }
    }
}

/// Compares an answer with a plain computation over the homes of the hosts that answered.
pub(crate) fn is_exact(answer: &Value) -> u64 {
    let accepted = answer["homes"]["accepted"].as_u64().unwrap();
    // If the number of a band's homes is withheld, the number of all homes is noisy.
    let is_of = |homes: u64| accepted == homes || is_about(accepted, homes);
    let (all, step) = match (is_of(EVERYBODY), is_of(FIRST_HOST)) {
        (true, _) => (EVERYBODY, 1),
        (_, true) => (FIRST_HOST, 2),
        _ => panic!("{accepted} homes are those of no hosts"),
    };
    let sheet = include_str!("../../../examples/nhefs.csv");
    let mut lines = sheet.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let place = |name| header.iter().position(|column| *column == name).unwrap();
    let (age, sbp) = (place("age"), place("sbp"));
    let mut bands = [(0u64, 0u64, 0f64); 3];
    for line in lines.step_by(step) {
        let cells: Vec<&str> = line.split(',').collect();
        let age: u32 = cells[age].parse().unwrap();
        let band = &mut bands[usize::from(age >= 40) + usize::from(age >= 55)];
        band.0 += 1;
        if let Ok(sbp) = cells[sbp].parse::<f64>() {
            band.1 += 1;
            band.2 += sbp.clamp(80.0, 230.0);
        }
    }
    for (row, (homes, measured, sum)) in answer["rows"].as_array().unwrap().iter().zip(bands) {
        // The number is withheld if it would reveal a few homes without a measurement.
        let is_released = !(1..20).contains(&(homes - measured));
        assert_eq!(row["homes"].as_u64(), is_released.then_some(homes));
        assert_eq!(row["measured"], measured);
        let mean = row["mean_sbp"].as_f64().unwrap();
        assert!((mean - sum / measured as f64).abs() < 1e-6, "{row}");
    }
    all
}

/// Starts a network whose homes answer slowly.
pub(crate) fn slow(ms: u32) -> SampleNetwork {
    let mut network = SampleNetwork::start();
    settle(&network);
    let slow = format!("quantum-ms = {ms}");
    network.edit("host-1.toml", &[("quantum-ms = 100", &slow)]);
    let slow = format!("[stack]\nanswer-{slow}");
    network.edit("host-2.toml", &[("[stack]", &slow)]);
    let lease = "[conductor]\nlease-ms = 500";
    network.edit("conductor.toml", &[("[conductor]", lease)]);
    network.restart(&[]);
    network
}

#[test]
fn whoever_is_killed_in_the_middle_of_a_query_the_answer_is_exact() {
    let mut network = slow(1500);
    for name in [
        "data-aggregator-3",
        "target-finder",
        "target",
        "conductor",
        "host-2",
    ] {
        let id = detach(&network);
        let status = until_asked(&network, &id);
        assert_eq!(status["waiting"][0]["node"], "target", "{status}");
        network.kill(name);
        if name == "conductor" {
            assert_eq!(of(&network, "status", &id).code, Some(69));
        }
        network.start_again(name);
        let accepted = is_exact(&result(&network, &id));
        // A stack that was killed sends nothing more of that batch. A target that comes back may be ready
        // before the stack that attaches itself to it.
        if !matches!(name, "host-2" | "target") {
            assert_eq!(accepted, EVERYBODY, "{name}");
        }
    }
    let id = detach(&network);
    until_asked(&network, &id);
    network.kill("data-aggregator-3");
    let answer = result(&network, &id);
    assert_eq!(is_exact(&answer), EVERYBODY);
    assert_eq!(answer["aggregators"]["verified"], 2);
}

#[test]
fn a_query_that_is_cancelled_ends_and_one_that_runs_says_whom_it_waits_for() {
    let network = slow(1500);
    let id = detach(&network);
    until_asked(&network, &id);
    let early = network.dispers(&["result", &id, "--config", "querier.toml"]);
    assert_eq!(early.code, Some(75), "{}", early.stderr);
    for words in [
        "not done yet",
        "waits for target",
        "at most",
        "the batch is asked again",
    ] {
        assert!(early.stderr.contains(words), "{}", early.stderr);
    }
    let cancelled = of(&network, "cancel", &id);
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.stderr);
    let gone = of(&network, "result", &id);
    assert_eq!(gone.code, Some(64), "{}", gone.stderr);
    assert!(gone.stderr.contains("no question"), "{}", gone.stderr);
    // The network still answers queries.
    let answer = network.query(EXAMPLE).json();
    assert_eq!(is_exact(&answer), EVERYBODY);
}
