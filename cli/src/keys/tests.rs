//! Ceremonies through files, where each member has its own.

use std::fs;

use clap::Parser;
use dispers_node::keyfile::load_share;
use tempfile::TempDir;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: ceremony::Command,
}

/// Runs `dispers keys ceremony LINE`. Returns its output.
pub(crate) fn ceremony(line: &str) -> anyhow::Result<String> {
    let words = ["ceremony"].into_iter().chain(line.split(' '));
    ceremony::run(Line::try_parse_from(words).unwrap().command)
}

/// Holds a ceremony, with 2 members needed, for the nodes whose keys are NODE.key and NODE.pub in `folder`.
/// The folder `to` gets the secrets, messages and shares, and `to`.pub the public part. If `from` is given,
/// it names an earlier ceremony, whose key is refreshed.
pub(crate) fn hold(
    folder: &Path,
    role: &str,
    group: u16,
    nodes: &[String],
    from: Option<&str>,
    to: &str,
) {
    let at = folder.display();
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).unwrap();
        format!("{at}/{name}")
    };
    fs::create_dir(folder.join(to)).unwrap();
    let publics: Vec<_> = nodes
        .iter()
        .map(|node| format!("{at}/{node}.pub"))
        .collect();
    let refresh = from.map_or(String::new(), |from| format!(" --refresh {at}/{from}.pub"));
    let started = ceremony(&format!(
        "start --network test --role {role} --group {group} --needed 2 --suite x25519 \
         --members {}{refresh}",
        publics.join(" ")
    ));
    let file = write(&format!("{to}/ceremony"), started.unwrap());
    let mut enrolments = String::from("--enrolments");
    for node in nodes {
        let line = format!("enrol {file} --keys {at}/{node}.key --secret {at}/{to}/{node}.secret");
        let path = write(&format!("{to}/{node}.enrolment"), ceremony(&line).unwrap());
        enrolments += &format!(" {path}");
    }
    let mut dealings = String::from("--dealings");
    for node in nodes {
        let line = format!("deal {file} --keys {at}/{node}.key {enrolments}");
        let path = write(&format!("{to}/{node}.dealing"), ceremony(&line).unwrap());
        dealings += &format!(" {path}");
    }
    let anybody = ceremony(&format!("public {file} {dealings}{refresh}")).unwrap();
    for (node, number) in nodes.iter().zip(1..) {
        let share = from.map_or(String::new(), |from| {
            format!("{refresh} --share {at}/{from}/share-{number}.key")
        });
        let finished = ceremony(&format!(
            "finish {file} --secret {at}/{to}/{node}.secret {enrolments} {dealings} \
             --output {at}/{to}/share-{number}.key{share}"
        ));
        assert_eq!(finished.unwrap(), anybody);
        assert!(!folder.join(format!("{to}/{node}.secret")).exists());
    }
    write(&format!("{to}.pub"), anybody);
}

/// Makes a folder with the keys of three concept indexors.
fn indexors() -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<_> = (1..=3).map(|number| format!("ci-{number}")).collect();
    for name in &names {
        let public = make(&New {
            role: KeyRole::Node(Role::ConceptIndexor),
            name: name.clone(),
            output: folder.path().join(format!("{name}.key")),
            suite: Suite::X25519,
            pool_of: None,
        });
        fs::write(folder.path().join(format!("{name}.pub")), public.unwrap()).unwrap();
    }
    (folder, names)
}

fn assert_shares_are_listed(folder: &Path, made: &str) {
    let (key, _) = PublicThreshold::read(&folder.join(format!("{made}.pub"))).unwrap();
    for number in key.threshold().numbers() {
        let path = folder.join(format!("{made}/share-{number}.key"));
        let share = load_share(&path).unwrap();
        assert_eq!(share.number(), number);
        assert_eq!(Some(share.public()), key.share(number));
    }
}

