//! `dispers keys`: makes keys.

mod ceremony;
mod files;
mod fragments;
mod public;
mod show;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use public::PublicThreshold;
pub(crate) use show::{lines, object, root, tell};

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use dispers_base::{
    id::{Name, Role, Threshold},
    keys::SigningKey,
};
use dispers_crypto::{dealing::deal, envelope::Suite};
use dispers_node::{
    keyfile::{NodeKeys, save_share, save_signing_key},
    private, rng,
};

use crate::exit::Exit;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the keys of a node, host, querier or root, and print what the directory lists of them.
    New(New),
    /// Print the public part of a key file again, with the fingerprints that people compare.
    Show(show::Show),
    /// Deal a threshold key to its members. The dealer knows the whole key: for sandboxes and
    /// trials only, and only a directory that says `trial = true` takes it.
    Deal(Deal),
    /// Make a threshold key together, so that nobody ever knows it whole.
    #[command(subcommand)]
    Ceremony(ceremony::Command),
    /// Split key files into fragments, so that any T of N restore them.
    Split(fragments::Split),
    /// Restore a key file from fragments.
    Combine(fragments::Combine),
}

#[derive(Args)]
pub(crate) struct New {
    /// What the keys are for.
    #[arg(value_parser = key_role())]
    role: KeyRole,
    /// The name in the directory.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The key file to make.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Cipher suite of the envelopes: x-wing or x25519.
    #[arg(long, default_value_t = Suite::default())]
    suite: Suite,
    /// Share the keys that another node has in common with this one: the envelope key of a
    /// conductor, or the pool's keys of a target or of a target finder of the same partition.
    #[arg(long, value_name = "FILE")]
    pool_of: Option<PathBuf>,
}

/// Owner of a key file.
#[derive(Clone, Copy)]
enum KeyRole {
    /// Node of this role.
    Node(Role),
    /// Root of trust, which signs directories.
    Root,
}

/// Returns the parser of a [`KeyRole`]: the name of a role, or `root`.
fn key_role() -> impl TypedValueParser<Value = KeyRole> {
    let names = Role::ALL.into_iter().map(Role::name).chain(["root"]);
    PossibleValuesParser::new(names)
        .map(|name| Role::named(&name).map_or(KeyRole::Root, KeyRole::Node))
}

#[derive(Args)]
pub(crate) struct Deal {
    /// How many members are needed.
    #[arg(long, value_name = "K")]
    needed: u8,
    /// How many members there are.
    #[arg(long, value_name = "M")]
    members: u8,
    /// The folder for share-1.key … share-M.key; made if it is not there.
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
}

pub(crate) fn run(command: Command) -> Result<(), Exit> {
    let public = match command {
        Command::New(arguments) => make(&arguments),
        Command::Show(arguments) => return show::run(&arguments),
        Command::Deal(arguments) => {
            deal_into(arguments.needed, arguments.members, &arguments.output_dir)
        }
        Command::Ceremony(command) => ceremony::run(command).map_err(Exit::misuse),
        Command::Split(arguments) => return fragments::split(&arguments),
        Command::Combine(arguments) => return fragments::combine(&arguments),
    };
    print!("{}", public?);
    Ok(())
}

/// Makes a key file. Returns the public part, for the directory.
pub(crate) fn make(arguments: &New) -> Result<String, Exit> {
    let name = Name::new(&arguments.name).map_err(Exit::misuse)?;
    let role = match arguments.role {
        KeyRole::Node(role) => role,
        KeyRole::Root => {
            let key = SigningKey::generate(&mut rng());
            save_signing_key(&arguments.output, &key).map_err(Exit::misuse)?;
            // Keys go to files and the fingerprint to stderr, so that stdout holds only what the directory
            // lists.
            show::tell_root(&key.public().0);
            return Ok(format!("{}\n", hex::encode(key.public().0)));
        }
    };
    let mut keys = NodeKeys::generate(role, arguments.suite);
    if let Some(other) = &arguments.pool_of {
        let other = NodeKeys::load(other).map_err(Exit::misuse)?;
        match role {
            // All conductors share one envelope key, so that any opens what was sealed for another
            // (protocol.md §2).
            Role::Conductor => keys.join_conductor(&other),
            _ => keys.join_pool_of(&other),
        }
        .map_err(Exit::misuse)?;
    }
    keys.save(&arguments.output, arguments.suite, name.as_str(), role)
        .map_err(Exit::misuse)?;
    let public = keys.public(name.as_str(), role);
    tell(&public);
    toml::to_string(&public).map_err(Exit::other)
}

/// Deals the shares of a threshold key into a folder. Returns the public part, for the directory.
pub(crate) fn deal_into(needed: u8, members: u8, folder: &Path) -> Result<String, Exit> {
    let threshold = Threshold::new(needed, members).map_err(Exit::misuse)?;
    private::create_folder(folder)
        .with_context(|| format!("cannot make {}", folder.display()))
        .map_err(Exit::misuse)?;
    let dealing = deal(threshold, &mut rng());
    for share in &dealing.secrets {
        let path = folder.join(format!("share-{}.key", share.number()));
        save_share(&path, share).map_err(Exit::misuse)?;
    }
    eprintln!(
        "warning: this process knew the whole key, which is for sandboxes and trials; a network that \
         protects people makes it together: dispers keys ceremony"
    );
    let public = PublicThreshold::new(&dealing.public, &[]);
    toml::to_string(&public).map_err(Exit::other)
}
