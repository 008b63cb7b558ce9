//! `bank`: draws operations of homes, and compares models that sort them.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dispers_example_bank::{
    CATEGORIES, Operation,
    central::{Scores, alone, logistic, naive_bayes},
    files, generate,
};

#[derive(Parser)]
#[command(
    version,
    about = "Bank operations of homes, and how well models sort them."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw operations: those that homes hold, and those of the month after.
    Generate(Generate),
    /// Print the categories as SQL writes them.
    Categories,
    /// Print the accuracy over the month after: of a home alone, federated, and centralised.
    Compare(Compare),
}

#[derive(Args)]
struct Generate {
    /// Number of homes.
    #[arg(long, default_value_t = 1000)]
    homes: usize,
    /// What everything is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the two files are written.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Args)]
struct Compare {
    /// Where the two files are.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// What the federated naive Bayes says of new.csv.
    #[arg(long, value_name = "FILE.json")]
    naive_bayes: PathBuf,
    /// What the federated logistic regression says of new.csv.
    #[arg(long, value_name = "FILE.json")]
    logistic: PathBuf,
    /// Buckets that words are hashed into.
    #[arg(long, default_value_t = 512)]
    buckets: u16,
}

// `dispers sandbox` takes the doctype from the name of the file.
const HELD: &str = "io.cozy.bank.operations.csv";
const NEW: &str = "new.csv";

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Generate(arguments) => draw(&arguments),
        Command::Categories => {
            println!("'{}'", CATEGORIES.join("', '"));
            Ok(())
        }
        Command::Compare(arguments) => compare(&arguments),
    }
}

fn draw(arguments: &Generate) -> anyhow::Result<()> {
    let (held, new) = generate::operations(arguments.homes, arguments.seed);
    let folder = &arguments.folder;
    // The folder may hold files of an earlier run, which are replaced.
    fs::create_dir_all(folder).with_context(|| format!("cannot write {}", folder.display()))?;
    files::write(&folder.join(HELD), &held)?;
    files::write(&folder.join(NEW), &new)?;
    println!(
        "{} homes hold {} operations that they sorted; {} are new",
        arguments.homes,
        held.len(),
        new.len()
    );
    Ok(())
}

/// Returns the share of operations for which a federated model predicted the right category.
fn accuracy(said: &[Option<usize>], operations: &[Operation]) -> f64 {
    let right = said
        .iter()
        .zip(operations)
        .filter(|(said, one)| **said == Some(one.category));
    right.count() as f64 / operations.len().max(1) as f64
}

fn compare(arguments: &Compare) -> anyhow::Result<()> {
    let held = files::read(&arguments.folder.join(HELD))?;
    let new = files::read(&arguments.folder.join(NEW))?;
    let buckets = arguments.buckets;
    println!(
        "accuracy over {} new operations, {} categories",
        new.len(),
        CATEGORIES.len()
    );
    println!("                      alone  federated  centralised");
    let federated = files::predictions(&arguments.naive_bayes, new.len())?;
    let federated = accuracy(&federated, &new);
    print("naive Bayes", &held, &new, federated, |operations| {
        naive_bayes(operations, buckets)
    });
    let federated = files::predictions(&arguments.logistic, new.len())?;
    let federated = accuracy(&federated, &new);
    print(
        "logistic regression",
        &held,
        &new,
        federated,
        |operations| {
            // After 200 steps, more steps no longer change the accuracy.
            logistic(operations, buckets, 200, 1.0)
        },
    );
    Ok(())
}

/// Prints the accuracy of a model over the operations `new`: of each home alone, `federated`, and of one model
/// of all homes, where `fit` trains it on what homes hold.
fn print(
    name: &str,
    held: &[Operation],
    new: &[Operation],
    federated: f64,
    fit: impl Fn(&[Operation]) -> Scores,
) {
    println!(
        "{name:20} {:5.1} %    {:5.1} %      {:5.1} %",
        100.0 * alone(held, new, &fit),
        100.0 * federated,
        100.0 * fit(held).accuracy(new),
    );
}
