//! Asks a question, and lets another querier of the same folder follow it to its answer, as another process would.

use std::error::Error;

use dispers_querier::{Progress, Querier, Question};
use dispers_sandbox::{Network, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let network = Network::start(&Options::small(), |_| {}).await?;
    let config = network.write_querier(folder.path())?;

    let question = Question::new("SELECT COUNT(*) AS people FROM health", "sandbox").exact();
    let asked = Querier::open(&config)?.detach(&question).await?;
    let id = asked.query().to_string();
    println!("asked {id}");
    drop(asked);

    let querier = Querier::open(&config)?;
    let asked = querier.find(&id)?;
    let mut following = querier.follow(&asked);
    while let Some(progress) = following.next().await {
        let Progress::Running(status) = progress else {
            continue;
        };
        println!(
            "{:?}: {} homes accepted",
            status.phase, status.homes.accepted
        );
        for wait in &status.waiting {
            println!("  waits for {}, which {}", wait.node, wait.step.doing());
        }
    }
    let result = following.await?;
    println!("{:?} people", result.table.rows[0][0].number());
    querier.forget(asked.query())?;
    network.stop().await;
    Ok(())
}
