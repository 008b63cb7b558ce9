//! `dispers directory`: making, signing and checking the trust root.

mod spec;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use dispers_core::{
    directory::{RootKeys, SignedDirectory},
    id::Role,
    keys::VerifyingKey,
};
use dispers_node::{keyfile::load_signing_key, now};
use serde::de::DeserializeOwned;

use crate::exit::Exit;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an unsigned directory from a description; deploy/directory.toml is a sample.
    New(New),
    /// Add a root key's signature.
    Sign(Sign),
    /// Check a directory against root keys and show what it lists.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct New {
    /// The description.
    spec: PathBuf,
    /// The directory to make.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
pub(crate) struct Sign {
    /// The directory.
    file: PathBuf,
    /// The root's key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The directory.
    file: PathBuf,
    /// A pinned root key, in hexadecimal; may be repeated.
    #[arg(long, value_name = "HEX", required = true)]
    root: Vec<String>,
    /// How many of them must have signed.
    #[arg(long, value_name = "K", default_value_t = 1)]
    needed: usize,
}

pub(crate) fn run(command: Command) -> Result<(), Exit> {
    let done = match command {
        Command::New(arguments) => new(&arguments),
        Command::Sign(arguments) => sign(&arguments),
        Command::Verify(arguments) => verify(&arguments),
    };
    done.map_err(Exit::misuse)
}

fn read(path: &Path) -> anyhow::Result<SignedDirectory> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    SignedDirectory::from_bytes(&bytes).with_context(|| path.display().to_string())
}

fn write(path: &Path, directory: &SignedDirectory) -> anyhow::Result<()> {
    // Written beside and moved over, so that nobody ever reads half a directory.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, directory.to_bytes())
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn new(arguments: &New) -> anyhow::Result<()> {
    let folder = arguments.spec.parent().unwrap_or(Path::new("."));
    let body = spec::body(&parse(&arguments.spec)?, folder)?;
    let directory = SignedDirectory::new(&body)?;
    write(&arguments.output, &directory)?;
    eprintln!(
        "{} is made; now each root operator runs: dispers directory sign {} --key ROOT.key",
        arguments.output.display(),
        arguments.output.display()
    );
    Ok(())
}

fn sign(arguments: &Sign) -> anyhow::Result<()> {
    let mut directory = read(&arguments.file)?;
    let body = directory.unverified_body()?;
    directory.sign(&load_signing_key(&arguments.key)?);
    write(&arguments.file, &directory)?;
    eprintln!(
        "signed directory {} of network {}; it has {} signatures",
        body.epoch,
        body.network,
        directory.signatures.len()
    );
    Ok(())
}

fn verify(arguments: &Verify) -> anyhow::Result<()> {
    let keys = arguments
        .root
        .iter()
        .map(|text| bytes32(text).map(VerifyingKey))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let roots = RootKeys {
        keys,
        needed: arguments.needed,
    };
    let directory = read(&arguments.file)?.verify(&roots, now())?;
    println!(
        "network {}, directory {}",
        directory.network, directory.epoch
    );
    if directory.trial {
        println!("for trying only: one dealer may know the threshold keys");
    }
    let committees = (0u16..).take(directory.committees.len());
    let groups = committees.map(|group| (Role::DataAggregator, group));
    for (role, group) in [(Role::ConceptIndexor, 0)].into_iter().chain(groups) {
        match directory.transcripts_of(role, group).count() {
            0 => println!("key of {role} group {group}: of one dealer"),
            count => println!(
                "key of {role} group {group}: made jointly, refreshed {} times",
                count - 1
            ),
        }
    }
    for node in &directory.nodes {
        println!(
            "{} {} {} {}",
            node.role, node.name, node.operator, node.address
        );
    }
    for host in &directory.hosts {
        println!("host {} {}", host.name, host.address);
    }
    for querier in &directory.queriers {
        println!(
            "querier {} for {}",
            querier.name,
            querier.purposes.join(", ")
        );
    }
    Ok(())
}

pub(crate) fn parse<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

pub(crate) fn bytes32(text: &str) -> anyhow::Result<[u8; 32]> {
    let bytes = hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| anyhow!("{text:?} is not a key of 64 hexadecimal digits"))
}
