//! `dispers directory`: makes, signs and checks directories, the root of trust (protocol.md §2).

mod show;
mod spec;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use dispers_base::keys::VerifyingKey;
use dispers_node::{keyfile::load_signing_key, now, private};
use dispers_trust::directory::{DirectoryBody, RootKeys, SignedDirectory};

use crate::{
    exit::Exit,
    text_file::{Printed, bytes32, parse},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an unsigned directory from a description; deploy/directory.toml is a sample.
    New(New),
    /// Make the unsigned directory that follows another, and say what changes: before it expires, or
    /// when the network changes.
    Renew(Renew),
    /// Say what a directory changes of the one before, for whoever is about to sign it.
    Changes(Changes),
    /// Add a root key's signature.
    Sign(Sign),
    /// Check a directory against root keys and show what it lists.
    Verify(Verify),
    /// Show what a directory lists and who signed it, whether or not that is enough.
    Show(Show),
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
pub(crate) struct Renew {
    /// The directory to replace.
    old: PathBuf,
    /// The description, with an epoch one higher.
    #[arg(long, value_name = "FILE.toml")]
    description: PathBuf,
    /// The directory to make.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
pub(crate) struct Changes {
    /// The directory that is in use.
    old: PathBuf,
    /// The one that is to replace it.
    new: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Printed::Table)]
    format: Printed,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The directory.
    file: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Printed::Table)]
    format: Printed,
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
    /// Number of roots that must have signed; more than half of them by default.
    #[arg(long, value_name = "K")]
    needed: Option<usize>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Printed::Table)]
    format: Printed,
}

pub(crate) fn run(command: Command) -> Result<(), Exit> {
    let done = match command {
        Command::New(arguments) => new(&arguments),
        Command::Renew(arguments) => {
            print!("{}", renew(&arguments)?);
            return Ok(());
        }
        Command::Changes(arguments) => {
            print!("{}", changes(&arguments)?);
            return Ok(());
        }
        Command::Sign(arguments) => sign(&arguments),
        Command::Verify(arguments) => verify(&arguments),
        Command::Show(arguments) => show(&arguments),
    };
    done.map_err(Exit::misuse)
}

fn read(path: &Path) -> anyhow::Result<SignedDirectory> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    SignedDirectory::from_bytes(&bytes).with_context(|| path.display().to_string())
}

fn write(path: &Path, directory: &SignedDirectory) -> anyhow::Result<()> {
    private::write(path, directory.to_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn new(arguments: &New) -> anyhow::Result<()> {
    let directory = SignedDirectory::new(&described(&arguments.spec)?)?;
    write(&arguments.output, &directory)?;
    tell_roots(&arguments.output);
    Ok(())
}

/// Returns the body of the directory that a description describes.
fn described(path: &Path) -> anyhow::Result<DirectoryBody> {
    let folder = path.parent().unwrap_or(Path::new("."));
    spec::body(&parse(path)?, folder)
}

fn tell_roots(file: &Path) {
    eprintln!(
        "{} is made; now each root operator runs: dispers directory sign {} --key ROOT.key",
        file.display(),
        file.display()
    );
}

/// Writes the next edition of a directory. Returns its changes.
fn renew(arguments: &Renew) -> Result<String, Exit> {
    let Renew {
        old: old_file,
        description,
        output,
    } = arguments;
    if output.exists() {
        return Err(Exit::misuse(anyhow!(
            "{} exists: choose another name, as nodes need the directory of before until the new one is signed",
            output.display()
        )));
    }
    let old = body(old_file).map_err(Exit::misuse)?;
    let new = described(description).map_err(Exit::misuse)?;
    // The changes are computed first, because this refuses an edition that may not follow the old one.
    let changes = show::changes(&old, &new, Printed::Table)?;
    let directory = SignedDirectory::new(&new).map_err(Exit::misuse)?;
    write(output, &directory).map_err(Exit::misuse)?;
    tell_roots(output);
    Ok(changes)
}

fn changes(arguments: &Changes) -> Result<String, Exit> {
    let old = body(&arguments.old).map_err(Exit::misuse)?;
    let new = body(&arguments.new).map_err(Exit::misuse)?;
    show::changes(&old, &new, arguments.format)
}

/// Returns the body of a file. Signatures are not checked.
fn body(path: &Path) -> anyhow::Result<DirectoryBody> {
    let body = read(path)?.unverified_body();
    body.with_context(|| path.display().to_string())
}

fn show(arguments: &Show) -> anyhow::Result<()> {
    let directory = read(&arguments.file)?;
    show::print(
        &directory.unverified_body()?,
        &directory.signers(),
        arguments.format,
    );
    Ok(())
}

fn sign(arguments: &Sign) -> anyhow::Result<()> {
    let mut directory = read(&arguments.file)?;
    // The body cannot be verified yet, because its signatures are only being collected. A signature of a
    // wrong key does no harm: nodes count only the roots that they pin.
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
    let roots = RootKeys::new(keys, arguments.needed);
    let signed = read(&arguments.file)?;
    let directory = signed.verify(&roots, now())?;
    show::print(&directory, &signed.signers(), arguments.format);
    Ok(())
}
