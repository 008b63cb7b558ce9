//! What a rule looks at in a query.

use crate::{manifest::Manifest, privacy::Mechanism};

/// The facts of a query that decide about it, as its manifest says them.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Who asks.
    pub querier: String,
    /// Why.
    pub purpose: String,
    /// The kind of documents that would be read.
    pub doctype: String,
    /// The fields that would be read.
    pub fields: Vec<String>,
    /// Fewest people behind a released number.
    pub min_cohort: u32,
    /// ε in millionths; `None` for an exact query.
    pub epsilon: Option<u64>,
    /// δ; 0 for noise that keeps pure ε, and for none.
    pub delta: f64,
    /// Whether a model is trained, in several rounds.
    pub training: bool,
    /// Number of rounds; 1 for SQL.
    pub rounds: u16,
}

/// Rounds of exact training that tell no more than one exact query.
const ROUNDS: u16 = 20;

impl Asked {
    /// The facts of `manifest`.
    pub fn of(manifest: &Manifest) -> Self {
        let privacy = manifest.privacy.as_ref();
        Self {
            querier: manifest.querier.to_string(),
            purpose: manifest.purpose.clone(),
            doctype: manifest.local.doctype.clone(),
            fields: manifest.local.fields().map(str::to_owned).collect(),
            min_cohort: manifest.min_cohort,
            epsilon: privacy.map(|privacy| privacy.epsilon),
            delta: privacy.map_or(0.0, |privacy| match privacy.mechanism {
                Mechanism::Laplace => 0.0,
                Mechanism::Gaussian { .. } => privacy.delta,
            }),
            training: manifest.training.is_some(),
            rounds: manifest.rounds,
        }
    }

    /// Number of exact queries that this one counts as; 0 for a noisy one. A session counts as one for every
    /// twenty rounds, also begun ones, since each tells sums that its querier chose.
    pub fn exact_cost(&self) -> usize {
        match self.epsilon {
            Some(_) => 0,
            None => usize::from(self.rounds.div_ceil(ROUNDS).max(1)),
        }
    }
}
