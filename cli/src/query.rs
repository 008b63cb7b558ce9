//! `dispers query`: a question to a network.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use dispers_core::id::Role;
use dispers_node::{Config, Node};
use dispers_querier::{Querier, Question};

use crate::{
    exit::Exit,
    format::{self, Format},
    progress::Bars,
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The question.
    sql: String,
    /// The querier's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// Why it is asked, one of the purposes that the directory registers for the querier.
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// Fewest people behind a released number; the network's floor where it is left out.
    #[arg(long, value_name = "N")]
    min_cohort: Option<u32>,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    let config: Config<dispers_querier::Config> = Config::load(&arguments.config, "querier")?;
    let (directory, keys) = config.open(Role::Querier)?;
    let node = Node {
        name: config.name()?,
        directory: Arc::new(directory),
        signing: keys.signing,
        tls: keys.tls,
        witness: None,
    };
    let querier = Querier::new(Arc::new(node), config.role);
    let question = Question {
        sql: arguments.sql,
        purpose: arguments.purpose,
        min_cohort: arguments.min_cohort,
    };
    let mut bars = Bars::new();
    let result = querier.ask(&question, |step| bars.step(step)).await;
    bars.end();
    format::print(&result?, arguments.format).map_err(Exit::other)
}
