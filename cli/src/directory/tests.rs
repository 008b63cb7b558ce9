//! Directories made from descriptions with the command line.

use clap::Parser;
use dispers_base::id::{Role, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::keys;

#[derive(Parser)]
enum Line {
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(subcommand)]
    Directory(Command),
}

/// Runs `dispers LINE`.
fn dispers(line: &str) -> Result<(), Exit> {
    let words = ["dispers"].into_iter().chain(line.split(' '));
    match Line::try_parse_from(words).unwrap() {
        Line::Keys(command) => keys::run(command),
        Line::Directory(command) => run(command),
    }
}

/// Makes the key files of a network with two targets, two partitions and two committees, and the public parts
/// that its description names.
fn network() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let public = |text: String, name: &str| {
        fs::write(folder.path().join(format!("{name}.pub")), text).unwrap();
    };
    let mut spec = String::from(
        r#"
network = "test"
trial = true
epoch = 1
key-epoch = 1
suite = "x25519"
valid-days = 30
indexors = "ci.pub"
aggregators = ["da0.pub", "da1.pub"]
concepts = ["sex>female"]
floors = { min-cohort = 2, answer-rate = 800, min-verified = 2, max-homes = 1000 }
"#,
    );
    for name in ["ci", "da0", "da1"] {
        let dealt = keys::deal_into(2, 3, &folder.path().join(name)).unwrap();
        public(dealt, name);
    }
    let mut node = |name: &str, role: &str, group: u16, member: Option<u8>, pool: &str| {
        let line =
            format!("keys new {role} --name {name} --output {at}/{name}.key --suite x25519{pool}");
        let Line::Keys(keys::Command::New(new)) =
            Line::try_parse_from(["dispers"].into_iter().chain(line.split(' '))).unwrap()
        else {
            panic!("the line makes keys");
        };
        public(keys::make(&new).unwrap(), name);
        let member = member.map_or(String::new(), |number| format!("member = {number}\n"));
        spec.push_str(&match role {
            "stack" => format!("[[host]]\nkeys = \"{name}.pub\"\naddress = \"\"\n"),
            "querier" => format!("[[querier]]\nkeys = \"{name}.pub\"\npurposes = [\"why\"]\n"),
            _ => format!(
                "[[node]]\nkeys = \"{name}.pub\"\noperator = \"of-{name}\"\n\
                 address = \"{name}:7001\"\ngroup = {group}\n{member}"
            ),
        });
    };
    node("c", "conductor", 0, None, "");
    node("tf0", "target-finder", 0, None, "");
    node("tf1", "target-finder", 1, None, "");
    node("t0", "target", 0, None, "");
    let pool = format!(" --pool-of {at}/t0.key");
    node("t1", "target", 0, None, &pool);
    for number in 1..=3 {
        node(
            &format!("ci-{number}"),
            "concept-indexor",
            0,
            Some(number),
            "",
        );
        for group in 0..2 {
            let name = format!("da-{group}-{number}");
            node(&name, "data-aggregator", group, Some(number), "");
        }
    }
    node("host", "stack", 0, None, "");
    node("querier", "querier", 0, None, "");
    spec.push_str(
        r#"
[[doctype]]
name = "heartrate"
documents = "many"
field = [{ name = "bpm", type = "real", unit = "bpm", range = [30.0, 220.0] }]
"#,
    );
    fs::write(folder.path().join("spec.toml"), &spec).unwrap();
    (folder, spec)
}

#[test]
fn a_directory_is_made_signed_and_verified() {
    let (folder, _) = network();
    let at = folder.path().display();
    dispers(&format!(
        "directory new {at}/spec.toml --output {at}/directory"
    ))
    .unwrap();
    let (first, second) = (root(&folder, 1), root(&folder, 2));
    let verify =
        format!("directory verify {at}/directory --root {first} --root {second} --needed 2");
    dispers(&format!("directory sign {at}/directory --key {at}/root-1")).unwrap();
    let refused = dispers(&verify).unwrap_err();
    assert!(format!("{:#}", refused.error).contains("have more root keys sign"));
    dispers(&format!("directory sign {at}/directory --key {at}/root-2")).unwrap();
    dispers(&verify).unwrap();

    let body = read(&folder.path().join("directory")).unwrap();
    let body = body.unverified_body().unwrap();
    assert_eq!((body.nodes.len(), body.pools.len()), (14, 3));
    assert_eq!(body.committees.len(), 2);
    assert!(body.expires > body.issued && body.issued > Timestamp(0));
}

