//! Logistic regression of two classes by Newton's method, which takes few rounds and sends second derivatives.

use ndarray::Array1;
use rand::rngs::StdRng;

use super::logistic::{chances, layer, log_loss};
use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::coefficients::{Coefficient, Numbers, coefficients};
use crate::data::{Design, Row};
use crate::descent::{Best, Update};
use crate::fit::{Early, FitError, Released, Settings, Step};
use crate::gradient::updates_after_scaling;
use crate::graph::Operation;
use crate::layout::{Layout, MAX_LOSS, Section, Values};
use crate::scores::{State, logistic};
use crate::solve::{factor_noisy, solve, symmetric};
use crate::{InvalidTraining, Label, Labels, Task};

/// Length of a step, in standardised weights, below which the search ends.
const CONVERGED: f64 = 1e-5;

/// Logistic regression by Newton's method.
pub(crate) struct Newton;

impl Algorithm for Newton {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn labels(&self) -> Labels {
        Labels::Classes
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(
            label.is_some_and(|label| label.classes == 2),
            "Newton's steps are for two classes: leave the solver out for more",
        )
    }

    fn rounds(&self, updates: u16) -> Vec<Task> {
        updates_after_scaling(updates)
    }

    fn steps(&self, _design: &Design, settings: &Settings) -> Box<dyn Steps> {
        Box::new(NewtonSteps {
            l2: settings.l2,
            best: Best::default(),
            spreads: Vec::new(),
        })
    }
}

impl Vectors for Newton {
    fn layout(&self, _task: Task, design: &Design, _clip: f64) -> Layout {
        let values = design.columns() + 1;
        // Columns are in 0 to 1, so a slope is at most 1, and a second derivative, chance · (1 − chance), at most ¼.
        Layout::full(
            Section::default()
                .centred(values, -1.0, 1.0)
                .centred(values * (values + 1) / 2, 0.0, 0.25)
                .centred(1, 0.0, MAX_LOSS),
        )
    }

    fn values(
        &self,
        _task: Task,
        design: &Design,
        _clip: f64,
        state: &State,
        rows: &[Row],
    ) -> Option<Values> {
        let fits = state.weights.len() == design.columns() + 1;
        fits.then(|| vec![Some(curvature(rows, &state.weights))])
    }

    fn operations(&self, design: &Design) -> usize {
        let values = design.columns() + 1;
        values * values
    }
}

impl Weights for Newton {
    fn weights(&self, design: &Design) -> usize {
        design.columns() + 1
    }

    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        chances(design, state, rows)
    }

    fn graph(&self, design: &Design, weights: &[f64]) -> Option<(Vec<Operation>, usize)> {
        Some(layer(design, weights))
    }
}

/// Returns the gradient of the logistic loss over unscaled columns, its second derivatives as an upper triangle row by
/// row, and the loss. The constant comes first.
fn curvature(rows: &[Row], weights: &[f64]) -> Vec<f64> {
    let count = weights.len();
    let mut gradient = vec![0.0; count];
    let mut second = vec![0.0; count * (count + 1) / 2];
    let mut loss = 0.0;
    let share = 1.0 / rows.len() as f64;
    for row in rows {
        let values: Vec<f64> = std::iter::once(&1.0).chain(&row.columns).copied().collect();
        let score: f64 = weights.iter().zip(&values).map(|(w, x)| w * x).sum();
        let chance = logistic(score);
        loss += share * log_loss(score, row.label);
        let mut products = second.iter_mut();
        for (place, value) in values.iter().enumerate() {
            gradient[place] += share * (chance - row.label) * value;
            let slope = share * chance * (1.0 - chance) * value;
            for (other, product) in values[place..].iter().zip(products.by_ref()) {
                *product += slope * other;
            }
        }
    }
    gradient.extend(second);
    gradient.push(loss.min(MAX_LOSS));
    gradient
}

/// Querier's steps.
struct NewtonSteps {
    l2: f64,
    best: Best,
    /// Spread of each column in 0 to 1.
    spreads: Vec<f64>,
}

impl Steps for NewtonSteps {
    fn scaled(&mut self, state: &mut State) {
        // Newton's steps are the same on any scale, and unscaled columns have known ranges. Only the penalty and the
        // length of a step need the spreads, and homes need neither.
        state.means.clear();
        self.spreads = std::mem::take(&mut state.spreads);
    }

    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        _rng: &mut StdRng,
    ) -> Result<Step, FitError> {
        let update = released.update()?;
        let early = match self.step(released, state, &update) {
            // No further step can be computed, but the model of an earlier round is there.
            Err(_) if released.has_model => Some(Early::Flat),
            stepped => stepped?,
        };
        Ok(self.best.settle(released, state, &update, early))
    }

    fn coefficients(
        &self,
        design: &Design,
        state: &State,
        label: (f64, f64),
    ) -> Option<Vec<Coefficient>> {
        coefficients(&Numbers {
            design,
            state,
            spreads: &self.spreads,
            label,
            errors: None,
        })
    }
}

impl NewtonSteps {
    /// Takes a step of Newton's method over columns in 0 to 1. Returns why to stop, if there is a reason.
    fn step(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        update: &Update<'_>,
    ) -> Result<Option<Early>, FitError> {
        let size = released.design.columns() + 1;
        if update.sums.len() < size {
            return Err(FitError::TooFew);
        }
        if let Some((best, weights)) = self.best.known()
            && update.loss > best + 1e-3 + 3.0 * update.loss_noise
        {
            // The last step was too long: go half of the way back (protocol.md §18).
            let back = state.weights.iter_mut().zip(weights);
            back.for_each(|(weight, before)| *weight = (*weight + before) / 2.0);
            return Ok(None);
        }
        if let Some(early) = self.best.judge(&mut state.weights, update) {
            return Ok(Some(early));
        }
        let sums = released.sums;
        let (gradient, second) = update.sums.split_at(size);
        let mut matrix = symmetric(second, size);
        let mut right: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
        for at in 1..size {
            let penalty = self.l2 * self.spreads[at - 1].powi(2);
            matrix[at][at] += penalty;
            right[at] -= penalty * state.weights[at];
        }
        // The constant's second derivative is 0 only if the model is sure of every document.
        if matrix[0][0] < 1e-6 && !sums.is_noisy() {
            return Err(FitError::ConstantLabel);
        }
        let rounding = sums.rounding(0.25, sums.homes);
        let lower = factor_noisy(&mut matrix, rounding, sums.is_noisy());
        let lower = lower.map_err(|at| match at {
            0 => FitError::ConstantLabel,
            at => FitError::Degenerate(released.name(at - 1)),
        })?;
        let step = solve(&lower, &right);
        let mut longest = 0.0f64;
        for (at, (weight, step)) in state.weights.iter_mut().zip(&step).enumerate() {
            *weight += step;
            let spread = at.checked_sub(1).map_or(1.0, |at| self.spreads[at]);
            longest = longest.max((step * spread).abs());
        }
        Ok((longest < CONVERGED).then_some(Early::Converged))
    }
}
