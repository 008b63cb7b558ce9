//! `dispers keys`: making keys.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use dispers_core::{
    dealing::deal,
    envelope::Suite,
    id::{Name, Role, Threshold},
    keys::SigningKey,
};
use dispers_node::{
    keyfile::{NodeKeys, save_share, save_signing_key},
    rng,
};
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the keys of a node, host, querier or root, and print what the directory lists of them.
    New(New),
    /// Deal a threshold key to its members. The dealer knows the whole key: for sandboxes and
    /// tests only.
    Deal(Deal),
}

#[derive(Args)]
pub(crate) struct New {
    /// What the keys are for.
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
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyRole {
    Conductor,
    ConceptIndexor,
    TargetFinder,
    Target,
    DataAggregator,
    Stack,
    Querier,
    Root,
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

/// A threshold key's public part, as `dispers keys deal` prints it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublicThreshold {
    pub(crate) needed: u8,
    pub(crate) key: String,
    pub(crate) shares: Vec<String>,
}

pub(crate) fn run(command: Command) -> Result<(), Exit> {
    match command {
        Command::New(arguments) => new(&arguments),
        Command::Deal(arguments) => deal_shares(&arguments),
    }
}

fn new(arguments: &New) -> Result<(), Exit> {
    let name = Name::new(&arguments.name).map_err(Exit::misuse)?;
    let role = match arguments.role {
        KeyRole::Conductor => Role::Conductor,
        KeyRole::ConceptIndexor => Role::ConceptIndexor,
        KeyRole::TargetFinder => Role::TargetFinder,
        KeyRole::Target => Role::Target,
        KeyRole::DataAggregator => Role::DataAggregator,
        KeyRole::Stack => Role::Stack,
        KeyRole::Querier => Role::Querier,
        KeyRole::Root => {
            let key = SigningKey::generate(&mut rng());
            save_signing_key(&arguments.output, &key).map_err(Exit::misuse)?;
            println!("{}", hex::encode(key.public().0));
            return Ok(());
        }
    };
    let keys = NodeKeys::generate(role, arguments.suite);
    keys.save(&arguments.output, arguments.suite)
        .map_err(Exit::misuse)?;
    let public = toml::to_string(&keys.public(name.as_str(), role)).map_err(Exit::other)?;
    print!("{public}");
    Ok(())
}

fn deal_shares(arguments: &Deal) -> Result<(), Exit> {
    let threshold = Threshold::new(arguments.needed, arguments.members).map_err(Exit::misuse)?;
    let folder = &arguments.output_dir;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make {}", folder.display()))
        .map_err(Exit::misuse)?;
    let dealing = deal(threshold, &mut rng());
    for share in &dealing.secrets {
        let path = folder.join(format!("share-{}.key", share.number()));
        save_share(&path, share).map_err(Exit::misuse)?;
    }
    eprintln!(
        "warning: this process knew the whole key; a network that protects people makes it \
         together instead"
    );
    let public = PublicThreshold {
        needed: arguments.needed,
        key: hex::encode(dealing.public.key().as_bytes()),
        shares: threshold
            .numbers()
            .filter_map(|number| dealing.public.share(number))
            .map(|point| hex::encode(point.as_bytes()))
            .collect(),
    };
    print!("{}", toml::to_string(&public).map_err(Exit::other)?);
    Ok(())
}
