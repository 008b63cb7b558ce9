//! Fingerprints that people compare before they trust a key are the same from every command.

use std::{collections::BTreeSet, fs};

use crate::{Ended, dispers, network::SampleNetwork};

/// Returns the fingerprints in a text: five groups of four letters each.
fn prints(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words
        .filter(|word| is_print(word))
        .map(str::to_owned)
        .collect()
}

fn is_print(word: &str) -> bool {
    let groups: Vec<&str> = word.split('-').collect();
    groups.len() == 5
        && groups.iter().all(|group| {
            let mut letters = group.bytes();
            group.len() == 4 && letters.all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        })
}

/// Returns the line with three dots in place of each fingerprint.
pub(crate) fn without(line: &str) -> String {
    let dots = |line: String, print: &String| line.replace(print.as_str(), "…");
    prints(line).iter().fold(line.to_owned(), dots)
}

fn shown(network: &SampleNetwork, file: &str) -> BTreeSet<String> {
    prints(&network.done(&format!("keys show {file}")).stderr)
}

#[test]
fn every_key_of_a_directory_is_compared_with_what_its_holder_is_told() {
    let network = SampleNetwork::start();
    let root = fs::read_to_string(network.path("conductor.toml")).unwrap();
    let root = root.split('"').find(|word| word.len() == 64).unwrap();
    let verify = format!("directory verify directory.bin --root {root}");
    for listing in ["directory show directory.bin", &verify] {
        let table = prints(&network.done(listing).stdout);
        let json = network.done(&format!("{listing} --format json"));
        assert_eq!(prints(&json.json().to_string()), table);
        // The listing has the key of every key file, and no other key.
        let mut held = BTreeSet::new();
        for (role, count) in [("concept-indexor", 3), ("data-aggregator", 3), ("host", 2)] {
            for number in 1..=count {
                held.extend(shown(&network, &format!("{role}-{number}.key")));
            }
        }
        for name in ["conductor", "target", "target-finder", "querier", "root"] {
            held.extend(shown(&network, &format!("{name}.key")));
        }
        for name in ["indexors", "aggregators"] {
            let key = network.done(&format!("keys show {name}.pub --format json"));
            held.insert(key.json()["fingerprint"].as_str().unwrap().to_owned());
        }
        assert_eq!(table, held);
    }
    // The holder's public part shows the same fingerprints, and the key file prints exactly its public part.
    assert_eq!(shown(&network, "target.key"), shown(&network, "target.pub"));
    let public = fs::read_to_string(network.path("target.pub")).unwrap();
    assert_eq!(network.done("keys show target.key").stdout, public);

    // An attacker makes other keys for the conductor and for a host.
    let made: Vec<Ended> = ["conductor", "stack"]
        .map(|role| {
            let name = if role == "stack" { "host-1" } else { role };
            network.done(&format!(
                "keys new {role} --name {name} --output forged-{name}.key"
            ))
        })
        .into();
    fs::write(network.path("forged.pub"), &made[0].stdout).unwrap();
    fs::write(network.path("forged-host.pub"), &made[1].stdout).unwrap();
    network.edit(
        "directory.toml",
        &[
            ("\nepoch = 1 ", "\nepoch = 2 "),
            ("\"conductor.pub\"", "\"forged.pub\""),
            ("\"host-1.pub\"", "\"forged-host.pub\""),
        ],
    );
    network.done("directory new directory.toml --output next.bin");
    let changes = network
        .done("directory changes directory.bin next.bin")
        .stdout;
    let both = [
        prints(&made[0].stderr),
        prints(&made[1].stderr),
        shown(&network, "conductor.key"),
        shown(&network, "host-1.key"),
    ];
    let both: BTreeSet<String> = both.into_iter().flatten().collect();
    assert_eq!(both.len(), 10);
    assert_eq!(prints(&changes), both, "{changes}");
    let json = network.done("directory changes directory.bin next.bin --format json");
    assert_eq!(prints(&json.json().to_string()), both);
    let [before, after] = ["directory.bin", "next.bin"].map(|file| {
        let listed = network.done(&format!("directory show {file}"));
        prints(&listed.stdout)
    });
    assert!(
        made.iter()
            .all(|made| prints(&made.stderr).is_subset(&after))
    );
    assert!(
        made.iter()
            .all(|made| prints(&made.stderr).is_disjoint(&before))
    );
}

