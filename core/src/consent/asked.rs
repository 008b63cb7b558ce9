//! Facts of a query that rules depend on.

use crate::manifest::Manifest;
use dispers_privacy::Mechanism;

/// Facts of a query that rules depend on, from its manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Name of the querier.
    pub querier: String,
    /// Purpose of the query.
    pub purpose: String,
    /// Kind of documents that the query reads.
    pub doctype: String,
    /// Fields that the query reads.
    pub fields: Vec<String>,
    /// Smallest number of people behind a released number.
    pub min_cohort: u32,
    /// ε in millionths; `None` for an exact query.
    pub epsilon: Option<u64>,
    /// δ; 0 without noise, and for noise with pure ε.
    pub delta: f64,
    /// True if the query trains a model, in several rounds.
    pub training: bool,
    /// Number of rounds; 1 for SQL.
    pub rounds: u16,
}

/// Number of rounds of exact training that count as one exact query.
const ROUNDS: u16 = 20;

impl Asked {
    /// Extracts the facts of `manifest`.
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
                // Laplace noise keeps pure ε, whatever δ the manifest names.
                Mechanism::Laplace => 0.0,
                Mechanism::Gaussian { .. } => privacy.delta,
            }),
            training: manifest.training.is_some(),
            rounds: manifest.rounds,
        }
    }

    /// Returns the number of exact queries that this query counts as; 0 for a noisy one. A session counts as one for
    /// every twenty rounds or part of twenty, since each round reveals sums that its querier chose.
    pub fn exact_cost(&self) -> usize {
        match self.epsilon {
            Some(_) => 0,
            None => usize::from(self.rounds.div_ceil(ROUNDS).max(1)),
        }
    }
}
