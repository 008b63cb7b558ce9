//! A running network that changes: a new querier, a new host, new machines, new keys.

use std::fs;

use crate::{Ended, fingerprints::without, network::SampleNetwork};

const COUNT: &str = "SELECT COUNT(*) AS homes FROM nhefs";

impl SampleNetwork {
    /// Runs a command that must succeed. Returns its output.
    pub(crate) fn done(&self, line: &str) -> Ended {
        let words: Vec<&str> = line.split(' ').collect();
        let ended = self.dispers(&words);
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        ended
    }

    /// Runs a command that must succeed, and writes its output to a file.
    fn save(&self, line: &str, file: &str) {
        fs::write(self.path(file), self.done(line).stdout).unwrap();
    }

    /// Replaces in a file the first text of each pair, which must occur, by the second.
    pub(crate) fn edit(&self, file: &str, changes: &[(&str, &str)]) {
        let path = self.path(file);
        let mut text = fs::read_to_string(&path).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{file} lacks {from:?}");
            text = text.replacen(from, to, 1);
        }
        fs::write(path, text).unwrap();
    }

    pub(crate) fn new_keys(&self, role: &str, name: &str, file: &str, pool: &str) {
        self.save(
            &format!("keys new {role} --name {name} --output {file}.key{pool}"),
            &format!("{file}.pub"),
        );
    }

    /// Gives a host `count` homes of the example, from row `first`.
    fn import(&self, host: &str, first: usize, count: usize) {
        let sheet = include_str!("../../../examples/nhefs.csv");
        let rows: Vec<&str> = sheet.lines().skip(1 + first).take(count).collect();
        let header = sheet.lines().next().unwrap();
        let file = self.path(&format!("{host}.csv"));
        fs::write(file, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
        self.done(&format!(
            "stack import {host}.csv --doctype nhefs --config {host}.toml"
        ));
    }

    /// Asks until the given number of homes is found.
    fn wait_for_homes(&self, homes: u64) {
        let mut last = String::new();
        for _ in 0..60 {
            let answer = self.query(COUNT);
            if answer.code == Some(0) && answer.json()["rows"][0]["homes"] == homes {
                return;
            }
            last = answer.stdout + &answer.stderr;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        panic!("{last}");
    }

    fn subscribe(&self, host: &str) {
        self.done(&format!(
            "stack subscribe home>all --every-home --config {host}.toml"
        ));
        self.done(&format!(
            "home allow --every-home --exact --config {host}.toml"
        ));
    }

    /// Makes the next edition, has the given roots sign it, and puts it in the place of the one before.
    /// Returns its changes.
    pub(crate) fn renew(&self, roots: &[&str]) -> Vec<String> {
        let told = self
            .done("directory renew directory.bin --description directory.toml --output next.bin");
        for root in roots {
            self.done(&format!("directory sign next.bin --key {root}.key"));
        }
        fs::rename(self.path("next.bin"), self.path("directory.bin")).unwrap();
        told.stdout.lines().skip(1).map(without).collect()
    }

    /// Holds a ceremony for a fresh threshold key of a role's nodes, whose key files are given in member
    /// order.
    fn make_a_key(&self, role: &str, members: [&str; 3], folder: &str) {
        fs::create_dir(self.path(folder)).unwrap();
        let each = |what: &str| {
            members
                .map(|member| format!("{folder}/{member}.{what}"))
                .join(" ")
        };
        let publics = members.map(|member| format!("{member}.pub")).join(" ");
        self.save(
            &format!(
                "keys ceremony start --network sample --role {role} --needed 2 --members {publics}"
            ),
            &format!("{folder}/ceremony"),
        );
        for member in members {
            self.save(
                &format!(
                    "keys ceremony enrol {folder}/ceremony --keys {member}.key --secret {folder}/{member}.secret"
                ),
                &format!("{folder}/{member}.enrolment"),
            );
        }
        let enrolments = each("enrolment");
        for member in members {
            self.save(
                &format!(
                    "keys ceremony deal {folder}/ceremony --keys {member}.key --enrolments {enrolments}"
                ),
                &format!("{folder}/{member}.dealing"),
            );
        }
        for (number, member) in (1..).zip(members) {
            self.save(
                &format!(
                    "keys ceremony finish {folder}/ceremony --secret {folder}/{member}.secret \
                     --enrolments {enrolments} --dealings {} --output {folder}/share-{number}.key",
                    each("dealing")
                ),
                &format!("{folder}.pub"),
            );
        }
    }
}

#[test]
fn a_running_network_takes_a_querier_a_host_new_machines_and_a_new_key_epoch() {
    let mut network = SampleNetwork::start();
    network.import("host-1", 0, 40);
    network.import("host-2", 40, 40);
    network.subscribe("host-1");
    network.subscribe("host-2");
    let homes = |answer: &Ended| answer.json()["rows"][0]["homes"].clone();
    assert_eq!(homes(&network.query(COUNT)), 80);

    // A querier and a host are new. The target and one aggregator move to new machines. The target takes its
    // pool's keys along, and the aggregators make a fresh threshold key.
    network.new_keys("querier", "querier-2", "querier-2", "");
    network.new_keys("stack", "host-3", "host-3", "");
    network.new_keys("target", "target", "moved-target", " --pool-of target.key");
    let moved = "moved-aggregator-2";
    network.new_keys("data-aggregator", "data-aggregator-2", moved, "");
    network.make_a_key(
        "data-aggregator",
        ["data-aggregator-1", moved, "data-aggregator-3"],
        "aggregators-2",
    );
    network.edit(
        "directory.toml",
        &[
            ("\nepoch = 1 ", "\nepoch = 2 "),
            ("\"aggregators.pub\"", "\"aggregators-2.pub\""),
            // The conductor is about to lose its disk, and the log with it.
            ("\nneeded = 2\n", "\nneeded = 2\nnumber = 2\n"),
            ("\"target.pub\"", "\"moved-target.pub\""),
            ("\"data-aggregator-2.pub\"", "\"moved-aggregator-2.pub\""),
            (
                "[[querier]]",
                "[[host]]\nkeys = \"host-3.pub\"\naddress = \"\"\n\n[[querier]]\n\
                 keys = \"querier-2.pub\"\npurposes = [\"sleep study\"]\n\n[[querier]]",
            ),
        ],
    );
    // From now on two of three roots sign.
    for root in ["root-2", "root-3"] {
        network.new_keys("root", root, root, "");
    }
    assert_eq!(
        network.renew(&["root-2", "root-3"]),
        [
            "WARNING, people are protected less: log 2 of queries begins, empty, and log 1 is over: what it showed is in the hands of those who kept it",
            "target target has another signing-key, …, before …; another tls-key, …, before …",
            "data-aggregator data-aggregator-2 has another signing-key, …, before …; another tls-key, …, before …",
            "host host-3 is added, which attaches itself; tls-key …, signing-key …",
            "querier querier-2 is added, for sleep study; tls-key …, signing-key …",
            "the key of the data-aggregators' group 0 is another key, …, before …",
        ]
    );
    for (file, of) in [("host-3", "host-2"), ("querier-2", "querier")] {
        let sample = fs::read_to_string(network.path(&format!("{of}.toml"))).unwrap();
        let config = network.path(&format!("{file}.toml"));
        fs::write(
            config,
            sample.replace(&format!("\"{of}"), &format!("\"{file}")),
        )
        .unwrap();
    }
    let second = fs::read_to_string(network.path("root-2.pub")).unwrap();
    let third = fs::read_to_string(network.path("root-3.pub")).unwrap();
    let roots = format!("\", \"{}\", \"{}\"]", second.trim(), third.trim());
    for file in fs::read_dir(network.path("")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".toml") && name != "directory.toml" {
            network.edit(
                &name,
                &[("\"]", &roots), ("roots-needed = 1 ", "roots-needed = 2 ")],
            );
        }
    }
    // A machine with the old keys says so and does not start.
    let old = network.dispers(&["serve", "target", "--config", "target.toml"]);
    assert_eq!(old.code, Some(64));
    assert!(
        old.stderr.contains("the TLS key of target"),
        "{}",
        old.stderr
    );
    network.edit("target.toml", &[("target.key", "moved-target.key")]);
    network.edit(
        "data-aggregator-2.toml",
        &[("\"data-aggregator-2.key", "\"moved-aggregator-2.key")],
    );
    for number in 1..=3 {
        network.edit(
            &format!("data-aggregator-{number}.toml"),
            &[("aggregators/", "aggregators-2/")],
        );
    }
    // The old machine's database opens only with the signing key of that machine.
    network.stop("data-aggregator-2");
    let moved = "data-aggregator-2.toml";
    let other = network.dispers(&["serve", "data-aggregator", "--config", moved]);
    assert_eq!(other.code, Some(64));
    let words = "data-aggregator-2.db: an entry of table \"query\" does not open";
    assert!(other.stderr.contains(words), "{}", other.stderr);
    network.edit(moved, &[("data-aggregator-2.db", "moved-aggregator-2.db")]);
    // The conductor has lost its disk.
    network.edit("conductor.toml", &[("conductor.db", "fresh-conductor.db")]);
    network.restart(&["host-3"]);
    assert!(!network.log("conductor").contains("expires soon"));

    // The conductor has forgotten the subscriptions; the stacks have not.
    let forgotten = network.query(COUNT);
    assert!(
        forgotten
            .stderr
            .contains("the homes that match may not be asked")
    );
    let again = |host| network.done(&format!("stack resubscribe --config {host}.toml"));
    assert_eq!(again("host-1").stderr, "40 subscriptions sent again\n");
    again("host-2");
    // A conductor that has the subscriptions already counts nobody twice.
    again("host-2");
    network.import("host-3", 80, 30);
    network.subscribe("host-3");
    let ask = || network.query_as("querier-2", "sleep study", COUNT);
    let answer = ask();
    assert_eq!(homes(&answer), 110);
    assert_eq!(answer.json()["aggregators"]["verified"], 3);
    let foreign = network.query_as("querier-2", "heart study", COUNT);
    assert!(
        foreign.stderr.contains("not registered"),
        "{}",
        foreign.stderr
    );

    // The target's pool key was stolen: a fresh one is another key epoch.
    network.new_keys("target", "target", "fresh-target", "");
    network.edit(
        "directory.toml",
        &[
            ("\nepoch = 2 ", "\nepoch = 3 "),
            ("\"moved-target.pub\"", "\"fresh-target.pub\""),
            ("valid-days = 30", "valid-days = 3"),
        ],
    );
    let renew = "directory renew directory.bin --description directory.toml --output next.bin";
    let refused = network.dispers(&renew.split(' ').collect::<Vec<_>>());
    assert_eq!(refused.code, Some(64));
    assert!(
        refused.stderr.contains("write key-epoch = 2"),
        "{}",
        refused.stderr
    );
    network.edit("directory.toml", &[("key-epoch = 1", "key-epoch = 2")]);
    let told = network.renew(&["root", "root-3"]);
    assert!(told[0].contains("before the one it replaces"), "{told:?}");
    assert!(told[1].contains("key epoch 2 follows 1"), "{told:?}");
    network.edit("target.toml", &[("moved-target.key", "fresh-target.key")]);
    network.restart(&["host-3"]);
    assert!(network.log("conductor").contains("expires soon"));
    // A subscription that was withdrawn before the move stays withdrawn.
    network.done("stack withdraw --all --home 7 --config host-1.toml");
    // The stacks move all other subscriptions to the new key epoch by themselves.
    network.wait_for_homes(109);
}

