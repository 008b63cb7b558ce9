//! Every role as a process of its own, from the sample configurations.

use std::fs;

use crate::{EXAMPLE, assert_about, assert_is_the_example, network::SampleNetwork};

/// Imports every other row of the example at each of the two hosts and subscribes all homes.
pub(crate) fn settle(network: &SampleNetwork) {
    let sheet = include_str!("../../../examples/nhefs.csv");
    let (header, rows) = sheet.split_once('\n').unwrap();
    for (host, first) in [("host-1", 0), ("host-2", 1)] {
        let mine: Vec<&str> = rows.lines().skip(first).step_by(2).collect();
        let file = network.path(&format!("{host}.csv"));
        fs::write(&file, format!("{header}\n{}\n", mine.join("\n"))).unwrap();
        let config = format!("{host}.toml");
        let imported = network.dispers(&[
            "stack",
            "import",
            file.to_str().unwrap(),
            "--doctype",
            "nhefs",
            "--config",
            &config,
        ]);
        assert_eq!(imported.code, Some(0), "{}", imported.stderr);
        let homes = mine.len();
        assert_eq!(
            imported.stderr,
            format!("imported {homes} documents of nhefs\n")
        );
        let subscribe = |concept| {
            network.dispers(&[
                "stack",
                "subscribe",
                concept,
                "--every-home",
                "--config",
                &config,
            ])
        };
        let subscribed = subscribe("home>all");
        assert_eq!(subscribed.code, Some(0), "{}", subscribed.stderr);
        assert!(subscribed.stderr.contains(&format!("{homes} homes")));
        assert!(
            subscribed
                .stderr
                .contains("have no rules and refuse every query")
        );
        network.done(&format!(
            "home allow --every-home --exact --config {config}"
        ));
        let again = subscribe("home>all");
        assert!(!again.stderr.contains("no rules"), "{}", again.stderr);
        assert!(
            again.stderr.contains("0 new subscriptions"),
            "{}",
            again.stderr
        );
    }
}

#[test]
fn a_network_of_processes_answers_and_survives_one_aggregator() {
    let mut network = SampleNetwork::start();
    let nobody = network.query(EXAMPLE);
    assert_eq!(nobody.code, Some(1), "{}", nobody.stderr);
    assert!(
        nobody
            .stderr
            .contains("fewer than the minimum cohort of 20"),
        "{}",
        nobody.stderr
    );
    settle(&network);

    let answer = network.query(EXAMPLE).json();
    assert_is_the_example(&answer);
    assert_about(&answer["homes"]["accepted"], 1629);
    assert_eq!(answer["aggregators"]["verified"], 3);

    let config = "host-2.toml";
    let withdrawn = network.dispers(&[
        "stack", "withdraw", "--all", "--home", "7", "--config", config,
    ]);
    assert_eq!(withdrawn.stderr, "1 homes, 1 subscriptions withdrawn\n");
    let fewer = network.query(EXAMPLE).json();
    assert_ne!(fewer["rows"], answer["rows"]);
    let again = network.dispers(&[
        "stack",
        "subscribe",
        "home>all",
        "--home",
        "7",
        "--config",
        config,
    ]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);

    // A service that is stopped on request exits with success.
    assert!(network.stop("data-aggregator-2").success());
    let answer = network.query(EXAMPLE).json();
    assert_is_the_example(&answer);
    assert_eq!(answer["aggregators"]["verified"], 2);

    network.stop("data-aggregator-3");
    let refused = network.query(EXAMPLE);
    assert_eq!(refused.code, Some(75), "{}", refused.stderr);
    for missing in ["data-aggregator-2", "data-aggregator-3"] {
        assert!(refused.stderr.contains(missing), "{}", refused.stderr);
    }
    assert!(!refused.stderr.contains("data-aggregator-1"));
    assert!(refused.stdout.is_empty());

    network.stop("conductor");
    let unreachable = network.query(EXAMPLE);
    assert_eq!(unreachable.code, Some(69), "{}", unreachable.stderr);
    assert!(unreachable.stderr.contains("conductor"));

    for name in network.running() {
        assert!(network.stop(name).success(), "{name}");
    }
}

#[test]
fn a_service_that_cannot_start_says_what_to_mend() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("conductor.toml");
    let serve = || crate::dispers(&["serve", "conductor", "--config", config.to_str().unwrap()]);
    let missing = serve();
    assert_eq!(missing.code, Some(64));
    assert!(missing.stderr.contains("cannot read") && missing.stderr.contains("conductor.toml"));

    fs::write(&config, "[conductor]\nbatch-size = 10\n").unwrap();
    assert!(serve().stderr.contains("there is no [node] table"));

    fs::write(
        &config,
        "[node]\nname = \"conductor\"\ndirectory = \"directory.bin\"\nroots = []\nkeys = \"k\"\n\
         [conductor]\nbatch-sise = 10\n",
    )
    .unwrap();
    let misspelt = serve();
    assert_eq!(misspelt.code, Some(64));
    assert!(
        misspelt.stderr.contains("batch-sise"),
        "{}",
        misspelt.stderr
    );

    fs::write(
        &config,
        "[node]\nname = \"conductor\"\n[telemetry]\notlp = \"no address\"\n",
    )
    .unwrap();
    let nowhere = serve();
    assert_eq!(nowhere.code, Some(64));
    assert!(
        nowhere.stderr.contains("no address") && nowhere.stderr.contains("http://HOST:4317"),
        "{}",
        nowhere.stderr
    );
}
