//! Steps along the homes' mean update, and when to end.

use super::fit::{Early, Released, Settings, Step};
use super::layout::MAX_LOSS;
use super::scores::State;

/// A round's mean update, and the loss before it.
pub(crate) struct Update<'a> {
    /// Mean loss over homes, before the update.
    pub(crate) loss: f64,
    /// Standard deviation of the noise on the loss.
    pub(crate) loss_noise: f64,
    /// Mean over homes of each other coordinate.
    pub(crate) sums: &'a [f64],
    /// Standard deviation of the noise on these means.
    pub(crate) noise: f64,
}

impl Update<'_> {
    /// Returns whether the loss is above `last` by more than noise explains.
    fn is_worse_than(&self, last: f64) -> bool {
        self.loss > last + 3.0 * self.loss_noise
    }
}

/// The best weights whose loss is known.
#[derive(Default)]
pub(crate) struct Best {
    first_loss: Option<f64>,
    best: Option<(f64, Vec<f64>)>,
}

impl Best {
    /// Returns the least known loss and its weights.
    pub(crate) fn known(&self) -> Option<(f64, &[f64])> {
        let (loss, weights) = self.best.as_ref()?;
        Some((*loss, weights))
    }

    /// Keeps the best weights so far. If the loss grows without bound, goes back to them and returns why to stop.
    pub(crate) fn judge(&mut self, weights: &mut Vec<f64>, update: &Update<'_>) -> Option<Early> {
        let loss = update.loss;
        let first = *self.first_loss.get_or_insert(loss);
        let finite = weights.iter().all(|weight| weight.is_finite()) && loss.is_finite();
        if finite && self.best.as_ref().is_none_or(|(best, _)| loss <= *best) {
            self.best = Some((loss, weights.clone()));
        }
        // Momentum overshoots at first; what is twice as bad as nothing does not come back.
        let most = (2.0 * first + 0.5).min(0.95 * MAX_LOSS);
        let diverged = !finite || loss > most + 6.0 * update.loss_noise;
        if !diverged {
            return None;
        }
        if let Some((_, best)) = &self.best {
            weights.clone_from(best);
        }
        Some(Early::Diverged)
    }

    /// Ends a round of updates. After the last round, goes back to the best weights whose loss is known if the last
    /// known loss is clearly worse: what the last step led to is then no better.
    pub(crate) fn settle(
        &self,
        released: &Released<'_>,
        state: &mut State,
        update: &Update<'_>,
        early: Option<Early>,
    ) -> Step {
        let step = Step {
            loss: Some(update.loss),
            early,
        };
        // Beside noise it cannot be told which weights are best.
        if !released.is_last || early.is_some() || released.sums.is_noisy() {
            return step;
        }
        match &self.best {
            // Who takes part changes, and with it the loss, by a little.
            Some((best, weights)) if update.loss > best * 1.05 + 0.02 => {
                state.weights.clone_from(weights);
                Step {
                    early: Some(Early::Unsteady),
                    ..step
                }
            }
            _ => step,
        }
    }
}

/// Gradient descent with Nesterov's momentum.
pub(crate) struct Momentum {
    settings: Settings,
    /// Number of weights of a weight vector, of which the first is the constant's.
    stride: usize,
    velocity: Vec<f64>,
    last_loss: Option<f64>,
    /// Part of its length that a step keeps since steps were too long.
    caution: f64,
    /// Steps since the last that was too long.
    calm: u32,
}

impl Momentum {
    /// Creates the state before the first step.
    pub(crate) fn new(settings: &Settings, stride: usize) -> Self {
        Self {
            settings: settings.clone(),
            stride,
            velocity: Vec::new(),
            last_loss: None,
            caution: 1.0,
            calm: 0,
        }
    }

    /// Takes a step down a gradient.
    pub(crate) fn step(&mut self, weights: &mut [f64], update: &Update<'_>) {
        let Settings {
            rate, momentum, l2, ..
        } = self.settings;
        self.velocity.resize(update.sums.len(), 0.0);
        let last = self.last_loss.replace(update.loss);
        self.calm += 1;
        if last.is_some_and(|last| update.is_worse_than(last)) {
            // Momentum went too far: begin again from here (O'Donoghue and Candes, 2015).
            self.velocity.fill(0.0);
        }
        // If it is much worse again and again, it is the steps that are too long.
        if last.is_some_and(|last| update.is_worse_than(1.02 * last + 1e-2))
            && std::mem::take(&mut self.calm) <= 3
        {
            self.caution /= 2.0;
        }
        let rate = rate * self.caution;
        let weights = weights.iter_mut().zip(&mut self.velocity);
        for (place, ((weight, velocity), slope)) in weights.zip(update.sums).enumerate() {
            let is_constant = place % self.stride == 0;
            let penalty = if is_constant { 0.0 } else { l2 * *weight };
            let slope = slope + penalty;
            *velocity = momentum * *velocity + slope;
            // Nesterov's: where momentum leads, not where it came from.
            *weight -= rate * (slope + momentum * *velocity);
        }
    }
}

/// Steps that adapt to each weight (Reddi et al. 2021, FedAdam).
pub(crate) struct Adaptive {
    settings: Settings,
    /// Number of weights of a weight vector, of which the first is the constant's and bears no penalty; `None` where
    /// all weights bear it.
    stride: Option<usize>,
    velocity: Vec<f64>,
    squares: Vec<f64>,
    steps: i32,
}

impl Adaptive {
    /// Creates the state before the first step.
    pub(crate) fn new(settings: &Settings, stride: Option<usize>) -> Self {
        Self {
            settings: settings.clone(),
            stride,
            velocity: Vec::new(),
            squares: Vec::new(),
            steps: 0,
        }
    }

    /// Takes a step along a mean update. A change that is no more than `noise` moves a weight by little.
    pub(crate) fn step(&mut self, weights: &mut [f64], update: &[f64], noise: f64) {
        const SECOND: f64 = 0.99;
        const LEAST: f64 = 1e-5;
        let Settings {
            rate, momentum, l2, ..
        } = self.settings;
        self.velocity.resize(update.len(), 0.0);
        self.squares.resize(update.len(), 0.0);
        self.steps += 1;
        let moments = self.velocity.iter_mut().zip(&mut self.squares);
        let weights = weights.iter_mut().zip(moments);
        for (place, ((weight, (mean, square)), change)) in weights.zip(update).enumerate() {
            *mean = momentum * *mean + (1.0 - momentum) * change;
            *square = SECOND * *square + (1.0 - SECOND) * change * change;
            let mean = *mean / (1.0 - momentum.powi(self.steps));
            let square = *square / (1.0 - SECOND.powi(self.steps));
            *weight += rate * mean / (square.sqrt() + LEAST.max(noise));
            let is_constant = self.stride.is_some_and(|stride| place % stride == 0);
            *weight -= if is_constant {
                0.0
            } else {
                rate * l2 * *weight
            };
        }
    }
}
