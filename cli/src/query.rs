//! `dispers query`, `status`, `result`, `cancel`: questions to a network.

use std::{path::PathBuf, time::Duration};

use anyhow::anyhow;
use clap::Args;
use dispers_base::id::Timestamp;
use dispers_node::now;
use dispers_querier::{Error, Phase, Querier, QueryResult, Question, Status};
use serde_json::json;

use crate::{
    exit::{Exit, TRY_LATER},
    format::{Format, Output},
    loss::Loss,
    period::Period,
    progress::Bars,
    regress::Text,
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

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Find => "find",
        Phase::Ask => "ask",
        Phase::Release => "release",
        Phase::Between => "between rounds",
        Phase::Done => "done",
        Phase::Failed => "failed",
    }
}

/// Describes the state of a query, and for each node that it waits for: since when, until when, and what
/// happens then.
pub(crate) fn lines(status: &Status, now: Timestamp) -> Vec<String> {
    let homes = &status.homes;
    let about = if status.about { "about " } else { "" };
    let mut line = format!(
        "{}: {about}{} homes targeted, {} asked, {} answered, {} accepted",
        phase(status.phase),
        homes.targeted,
        homes.asked,
        homes.answered,
        homes.accepted,
    );
    // Numbers of batches would reveal the number of homes, which is noisy here.
    if !status.about {
        let (done, batches) = (status.batches_done, status.batches);
        line.push_str(&format!("; {done} of {batches} batches done"));
    }
    let mut lines = vec![line];
    if let Some(failure) = &status.failure {
        lines.push(failure.to_string());
    }
    let missing: Vec<String> = status.missing.iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        lines.push(format!("goes on without aggregator {}", missing.join(", ")));
    }
    for wait in &status.waiting {
        lines.push(format!(
            "waits for {}, which {}, for {} s and at most {} s more; then {}",
            wait.node,
            wait.step.doing(),
            now.0.saturating_sub(wait.since.0) / 1000,
            // Rounded up, so that a wait that is not over never shows 0 seconds.
            wait.until.0.saturating_sub(now.0).div_ceil(1000),
            wait.step.then(),
        ));
    }
    lines
}

fn object(status: &Status) -> serde_json::Value {
    let homes = &status.homes;
    let waiting: Vec<_> = status
        .waiting
        .iter()
        .map(|wait| {
            json!({
                "node": wait.node.as_str(),
                "doing": wait.step.doing(),
                "since_ms": wait.since.0,
                "until_ms": wait.until.0,
                "then": wait.step.then(),
            })
        })
        .collect();
    json!({
        "phase": phase(status.phase),
        "homes": {
            "targeted": homes.targeted,
            "asked": homes.asked,
            "answered": homes.answered,
            "accepted": homes.accepted,
        },
        "about": status.about,
        "batches": status.batches,
        "batches_done": status.batches_done,
        "missing_aggregators": status.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failure": status.failure.as_ref().map(ToString::to_string),
        "waiting": waiting,
    })
}
