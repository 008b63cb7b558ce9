//! Models that can be trained, one file each, and the traits that each of them implements.
//!
//! The rounds that scale columns and validate are the same for all models: [`crate::scaling`] and
//! [`crate::validation`].

mod kmeans;
mod linear;
mod logistic;
#[cfg(test)]
mod mean;
mod mlp;
mod naive_bayes;
mod newton;
mod svm;

use ndarray::Array1;
use rand::rngs::StdRng;

use crate::data::{Design, Row};
use crate::fit::{Coefficient, FitError, Released, Settings, Step};
use crate::graph::Operation;
use crate::layout::{Layout, Values};
use crate::scores::State;
use crate::{Family, InvalidTraining, Label, Labels, Task};

impl Family {
    /// Returns the algorithm of this family. This is the registry of models.
    pub(crate) fn algorithm(&self) -> Box<dyn Algorithm + '_> {
        match self {
            Self::Linear => Box::new(linear::Linear),
            Self::Logistic { newton: false } => Box::new(logistic::Logistic),
            Self::Logistic { newton: true } => Box::new(newton::Newton),
            Self::Svm => Box::new(svm::Svm),
            Self::Bayes => Box::new(naive_bayes::NaiveBayes),
            Self::KMeans {
                clusters,
                candidates,
            } => Box::new(kmeans::KMeans::new(*clusters, *candidates)),
            Self::Mlp {
                hidden,
                epochs,
                rate,
            } => Box::new(mlp::Mlp::new(hidden, *epochs, *rate)),
            #[cfg(test)]
            Self::Mean => Box::new(mean::Mean),
        }
    }
}

/// Model: its rules for sessions, the vectors of homes, and the querier's steps.
pub(crate) trait Algorithm: Vectors + Weights {
    /// Returns the model's name on the command line and in model files.
    fn name(&self) -> &'static str;

    /// Returns the kind of label that the model learns.
    fn labels(&self) -> Labels;

    /// Checks the label and the model's own settings, which come from an untrusted querier.
    ///
    /// # Errors
    /// [`InvalidTraining::Bound`], whose text says what the model needs.
    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining>;

    /// Checks the number of columns. The length of vectors is checked for all models, and not here.
    ///
    /// # Errors
    /// [`InvalidTraining::Bound`], whose text says what to change.
    fn check_columns(&self, _columns: usize) -> Result<(), InvalidTraining> {
        Ok(())
    }

    /// Returns the purposes of all rounds before the validating one. The manifest allows `updates` rounds of updates.
    fn rounds(&self, updates: u16) -> Vec<Task>;

    /// Makes the querier's part of a session that has not begun.
    fn steps(&self, design: &Design, settings: &Settings) -> Box<dyn Steps>;
}

/// Vectors of homes in the model's own rounds: candidates and updates.
pub(crate) trait Vectors {
    /// Returns the sections of the vector, and the greatest length of an honest vector. Noise must cover this length.
    fn layout(&self, task: Task, design: &Design, clip: f64) -> Layout;

    /// Computes a home's values from its rows, of which there is at least one. Returns `None` if `state` is not of this
    /// model.
    fn values(
        &self,
        task: Task,
        design: &Design,
        clip: f64,
        state: &State,
        rows: &[Row],
    ) -> Option<Values>;

    /// Returns the approximate number of operations that a home spends on one document in a round.
    fn operations(&self, design: &Design) -> usize;

    /// Returns the default of the longest update: a length that few updates exceed. Models that clip nothing have it
    /// too, because every manifest has this number.
    fn default_clip(&self, design: &Design) -> f64 {
        2.0 * design.typical_length()
    }
}

/// Weights of a model, and predictions with them.
pub(crate) trait Weights {
    /// Returns the number of weights of a trained model.
    fn weights(&self, design: &Design) -> usize;

    /// Returns the weights, or points, with which homes compute the first of the model's own rounds.
    fn first_weights(&self, design: &Design, _rng: &mut StdRng) -> Vec<f64> {
        vec![0.0; self.weights(design)]
    }

    /// Predicts each row: a chance for each class, a number on the label's range mapped to 0 to 1, or the nearest
    /// cluster and the squared distance to it. Returns `None` if the weights are not of this model.
    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>>;

    /// Returns whether predictions of classes are chances, from which a log-loss can be computed.
    fn gives_chances(&self) -> bool {
        true
    }

    /// Returns the operations that turn scaled columns into scores, and the number of scores; `None` for a model
    /// without a graph.
    fn graph(&self, _design: &Design, _weights: &[f64]) -> Option<(Vec<Operation>, usize)> {
        None
    }
}

/// Querier's part of a session, with the state that one model keeps between rounds.
pub(crate) trait Steps: Send + Sync {
    /// Records the scales that were just computed, before homes receive them.
    fn scaled(&mut self, _state: &mut State) {}

    /// Takes the release of a round of candidates or updates, and changes the weights.
    ///
    /// # Errors
    /// [`FitError`] if nothing can be learnt from the sums.
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        rng: &mut StdRng,
    ) -> Result<Step, FitError>;

    /// Returns the coefficients of a linear model with one score, the constant's first; `None` for other models.
    /// `label` is the range of a label that is a number.
    fn coefficients(
        &self,
        _design: &Design,
        _state: &State,
        _label: (f64, f64),
    ) -> Option<Vec<Coefficient>> {
        None
    }
}

/// Checks a rule that must hold.
///
/// # Errors
/// [`InvalidTraining::Bound`] with the text `what`, which says what is needed, if the rule does not hold.
pub(crate) fn require(holds: bool, what: &'static str) -> Result<(), InvalidTraining> {
    match holds {
        true => Ok(()),
        false => Err(InvalidTraining::Bound(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_encoded_as_in_the_first_release() {
        let kmeans = Family::KMeans {
            clusters: 3,
            candidates: 16,
        };
        let mlp = Family::Mlp {
            hidden: vec![5],
            epochs: 2,
            rate: 0.5,
        };
        let rate = 0.5f64.to_le_bytes();
        for (family, name, bytes) in [
            (Family::Linear, "linear", vec![0]),
            (Family::Logistic { newton: false }, "logistic", vec![1, 0]),
            (Family::Logistic { newton: true }, "logistic", vec![1, 1]),
            (Family::Svm, "svm", vec![2]),
            (Family::Bayes, "naive-bayes", vec![3]),
            (kmeans, "kmeans", vec![4, 3, 0, 16, 0]),
            (mlp, "mlp", [&[5, 1, 0, 0, 0, 5, 0, 2], &rate[..]].concat()),
        ] {
            assert_eq!(borsh::to_vec(&family).unwrap(), bytes, "{family:?}");
            assert_eq!(family.name(), name);
        }
    }
}
