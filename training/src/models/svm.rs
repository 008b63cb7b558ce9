//! Linear support vector machine with squared hinge loss.

use ndarray::Array1;

use super::logistic::{chances, layer};
use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::data::{Design, Row};
use crate::fit::Settings;
use crate::gradient::{Gradient, mean_gradient, updates_after_scaling};
use crate::graph::Operation;
use crate::layout::{Layout, Values};
use crate::scores::{State, inputs, matrix};
use crate::{InvalidTraining, Label, Labels, Task};

/// Linear support vector machine.
pub(crate) struct Svm;

impl Algorithm for Svm {
    fn name(&self) -> &'static str {
        "svm"
    }

    fn labels(&self) -> Labels {
        Labels::Classes
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(
            label.is_some_and(|label| label.classes == 2),
            "this model needs a label with two classes",
        )
    }

    fn rounds(&self, updates: u16) -> Vec<Task> {
        updates_after_scaling(updates)
    }

    fn steps(&self, design: &Design, settings: &Settings) -> Box<dyn Steps> {
        Box::new(Gradient::new(design, settings))
    }
}

impl Vectors for Svm {
    fn layout(&self, _task: Task, design: &Design, clip: f64) -> Layout {
        Layout::clipped(design.columns() + 1, clip)
    }

    fn values(
        &self,
        _task: Task,
        design: &Design,
        clip: f64,
        state: &State,
        rows: &[Row],
    ) -> Option<Values> {
        let inputs = inputs(state, design.columns(), rows);
        let weights = matrix(&state.weights, 1, design.columns() + 1)?;
        let values = mean_gradient(clip, &inputs, weights, rows, |scores, label| {
            // Labels of 0 and 1 become −1 and 1.
            let sign = 2.0 * label - 1.0;
            let lack = (1.0 - sign * scores[0]).max(0.0);
            (Array1::from(vec![-2.0 * sign * lack]), lack * lack)
        });
        Some(vec![Some(values)])
    }

    fn operations(&self, design: &Design) -> usize {
        design.classes().max(1) * (design.columns() + 1)
    }

    fn default_clip(&self, design: &Design) -> f64 {
        // A row's error in the squared hinge loss is seldom above 6.
        6.0 * design.typical_length()
    }
}

impl Weights for Svm {
    fn weights(&self, design: &Design) -> usize {
        design.columns() + 1
    }

    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        chances(design, state, rows)
    }

    fn gives_chances(&self) -> bool {
        // A hinge loss yields no chances: predictions only rank documents.
        false
    }

    fn graph(&self, design: &Design, weights: &[f64]) -> Option<(Vec<Operation>, usize)> {
        Some(layer(design, weights))
    }
}
