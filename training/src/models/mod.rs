//! The models that can be trained, one file each, and what each file must say.
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
    /// Returns the algorithm that this encoded family stands for: the registry of models.
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

/// A model: which sessions train it, what homes compute, and what becomes of the sums.
pub(crate) trait Algorithm: Vectors + Weights {
    /// Returns the model's name on the command line and in model files.
    fn name(&self) -> &'static str;

    /// Returns what kind of label the model learns.
    fn labels(&self) -> Labels;

    /// Checks the label and the model's own settings, which a stranger wrote.
    ///
    /// # Errors
    /// [`InvalidTraining::Bound`] with what the model needs.
    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining>;

    /// Checks the number of columns, beyond the length of vectors, which is checked for all models.
    ///
    /// # Errors
    /// [`InvalidTraining::Bound`] with what to change.
    fn check_columns(&self, _columns: usize) -> Result<(), InvalidTraining> {
        Ok(())
    }

    /// Returns the rounds before the one that validates, where the manifest allows this many rounds of updates.
    fn rounds(&self, updates: u16) -> Vec<Task>;

    /// Makes the querier's part of a session that has not begun.
    fn steps(&self, design: &Design, settings: &Settings) -> Box<dyn Steps>;
}

/// A home's vectors in the rounds that are the model's own: candidates and updates.
pub(crate) trait Vectors {
    /// Returns the sections of the vector, and how long an honest vector can be: the bound that noise covers.
    fn layout(&self, task: Task, design: &Design, clip: f64) -> Layout;

    /// Computes what a home contributes from its rows, at least one. Returns `None` where `state` is not of this
    /// model.
    fn values(
        &self,
        task: Task,
        design: &Design,
        clip: f64,
        state: &State,
        rows: &[Row],
    ) -> Option<Values>;

    /// Returns about how many operations a home spends on one document in a round.
    fn operations(&self, design: &Design) -> usize;

    /// Returns the longest update where the querier chose none: few updates are longer. The number is part of the
    /// manifest also of models that clip nothing.
    fn default_clip(&self, design: &Design) -> f64 {
        2.0 * design.typical_length()
    }
}

/// The weights of a model, and what they say of rows.
pub(crate) trait Weights {
    /// Returns the number of weights of a trained model.
    fn weights(&self, design: &Design) -> usize;

    /// Returns the weights, or points, that the first round of the model's own is computed with.
    fn first_weights(&self, design: &Design, _rng: &mut StdRng) -> Vec<f64> {
        vec![0.0; self.weights(design)]
    }

    /// Returns for each row a chance for each class, a number in 0 to 1, or the nearest cluster and the squared
    /// distance to it. Returns `None` where the weights are not of this model.
    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>>;

    /// Returns whether what the model says of classes are chances, so that a loss can be computed from them.
    fn gives_chances(&self) -> bool {
        true
    }

    /// Returns the operations that turn scaled columns into scores, and the number of scores; `None` for a model
    /// that has no graph.
    fn graph(&self, _design: &Design, _weights: &[f64]) -> Option<(Vec<Operation>, usize)> {
        None
    }
}

/// The querier's part of a session: what one model keeps between rounds.
pub(crate) trait Steps: Send + Sync {
    /// Notes the scales that were just found, before homes get them.
    fn scaled(&mut self, _state: &mut State) {}

    /// Takes what a round of candidates or updates released, and changes the weights.
    ///
    /// # Errors
    /// [`FitError`] when nothing can be learnt from the sums.
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        rng: &mut StdRng,
    ) -> Result<Step, FitError>;

    /// Returns the coefficients of a linear model of one score, the constant's first; `None` for others. `label` is
    /// the range of a label that is a number.
    fn coefficients(
        &self,
        _design: &Design,
        _state: &State,
        _label: (f64, f64),
    ) -> Option<Vec<Coefficient>> {
        None
    }
}

/// Returns an error with what a model needs, unless it holds.
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