#[test]
fn nodes_of_one_pool_have_one_key() {
    let (folder, spec) = network();
    // Both target finders are in one partition, but have the keys of two.
    let spec = spec.replace("tf1:7001\"\ngroup = 1", "tf1:7001\"\ngroup = 0");
    let path = folder.path().join("other.toml");
    fs::write(&path, spec).unwrap();
    let at = folder.path().display();
    let refused = dispers(&format!("directory new {at}/other.toml --output {at}/d"));
    let message = format!("{:#}", refused.unwrap_err().error);
    assert!(
        message.contains("tf1") && message.contains("--pool-of"),
        "{message}"
    );
}

#[test]
fn keys_of_another_role_share_no_pool() {
    let (folder, _) = network();
    let at = folder.path().display();
    for role in ["target-finder", "conductor"] {
        let line = format!(
            "keys new {role} --name x --output {at}/x.key --suite x25519 --pool-of {at}/t0.key"
        );
        assert_eq!(dispers(&line).unwrap_err().code, crate::exit::MISUSE);
    }
}

#[test]
fn only_a_trial_lists_keys_of_one_dealer() {
    let (folder, spec) = network();
    let at = folder.path().display();
    let make = |spec: &str| {
        fs::write(folder.path().join("real.toml"), spec).unwrap();
        dispers(&format!("directory new {at}/real.toml --output {at}/real"))
    };
    let spec = spec.replace("trial = true\n", "");
    let refused = make(&spec).unwrap_err();
    assert_eq!(refused.code, crate::exit::MISUSE);
    let told = format!("{:#}", refused.error);
    assert!(told.contains("dispers keys ceremony"), "{told}");

    let nodes = |of: &str| (1..=3).map(|n| format!("{of}-{n}")).collect::<Vec<_>>();
    let hold = keys::tests::hold;
    let indexors = nodes("ci");
    hold(
        folder.path(),
        "concept-indexor",
        0,
        &indexors,
        None,
        "joint-ci",
    );
    for group in 0..2 {
        let (of, to) = (format!("da-{group}"), format!("joint-da{group}"));
        hold(
            folder.path(),
            "data-aggregator",
            group,
            &nodes(&of),
            None,
            &to,
        );
    }
    let spec = ["ci.pub", "da0.pub", "da1.pub"]
        .iter()
        .fold(spec, |spec, file| {
            spec.replace(&format!("\"{file}\""), &format!("\"joint-{file}\""))
        });
    make(&spec).unwrap();

    // Refreshed shares come with the transcripts that lead to them.
    hold(
        folder.path(),
        "concept-indexor",
        0,
        &indexors,
        Some("joint-ci"),
        "new-ci",
    );
    make(&spec.replace("joint-ci.pub", "new-ci.pub")).unwrap();
    let body = read(&folder.path().join("real"))
        .unwrap()
        .unverified_body()
        .unwrap();
    assert!(!body.trial);
    let made = |role, group| body.transcripts_of(role, group).count();
    assert_eq!(made(Role::ConceptIndexor, 0), 2);
    assert_eq!(made(Role::DataAggregator, 1), 1);

    // The key of one committee is not accepted for the other.
    let swapped = spec.replace(
        "[\"joint-da0.pub\", \"joint-da1.pub\"]",
        "[\"joint-da1.pub\", \"joint-da0.pub\"]",
    );
    let told = format!("{:#}", make(&swapped).unwrap_err().error);
    assert!(told.contains("lead to another key"), "{told}");
}

/// Makes a root key. Returns its public part.
fn root(folder: &TempDir, number: u8) -> String {
    let path = folder.path().join(format!("root-{number}"));
    let key = dispers_base::keys::SigningKey::from_seed(&[number; 32]);
    dispers_node::keyfile::save_signing_key(&path, &key).unwrap();
    hex::encode(key.public().0)
}

/// Writes the description of the next edition, with `change` made to its text. Returns its path.
fn edit(folder: &TempDir, spec: &str, file: &str, change: &[(&str, &str)]) -> String {
    let spec = change.iter().fold(spec.to_owned(), |spec, (from, to)| {
        assert!(spec.contains(from), "{from}");
        spec.replacen(from, to, 1)
    });
    let path = folder.path().join(file);
    fs::write(&path, spec).unwrap();
    path.display().to_string()
}

