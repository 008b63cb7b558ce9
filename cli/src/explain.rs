//! `dispers explain`: the cost and the expected accuracy of a question. No home is asked.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use dispers_circuit::Circuit;
use dispers_core::manifest::{ManifestError, check_delta};
use dispers_node::rng;
use dispers_privacy::{Budget, Mechanism, Privacy, Rho};
use dispers_querier::Querier;
use dispers_query::catalogue::Catalogue;
use dispers_sandbox::Options;
use dispers_sql::plan::{ExpectedNoise, Explanation, Plan, PlanLimits};
use dispers_trust::directory::DEFAULT_MAX_DELTA;
use serde_json::{Value, json};

use crate::{
    budget,
    exit::Exit,
    loss::{Epsilon, Loss},
    regress::Text,
};

/// Assumed number of homes of a network, whose real number is not public.
const HOMES: u64 = 1000;

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// One object with everything.
    Json,
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    text: Text,
    /// The querier's configuration file: its network's catalogue, committees and budget. Without it the
    /// question is one to the sandbox.
    #[arg(long, value_name = "FILE.toml", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// As in the sandbox.
    #[arg(long, value_name = "FILE.csv")]
    data: Vec<PathBuf>,
    /// The column whose value tells which home a row belongs to, as in the sandbox.
    #[arg(long, value_name = "COL")]
    home_column: Option<String>,
    /// Columns whose values homes subscribe to, as in the sandbox.
    #[arg(long, value_name = "COL,COL…", value_delimiter = ',')]
    concepts: Vec<String>,
    /// About how many homes will answer; all of the data where it is left out, 1,000 of a network.
    #[arg(long, value_name = "N")]
    homes: Option<u64>,
    /// Fewest people behind a released number.
    #[arg(long, value_name = "N")]
    min_cohort: Option<u32>,
    #[command(flatten)]
    loss: Loss,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
}

/// The network that a question would be asked of.
struct Place {
    catalogue: Catalogue,
    homes: u64,
    min_cohort: u32,
    max_homes: u64,
    max_delta: f64,
    committee: (usize, usize),
    /// Limit and expenses of the querier's privacy budget, or the reason why they are unknown. `None` in the
    /// sandbox.
    budget: Option<Result<Budget, String>>,
}

impl Place {
    fn sandbox(arguments: &Arguments) -> Result<Self, Exit> {
        let options = Options {
            data: arguments.data.clone(),
            home_column: arguments.home_column.clone(),
            concepts: arguments.concepts.clone(),
            ..Options::default()
        };
        // Only the catalogue and the number of homes are needed, so no network is started.
        let (catalogue, homes) = dispers_sandbox::catalogue(&options)?;
        Ok(Self {
            catalogue,
            homes: homes as u64,
            min_cohort: options.min_cohort,
            max_homes: PlanLimits::default().max_homes,
            max_delta: DEFAULT_MAX_DELTA,
            committee: (
                usize::from(options.threshold),
                usize::from(options.aggregators),
            ),
            budget: None,
        })
    }

    async fn network(querier: &Querier) -> Result<Self, Exit> {
        let directory = querier.directory();
        let thresholds = directory.committees.iter().map(|key| key.threshold());
        // Committees may differ. The explanation is for the one that needs the most members.
        let committee = thresholds
            .map(|threshold| (threshold.needed(), threshold.members()))
            .max();
        // If no budget can be read, the question is explained all the same, and its budget is reported as
        // unknown.
        let budget = querier.budget().await.map_err(|e| e.to_string());
        Ok(Self {
            catalogue: directory.catalogue.clone(),
            homes: HOMES,
            min_cohort: directory.floors.min_cohort,
            max_homes: directory.floors.max_homes,
            max_delta: directory.floors.max_delta,
            committee: committee.ok_or_else(|| Exit::misuse(anyhow!("no committee is listed")))?,
            budget: Some(budget),
        })
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    let place = match &arguments.config {
        Some(path) => Place::network(&Querier::open(path)?).await?,
        None => Place::sandbox(&arguments)?,
    };
    let sql = arguments.text.sql()?;
    let limits = PlanLimits {
        max_homes: place.max_homes,
        ..PlanLimits::default()
    };
    let plan = Plan::new(&sql, &place.catalogue, &limits).map_err(Exit::misuse)?;
    // No home is asked here, so a default is harmless: without --epsilon the question is explained as an
    // exact one.
    let loss = arguments.loss.loss(Some(Epsilon::Off))?;
    let (needed, members) = place.committee;
    let privacy = loss.map(|loss| -> Result<Privacy, ManifestError> {
        let circuit = Circuit::compile(&plan.shape);
        let circuit = circuit.map_err(|e| ManifestError::Query(e.to_string()))?;
        let sensitivities = circuit.sensitivities();
        let privacy = Privacy::new(loss.epsilon, loss.delta, &sensitivities, needed, members);
        let privacy = privacy.map_err(ManifestError::Privacy)?;
        // A network refuses a larger δ. The same check runs here so that the querier learns it before paying.
        check_delta(&privacy, place.max_delta)?;
        Ok(privacy)
    });
    let privacy = privacy.transpose().map_err(Exit::misuse)?;
    let homes = rounded(arguments.homes.unwrap_or(place.homes));
    let explained = plan.explain(privacy, homes, place.committee, &mut rng());
    let explained = explained.map_err(Exit::misuse)?;
    let cohort = arguments.min_cohort.unwrap_or(place.min_cohort);
    match arguments.format {
        Form::Json => println!("{}", object(&plan, &explained, homes, cohort, &place)),
        Form::Table => print(&plan, &explained, homes, cohort, &place),
    }
    Ok(())
}

/// Rounds to two digits, since the number of homes is a guess.
fn rounded(homes: u64) -> u64 {
    let unit = 10u64.pow(homes.max(1).ilog10().saturating_sub(1));
    (homes + unit / 2) / unit * unit
}

fn mechanism(privacy: &Privacy) -> &'static str {
    match privacy.mechanism {
        Mechanism::Laplace => "discrete Laplace",
        Mechanism::Gaussian { .. } => "discrete Gaussian",
    }
}

