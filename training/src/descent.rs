//! Steps along the homes' mean update, and the decision to stop.

use super::fit::{Early, Released, Settings, Step};
use super::layout::MAX_LOSS;
use super::scores::State;

/// Mean update of a round, with the loss before the update.
pub(crate) struct Update<'a> {
    /// Mean loss over homes, before the update.
    pub(crate) loss: f64,
    /// Standard deviation of the noise on the loss.
    pub(crate) loss_noise: f64,
    /// Mean over homes of each coordinate but the loss.
    pub(crate) sums: &'a [f64],
    /// Standard deviation of the noise on each of these means.
    pub(crate) noise: f64,
}

impl Update<'_> {
    /// Returns whether the loss is above `last` by more than noise explains.
    fn is_worse_than(&self, last: f64) -> bool {
        self.loss > last + 3.0 * self.loss_noise
    }
}

/// Weights with the least known loss.
#[derive(Default)]
pub(crate) struct Best {
    first_loss: Option<f64>,
    best: Option<(f64, Vec<f64>)>,
}

impl Best {
    /// Returns the least known loss and the weights that had it.
    pub(crate) fn known(&self) -> Option<(f64, &[f64])> {
        let (loss, weights) = self.best.as_ref()?;
        Some((*loss, weights))
    }

    /// Records the weights if their loss is the least so far. If the loss grows without bound, restores the best
    /// weights and returns why to stop.
    pub(crate) fn judge(&mut self, weights: &mut Vec<f64>, update: &Update<'_>) -> Option<Early> {
        let loss = update.loss;
        let first = *self.first_loss.get_or_insert(loss);
        let finite = weights.iter().all(|weight| weight.is_finite()) && loss.is_finite();
        if finite && self.best.as_ref().is_none_or(|(best, _)| loss <= *best) {
            self.best = Some((loss, weights.clone()));
        }
        // Momentum overshoots at first, so a loss above the first one is no failure yet. One above twice the first
        // does not recover (protocol.md §18). Homes cut their loss off at `MAX_LOSS`, so a loss close to it may stand
        // for any larger one.
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

    /// Ends a round of updates. After the last round, restores the best weights if the last known loss is clearly
    /// worse than theirs.
    ///
    /// The weights after the last step have no known loss. They are assumed to be no better than those before it.
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
        // With noise, the least loss may be chance: it does not tell which weights are best.
        if !released.is_last || early.is_some() || released.sums.is_noisy() {
            return step;
        }
        match &self.best {
            // Homes may differ from round to round, so a small difference of losses means nothing.
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
    /// Number of weights in a weight vector. The first is the constant's.
    stride: usize,
    velocity: Vec<f64>,
    last_loss: Option<f64>,
    /// Factor on the length of steps. It is halved whenever steps turn out to be too long.
    caution: f64,
    /// Number of steps since the loss last rose by much.
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
            // Momentum led uphill: restart without it (O'Donoghue and Candes, 2015).
            self.velocity.fill(0.0);
        }
        // If the loss rises by much within three steps of the last such rise, or of the start, restarts do not help:
        // the steps are too long.
        if last.is_some_and(|last| update.is_worse_than(1.02 * last + 1e-2))
            && std::mem::take(&mut self.calm) <= 3
        {
            self.caution /= 2.0;
        }
        let rate = rate * self.caution;
        let weights = weights.iter_mut().zip(&mut self.velocity);
        for (place, ((weight, velocity), slope)) in weights.zip(update.sums).enumerate() {
            let is_constant = place % self.stride == 0;
            // A penalty on the constant would shift all predictions.
            let penalty = if is_constant { 0.0 } else { l2 * *weight };
            let slope = slope + penalty;
            *velocity = momentum * *velocity + slope;
            // Nesterov's step looks ahead along the new velocity.
            *weight -= rate * (slope + momentum * *velocity);
        }
    }
}

/// Steps that adapt to each weight (Reddi et al. 2021, FedAdam).
pub(crate) struct Adaptive {
    settings: Settings,
    /// Number of weights in a weight vector. The first is the constant's and bears no penalty. `None` if all weights
    /// bear the penalty.
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

    /// Takes a step along a mean update. A change below `noise` moves a weight by little.
    pub(crate) fn step(&mut self, weights: &mut [f64], update: &[f64], noise: f64) {
        // Part of the mean square that is kept from step to step.
        const SECOND: f64 = 0.99;
        // Least divisor of a step: a change close to 0 must not become a full step.
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
            // Both averages begin at 0. These divisions correct for that, as in Adam.
            let mean = *mean / (1.0 - momentum.powi(self.steps));
            let square = *square / (1.0 - SECOND.powi(self.steps));
            // Divided by the noise at least, or weights that only noise moves would take full steps.
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
