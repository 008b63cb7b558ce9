//! `dispers budget`: the rest of a querier's privacy budget on each population.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use dispers_privacy::{Budget, Expense, Population, Rho};
use dispers_querier::Querier;
use serde_json::{Value, json};

use crate::{exit::Exit, format::Format};

/// The δ for which ε is printed. An ε is more familiar than the ρ that budgets count in.
const DELTA: f64 = 1e-6;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The querier's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    let budget = Querier::open(&arguments.config)?.budget().await?;
    match arguments.format {
        Format::Json => println!("{}", object(&budget, None)),
        _ => print(&budget, None),
    }
    Ok(())
}

/// Groups expenses by population.
fn populations(budget: &Budget) -> BTreeMap<Population, Vec<&Expense>> {
    let mut populations: BTreeMap<Population, Vec<&Expense>> = BTreeMap::new();
    for expense in &budget.expenses {
        populations
            .entry(expense.population)
            .or_default()
            .push(expense);
    }
    populations
}

fn spent(expenses: &[&Expense]) -> Rho {
    let rho = expenses.iter().map(|expense| expense.rho.0);
    // It saturates, so that an overflow cannot make a spent budget look unused.
    Rho(rho.fold(0, u64::saturating_add))
}

/// Prints a budget. With the `cost` of a query, also prints what the query would leave.
pub(crate) fn print(budget: &Budget, cost: Option<Rho>) {
    println!(
        "budget         rho {} at each aggregator, for each target profile in key epoch {} (epsilon {:.2} at delta {DELTA})",
        budget.most,
        budget.key_epoch.0,
        budget.most.epsilon(DELTA)
    );
    if let Some(cost) = cost {
        println!(
            "               of a profile that was never asked, rho {} would be left",
            left(budget.most, cost)
        );
    }
    for (population, expenses) in populations(budget) {
        let spent = spent(&expenses);
        let rest = left(budget.most, spent);
        let queries: Vec<String> = expenses.iter().map(|e| e.query.to_string()).collect();
        println!(
            "profile {population}: spent {spent}, left {rest}, by {}",
            queries.join(", ")
        );
        if let Some(cost) = cost {
            match cost > rest {
                true => println!("               the query would be refused there"),
                false => println!("               after the query: {}", left(rest, cost)),
            }
        }
    }
}

pub(crate) fn object(budget: &Budget, cost: Option<Rho>) -> Value {
    let populations: Vec<Value> = populations(budget)
        .into_iter()
        .map(|(population, expenses)| {
            let spent = spent(&expenses);
            let rest = left(budget.most, spent);
            let queries = expenses.iter().map(|expense| {
                json!({
                    "query": expense.query.to_string(),
                    "rho": expense.rho.value(),
                    "released": expense.released,
                })
            });
            json!({
                "profile": population.to_string(),
                "spent_rho": spent.value(),
                "left_rho": rest.value(),
                "left_after_rho": cost.map(|cost| left(rest, cost).value()),
                "queries": queries.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "most_rho": budget.most.value(),
        "most_epsilon": budget.most.epsilon(DELTA),
        "delta": DELTA,
        "key_epoch": budget.key_epoch.0,
        "profiles": populations,
    })
}

/// Returns the rest of a budget of `most` after `spent`.
fn left(most: Rho, spent: Rho) -> Rho {
    Rho(most.0.saturating_sub(spent.0))
}
