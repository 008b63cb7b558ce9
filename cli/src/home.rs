//! `dispers home`: an owner's rules, decisions and history.

mod rules;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand, ValueEnum};
use dispers_base::id::Timestamp;
use dispers_core::subscription::HomeId;
use dispers_stack::{Asked, Connector, Entry, Outcome, Store, entry, erase, export};
use serde_json::Value;

use crate::{exit::Exit, log::plain, stack};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show a home's standing rules, or set them from a file.
    Rules(rules::Arguments),
    /// Add a rule that allows, or allow one query that waits for a word.
    Allow(rules::Allow),
    /// Add a rule that denies, or deny one query that waits for a word.
    Deny(rules::Deny),
    /// Show every query that a home was asked, why, and what became of it.
    History(History),
    /// Print a link by which the owner of a home enters the stack's page: it can be used once, within a
    /// quarter of an hour.
    Link(Home),
    /// Withdraw a home from a concept, or from everything: no query finds it by it any longer.
    Withdraw(Withdraw),
    /// Erase all that the stack keeps of a home that leaves, and print a receipt for its owner.
    Erase(Home),
}

/// Home that a command is about, and the stack that holds it.
#[derive(Args)]
pub(crate) struct Home {
    /// The home.
    #[arg(long, value_name = "ID")]
    home: String,
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
}

#[derive(Args)]
pub(crate) struct History {
    #[command(flatten)]
    home: Home,
    /// One query, with all that the manifest says of it.
    #[arg(long, value_name = "ID")]
    query: Option<String>,
    /// A table for people, or all of it for programs.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Most entries of the table, the latest first.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Args)]
pub(crate) struct Withdraw {
    /// The concept; everything where it is left out.
    concept: Option<String>,
    #[command(flatten)]
    home: Home,
}

pub(crate) async fn run(command: Command) -> Result<(), Exit> {
    match command {
        Command::Rules(arguments) => rules::show(&arguments),
        Command::Allow(arguments) => rules::allow(&arguments),
        Command::Deny(arguments) => rules::deny(&arguments),
        Command::History(arguments) => history(&arguments),
        Command::Link(home) => link(&home),
        Command::Erase(home) => erase_home(&home).await,
        Command::Withdraw(Withdraw { concept, home }) => {
            stack::withdraw_home(&home.config, home.home, concept).await
        }
    }
}

/// Opens the store of a stack and finds the home.
///
/// # Errors
/// If the stack does not know the home.
fn open(home: &Home) -> Result<(Store, HomeId), Exit> {
    let store = stack::store(&home.config)?;
    let id = HomeId(home.home.clone());
    // A home without documents may still have a history to show.
    if !store.holds(&id)? && store.history(&id, 0, 1)?.is_empty() {
        return Err(dispers_stack::Error::UnknownHome(id.0).into());
    }
    Ok((store, id))
}

async fn erase_home(home: &Home) -> Result<(), Exit> {
    // Refuses an unknown home before anything is sent.
    open(home)?;
    let (store, relay) = stack::open(&home.config)?;
    let receipt = erase(&relay, &Arc::new(store), &HomeId(home.home.clone())).await?;
    stack::sync::hand_out(&receipt, None)
}

fn link(home: &Home) -> Result<(), Exit> {
    let page = stack::page(&home.config)?;
    let (store, home) = open(home)?;
    let token = store.link(&home)?.text();
    println!("{}", page.place(&format!("/enter?token={token}")));
    Ok(())
}

fn print(value: &Value) -> Result<(), Exit> {
    println!("{value}");
    Ok(())
}

fn history(arguments: &History) -> Result<(), Exit> {
    let (store, home) = open(&arguments.home)?;
    if let Some(text) = &arguments.query {
        let found = store.entry(&home, store.asked_query(&home, text)?)?;
        let found = found.ok_or(dispers_stack::WordError::NotAsked);
        let found = found.map_err(dispers_stack::Error::from)?;
        return match arguments.format {
            Format::Json => print(&entry(&found)),
            Format::Table => {
                tell(&found);
                Ok(())
            }
        };
    }
    let bounds = stack::bounds(&arguments.home.config)?;
    if arguments.format == Format::Json {
        let epoch = stack::key_epoch(&arguments.home.config)?;
        return print(&export(&store, &home, epoch, bounds.max_delta)?);
    }
    let entries = store.history(&home, 0, arguments.limit)?;
    if entries.is_empty() {
        eprintln!("this home was asked nothing yet");
    }
    for entry in &entries {
        let asked = Asked::of(&entry.manifest);
        println!(
            "{}  {:<22} {}: {}  {} of {}  {}",
            Timestamp(entry.received),
            entry.outcome.word(),
            // Text of other parties must not move the cursor of the owner's terminal, see `plain`.
            asked.querier,
            plain(&asked.purpose),
            asked.fields.join(", "),
            asked.doctype,
            entry.query,
        );
    }
    let spent = store.spent(&home)?.all.epsilon(bounds.max_delta) as f64 / 1e6;
    eprintln!(
        "epsilon of the last year: {spent}, at delta {}",
        bounds.max_delta
    );
    Ok(())
}

fn line(name: &str, value: &dyn std::fmt::Display) {
    println!("{name:<12} {value}");
}

fn tell(entry: &Entry) {
    let asked = Asked::of(&entry.manifest);
    line("query", &entry.query);
    line("asked by", &asked.querier);
    line("purpose", &plain(&asked.purpose));
    line("received", &Timestamp(entry.received));
    line(
        "cohort",
        &format!("at least {} people behind each number", asked.min_cohort),
    );
    match asked.epsilon {
        Some(epsilon) => line("epsilon", &(epsilon as f64 / 1e6)),
        None => line("epsilon", &"none: exact"),
    }
    if asked.delta > 0.0 {
        line("delta", &asked.delta);
    }
    line("outcome", &entry.outcome.word());
    if let Some(rule) = entry.rule {
        line("by rule", &rule);
    }
    if entry.outcome == Outcome::Waiting {
        line("decide by", &entry.manifest.answer_from);
    }
    if let Some((homes, groups)) = &entry.sent {
        for group in groups {
            let sent = format!(
                "{} bytes to {}, sealed, of {homes} homes",
                group.bytes, group.aggregator
            );
            line("left", &sent);
        }
    }
    println!(
        "\nin the home\n{}",
        plain(&entry.manifest.local.to_string())
    );
    println!("as SQL\n{}", plain(&entry.manifest.local.sql()));
}

/// Homes whose rules a command changes.
#[derive(Args)]
pub(crate) struct Homes {
    /// The home.
    #[arg(long, value_name = "ID", required_unless_present = "every_home")]
    home: Option<String>,
    /// Every home of the stack, where the owners of all agreed.
    #[arg(long, conflicts_with = "home")]
    every_home: bool,
    /// The stack's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
}

impl Homes {
    fn config(&self) -> &Path {
        &self.config
    }

    fn open(&self) -> Result<(Store, Vec<HomeId>), Exit> {
        if let Some(home) = &self.home {
            let (store, home) = open(&Home {
                home: home.clone(),
                config: self.config.clone(),
            })?;
            return Ok((store, vec![home]));
        }
        let store = stack::store(&self.config)?;
        let homes = store.homes()?;
        Ok((store, homes))
    }
}
