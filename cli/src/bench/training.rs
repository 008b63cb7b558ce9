//! `dispers bench training`: costs of a round of training, over a network and in pieces.

mod pieces;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use dispers_base::id::Role;
use dispers_node::{private, rng};
use dispers_querier::{TrainingProgress, TrainingQuestion};
use dispers_sandbox::{Executors, Network, Options};
use dispers_sql::plan::TrainingRequest;
use dispers_training::{Family, Task, fit::Settings};
use rand::RngExt;
use serde_json::json;

use super::{Format, process};
use crate::{exit::Exit, progress::Bars};
use pieces::Piece;

const HOSTS: usize = 10;
/// Width of the hidden layer. With 50 features the perceptron then has about 10,000 parameters.
const HIDDEN: u16 = 188;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Homes that are asked, one document each.
    #[arg(long, default_value_t = 1000)]
    homes: usize,
    /// Features of each document.
    #[arg(long, default_value_t = 50)]
    features: usize,
    /// Rounds of updates that are measured.
    #[arg(long, default_value_t = 3)]
    rounds: u16,
    /// Tell only what a vector costs home and aggregator, without a network.
    #[arg(long)]
    pieces: bool,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Costs of a round, the mean over the rounds that were measured.
struct Cost {
    model: &'static str,
    parameters: usize,
    dropped: usize,
    homes: u64,
    seconds: f64,
    stack_ms: f64,
    upload: f64,
    aggregator: f64,
}

/// Documents of a benchmark in a CSV file, which is removed on drop.
struct Sheet(PathBuf);

impl Sheet {
    fn write(homes: usize, features: usize) -> anyhow::Result<Self> {
        let name = format!("dispers-bench-{}-{homes}.csv", std::process::id());
        let sheet = Self(std::env::temp_dir().join(name));
        let file = private::create_new(&sheet.0)
            .with_context(|| format!("cannot write {}", sheet.0.display()))?;
        let mut file = std::io::BufWriter::new(file);
        let names: Vec<String> = (0..features).map(|number| format!("x{number}")).collect();
        writeln!(file, "home,label,{}", names.join(","))?;
        let mut rng = rng();
        for home in 0..homes {
            let values: Vec<f64> = (0..features).map(|_| rng.random::<f64>()).collect();
            // The label depends on five features and on noise, so that training has something to learn.
            let score: f64 = values.iter().take(5).sum::<f64>() + rng.random::<f64>();
            let cells: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
            let label = u8::from(score > 3.0);
            writeln!(file, "{home},{label},{}", cells.join(","))?;
        }
        file.flush()?;
        Ok(sheet)
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        // A failure is ignored: the file is in the system's folder for temporary files.
        let _ = fs::remove_file(&self.0);
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    // Weights and constants of the hidden layer, then of the two outputs.
    let parameters = (arguments.features + 1) * usize::from(HIDDEN) + 2 * (usize::from(HIDDEN) + 1);
    let mut measured = Vec::new();
    // Lengths of vectors: about an update of logistic regression, a quarter of the perceptron's update, and
    // all of it.
    for coordinates in [arguments.features + 2, parameters / 4 + 1, parameters + 1] {
        eprintln!("vectors of {coordinates} …");
        measured.extend(pieces::measure(coordinates).map_err(Exit::other)?);
    }
    let mut costs = Vec::new();
    if !arguments.pieces {
        let sheet = Sheet::write(arguments.homes, arguments.features).map_err(Exit::other)?;
        let logistic = Family::Logistic { newton: false };
        let mlp = Family::Mlp {
            hidden: vec![HIDDEN],
            epochs: 1,
            rate: 0.1,
        };
        for (model, family, parameters) in [
            ("logistic", logistic, arguments.features + 1),
            ("mlp", mlp, parameters),
        ] {
            for dropped in [0, HOSTS / 10] {
                let case = Case {
                    model,
                    family: family.clone(),
                    parameters,
                    dropped,
                };
                costs.push(case.run(arguments, &sheet)?);
            }
        }
    }
    match arguments.format {
        Format::Table => table(&costs, &measured),
        Format::Json => println!("{}", object(&costs, &measured)),
    }
    Ok(())
}

/// A model, and the number of hosts that are stopped.
struct Case {
    model: &'static str,
    family: Family,
    parameters: usize,
    dropped: usize,
}

/// Resources used until the end of a round.
struct Mark {
    task: Task,
    homes: u64,
    at: Instant,
    processor: BTreeMap<String, f64>,
    hops: BTreeMap<(Role, Role), u64>,
}

impl Mark {
    /// Returns the processor seconds that the role's nodes have used so far.
    fn processor_of(&self, role: Role) -> f64 {
        let seconds = self.processor.get(&role.to_string());
        seconds.copied().unwrap_or_default()
    }

    /// Returns the bytes that homes have sent so far.
    fn sent(&self) -> u64 {
        let hop = (Role::Stack, Role::Target);
        self.hops.get(&hop).copied().unwrap_or_default()
    }
}

impl Case {
    fn run(&self, arguments: &Arguments, sheet: &Sheet) -> Result<Cost, Exit> {
        let (model, dropped) = (self.model, self.dropped);
        eprintln!("{model}, {dropped} of {HOSTS} hosts gone …");
        let executors = Executors::start(|_| ()).map_err(Exit::other)?;
        let measured = executors.run(Role::Querier, self.measure(&executors, arguments, sheet));
        executors.end();
        measured
    }