#[test]
fn a_key_epoch_changes_with_a_grace() {
    let mut network = SampleNetwork::start();
    network.import("host-1", 0, 40);
    network.import("host-2", 40, 40);
    for host in ["host-1", "host-2"] {
        network.subscribe(host);
    }
    network.wait_for_homes(80);

    // Every key of the new epoch is fresh. The nodes keep their own keys, and the keys of the previous epoch.
    let indexors = [1, 2, 3].map(|number| format!("concept-indexor-{number}"));
    let indexors = [&*indexors[0], &*indexors[1], &*indexors[2]];
    network.make_a_key("concept-indexor", indexors, "indexors-2");
    for role in ["target", "target-finder"] {
        network.new_keys(role, role, &format!("{role}-2"), "");
    }
    network.edit(
        "directory.toml",
        &[
            ("\nepoch = 1 ", "\nepoch = 2 "),
            ("key-epoch = 1", "key-epoch = 2"),
            ("\"indexors.pub\"", "\"indexors-2.pub\""),
            ("\"target.pub\"", "\"target-2.pub\""),
            ("\"target-finder.pub\"", "\"target-finder-2.pub\""),
            (
                "[[doctype]]",
                "[previous]\nkey-epoch = 1\nindexors = \"indexors.pub\"\n\
                 pool = [{ keys = \"target.pub\" }, { keys = \"target-finder.pub\" }]\n\n[[doctype]]",
            ),
        ],
    );
    let told = network.renew(&["root"]);
    assert!(told[0].contains("1, which is still asked"), "{told:?}");
    // Stacks subscribe under both key epochs, so that both epochs' keys are listed for comparison.
    let listed = network.done("directory show directory.bin").stdout;
    let json = network.done("directory show directory.bin --format json");
    let previous = &json.json()["previous"];
    assert_eq!(previous["key_epoch"], 1);
    for file in ["indexors.pub", "target.pub", "target-finder.pub"] {
        let shown = network.done(&format!("keys show {file} --format json"));
        let print = match file {
            "indexors.pub" => shown.json()["fingerprint"].clone(),
            _ => shown.json()["fingerprints"]["pool-envelope-key"].clone(),
        };
        let print = print.as_str().unwrap_or_else(|| panic!("{}", shown.stdout));
        assert!(listed.contains(print), "{file}: {listed}");
        assert!(previous.to_string().contains(print), "{file}: {previous}");
    }
    network.edit("target.toml", &[("target.key", "target-2.key")]);
    let without = network.dispers(&["serve", "target", "--config", "target.toml"]);
    assert_eq!(without.code, Some(64));
    assert!(
        without.stderr.contains("previous-keys"),
        "{}",
        without.stderr
    );
    for role in ["target", "target-finder"] {
        let new = format!("\"{role}-2.key\"\nprevious-keys = \"{role}.key\"");
        let own = format!("\"{role}.key\"");
        if role == "target" {
            network.edit("target.toml", &[("\"target-2.key\"", &new)]);
        } else {
            network.edit("target-finder.toml", &[(&own, &new)]);
        }
    }
    for number in 1..=3 {
        let own = format!("\"indexors/share-{number}.key\"");
        let new = format!("\"indexors-2/share-{number}.key\"\nprevious-share = {own}");
        network.edit(&format!("concept-indexor-{number}.toml"), &[(&own, &new)]);
    }
    network.restart(&[]);
    for host in ["host-1", "host-2"] {
        let sent = network.done(&format!("stack resubscribe --config {host}.toml"));
        // 80 is a subscription under each epoch, 40 if the stack has already begun by itself.
        assert!(
            sent.stderr.starts_with("80 ") || sent.stderr.starts_with("40 "),
            "{}",
            sent.stderr
        );
    }
    network.wait_for_homes(80);
    network.done("stack withdraw --all --home 7 --config host-1.toml");
    network.wait_for_homes(79);
    network.import("host-2", 80, 41);
    network.done("stack subscribe home>all --home 41 --config host-2.toml");
    network.done("home allow --home 41 --exact --config host-2.toml");
    network.wait_for_homes(80);

    // The grace is over. The conductor forgets the old subscriptions, and nobody else has to do anything.
    network.edit(
        "directory.toml",
        &[
            ("\nepoch = 2 ", "\nepoch = 3 "),
            (
                "[previous]\nkey-epoch = 1\nindexors = \"indexors.pub\"\n\
                 pool = [{ keys = \"target.pub\" }, { keys = \"target-finder.pub\" }]\n",
                "",
            ),
        ],
    );
    let told = network.renew(&["root"]);
    assert!(told[0].contains("1 is over"), "{told:?}");
    network.restart(&[]);
    let sent = |host| {
        network
            .done(&format!("stack resubscribe --config {host}.toml"))
            .stderr
    };
    assert_eq!(sent("host-1"), "39 subscriptions sent again\n");
    assert_eq!(sent("host-2"), "41 subscriptions sent again\n");
    network.wait_for_homes(80);
}