#[test]
fn a_ceremony_and_its_refreshes_make_shares_of_one_key() {
    let (folder, names) = indexors();
    let role = "concept-indexor";
    hold(folder.path(), role, 0, &names, None, "first");
    hold(folder.path(), role, 0, &names, Some("first"), "second");
    hold(folder.path(), role, 0, &names, Some("second"), "third");
    let read = |made| PublicThreshold::read(&folder.path().join(format!("{made}.pub"))).unwrap();
    for (made, transcripts) in [("first", 1), ("second", 2), ("third", 3)] {
        assert_shares_are_listed(folder.path(), made);
        assert_eq!(read(made).0.key(), read("first").0.key());
        assert_eq!(read(made).1.len(), transcripts);
    }
    assert_ne!(read("second").0, read("first").0);

    // An outdated share cannot be used for the next refresh.
    let at = folder.path().display();
    let each = |what: &str| {
        let paths = names.iter().map(|node| format!("{at}/third/{node}.{what}"));
        paths.collect::<Vec<_>>().join(" ")
    };
    let keep = format!("enrol {at}/third/ceremony --keys {at}/ci-1.key --secret {at}/again");
    fs::write(
        folder.path().join("third/ci-1.enrolment"),
        ceremony(&keep).unwrap(),
    )
    .unwrap();
    for node in &names {
        let line = format!(
            "deal {at}/third/ceremony --keys {at}/{node}.key --enrolments {}",
            each("enrolment")
        );
        let path = folder.path().join(format!("third/{node}.dealing"));
        fs::write(path, ceremony(&line).unwrap()).unwrap();
    }
    let finish = |public: &str, share: &str| {
        ceremony(&format!(
            "finish {at}/third/ceremony --secret {at}/again --enrolments {} --dealings {} \
             --refresh {at}/{public}.pub --share {at}/{share}/share-1.key --output {at}/out.key",
            each("enrolment"),
            each("dealing")
        ))
    };
    for (public, share) in [("second", "first"), ("first", "first")] {
        let told = format!("{:#}", finish(public, share).unwrap_err());
        assert!(told.contains("share that the ceremony before"), "{told}");
    }
    assert!(!folder.path().join("out.key").exists() && folder.path().join("again").exists());
    finish("second", "second").unwrap();
    // Secret files are never overwritten.
    let told = format!(
        "{:#}",
        ceremony(&keep.replace("again", "out.key")).unwrap_err()
    );
    assert!(told.contains("never overwritten"), "{told}");
}

#[cfg(unix)]
#[test]
fn what_a_ceremony_keeps_secret_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, names) = indexors();
    hold(folder.path(), "concept-indexor", 0, &names, None, "made");
    let at = folder.path().display();
    let enrol = format!("enrol {at}/made/ceremony --keys {at}/ci-1.key --secret {at}/secret");
    ceremony(&enrol).unwrap();
    for file in ["secret", "made/share-1.key"] {
        let mode = fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_member() {
    let (folder, names) = indexors();
    hold(folder.path(), "concept-indexor", 0, &names, None, "made");
    let at = folder.path().display();
    let told = |line: String| format!("{:#}", ceremony(&line).unwrap_err());
    let public = |dealings: &str| told(format!("public {at}/made/ceremony --dealings {dealings}"));

    let missing = public(&format!("{at}/made/ci-1.dealing {at}/made/ci-3.dealing"));
    assert!(
        missing.contains("member 2 sent none") && missing.contains("2 is ci-2"),
        "{missing}"
    );
    let swapped = public(&format!("{at}/made/ci-1.enrolment"));
    assert!(
        swapped.contains("ci-1.enrolment holds no dealing"),
        "{swapped}"
    );

    // A dealing of another ceremony, and an enrolment by a node that takes no part.
    hold(folder.path(), "concept-indexor", 0, &names, None, "other");
    let other = public(&format!(
        "{at}/made/ci-1.dealing {at}/made/ci-2.dealing {at}/other/ci-3.dealing"
    ));
    assert!(other.contains("member 3 answered for another"), "{other}");
    let (elsewhere, _) = indexors();
    let stranger = told(format!(
        "enrol {at}/made/ceremony --keys {}/ci-1.key --secret {at}/s",
        elsewhere.path().display()
    ));
    assert!(stranger.contains("no member"), "{stranger}");

    // A role without threshold keys, one node twice, and a threshold that protects nothing.
    let start = |rest: &str| told(format!("start --network test {rest}"));
    let [one, two] = [1, 2].map(|n| format!("{at}/ci-{n}.pub"));
    let target = start(&format!("--role target --needed 2 --members {one} {two}"));
    assert!(target.contains("\"target\""), "{target}");
    let aggregator = start(&format!(
        "--role data-aggregator --needed 2 --members {one} {two}"
    ));
    assert!(
        aggregator.contains("ci-1.pub holds the keys of a concept-indexor"),
        "{aggregator}"
    );
    let twice = start(&format!(
        "--role concept-indexor --needed 2 --members {one} {one}"
    ));
    assert!(twice.contains("member 2 has the signing key"), "{twice}");
    let lone = start(&format!(
        "--role concept-indexor --needed 1 --members {one} {two}"
    ));
    assert!(lone.contains("at least 2"), "{lone}");
}

#[test]
fn what_one_dealer_knows_is_not_refreshed() {
    let (folder, names) = indexors();
    let at = folder.path().display();
    let dealt = deal_into(2, 3, &folder.path().join("dealt")).unwrap();
    fs::write(folder.path().join("dealt.pub"), dealt).unwrap();
    let publics: Vec<_> = names
        .iter()
        .map(|node| format!("{at}/{node}.pub"))
        .collect();
    let refused = ceremony(&format!(
        "start --network test --role concept-indexor --needed 2 --refresh {at}/dealt.pub --members {}",
        publics.join(" ")
    ));
    let told = format!("{:#}", refused.unwrap_err());
    assert!(told.contains("one dealer"), "{told}");
    let line = format!("ceremony public {at}/nothing --dealings {at}/dealt.pub");
    let command = Line::try_parse_from(line.split(' ')).unwrap().command;
    let refused = run(Command::Ceremony(command)).unwrap_err();
    assert_eq!(refused.code, crate::exit::MISUSE);
}
