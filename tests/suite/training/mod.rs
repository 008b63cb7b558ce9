//! Models that are trained, beside those that one computer trains.

mod central;
mod homes;
mod models;

use dispers_core::{plan::TrainingRequest, training::Family, training::fit::Settings};
use dispers_querier::{Trained, TrainingQuestion};
use dispers_sandbox::{Network, Options};

pub(crate) fn question(family: Family, label: Option<&str>, features: &[&str]) -> TrainingQuestion {
    TrainingQuestion {
        request: TrainingRequest {
            label: label.map(str::to_owned),
            positive: None,
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            from: "nhefs".into(),
            condition: None,
            family,
            bits: 16,
            clip: None,
            held_out: 0,
            updates: 8,
        },
        settings: Settings {
            rate: 1.0,
            momentum: 0.9,
            l2: 0.0,
            seed: 1,
        },
        purpose: "sandbox".into(),
        min_cohort: None,
        loss: None,
        owners_ms: 0,
    }
}

pub(crate) async fn network() -> Network {
    Network::start(&Options::default(), |_| {}).await.unwrap()
}

async fn train(network: &Network, question: &TrainingQuestion) -> Trained {
    network.querier().train(question, |_| {}).await.unwrap()
}

const FEATURES: [&str; 4] = [
    "age",
    "domain(sex, 'male', 'female')",
    "clamp(sbp, 80, 230)",
    "clamp(cigarettes, 0, 80)",
];

#[tokio::test(flavor = "multi_thread")]
async fn newton_s_steps_end_at_the_fit_of_one_computer() {
    let network = network().await;
    let question = question(Family::Logistic { newton: true }, Some("death"), &FEATURES);
    let trained = train(&network, &question).await;
    for c in trained.fit.coefficients().unwrap() {
        println!("{c:?}");
    }
    println!("{:?}", trained.fit.history);
    network.stop().await;
}
