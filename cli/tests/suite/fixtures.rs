//! Networks of earlier releases continue to run, and all their files can be read (`tests/fixtures`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::network::SampleNetwork;

/// The networks of all releases that have fixtures.
fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let entries = fs::read_dir(folder).unwrap();
    let networks = entries.map(|entry| entry.unwrap().path().join("network"));
    let networks: Vec<PathBuf> = networks.filter(|network| network.exists()).collect();
    assert!(!networks.is_empty());
    networks
}

/// Returns the names of the files in a folder with this ending.
fn with_ending(folder: &Path, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(ending)).collect()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_network_of_an_earlier_release_goes_on_with_all_that_it_kept() {
    for fixture in fixtures() {
        let network = SampleNetwork::resume(&fixture);
        // One host has sixty homes. The other has fewer, because one has left.
        let before = &json(&network.path("exact.json"))["rows"][0];
        let sql = "SELECT COUNT(*) AS homes, AVG(clamp(age, 20, 80)) AS age FROM nhefs";
        let answer = &network.query(sql).json()["rows"][0];
        assert_eq!(
            (&answer["homes"], &before["homes"]),
            (&119.into(), &119.into())
        );
        // Homes round their ages to levels at random.
        let difference = answer["age"].as_f64().unwrap() - before["age"].as_f64().unwrap();
        assert!(difference.abs() < 0.1, "{answer} {before}");
        for (host, list, homes) in [
            ("host-1", "host-1.list", 60),
            ("host-2", "shorter.list", 59),
        ] {
            let synced = network.done(&format!("stack sync --homes {list} --config {host}.toml"));
            let unchanged = "0 new subscriptions of 0 homes, 0 that end, 0 homes that left";
            assert!(synced.stderr.contains(unchanged), "{}", synced.stderr);
            let doctor = network.done(&format!("stack doctor --config {host}.toml"));
            let told = format!("{homes} homes, 0 without rules");
            assert!(doctor.stdout.contains(&told), "{}", doctor.stdout);
        }
        // A home remembers what it answered before: both exact queries, and the noisy one with its loss.
        let history = network.done("home history --home host-1-1 --config host-1.toml");
        let answered = history.stdout.matches("heart study").count();
        assert!(answered >= 4, "{}", history.stdout);
        // The question and the session that waited can still be read, whatever their outcome.
        let asked = with_ending(&network.path("queries"), ".query");
        let sessions = with_ending(&network.path("queries"), ".training");
        assert!(!asked.is_empty() && !sessions.is_empty());
        for (command, file) in [("result", &asked[0]), ("resume", &sessions[0])] {
            let id = file.split('.').next().unwrap();
            let told = network.dispers(&[command, id, "--config", "querier.toml"]);
            let refused = [
                "damaged",
                "malformed",
                "no question",
                "no session",
                // The session failed when the network stopped.
                "another conductor",
            ];
            assert!(
                !refused.iter().any(|word| told.stderr.contains(word)),
                "{}",
                told.stderr
            );
        }
        // The log has grown, and continues the earlier one.
        let verified = network.done("log verify --state log.state --config querier.toml");
        assert!(verified.stdout.contains("queries"), "{}", verified.stdout);
        let spent = network
            .done("budget --config querier.toml --format json")
            .json();
        assert!(spent.to_string().contains("rho"), "{spent}");
    }
}

#[test]
fn every_file_of_an_earlier_release_is_read() {
    for fixture in fixtures() {
        let network = SampleNetwork::copied(&fixture);
        let root = network.path("");
        for key in [with_ending(&root, ".key"), with_ending(&root, ".pub")].concat() {
            network.done(&format!("keys show {key}"));
        }
        network.done("directory show directory.bin");
        network.done("directory new directory.toml --output again.bin");
        // Two of three fragments restore the root's key.
        network.done("keys combine root.key.fragment-1 root.key.fragment-3 --output restored.key");
        let key = |name: &str| fs::read(network.path(name)).unwrap();
        assert_eq!(key("restored.key"), key("root.key"));
        // A ceremony that lacked only its last step can be finished, and every member gets the same result.
        let each = |what: &str| [1, 2, 3].map(|n| format!("pending/{n}.{what}")).join(" ");
        let finished = [1, 2, 3].map(|number| {
            let finished = network.done(&format!(
                "keys ceremony finish pending/ceremony.toml --secret pending/{number}.secret --enrolments {} --dealings {} \
                 --output pending/share-{number}.key",
                each("enrolment"),
                each("dealing")
            ));
            finished.stdout
        });
        assert!(finished.iter().all(|public| *public == finished[0]));
        let [receipt] = &with_ending(&network.path("receipts"), ".json")[..] else {
            panic!("one home left")
        };
        let receipt = json(&network.path(&format!("receipts/{receipt}")));
        assert_eq!(
            (&receipt["version"], &receipt["home"]),
            (&1.into(), &"host-2-0".into())
        );
        fs::write(
            network.path("people.csv"),
            "home,age,sbp,death\na,44,115,0\n",
        )
        .unwrap();
        let predicted = network.done("predict --model linear.json --data people.csv");
        // Close to the mean, which is 115 and hardly depends on the age.
        let last = predicted
            .stdout
            .lines()
            .last()
            .and_then(|line| line.split('\t').next_back());
        let pressure: f64 = last.unwrap().parse().unwrap();
        assert!((110.0..120.0).contains(&pressure), "{}", predicted.stdout);
    }
}