#[test]
fn a_directory_is_renewed_by_two_of_three_roots() {
    let (folder, spec) = network();
    let at = folder.path().display();
    let roots = [1, 2, 3].map(|number| root(&folder, number));
    let pinned = roots.map(|root| format!("--root {root}")).join(" ");
    let verify = |file: &str| dispers(&format!("directory verify {at}/{file} {pinned} --needed 2"));
    let sign = |file: &str, root: u8| {
        dispers(&format!(
            "directory sign {at}/{file} --key {at}/root-{root}"
        ))
        .unwrap();
    };
    dispers(&format!("directory new {at}/spec.toml --output {at}/first")).unwrap();
    dispers(&format!("directory show {at}/first")).unwrap();
    sign("first", 1);
    sign("first", 2);
    verify("first").unwrap();

    // Only the time changes.
    let renew = |description: &str, output: &str| {
        renew(&Renew {
            old: folder.path().join("first"),
            description: description.into(),
            output: folder.path().join(output),
        })
    };
    let next = ("epoch = 1\n", "epoch = 2\n");
    let later = edit(&folder, &spec, "later.toml", &[next]);
    let told = renew(&later, "second").unwrap();
    assert!(told.starts_with("directory 2 of network test follows 1; it expires on 2"));
    assert!(told.ends_with("\nnothing else changes\n"), "{told}");
    // Signatures do not carry over to the next edition, and any two of the three roots are enough.
    assert!(verify("second").is_err());
    sign("second", 2);
    sign("second", 3);
    verify("second").unwrap();
    let refused = renew(&later, "second").unwrap_err();
    assert!(format!("{}", refused.error).contains("exists"));

    // An edition that may not follow is refused, and nothing is written.
    for (change, reason) in [
        (
            ("epoch = 1\n", "epoch = 3\n"),
            "does not follow directory 1",
        ),
        (("epoch = 1\n", "epoch = 1\n"), "write epoch = 2"),
        (("network = \"test\"", "network = \"rest\""), "network rest"),
    ] {
        let wrong = edit(&folder, &spec, "wrong.toml", &[change]);
        let refused = renew(&wrong, "wrong").unwrap_err();
        assert_eq!(refused.code, crate::exit::MISUSE);
        let refused = refused.error.to_string();
        assert!(refused.contains(reason), "{refused}");
        assert!(!folder.path().join("wrong").exists());
    }
}

#[test]
fn who_signs_a_changed_network_reads_what_changes() {
    let (folder, spec) = network();
    let at = folder.path().display();
    for (role, name, pool) in [
        ("stack", "host-b", String::new()),
        ("querier", "newcomer", String::new()),
        ("target", "t2", format!(" --pool-of {at}/t0.key")),
    ] {
        let line = format!("{role} --name {name} --output {at}/{name}.key --suite x25519{pool}");
        let words = ["dispers", "keys", "new"]
            .into_iter()
            .chain(line.split(' '));
        let Line::Keys(keys::Command::New(new)) = Line::try_parse_from(words).unwrap() else {
            panic!("the line makes keys");
        };
        let path = folder.path().join(format!("{name}.pub"));
        fs::write(path, keys::make(&new).unwrap()).unwrap();
    }
    dispers(&format!("directory new {at}/spec.toml --output {at}/first")).unwrap();
    let next = ("epoch = 1\n", "epoch = 2\n");
    let added = "[[host]]\nkeys = \"host-b.pub\"\naddress = \"b:7001\"\n\
                 [[querier]]\nkeys = \"newcomer.pub\"\npurposes = [\"why not\"]\n[[doctype]]";
    let changed = [
        next,
        ("min-cohort = 2,", "min-cohort = 3,"),
        ("answer-rate = 800", "answer-rate = 700"),
        ("t1.pub", "t2.pub"),
        ("[[doctype]]", added),
    ];
    let after = edit(&folder, &spec, "after.toml", &changed);
    dispers(&format!(
        "directory renew {at}/first --description {after} --output {at}/second"
    ))
    .unwrap();
    let text = changes(&Changes {
        old: folder.path().join("first"),
        new: folder.path().join("second"),
        format: Printed::Table,
    })
    .unwrap();
    // The fingerprints of the keys follow each entry. They are cut off here.
    let lines = text.lines().skip(1);
    let lines: Vec<&str> = lines
        .map(|line| line.split_once("; tls-key ").map_or(line, |(line, _)| line))
        .collect();
    assert_eq!(
        lines,
        [
            "WARNING, people are protected less: floor answer-rate is lowered from 800 to 700",
            "floor min-cohort is raised from 2 to 3",
            "target t2 is added, of of-t1 at t1:7001",
            "target t1 is removed",
            "host host-b is added, at b:7001",
            "querier newcomer is added, for why not",
        ]
    );
    let changed = |old: &str, new: &str| format!("directory changes {at}/{old} {at}/{new}");
    dispers(&changed("first", "second")).unwrap();
    let backwards = dispers(&changed("second", "first")).unwrap_err();
    assert_eq!(backwards.code, crate::exit::MISUSE);
}
