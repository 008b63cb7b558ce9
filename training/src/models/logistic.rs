//! Logistic regression of two classes or more, by gradients.

use ndarray::{Array1, Axis};

use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::data::{Design, Row};
use crate::fit::Settings;
use crate::gradient::{Gradient, mean_gradient, updates_after_scaling};
use crate::graph::Operation;
use crate::layout::{Layout, Values};
use crate::scores::{State, inputs, logistic, matrix, scores, softmax};
use crate::{InvalidTraining, Label, Labels, Task};

/// Logistic regression.
pub(crate) struct Logistic;

impl Algorithm for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn labels(&self) -> Labels {
        Labels::Classes
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(
            label.is_some_and(|label| label.classes > 1),
            "this model needs a label with classes",
        )
    }

    fn rounds(&self, updates: u16) -> Vec<Task> {
        updates_after_scaling(updates)
    }

    fn steps(&self, design: &Design, settings: &Settings) -> Box<dyn Steps> {
        Box::new(Gradient::new(design, settings))
    }
}

impl Vectors for Logistic {
    fn layout(&self, _task: Task, design: &Design, clip: f64) -> Layout {
        Layout::clipped(self.weights(design), clip)
    }

    fn values(
        &self,
        _task: Task,
        design: &Design,
        clip: f64,
        state: &State,
        rows: &[Row],
    ) -> Option<Values> {
        let columns = design.columns();
        let inputs = inputs(state, columns, rows);
        let weights = matrix(&state.weights, vectors(design.classes()), columns + 1)?;
        let values = mean_gradient(clip, &inputs, weights, rows, |scores, label| {
            if scores.len() == 1 {
                let error = logistic(scores[0]) - label;
                return (Array1::from(vec![error]), log_loss(scores[0], label));
            }
            let class = label as usize;
            let mut errors = softmax(scores);
            // A chance of 0 would make the loss infinite.
            let loss = -errors[class].max(1e-12).ln();
            errors[class] -= 1.0;
            (errors, loss)
        });
        Some(vec![Some(values)])
    }

    fn operations(&self, design: &Design) -> usize {
        design.classes().max(1) * (design.columns() + 1)
    }

    fn default_clip(&self, design: &Design) -> f64 {
        // A row's error is at most 1, or √2 over more classes, so a gradient is hardly longer than a row.
        2.0 * design.typical_length()
    }
}

impl Weights for Logistic {
    fn weights(&self, design: &Design) -> usize {
        vectors(design.classes()) * (design.columns() + 1)
    }

    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        chances(design, state, rows)
    }

    fn graph(&self, design: &Design, weights: &[f64]) -> Option<(Vec<Operation>, usize)> {
        Some(layer(design, weights))
    }
}

/// Returns the number of weight vectors: one for two classes, or one for each of more classes.
fn vectors(classes: usize) -> usize {
    match classes {
        0..=2 => 1,
        more => more,
    }
}

/// Returns −log of the chance that a score gives to a label of 0 or 1.
pub(super) fn log_loss(score: f64, label: f64) -> f64 {
    let signed = if label > 0.5 { score } else { -score };
    // log(1 + e^−s), written such that no power overflows.
    (-signed).max(0.0) + (-signed.abs()).exp().ln_1p()
}

/// Returns for each row the chance of each class by a linear model; `None` if the weights are not of such a model.
pub(super) fn chances(design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
    let columns = design.columns();
    let classes = design.classes();
    let weights = matrix(&state.weights, vectors(classes), columns + 1)?;
    let inputs = inputs(state, columns, rows);
    let chances = inputs.axis_iter(Axis(0)).map(|input| {
        let scores = scores(weights, input);
        match classes {
            2 => {
                let chance = logistic(scores[0]);
                Array1::from(vec![1.0 - chance, chance])
            }
            _ => softmax(scores),
        }
    });
    Some(chances.collect())
}

/// Returns the graph of a linear model, which is one layer.
pub(super) fn layer(design: &Design, weights: &[f64]) -> (Vec<Operation>, usize) {
    let inputs = design.columns();
    let outputs = weights.len() / (inputs + 1);
    (vec![Operation::layer(weights, inputs, outputs)], outputs)
}
