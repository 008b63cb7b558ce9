//! Perceptron with hidden layers. Homes take steps of their own, and the querier moves along the mean of their changes.

use ndarray::{Array1, Axis};
use rand::rngs::StdRng;

use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::clip::clipped;
use crate::data::{Design, Row};
use crate::descent::{Adaptive, Best};
use crate::fit::{FitError, Released, Settings, Step, normal};
use crate::gradient::updates_after_scaling;
use crate::graph::Operation;
use crate::layout::{Layout, MAX_LOSS, Values};
use crate::perceptron::Network;
use crate::scores::{State, inputs, softmax};
use crate::{InvalidTraining, Label, Labels, Task};

/// Perceptron with hidden layers.
pub(crate) struct Mlp<'a> {
    /// Width of each hidden layer.
    hidden: &'a [u16],
    /// Passes over a home's documents in each round.
    epochs: u8,
    /// Length of the steps that a home takes on its own documents.
    rate: f64,
}

impl<'a> Mlp<'a> {
    /// Makes the model with these settings.
    pub(super) fn new(hidden: &'a [u16], epochs: u8, rate: f64) -> Self {
        Self {
            hidden,
            epochs,
            rate,
        }
    }

    /// Returns the widths of the layers, from columns to outputs.
    fn widths(&self, design: &Design) -> Vec<usize> {
        let mut widths = vec![design.columns()];
        widths.extend(self.hidden.iter().map(|width| usize::from(*width)));
        widths.push(design.classes().max(1));
        widths
    }
}

impl Algorithm for Mlp<'_> {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn labels(&self) -> Labels {
        Labels::Any
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(label.is_some(), "this model needs a label")?;
        require(
            (1..=2).contains(&self.hidden.len())
                && self.hidden.iter().all(|width| (1..=1024).contains(width)),
            "a perceptron has one or two hidden layers of at most 1024",
        )?;
        require(
            (1..=20).contains(&self.epochs) && self.rate.is_finite() && self.rate > 0.0,
            "a home passes 1 to 20 times over its documents, in steps above 0",
        )
    }

    fn rounds(&self, updates: u16) -> Vec<Task> {
        updates_after_scaling(updates)
    }

    fn steps(&self, _design: &Design, settings: &Settings) -> Box<dyn Steps> {
        Box::new(Average {
            best: Best::default(),
            adaptive: Adaptive::new(settings, None),
        })
    }
}

impl Vectors for Mlp<'_> {
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
        let inputs = inputs(state, design.columns(), rows);
        let mut network = Network::of(&self.widths(design), &state.weights)?;
        let labels: Vec<f64> = rows.iter().map(|row| row.label).collect();
        let loss = network.loss(&inputs, &labels);
        for _ in 0..self.epochs {
            network.step(&inputs, &labels, self.rate);
        }
        let after = network.weights();
        let pairs = after.iter().zip(&state.weights);
        let change = pairs.map(|(after, before)| after - before).collect();
        let mut values = clipped(change, clip);
        values.push(loss.min(MAX_LOSS));
        Some(vec![Some(values)])
    }

    fn operations(&self, design: &Design) -> usize {
        // Forward, backward, and the gradient.
        3 * usize::from(self.epochs) * self.weights(design)
    }

    fn default_clip(&self, _design: &Design) -> f64 {
        1.0
    }
}

impl Weights for Mlp<'_> {
    fn weights(&self, design: &Design) -> usize {
        let widths = self.widths(design);
        let layers = widths.windows(2);
        layers.map(|pair| (pair[0] + 1) * pair[1]).sum()
    }

    fn first_weights(&self, design: &Design, rng: &mut StdRng) -> Vec<f64> {
        let mut drawn = Vec::with_capacity(self.weights(design));
        for pair in self.widths(design).windows(2) {
            // This spread keeps values at one size from layer to layer (He et al. 2015).
            let spread = (2.0 / pair[0] as f64).sqrt();
            for place in 0..(pair[0] + 1) * pair[1] {
                // The constant of each unit is the first of its weights, and begins at 0.
                let is_constant = place % (pair[0] + 1) == 0;
                drawn.push(match is_constant {
                    true => 0.0,
                    false => spread * normal(rng),
                });
            }
        }
        drawn
    }

    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        let inputs = inputs(state, design.columns(), rows);
        let network = Network::of(&self.widths(design), &state.weights)?;
        let outputs = network.forward(&inputs);
        let last = outputs.last()?;
        let rows = last
            .axis_iter(Axis(0))
            .map(|scores| match design.classes() {
                0 => scores.to_owned(),
                _ => softmax(scores.to_owned()),
            });
        Some(rows.collect())
    }

    fn graph(&self, design: &Design, weights: &[f64]) -> Option<(Vec<Operation>, usize)> {
        let mut operations = Vec::new();
        let mut rest = weights;
        for pair in self.widths(design).windows(2) {
            if !operations.is_empty() {
                operations.push(Operation::Relu);
            }
            let (layer, after) = rest.split_at_checked((pair[0] + 1) * pair[1])?;
            operations.push(Operation::layer(layer, pair[0], pair[1]));
            rest = after;
        }
        Some((operations, design.classes().max(1)))
    }
}

/// Querier's steps along the homes' mean change.
struct Average {
    best: Best,
    adaptive: Adaptive,
}

impl Steps for Average {
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        _rng: &mut StdRng,
    ) -> Result<Step, FitError> {
        let update = released.update()?;
        let early = self.best.judge(&mut state.weights, &update);
        if early.is_none() {
            self.adaptive
                .step(&mut state.weights, update.sums, update.noise);
        }
        Ok(self.best.settle(released, state, &update, early))
    }
}
