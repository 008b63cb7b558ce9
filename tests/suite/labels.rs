//! Test of the rule that each domain-separation label is one use of one primitive (`base/src/labels.rs`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Files of product code that name labels without a primitive: they compare, or measure parts outside a network.
const NO_USES: [&str; 2] = ["cli/src/knowledge.rs", "cli/src/bench"];
/// Start of every label that is not the purpose of an envelope.
const PROTOCOL: &str = "dispers v1 ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the labels by the names of their constants.
fn labels() -> BTreeMap<String, String> {
    let source = fs::read_to_string(root().join("base/src/labels.rs")).unwrap();
    let constants = source
        .split("pub const ")
        .skip(1)
        .map(|constant| {
            let (name, rest) = constant.split_once(": &str = \"").unwrap();
            let (label, _) = rest.split_once('"').unwrap();
            (name.to_owned(), label.to_owned())
        })
        .collect::<BTreeMap<_, _>>();
    assert_eq!(constants.len(), source.matches("pub const ").count());
    assert!(constants.len() > 50, "{}", constants.len());
    constants
}

/// Returns the folders `src` of all crates that are part of the program.
fn sources() -> Vec<PathBuf> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Value = toml::from_str(&manifest).unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members = members.iter().map(|member| member.as_str().unwrap());
    members
        .filter(|member| !["tests", "testing"].contains(member))
        .map(|member| root().join(member).join("src"))
        .collect()
}

/// Adds the Rust files of product code in a folder.
fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let tests = ["tests", "testing"].map(Some);
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if tests.contains(&stem) {
            continue;
        }
        if path.is_dir() {
            add_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Returns the lines of all product code, each with its place. The unit tests at the end of a file are left out.
fn lines() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in sources() {
        add_files(&folder, &mut files);
    }
    let mut lines = Vec::new();
    for file in files {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap();
        if name == "base/src/labels.rs" || NO_USES.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let numbered = (1..).zip(code.lines());
        lines.extend(numbered.map(|(number, line)| (format!("{name}:{number}"), line.to_owned())));
    }
    assert!(lines.len() > 30_000, "{}", lines.len());
    lines
}

/// Returns the names that follow `labels::` in a line of code.
fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split("labels::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn each_label_is_used_at_one_place() {
    let labels = labels();
    let mut uses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let lines = lines();
    for (place, line) in &lines {
        let code = line.split("//").next().unwrap();
        for name in names(code) {
            // An import of single constants would hide their uses from this test.
            assert!(labels.contains_key(name), "{place}: labels::{name}");
            uses.entry(name).or_default().push(place);
        }
    }
    for name in labels.keys() {
        let places = uses.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        assert_eq!(places.len(), 1, "{name} is used at {places:?}");
    }
}

#[test]
fn no_label_stands_anywhere_else() {
    let quoted = format!("\"{PROTOCOL}");
    for (place, line) in lines() {
        assert!(!line.contains(&quoted), "{place}");
    }
}

#[test]
fn no_two_labels_are_equal_and_none_begins_another() {
    let labels = labels();
    for (name, label) in &labels {
        for (other, longer) in labels.iter().filter(|(other, _)| *other != name) {
            assert_ne!(label, longer, "{name} {other}");
            // A signature covers a hash in which the length stands before the label, so that its label may begin
            // another one. Some other primitives take the label without its length.
            let framed = name.starts_with("SIGN_") && other.starts_with("SIGN_");
            assert!(
                framed || !longer.starts_with(label.as_str()),
                "{name} {other}"
            );
        }
        // The purpose of an envelope stands behind the label of all envelopes.
        let purpose = name.starts_with("ENVELOPE_");
        assert_eq!(label.starts_with(PROTOCOL), !purpose, "{name}");
    }
}