#[test]
fn what_stack_init_prints_is_put_into_the_directory_as_it_is() {
    let network = SampleNetwork::start();
    let roots = ["1a", "2b", "3c"].map(|digits| digits.repeat(32));
    let pinned = roots
        .each_ref()
        .map(|root| format!("--root {root}"))
        .join(" ");
    let made = network.done(&format!(
        "stack init --name host-c --output host-c {pinned}"
    ));
    let description = fs::read_to_string(network.path("directory.toml")).unwrap();
    let description = description.replace("\nepoch = 1 ", "\nepoch = 2 ") + "\n" + &made.stdout;
    fs::write(network.path("directory.toml"), description).unwrap();
    let renewed = network
        .done("directory renew directory.bin --description directory.toml --output next.bin");
    let added = renewed.stdout.lines().find(|line| line.contains("host-c"));
    let added = added.unwrap();
    assert!(
        added.starts_with("host host-c is added, which attaches itself; "),
        "{added}"
    );
    assert!(prints(added).is_subset(&prints(&made.stderr)), "{added}");
    assert_eq!(prints(added).len(), 2);
    // With keys = FILE beside the lines, it would be unclear which keys count.
    network.edit(
        "directory.toml",
        &[(
            "[[host]]\nversion = 1\nname = \"host-c\"",
            "[[host]]\nversion = 1\nkeys = \"host-1.pub\"\nname = \"host-c\"",
        )],
    );
    let refused = network.dispers(&["directory", "new", "directory.toml", "--output", "d.bin"]);
    assert_eq!(refused.code, Some(64));
    assert!(
        refused.stderr.contains("write one of them"),
        "{}",
        refused.stderr
    );
    // The configuration pins the roots, and the number that must have signed.
    let config = fs::read_to_string(network.path("host-c/stack.toml")).unwrap();
    assert!(config.contains("roots-needed = 2\n"), "{config}");
    assert_eq!(prints(&made.stderr).len(), 5);
}

#[test]
fn one_root_of_three_makes_no_directory_unless_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let (one, two) = ("ab".repeat(32), "cd".repeat(32));
    let init = |more: &[&str], to: &str| {
        let first = ["stack", "init", "--name", "h", "--output", to];
        dispers(&[&first[..], more].concat())
    };
    for (number, (more, needed)) in [
        (vec!["--root", &one], Some(1)),
        (vec!["--root", &one, "--root", &two], Some(2)),
        (
            vec!["--root", &one, "--root", &two, "--needed", "1"],
            Some(1),
        ),
        (vec!["--root", &one, "--root", &one], None),
        (vec!["--root", &one, "--needed", "2"], None),
        (vec!["--root", &one, "--needed", "0"], None),
    ]
    .into_iter()
    .enumerate()
    {
        let to = at(&format!("host-{number}"));
        let ended = init(&more, &to);
        let Some(needed) = needed else {
            assert_eq!(ended.code, Some(64), "{more:?}");
            assert!(ended.stderr.contains("must sign"), "{}", ended.stderr);
            continue;
        };
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let config = fs::read_to_string(format!("{to}/stack.toml")).unwrap();
        assert!(
            config.contains(&format!("roots-needed = {needed}\n")),
            "{config}"
        );
    }
    // A configuration without a number needs more than half of the roots.
    let network = SampleNetwork::start();
    let extra = format!("\", \"{one}\", \"{two}\"]");
    let config = fs::read_to_string(network.path("querier.toml")).unwrap();
    let silent = config
        .lines()
        .filter(|line| !line.starts_with("roots-needed"));
    let silent = silent.collect::<Vec<_>>().join("\n");
    fs::write(
        network.path("querier.toml"),
        silent.replacen("\"]", &extra, 1),
    )
    .unwrap();
    let refused = network.query("SELECT COUNT(*) AS homes FROM nhefs");
    assert_eq!(refused.code, Some(64), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("have more root keys sign"),
        "{}",
        refused.stderr
    );
    let root = config.split('"').find(|word| word.len() == 64).unwrap();
    let verify = format!("directory verify directory.bin --root {root} --root {one} --root {two}");
    let words: Vec<&str> = verify.split(' ').collect();
    assert_eq!(network.dispers(&words).code, Some(64));
    network.done(&format!("{verify} --needed 1"));
}
