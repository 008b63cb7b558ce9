//! `dispers`: the command line of DISPERS.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 success, 64 misuse, 69 unavailable, 75 try
//! again later, 1 any other error.

mod bench;
mod budget;
mod catalog;
mod directory;
mod exit;
mod explain;
mod format;
mod home;
mod keys;
mod knowledge;
mod log;
mod loss;
mod period;
mod predict;
mod progress;
mod query;
mod regress;
mod sandbox;
mod serve;
mod stack;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Exit;

/// Ask a question in SQL of people's personal clouds. You get the aggregate, and nobody anything
/// else.
#[derive(Parser)]
#[command(name = "dispers", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole network in this process and ask it a question.
    Sandbox(sandbox::Arguments),
    /// Ask a question of a network.
    Query(query::Arguments),
    /// Train a model on a network's data.
    #[command(subcommand)]
    Train(Box<train::Model<train::Arguments>>),
    /// Go on with a training session whose process died.
    Resume(train::Resume),
    /// Tell what a model says of new documents.
    Predict(predict::Arguments),
    /// Tell what a question will take and how exact its answer will be; no home is asked.
    Explain(explain::Arguments),
    /// Tell what is left of a querier's privacy budgets.
    Budget(budget::Arguments),
    /// Tell where a query stands, whom it waits for, until when, and what happens then.
    Status(query::Of),
    /// Print the answer of a query that was asked before.
    Result(query::Fetch),
    /// End a query; nothing of it is released.
    Cancel(query::Of),
    /// Run one service.
    Serve(serve::Arguments),
    /// Measure what a query and a contribution cost.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Show what may be asked.
    Catalog(catalog::Arguments),
    /// Make, sign and check directories.
    #[command(subcommand)]
    Directory(directory::Command),
    /// Make keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Manage the homes of a stack.
    #[command(subcommand)]
    Stack(stack::Command),
    /// Look at all that was ever asked, and check that nothing is hidden.
    #[command(subcommand)]
    Log(log::Command),
    /// Decide what a home answers, and see what it was asked.
    #[command(subcommand)]
    Home(home::Command),
}

/// Turns logs off, unless `DISPERS_LOG` selects some. Most commands talk to people on stderr; only `serve`
/// sets up logs and traces, from its configuration.
fn log_nothing() {
    dispers_node::telemetry::init("off", false);
}

fn executor() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Exit::other)
}

fn run(command: Command) -> Result<(), Exit> {
    match command {
        Command::Sandbox(arguments) => {
            log_nothing();
            executor()?.block_on(sandbox::run(arguments))
        }
        Command::Query(arguments) => {
            log_nothing();
            executor()?.block_on(query::run(arguments))
        }
        Command::Train(model) => {
            log_nothing();
            executor()?.block_on(train::run(*model))
        }
        Command::Resume(arguments) => {
            log_nothing();
            executor()?.block_on(train::resume(arguments))
        }
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Explain(arguments) => {
            log_nothing();
            executor()?.block_on(explain::run(arguments))
        }
        Command::Budget(arguments) => {
            log_nothing();
            executor()?.block_on(budget::run(arguments))
        }
        Command::Status(arguments) => {
            log_nothing();
            executor()?.block_on(query::status(arguments))
        }
        Command::Result(arguments) => {
            log_nothing();
            executor()?.block_on(query::result(arguments))
        }
        Command::Cancel(arguments) => {
            log_nothing();
            executor()?.block_on(query::cancel(arguments))
        }
        Command::Serve(arguments) => executor()?.block_on(serve::run(arguments)),
        Command::Stack(command) => {
            log_nothing();
            executor()?.block_on(stack::run(command))
        }
        Command::Log(command) => {
            log_nothing();
            executor()?.block_on(log::run(command))
        }
        Command::Home(command) => {
            log_nothing();
            executor()?.block_on(home::run(command))
        }
        Command::Bench(command) => {
            log_nothing();
            bench::run(command)
        }
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Directory(command) => directory::run(command),
        Command::Keys(command) => keys::run(command),
    }
}

fn main() -> ExitCode {
    // Before anything else, so that no file is created readable by others and no core dump can hold a key.
    dispers_node::private::protect_process();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                // Help and version are no misuse, although clap returns them as errors.
                ExitCode::from(exit::MISUSE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("error: {:#}", exit.error);
            ExitCode::from(exit.code)
        }
    }
}
