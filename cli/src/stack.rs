//! `dispers stack`: commands for the homes of a host.

mod doctor;
mod init;
pub(crate) mod sync;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use dispers_base::id::{KeyEpoch, Role};
use dispers_core::subscription::HomeId;
use dispers_node::Config;
use dispers_stack::{Bounds, Relay, Sheet, Store, lines, resubscribe, subscribe, withdraw};

use crate::exit::Exit;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the keys and the configuration of a new host.
    Init(init::Arguments),
    /// Tell whether a host is ready, and what to mend.
    Doctor(doctor::Arguments),
    /// Import documents from a CSV file, or from JSON lines (.jsonl, .ndjson).
    Import(Import),
    /// Subscribe homes to a concept, so that queries can find them.
    Subscribe(Subscribe),
    /// Send every subscription again: after the conductor was restarted, which forgets them, or once
    /// the directory has a new key epoch.
    Resubscribe(Resubscribe),
    /// Bring the stack in line with the host's list of homes: subscribe, withdraw, and erase who left.
    Sync(sync::Arguments),
    /// Withdraw homes from a concept, or from everything: the next query does not find them by it.
    Withdraw(Withdraw),
}

#[derive(Args)]
pub(crate) struct Import {
    /// The file; each row or line is a document.
    file: PathBuf,
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// The doctype; the file's name where it is left out.
    #[arg(long)]
    doctype: Option<String>,
    /// The column that tells homes apart; without it each row is a home, numbered from 1.
    #[arg(long, value_name = "COL")]
    home_column: Option<String>,
}

#[derive(Args)]
pub(crate) struct Withdraw {
    /// The concept. home>all comes with any, so that withdrawing it withdraws everything.
    #[arg(required_unless_present = "all")]
    concept: Option<String>,
    /// Withdraw from everything: the home refuses every query from now on.
    #[arg(long, conflicts_with = "concept")]
    all: bool,
    /// The home.
    #[arg(long, value_name = "ID", required_unless_present = "every_home")]
    home: Option<String>,
    /// Every home of the stack.
    #[arg(long, conflicts_with = "home")]
    every_home: bool,
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
}

#[derive(Args)]
pub(crate) struct Subscribe {
    /// The concept, such as 'city>lyon'. home>all comes with any.
    concept: String,
    /// The home.
    #[arg(long, value_name = "ID", required_unless_present = "every_home")]
    home: Option<String>,
    /// Every home of the stack.
    #[arg(long, conflicts_with = "home")]
    every_home: bool,
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
}

#[derive(Args)]
pub(crate) struct Resubscribe {
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
}

pub(crate) async fn run(command: Command) -> Result<(), Exit> {
    match command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Sync(arguments) => sync::run(arguments).await,
        Command::Import(arguments) => import(&arguments),
        Command::Subscribe(arguments) => subscribe_homes(arguments).await,
        Command::Resubscribe(arguments) => resubscribe_homes(arguments).await,
        Command::Withdraw(arguments) => withdraw_homes(arguments).await,
    }
}

fn load(path: &std::path::Path) -> Result<(Config<dispers_stack::Config>, Store), Exit> {
    let config: Config<dispers_stack::Config> = Config::load(path, "stack")?;
    let store = config.role.open(|path| config.resolve(path))?;
    Ok((config, store))
}

/// Opens the store of a stack.
pub(crate) fn store(path: &std::path::Path) -> Result<Store, Exit> {
    Ok(load(path)?.1)
}

/// Returns the key epoch under which a stack's homes are asked.
pub(crate) fn key_epoch(path: &std::path::Path) -> Result<KeyEpoch, Exit> {
    let (config, _) = load(path)?;
    let (directory, _) = config.open(Role::Stack)?;
    Ok(directory.asked_keys().key_epoch)
}

/// Returns the configuration of a stack's page for owners.
///
/// # Errors
/// If the stack serves no page.
pub(crate) fn page(path: &std::path::Path) -> Result<dispers_stack::page::Config, Exit> {
    let page = load(path)?.0.role.page;
    let page = page.ok_or_else(|| {
        Exit::misuse(anyhow!(
            "this stack serves no page: write [stack.page] with listen and url in its configuration"
        ))
    })?;
    page.check().map_err(Exit::misuse)?;
    Ok(page)
}