fn print(plan: &Plan, explained: &Explanation, homes: u64, cohort: u32, place: &Place) {
    println!("asks homes of  {}", plan.profile);
    for line in plan.local.to_string().lines() {
        println!("a home         {line}");
    }
    println!(
        "circuit        {} elements, {} multiplications, {} sums",
        explained.elements, explained.constraints, explained.outputs
    );
    println!(
        "a home sends   {} bytes, {} shared elements for each of the aggregators",
        explained.bytes_per_home, explained.shared
    );
    println!(
        "suppressed     what fewer than {cohort} people stand behind; of {homes} homes, {} groups would \
         have {} each",
        explained.groups, explained.homes_per_group
    );
    match &explained.noise {
        None => {
            println!(
                "noise          none: the answer is exact, if the network and the homes allow that"
            );
            println!(
                "aggregators    every one reads {} exact {} of people, including those below {cohort}. They \
                 are withheld from you; an aggregator that colludes with you tells you",
                explained.counts,
                if explained.counts == 1 {
                    "count"
                } else {
                    "counts"
                }
            );
        }
        Some(noise) => print_noise(noise, explained, homes),
    }
    match (&place.budget, explained.noise.as_ref()) {
        (Some(Ok(budget)), noise) => {
            budget::print(budget, noise.map(|noise| noise.cost));
        }
        (Some(Err(error)), _) => println!("budget         not known: {error}"),
        (None, _) => {}
    }
}

fn print_noise(noise: &ExpectedNoise, explained: &Explanation, homes: u64) {
    let privacy = &noise.privacy;
    let delta = match privacy.delta > 0.0 && matches!(privacy.mechanism, Mechanism::Gaussian { .. })
    {
        true => format!(", delta {}", privacy.delta),
        false => String::new(),
    };
    println!(
        "noise          {}, epsilon {}{delta}; costs rho {}",
        mechanism(privacy),
        privacy.epsilon(),
        noise.cost
    );
    let counts = noise.deviations.first().copied().unwrap_or(0.0);
    println!("               a count of people gets a standard error of {counts:.2}");
    for expected in &noise.errors {
        let column = &expected.column;
        match (expected.error, expected.value) {
            (Some(error), value) => {
                println!(
                    "               {column}: ±{} (standard error)",
                    short(error)
                );
                if value.is_some_and(|value| error > value.abs()) {
                    println!(
                        "               {column} would be mostly noise: use a larger epsilon, closer \
                         bounds, fewer columns or more homes"
                    );
                }
            }
            (None, _) => println!(
                "               {column}: more noise than value at {} homes a group: use a larger \
                 epsilon, closer bounds, fewer columns or more homes",
                explained.homes_per_group
            ),
        }
    }
    println!("               for {homes} homes, spread evenly over groups and ranges");
}

/// Formats a number with three significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    // Significant digits, since a fixed number of decimals would print a small error as 0.
    let digits = (2 - value.abs().log10().floor() as i32).max(0) as usize;
    format!("{value:.digits$}")
}

fn object(plan: &Plan, explained: &Explanation, homes: u64, cohort: u32, place: &Place) -> Value {
    let noise = explained.noise.as_ref().map(|noise| {
        let errors = noise.errors.iter();
        let errors: serde_json::Map<String, Value> = errors
            .map(|one| (one.column.clone(), json!(one.error)))
            .collect();
        json!({
            "mechanism": mechanism(&noise.privacy),
            "epsilon": noise.privacy.epsilon(),
            "delta": noise.privacy.delta,
            "rho": noise.cost.value(),
            "count_standard_error": noise.deviations.first(),
            "standard_errors": errors,
        })
    });
    let budget = match &place.budget {
        Some(Ok(budget)) => budget::object(budget, explained.noise.as_ref().map(|n| n.cost)),
        _ => Value::Null,
    };
    json!({
        "profile": plan.profile.to_string(),
        "local_query": plan.local.to_string().lines().collect::<Vec<_>>(),
        "circuit": {
            "elements": explained.elements,
            "shared_elements": explained.shared,
            "multiplications": explained.constraints,
            "sums": explained.outputs,
            "counts_that_aggregators_read": explained.counts,
        },
        "bytes_per_home": explained.bytes_per_home,
        "homes": homes,
        "groups": explained.groups,
        "homes_per_group": explained.homes_per_group,
        "min_cohort": cohort,
        "noise": noise,
        "budget": budget,
    })
}

/// Returns the rest of a budget of `most` after `spent`.
pub(crate) fn left(most: Rho, spent: Rho) -> Rho {
    Rho(most.0.saturating_sub(spent.0))
}
