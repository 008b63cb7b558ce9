//! `dispers bench`: costs of a query, of a contribution and of a round of training.

mod baseline;
mod contribution;
mod memory;
mod process;
mod query;
mod training;

use clap::{Subcommand, ValueEnum};

use crate::exit::Exit;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ask homes by the thousand or million, with every role a real service on loopback, and tell
    /// what it cost whom.
    Query(query::Arguments),
    /// What one contribution costs one aggregator, beside Prio3 with an envelope per report.
    Contribution(contribution::Arguments),
    /// What a round of training costs homes and aggregators, with proofs and without.
    Training(training::Arguments),
}

/// Format of printed figures.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One object, for programs.
    Json,
}

pub(crate) fn run(command: Command) -> Result<(), Exit> {
    match command {
        Command::Query(arguments) => query::run(&arguments),
        Command::Contribution(arguments) => contribution::run(&arguments),
        Command::Training(arguments) => training::run(&arguments),
    }
}