/// Returns the bounds of a stack and its network, independent of owners' rules.
pub(crate) fn bounds(path: &std::path::Path) -> Result<Bounds, Exit> {
    let (config, _) = load(path)?;
    let (directory, _) = config.open(Role::Stack)?;
    Ok(Bounds {
        exact_queries: config.role.exact_queries,
        max_delta: directory.floors.max_delta,
    })
}

fn import(arguments: &Import) -> Result<(), Exit> {
    let (_, store) = load(&arguments.config)?;
    let stem = arguments.file.file_stem().and_then(|stem| stem.to_str());
    let doctype = arguments.doctype.as_deref().or(stem).ok_or_else(|| {
        Exit::misuse(anyhow!(
            "the file's name gives no doctype: write --doctype NAME"
        ))
    })?;
    let extension = arguments.file.extension().and_then(|end| end.to_str());
    if matches!(extension, Some("jsonl" | "ndjson")) {
        let home = arguments.home_column.as_deref();
        let documents = lines(&arguments.file, home).map_err(Exit::misuse)?;
        let count = store.import_documents(doctype, documents)?;
        eprintln!("imported {count} documents of {doctype}");
        return Ok(());
    }
    let sheet = Sheet::read(&arguments.file).map_err(Exit::misuse)?;
    let homes = sheet
        .homes(arguments.home_column.as_deref())
        .map_err(Exit::misuse)?;
    let count = store.import(doctype, &sheet, homes.iter().zip(0..))?;
    eprintln!("imported {count} documents of {doctype}");
    Ok(())
}

/// Opens a stack's store and its connection to the network.
pub(crate) fn open(path: &std::path::Path) -> Result<(Store, Relay), Exit> {
    let (config, store) = load(path)?;
    let (node, _) = config.node(Role::Stack)?;
    Ok((store, Relay::new(Arc::new(node))))
}

/// Returns the named home, or every home if none is named.
fn homes(store: &Store, named: Option<String>) -> Result<Vec<HomeId>, Exit> {
    Ok(match named {
        Some(home) => vec![HomeId(home)],
        None => store.homes()?,
    })
}

async fn withdraw_homes(arguments: Withdraw) -> Result<(), Exit> {
    withdraw_from(&arguments.config, arguments.home, arguments.concept).await
}

/// Withdraws one home from a concept, or from everything if no concept is given.
pub(crate) async fn withdraw_home(
    path: &std::path::Path,
    home: String,
    concept: Option<String>,
) -> Result<(), Exit> {
    withdraw_from(path, Some(home), concept).await
}

async fn withdraw_from(
    path: &std::path::Path,
    home: Option<String>,
    concept: Option<String>,
) -> Result<(), Exit> {
    let (store, relay) = open(path)?;
    let homes = homes(&store, home)?;
    let ended = withdraw(&relay, &Arc::new(store), &homes, concept.as_deref()).await?;
    eprintln!("{} homes, {ended} subscriptions withdrawn", homes.len());
    Ok(())
}

async fn subscribe_homes(arguments: Subscribe) -> Result<(), Exit> {
    let (store, relay) = open(&arguments.config)?;
    let homes = homes(&store, arguments.home)?;
    let concepts: BTreeMap<HomeId, Vec<String>> = homes
        .into_iter()
        .map(|home| (home, vec![arguments.concept.clone()]))
        .collect();
    let count = concepts.len();
    // Counted here because `subscribe` takes the store. A home without rules refuses every query although it
    // is subscribed.
    let silent = store.without_rules(concepts.keys())?;
    let new = subscribe(&relay, &Arc::new(store), concepts).await?;
    eprintln!("{count} homes, {new} new subscriptions");
    if silent > 0 {
        eprintln!(
            "{silent} of them have no rules and refuse every query: see `dispers home allow --help`"
        );
    }
    Ok(())
}

async fn resubscribe_homes(arguments: Resubscribe) -> Result<(), Exit> {
    let (store, relay) = open(&arguments.config)?;
    let sent = resubscribe(&relay, &Arc::new(store)).await?;
    eprintln!("{sent} subscriptions sent again");
    Ok(())
}