    async fn measure(
        &self,
        executors: &Executors,
        arguments: &Arguments,
        sheet: &Sheet,
    ) -> Result<Cost, Exit> {
        let options = Options {
            data: vec![sheet.0.clone()],
            home_column: Some("home".into()),
            hosts: HOSTS,
            meter: true,
            ..Options::default()
        };
        let mut bars = Bars::new();
        let mut network = Network::start_on(executors, &options).await?;
        network
            .subscribe(&options, |progress| bars.starting(progress))
            .await?;
        for host in 0..self.dropped {
            let name = network.hosts()[host].name.clone();
            network.end_node(name.as_str()).await;
        }
        bars.end();
        let mut marks = Vec::new();
        let question = self.question(arguments, sheet)?;
        let mut training = network.querier().train(&question);
        while let Some(progress) = training.next().await {
            if let TrainingProgress::Round(round, _) = progress {
                marks.push(Mark {
                    task: round.task,
                    homes: round.homes,
                    at: Instant::now(),
                    processor: process::processor_seconds(),
                    hops: network.hops().unwrap_or_default(),
                });
            }
        }
        let trained = training.await;
        network.stop().await;
        trained?;
        Ok(self.cost(&marks))
    }

    fn question(&self, arguments: &Arguments, sheet: &Sheet) -> Result<TrainingQuestion, Exit> {
        let doctype = sheet.0.file_stem().and_then(|stem| stem.to_str());
        let doctype = doctype
            .context("a file without a name")
            .map_err(Exit::other)?;
        let features = (0..arguments.features).map(|number| format!("clamp(x{number}, 0, 1)"));
        let request = TrainingRequest {
            label: Some("label > 0".into()),
            positive: None,
            features: features.collect(),
            from: format!("\"{doctype}\""),
            condition: None,
            family: self.family.clone(),
            bits: 8,
            clip: None,
            held_out: 0,
            updates: arguments.rounds,
        };
        let settings = Settings {
            rate: 0.1,
            momentum: 0.9,
            l2: 0.0,
            adaptive: false,
            seed: 1,
        };
        Ok(TrainingQuestion::new(request, settings, "sandbox", None))
    }

    /// Returns the mean over the rounds of updates.
    fn cost(&self, marks: &[Mark]) -> Cost {
        let mut rounds = 0.0;
        let mut time = Duration::ZERO;
        let (mut stack, mut aggregators, mut upload, mut homes) = (0.0, 0.0, 0.0, 0);
        for pair in marks.windows(2) {
            let [before, after] = pair else { continue };
            // Rounds with other tasks send other vectors and would distort the mean.
            if after.task != Task::Update {
                continue;
            }
            rounds += 1.0;
            homes = after.homes;
            time += after.at - before.at;
            let stacks = after.processor_of(Role::Stack) - before.processor_of(Role::Stack);
            stack += stacks / after.homes as f64;
            // The mean over the three aggregators of a sandbox.
            aggregators += (after.processor_of(Role::DataAggregator)
                - before.processor_of(Role::DataAggregator))
                / 3.0;
            upload += (after.sent() - before.sent()) as f64 / after.homes as f64;
        }
        Cost {
            model: self.model,
            parameters: self.parameters,
            dropped: self.dropped,
            homes,
            seconds: time.as_secs_f64() / rounds,
            stack_ms: 1e3 * stack / rounds,
            upload: upload / rounds,
            aggregator: aggregators / rounds,
        }
    }
}

fn table(costs: &[Cost], pieces: &[Piece]) {
    if !costs.is_empty() {
        println!("a round of updates over a network, with proofs");
        println!(
            "model      parameters  hosts gone   homes  seconds  home CPU ms  sent KiB  aggregator CPU s"
        );
    }
    for cost in costs {
        println!(
            "{:10} {:>10} {:>8} of {HOSTS} {:>6} {:>8.2} {:>12.2} {:>9.1} {:>17.2}",
            cost.model,
            cost.parameters,
            cost.dropped,
            cost.homes,
            cost.seconds,
            cost.stack_ms,
            cost.upload / 1024.0,
            cost.aggregator,
        );
    }
    println!("one vector");
    println!("coordinates  homes/host  proofs   home ms   sent KiB  aggregator ms");
    for piece in pieces {
        println!(
            "{:>11} {:>11}  {:6} {:>9.3} {:>10.1} {:>14.3}",
            piece.coordinates,
            piece.per_host,
            if piece.proofs { "yes" } else { "no" },
            piece.home_ms,
            piece.upload / 1024.0,
            piece.aggregator_ms,
        );
    }
}

fn object(costs: &[Cost], pieces: &[Piece]) -> serde_json::Value {
    let rounds = costs.iter().map(|cost| {
        json!({
            "model": cost.model,
            "parameters": cost.parameters,
            "hosts_gone": cost.dropped,
            "homes": cost.homes,
            "round_seconds": cost.seconds,
            "home_cpu_ms": cost.stack_ms,
            "home_upload_bytes": cost.upload,
            "aggregator_cpu_seconds": cost.aggregator,
        })
    });
    let vectors = pieces.iter().map(|piece| {
        json!({
            "coordinates": piece.coordinates,
            "homes_per_host": piece.per_host,
            "proofs": piece.proofs,
            "home_ms": piece.home_ms,
            "upload_bytes": piece.upload,
            "aggregator_ms": piece.aggregator_ms,
        })
    });
    json!({
        "rounds": rounds.collect::<Vec<_>>(),
        "vectors": vectors.collect::<Vec<_>>(),
    })
}
