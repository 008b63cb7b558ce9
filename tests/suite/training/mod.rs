//! Tests of trained models, compared with those that one computer trains.

mod central;
mod homes;
mod models;
mod sessions;

use dispers_querier::TrainingQuestion;
use dispers_sql::plan::TrainingRequest;
use dispers_training::{Family, fit::Settings};

pub(crate) fn question(family: Family, label: Option<&str>, features: &[&str]) -> TrainingQuestion {
    let request = TrainingRequest {
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
    };
    let settings = Settings {
        rate: 1.0,
        momentum: 0.9,
        l2: 0.0,
        adaptive: false,
        seed: 1,
    };
    TrainingQuestion::new(request, settings, "sandbox", None)
}

const FEATURES: [&str; 4] = [
    "age",
    "domain(sex, 'male', 'female')",
    "clamp(sbp, 80, 230)",
    "clamp(cigarettes, 0, 80)",
];
