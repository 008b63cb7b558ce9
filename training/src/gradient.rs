//! Training by the mean gradient of a linear model's loss.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::rngs::StdRng;

use super::Task;
use super::clip::clipped;
use super::coefficients::{Coefficient, Numbers, coefficients};
use super::data::{Design, Row};
use super::descent::{Adaptive, Best, Momentum};
use super::fit::{FitError, Released, Settings, Step};
use super::layout::MAX_LOSS;
use super::models::Steps;
use super::scores::{State, scores};

/// Returns one scale round, then `updates` rounds of updates.
pub(crate) fn updates_after_scaling(updates: u16) -> Vec<Task> {
    let mut rounds = vec![Task::Scale];
    rounds.extend(std::iter::repeat_n(Task::Update, updates.into()));
    rounds
}

/// Returns a home's mean gradient of a linear model's loss, clipped, then its mean loss.
///
/// The constant's weight is the first of each weight vector. `errors` returns the derivatives of a row's loss by its
/// scores, and the loss.
pub(crate) fn mean_gradient(
    clip: f64,
    inputs: &Array2<f64>,
    weights: ArrayView2<'_, f64>,
    rows: &[Row],
    errors: impl Fn(Array1<f64>, f64) -> (Array1<f64>, f64),
) -> Vec<f64> {
    let mut gradient = Array2::<f64>::zeros(weights.dim());
    let mut loss = 0.0;
    for (input, row) in inputs.axis_iter(Axis(0)).zip(rows) {
        let (errors, of_row) = errors(scores(weights, input), row.label);
        loss += of_row;
        for (error, mut slopes) in errors.iter().zip(gradient.axis_iter_mut(Axis(0))) {
            slopes[0] += error;
            slopes.split_at(Axis(0), 1).1.scaled_add(*error, &input);
        }
    }
    let share = 1.0 / rows.len() as f64;
    let mut values = clipped(gradient.iter().map(|value| value * share).collect(), clip);
    // The loss is beside the clipped vector, with a range of its own.
    values.push((loss * share).min(MAX_LOSS));
    values
}

/// Querier's steps down a mean gradient.
pub(crate) struct Gradient {
    best: Best,
    way: Way,
}

/// Rule that turns a gradient into a step.
enum Way {
    Momentum(Momentum),
    Adaptive(Adaptive),
}

impl Gradient {
    /// Creates the state before the first step.
    pub(crate) fn new(design: &Design, settings: &Settings) -> Self {
        // The constant's weight is the first of each class, and bears no penalty.
        let stride = design.columns() + 1;
        Self {
            best: Best::default(),
            way: match settings.adaptive {
                true => Way::Adaptive(Adaptive::new(settings, Some(stride))),
                false => Way::Momentum(Momentum::new(settings, stride)),
            },
        }
    }
}

impl Steps for Gradient {
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        _rng: &mut StdRng,
    ) -> Result<Step, FitError> {
        let update = released.update()?;
        let early = self.best.judge(&mut state.weights, &update);
        if early.is_none() {
            match &mut self.way {
                Way::Momentum(momentum) => momentum.step(&mut state.weights, &update),
                Way::Adaptive(adaptive) => {
                    // `Adaptive` moves along an update, and a gradient points uphill.
                    let down: Vec<f64> = update.sums.iter().map(|slope| -slope).collect();
                    adaptive.step(&mut state.weights, &down, update.noise);
                }
            }
        }
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
            spreads: &state.spreads,
            label,
            errors: None,
        })
    }
}
