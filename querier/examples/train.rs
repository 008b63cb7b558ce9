//! Trains a linear model of the heart rate from the age, round by round.

use std::error::Error;

use dispers_querier::{
    Family, Querier, Settings, TrainingProgress, TrainingQuestion, TrainingRequest,
};
use dispers_sandbox::{Network, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let network = Network::start(&Options::small(), |_| {}).await?;
    let querier = Querier::open(network.write_querier(folder.path())?)?;

    let request = TrainingRequest {
        label: Some("heart_rate".into()),
        positive: None,
        features: vec!["age".into(), "age < 25".into()],
        from: "health".into(),
        condition: None,
        family: Family::Linear,
        bits: 16,
        clip: None,
        held_out: 200,
        updates: 1,
    };
    let settings = Settings {
        rate: 1.0,
        momentum: 0.9,
        l2: 0.0,
        adaptive: false,
        seed: 1,
    };
    // Exact sums. `Some(PrivacyLoss { epsilon: 4.0, delta: Some(1e-6) })` would add noise to them.
    let question = TrainingQuestion::new(request, settings, "sandbox", None);
    let mut training = querier.train(&question);
    while let Some(progress) = training.next().await {
        match progress {
            TrainingProgress::Kept(id) => println!("Querier::resume goes on with session {id}"),
            TrainingProgress::Round(round, time) => {
                println!("round {}: {} homes, {time:.1?}", round.number, round.homes);
            }
            _ => {}
        }
    }
    let trained = training.await?;
    println!("{:?}", trained.fit.history.last());
    querier.forget(trained.query)?;
    network.stop().await;
    Ok(())
}
