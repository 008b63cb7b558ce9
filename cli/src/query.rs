//! `dispers query`, `status`, `result`, `cancel`: questions to a network.

use std::{path::PathBuf, time::Duration};

use anyhow::anyhow;
use clap::Args;
use dispers_node::now;
use dispers_querier::{Error, Querier, QueryResult, Question};

use crate::{
    exit::{Exit, TRY_LATER},
    format::{Format, Output},
    loss::Loss,
    period::Period,
    progress::Bars,
    regress::Text,
    status::{lines, object},
};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    text: Text,
    /// The querier's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// Why it is asked, one of the purposes that the directory registers for the querier.
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// Fewest people behind a released number; the network's floor where it is left out.
    #[arg(long, value_name = "N")]
    min_cohort: Option<u32>,
    #[command(flatten)]
    loss: Loss,
    /// Give owners who decide each time so long before homes answer, such as 30m, 12h or 2d. Those whose
    /// standing rules allow or deny answer at the same time as they.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0",
        hide_default_value = true
    )]
    ask_owners: Period,
    /// Print the query's id and end; `dispers result ID` gives the answer later.
    #[arg(long, conflicts_with = "watch")]
    detach: bool,
    /// Also tell on stderr whom the query waits for, and until when.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    output: Output,
}

/// A query that was asked before.
#[derive(Args)]
pub(crate) struct Of {
    /// The id that `dispers query` printed.
    id: String,
    /// The querier's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    arguments.output.check()?;
    let querier = Querier::open(&arguments.config)?;
    let question = Question::new(arguments.text.sql()?, arguments.purpose)
        .min_cohort(arguments.min_cohort)
        .loss(arguments.loss.loss(None)?)
        .ask_owners(Duration::from_millis(arguments.ask_owners.0));
    let asked = querier.detach(&question).await?;
    let id = asked.query();
    if arguments.detach {
        println!("{id}");
        return Ok(());
    }
    // Printed before the wait, so that `dispers result` can fetch the answer if this process dies.
    eprintln!("query {id}");
    let bars = Bars::new().telling(arguments.watch);
    let result = bars.follow(querier.follow(&asked)).await?;
    print(&querier, &result, &arguments.output)
}

/// Prints an answer, and removes its question.
fn print(querier: &Querier, result: &QueryResult, output: &Output) -> Result<(), Exit> {
    // The order matters: if printing fails, the question is still there to fetch the answer again.
    output.print(result).map_err(Exit::other)?;
    Ok(querier.forget(result.query)?)
}

/// An answer that is wanted of a query that was asked before.
#[derive(Args)]
pub(crate) struct Fetch {
    /// The id that `dispers query` printed.
    id: String,
    /// The querier's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn result(arguments: Fetch) -> Result<(), Exit> {
    arguments.output.check()?;
    let querier = Querier::open(&arguments.config)?;
    let asked = querier.find(&arguments.id)?;
    match querier.result(&asked).await {
        Ok(result) => print(&querier, &result, &arguments.output),
        Err(Error::Unfinished(status)) => Err(Exit {
            code: TRY_LATER,
            error: anyhow!(
                "the query is not done yet: {}",
                lines(&status, now()).join("; ")
            ),
        }),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn status(arguments: Of) -> Result<(), Exit> {
    let querier = Querier::open(&arguments.config)?;
    let asked = querier.find(&arguments.id)?;
    let status = querier.status(asked.query()).await?;
    match arguments.format {
        Format::Json => println!("{}", object(&status)),
        _ => lines(&status, now())
            .iter()
            .for_each(|line| println!("{line}")),
    }
    Ok(())
}

pub(crate) async fn cancel(arguments: Of) -> Result<(), Exit> {
    let querier = Querier::open(&arguments.config)?;
    let asked = querier.find(&arguments.id)?;
    querier.cancel(asked.query()).await?;
    eprintln!("cancelled: nothing of it is released");
    Ok(())
}
