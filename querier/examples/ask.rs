//! Asks one question and prints its answer.
//!
//! `cargo run -p dispers-querier --example ask` asks a network in this process. With the path of a `querier.toml`, a
//! purpose and SQL as arguments, it asks that network.

use std::error::Error;

use dispers_querier::{Querier, Question};
use dispers_sandbox::{Network, Options};

const SQL: &str = "SELECT CASE WHEN age < 50 THEN 'under 50' ELSE '50 or more' END AS band, COUNT(*) AS people, \
                   AVG(clamp(heart_rate, 40, 160, 1)) AS rate FROM health GROUP BY band";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [config, purpose, sql] = &arguments[..] {
        return ask(&Querier::open(config)?, purpose, sql).await;
    }
    let folder = tempfile::tempdir()?;
    let network = Network::start(&Options::small(), |_| {}).await?;
    let querier = Querier::open(network.write_querier(folder.path())?)?;
    ask(&querier, "sandbox", SQL).await?;
    network.stop().await;
    Ok(())
}

async fn ask(querier: &Querier, purpose: &str, sql: &str) -> Result<(), Box<dyn Error>> {
    let question = Question::new(sql, purpose).epsilon(4.0);
    // Nothing is sent before this says that the question can be asked.
    querier.check(&question)?;
    let result = querier.ask(&question).await?;
    println!("{}", result.table.columns.join("\t"));
    for (number, row) in result.table.rows.iter().enumerate() {
        for (column, value) in row.iter().enumerate() {
            let interval = result
                .table
                .intervals
                .get(number)
                .and_then(|row| row[column]);
            match (interval, value.number()) {
                (Some((low, high)), Some(value)) => print!("{value:.1} ({low:.1} to {high:.1})\t"),
                _ => print!("{value:?}\t"),
            }
        }
        println!();
    }
    println!(
        "{} homes answered, {} aggregators verified",
        result.homes.accepted, result.aggregators.verified
    );
    // The answer is printed, so that nobody has to fetch it again.
    querier.forget(result.query)?;
    Ok(())
}
