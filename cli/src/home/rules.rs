//! Rules and decisions from the command line.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use dispers_stack::{Effect, Rule, rule_file};

use super::{Home, Homes, open};
use crate::{exit::Exit, stack};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    homes: Homes,
    /// Take the rules from this file, in place of those before.
    #[arg(long, value_name = "FILE.toml")]
    set: Option<PathBuf>,
}

/// What a rule covers; all of what is left out.
#[derive(Args)]
struct Covers {
    /// Queries of these queriers.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    querier: Option<Vec<String>>,
    /// Queries for this purpose.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<Vec<String>>,
    /// Queries that read these kinds of documents.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    doctype: Option<Vec<String>>,
    /// Queries that read these fields: no others to be allowed, any of them to be denied.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    fields: Option<Vec<String>>,
}

#[derive(Args)]
pub(crate) struct Allow {
    #[command(flatten)]
    homes: Homes,
    /// Allow this one query, which waits for a word.
    #[arg(long, value_name = "ID", conflicts_with_all = ["querier", "purpose", "doctype", "fields", "no_field", "min_cohort", "epsilon", "delta", "epsilon_per_year", "exact", "training", "rounds", "every_home"])]
    query: Option<String>,
    #[command(flatten)]
    covers: Covers,
    /// Queries that read no field, and so reveal only whether a home has a document.
    #[arg(long, conflicts_with = "fields")]
    no_field: bool,
    /// Where at least so many people are behind each number.
    #[arg(long, value_name = "N")]
    min_cohort: Option<u32>,
    /// Most epsilon of one noisy query; 0 with --exact for exact queries only.
    #[arg(long, value_name = "E")]
    epsilon: Option<f64>,
    /// Largest delta of one query; 0 for noise without delta only. The network's own limit applies as well.
    #[arg(long, value_name = "D")]
    delta: Option<f64>,
    /// Most epsilon in a year of the queries that this rule allows.
    #[arg(long, value_name = "E")]
    epsilon_per_year: Option<f64>,
    /// Queries without noise too.
    #[arg(long)]
    exact: bool,
    /// Training of models too.
    #[arg(long)]
    training: bool,
    /// Most rounds of training.
    #[arg(long, value_name = "N", requires = "training")]
    rounds: Option<u16>,
}

#[derive(Args)]
pub(crate) struct Deny {
    #[command(flatten)]
    homes: Homes,
    /// Deny this one query, which waits for a word.
    #[arg(long, value_name = "ID", conflicts_with_all = ["querier", "purpose", "doctype", "fields", "every_home"])]
    query: Option<String>,
    #[command(flatten)]
    covers: Covers,
}

impl Covers {
    fn rule(&self, effect: Effect) -> Rule {
        Rule {
            queriers: self.querier.clone(),
            purposes: self.purpose.clone(),
            doctypes: self.doctype.clone(),
            fields: self.fields.clone(),
            ..Rule::new(effect)
        }
    }
}

pub(crate) fn show(arguments: &Arguments) -> Result<(), Exit> {
    let (store, homes) = arguments.homes.open()?;
    let Some(path) = &arguments.set else {
        let Some(home) = homes.first().filter(|_| homes.len() == 1) else {
            return Err(Exit::misuse(anyhow!(
                "write --home ID to see a home's rules"
            )));
        };
        print!("{}", rule_file::text(&store.rules(home)?));
        return Ok(());
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(Exit::misuse)?;
    let rules = rule_file::parse(&text)
        .with_context(|| format!("{} is refused", path.display()))
        .map_err(Exit::misuse)?;
    store.set_rules(&homes, rules)?;
    eprintln!("rules set for {} homes", homes.len());
    Ok(())
}

pub(crate) fn allow(arguments: &Allow) -> Result<(), Exit> {
    if let Some(id) = &arguments.query {
        return word(&arguments.homes, id, true);
    }
    let mut rule = Rule {
        min_cohort: arguments.min_cohort,
        epsilon: arguments.epsilon,
        delta: arguments.delta,
        epsilon_per_year: arguments.epsilon_per_year,
        exact: arguments.exact,
        training: arguments.training,
        rounds: arguments.rounds,
        ..arguments.covers.rule(Effect::Allow)
    };
    // An empty list allows no field, while `None` would allow all of them.
    if arguments.no_field {
        rule.fields = Some(Vec::new());
    }
    add(&arguments.homes, &rule)
}

pub(crate) fn deny(arguments: &Deny) -> Result<(), Exit> {
    match &arguments.query {
        Some(id) => word(&arguments.homes, id, false),
        None => add(&arguments.homes, &arguments.covers.rule(Effect::Deny)),
    }
}

fn add(homes: &Homes, rule: &Rule) -> Result<(), Exit> {
    let (store, homes) = homes.open()?;
    store.change_rules(&homes, |rules| rules.rules.push(rule.clone()))?;
    eprintln!("rule added for {} homes", homes.len());
    Ok(())
}

fn word(homes: &Homes, id: &str, allow: bool) -> Result<(), Exit> {
    let home = homes.home.clone().unwrap_or_default();
    let config = homes.config().to_owned();
    // The limits of the stack and the network apply to an owner's word as to a rule.
    let bounds = stack::bounds(&config)?;
    let (store, home) = open(&Home { home, config })?;
    let outcome = store.word(&home, store.asked_query(&home, id)?, allow, bounds)?;
    eprintln!("{}", outcome.word());
    Ok(())
}
