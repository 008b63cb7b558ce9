//! `dispers keys show`, and the fingerprints that people compare.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use dispers_base::fingerprint::Fingerprint;
use dispers_node::keyfile::{KeyFileError, NodeKeys, PublicKeys, load_signing_key};
use dispers_trust::ceremony;
use serde_json::{Map, Value, json};

use super::PublicThreshold;
use crate::{
    exit::Exit,
    text_file::{Printed, bytes32, parse},
};

#[derive(Args)]
pub(crate) struct Show {
    /// Key file of a node, host, querier or root; or the printed public part of one, or of a threshold key, in a file
    /// whose name ends in .pub.
    file: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Printed::Table)]
    format: Printed,
}

/// Public parts that a file may hold.
enum Shown {
    Entry(PublicKeys),
    Root([u8; 32]),
    Threshold(Fingerprint),
}

fn read(path: &Path) -> anyhow::Result<Shown> {
    // The digits of a secret key must not be taken for those of a public one. Only the file's name tells the
    // two apart.
    if path.extension().is_none_or(|end| end != "pub") {
        return match load_signing_key(path) {
            Ok(root) => Ok(Shown::Root(root.public().0)),
            Err(KeyFileError::Content { .. }) => Ok(Shown::Entry(NodeKeys::load_public(path)?)),
            Err(error) => Err(error.into()),
        };
    }
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    if let Ok(root) = bytes32(text.trim()) {
        return Ok(Shown::Root(root));
    }
    if let Ok((key, _)) = PublicThreshold::read(path) {
        return Ok(Shown::Threshold(ceremony::fingerprint(&key)));
    }
    Ok(Shown::Entry(parse(path)?))
}

/// Prints the public part and its fingerprints.
pub(super) fn run(arguments: &Show) -> Result<(), Exit> {
    let shown = read(&arguments.file).map_err(Exit::misuse)?;
    match (arguments.format, shown) {
        (Printed::Table, Shown::Entry(keys)) => {
            print!("{}", toml::to_string(&keys).map_err(Exit::other)?);
            tell(&keys);
        }
        (Printed::Json, Shown::Entry(keys)) => {
            let mut all = serde_json::to_value(&keys).map_err(Exit::other)?;
            all["fingerprints"] = object(keys.fingerprints());
            println!("{all}");
        }
        (Printed::Table, Shown::Root(key)) => {
            println!("{}", hex::encode(key));
            tell_root(&key);
        }
        (Printed::Json, Shown::Root(key)) => {
            let print = Fingerprint::of(&key).to_string();
            println!(
                "{}",
                json!({"root": hex::encode(key), "fingerprint": print})
            );
        }
        (Printed::Table, Shown::Threshold(print)) => println!("{print}"),
        (Printed::Json, Shown::Threshold(print)) => {
            println!("{}", json!({"fingerprint": print.to_string()}));
        }
    }
    Ok(())
}

/// Returns fingerprints as a JSON object.
pub(crate) fn object(prints: impl IntoIterator<Item = (&'static str, Fingerprint)>) -> Value {
    let prints = prints.into_iter();
    let prints = prints.map(|(key, print)| (key.to_owned(), print.to_string().into()));
    Value::Object(prints.collect::<Map<_, _>>())
}

/// Returns fingerprints as lines, each beginning with `indent`.
pub(crate) fn lines(
    indent: &str,
    prints: impl IntoIterator<Item = (&'static str, Fingerprint)>,
) -> String {
    let prints = prints.into_iter();
    prints
        .map(|(key, print)| format!("{indent}{key:<18}{print}\n"))
        .collect()
}

/// Prints the fingerprints of an entry on stderr; its public part goes to stdout and into a file.
pub(crate) fn tell(keys: &PublicKeys) {
    eprint!(
        "fingerprints of {} {}, to read to the root operators:\n{}",
        keys.role,
        keys.name,
        lines("  ", keys.fingerprints())
    );
}

/// Prints the fingerprint of a root key on stderr.
pub(crate) fn tell_root(public: &[u8; 32]) {
    let print = ("root", Fingerprint::of(public));
    eprint!(
        "fingerprint, to read to everybody who pins this root key:\n{}",
        lines("  ", [print])
    );
}

/// Parses a root key of a configuration.
pub(crate) fn root(text: &str) -> Result<[u8; 32], Exit> {
    bytes32(text).map_err(|_| {
        Exit::misuse(anyhow!(
            "{text:?} is not a root key: write its 64 hexadecimal digits"
        ))
    })
}
