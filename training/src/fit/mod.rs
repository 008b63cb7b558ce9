//! The querier's side: from the sums of a round to the parameters of the next.

mod clusters;
mod linear;
mod solve;

use borsh::{BorshDeserialize, BorshSerialize};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::data::{Design, Source};
use super::layout::{Layout, MAX_LOSS, Sums, shape_of, statistics, weights};
use super::model::{METRICS, weight_count};
use super::predict::bayes_weights;
use super::scores::{LEAST_SPREAD, State};
use super::{Family, Metrics, Model, Task, Training};
use dispers_privacy::Noise;
use dispers_query::local::LocalQuery;

/// Deviations of noise above which a share of homes is taken for one.
const SURE: f64 = 3.0;

/// How updates become a model.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Settings {
    /// Length of a step.
    pub rate: f64,
    /// What a step keeps of the one before.
    pub momentum: f64,
    /// Penalty on the squares of standardised weights.
    pub l2: f64,
    /// Whether gradients are followed by steps that adapt to each weight, as the updates of a perceptron are.
    pub adaptive: bool,
    /// From which first weights and points are drawn.
    pub seed: u64,
}

/// What a round gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Its number.
    pub number: u16,
    /// What it was for.
    pub task: Task,
    /// Homes whose vectors were added up.
    pub homes: u64,
    /// Mean loss over homes, before the update.
    pub loss: Option<f64>,
}

/// Why a session ended before its last round, with the best model so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// Another step would change next to nothing.
    Converged,
    /// The loss grew without bound.
    Diverged,
    /// The loss went up and down until the last round.
    Unsteady,
    /// No further step can be told from rounding: what is learnt is told apart too well, or not at all.
    Flat,
    /// Fewer homes than the cohort took part in a round.
    TooFew,
}

/// Why sums give no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Fewer homes than the cohort, so that nothing was released.
    #[error(
        "fewer homes than the minimum cohort have a document with all values: widen --where, take fewer \
         features, or hold fewer homes out"
    )]
    TooFew,
    /// The label is the same everywhere.
    #[error("the label is the same in all documents: there is nothing to learn")]
    ConstantLabel,
    /// Columns that never vary, or follow from others.
    #[error(
        "{0} never varies, or follows from the other features: leave it out, or give --l2 a value above 0"
    )]
    Degenerate(String),
}

/// One coefficient of a linear model.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficient {
    /// In the units of feature and label.
    pub value: f64,
    /// For a feature in units of its spread; none of the constant.
    pub standardised: Option<f64>,
    /// Standard error in the same units as the value, where it is known.
    pub error: Option<f64>,
}

/// A number from a normal distribution, nearly: the sum of twelve uniform ones.
fn normal(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// A model while it is trained.
pub struct Fit {
    model: Model,
    design: Design,
    settings: Settings,
    names: Vec<String>,
    round: u16,
    schedule: Vec<Task>,
    /// Spread of each column in 0 to 1; 1 where it is not scaled.
    spreads: Vec<f64>,
    velocity: Vec<f64>,
    squares: Vec<f64>,
    steps: i32,
    best: Option<(f64, Vec<f64>)>,
    first_loss: Option<f64>,
    last_loss: Option<f64>,
    errors: Option<Vec<f64>>,
    /// Standard deviation of the noise on a round's sums, in levels; 0 without.
    noise: f64,
    /// The same on the mean loss.
    loss_noise: f64,
    /// Bits of a coordinate of the round.
    bits: u8,
    /// What a step keeps of its length since steps were too long.
    caution: f64,
    /// Steps since the last that was.
    calm: u32,
    rng: StdRng,
    /// What each round gave.
    pub history: Vec<Round>,
    /// Why it ended early.
    pub early: Option<Early>,
    /// How good it is, once validated.
    pub metrics: Option<Metrics>,
}

impl Fit {
    /// A session that has not begun. `names` are those of the columns.
    pub fn new(
        training: &Training,
        local: &LocalQuery,
        names: Vec<String>,
        settings: Settings,
    ) -> Self {
        let design = Design::of(training, local);
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let columns = design.columns();
        let first = match &training.family {
            Family::Linear | Family::Logistic { .. } | Family::Svm | Family::Bayes => {
                vec![0.0; weight_count(training, &design)]
            }
            Family::KMeans { candidates, .. } => (0..usize::from(*candidates) * columns)
                .map(|_| 1.2 * normal(&mut rng))
                .collect(),
            Family::Mlp { hidden, .. } => {
                let widths = shape_of(hidden, columns, design.classes());
                let mut drawn = Vec::with_capacity(weights(&widths));
                for pair in widths.windows(2) {
                    let spread = (2.0 / pair[0] as f64).sqrt();
                    for place in 0..(pair[0] + 1) * pair[1] {
                        // The constant of each unit is the first of its weights.
                        let constant = place % (pair[0] + 1) == 0;
                        drawn.push(if constant {
                            0.0
                        } else {
                            spread * normal(&mut rng)
                        });
                    }
                }
                drawn
            }
        };
        let state = State {
            weights: first,
            ..State::empty()
        };
        Self {
            schedule: training.schedule(),
            model: Model {
                training: training.clone(),
                local: local.clone(),
                state,
            },
            spreads: vec![1.0; columns],
            velocity: Vec::new(),
            squares: Vec::new(),
            steps: 0,
            best: None,
            first_loss: None,
            last_loss: None,
            errors: None,
            noise: 0.0,
            loss_noise: 0.0,
            bits: training.bits,
            caution: 1.0,
            calm: 0,
            design,
            settings,
            names,
            round: 0,
            rng,
            history: Vec::new(),
            early: None,
            metrics: None,
        }
    }

    /// The next round and what homes need for it; none once it is trained.
    pub fn next(&self) -> Option<(u16, State)> {
        self.schedule.get(usize::from(self.round))?;
        Some((self.round, self.model.state.clone()))
    }

    /// The model so far.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there is a model, should no other round come.
    pub fn is_usable(&self) -> bool {
        self.history.iter().any(|round| round.task == Task::Update)
    }

    /// Takes what the round released, and steps. With too few homes it gave nothing, and the session ends with
    /// the model so far. `noise` is that of each committee whose sums were added up; none where they are exact.
    ///
    /// # Errors
    /// [`FitError`] when nothing can be learnt from it, and there is no model yet.
    pub fn take(
        &mut self,
        outputs: &[Option<i128>],
        noise: &[Noise],
    ) -> Result<Option<&Round>, FitError> {
        let Some(&task) = self.schedule.get(usize::from(self.round)) else {
            return Err(FitError::TooFew);
        };
        let layout = Layout::of(&self.model.training, &self.design, task);
        let sums = layout.read(outputs);
        let sums = sums.filter(|sums| sums.homes >= 1.0);
        let Some((means, sums)) = sums.and_then(|sums| Some((sums.means()?, sums))) else {
            if !self.is_usable() {
                return Err(FitError::TooFew);
            }
            self.early = self
                .early
                .or((task != Task::Validate).then_some(Early::TooFew));
            self.round = self.schedule.len() as u16;
            return Ok(None);
        };
        self.bits = layout.bits;
        // The first moment is that of counts.
        let variance: f64 = noise.iter().map(|noise| noise.variance(1)).sum();
        self.noise = variance.sqrt();
        let deviations = layout.deviations(self.noise, sums.homes);
        let mut loss = None;
        let mut next = self.round + 1;
        match (task, self.model.training.family.clone()) {
            (Task::Scale, _) => self.scale(sums.homes, &means, &sums.counts())?,
            (Task::Candidates, Family::KMeans { clusters, .. }) => {
                self.choose(usize::from(clusters), &sums)?;
            }
            (Task::Candidates, _) => {}
            (Task::Update, Family::Linear) => self.linear(sums.homes, &means)?,
            (Task::Update, Family::Bayes) => self.bayes(&sums)?,
            (Task::Update, Family::KMeans { .. }) => {
                loss = means.first().copied();
                self.assign(&sums);
            }
            (Task::Update, family) => {
                let (before, update) = means.split_last().ok_or(FitError::TooFew)?;
                loss = Some(*before);
                self.loss_noise = deviations.last().copied().unwrap_or(0.0);
                let stepped = match family {
                    Family::Logistic { newton: true } => self.newton(sums.homes, *before, update),
                    Family::Mlp { .. } => {
                        let least = deviations.first().copied().unwrap_or(0.0);
                        Ok(self.average(*before, update, least))
                    }
                    _ if self.settings.adaptive => {
                        let down: Vec<f64> = update.iter().map(|slope| -slope).collect();
                        let least = deviations.first().copied().unwrap_or(0.0);
                        Ok(self.average(*before, &down, least))
                    }
                    _ => Ok(self.descend(*before, update)),
                };
                self.early = match stepped {
                    // There is a model already, from which no step leads on.
                    Err(_) if self.is_usable() => Some(Early::Flat),
                    stepped => stepped?,
                };
                let last = self.schedule.get(usize::from(next)) != Some(&Task::Update);
                if last && self.early.is_none() {
                    self.settle(*before);
                }
            }
            (Task::Validate, _) => {
                let homes = sums.homes as u64;
                let mut metrics = match self.model.training.guarded {
                    true => Metrics::of_counts(&self.model, homes, &means, &sums.counts()),
                    false => Metrics::of(&self.model, homes, &means),
                };
                if self.is_noisy() {
                    metrics.errors = self.errors_of_metrics(homes, &means, &deviations);
                }
                metrics.bound();
                self.metrics = Some(metrics);
            }
        }
        if self.early.is_some() && task != Task::Validate {
            // What is left to do is to validate.
            let rest = self
                .schedule
                .iter()
                .position(|task| *task == Task::Validate);
            next = rest.unwrap_or(self.schedule.len()) as u16;
        }
        self.history.push(Round {
            number: self.round,
            task,
            homes: sums.homes as u64,
            loss,
        });
        self.round = next;
        Ok(self.history.last())
    }

    /// The distance between two levels of a range of 1.
    fn level(&self) -> f64 {
        1.0 / ((1u64 << self.bits) - 2) as f64
    }

    fn is_noisy(&self) -> bool {
        self.noise > 0.0
    }

    /// How far a mean over homes may be off because each rounds and there is noise, where values have this
    /// range: three times the largest deviation.
    fn rounding(&self, range: f64, homes: f64) -> f64 {
        let level = range * self.level();
        1.5 * level / homes.sqrt() + 3.0 * level * self.noise / homes
    }

    /// Standard errors of metrics: how they vary when the same noise is added once more.
    fn errors_of_metrics(
        &mut self,
        homes: u64,
        means: &[f64],
        deviations: &[f64],
    ) -> [Option<f64>; METRICS] {
        const DRAWS: usize = 200;
        let mut simulated: [Vec<f64>; METRICS] = Default::default();
        for _ in 0..DRAWS {
            let drawn: Vec<f64> = means
                .iter()
                .zip(deviations)
                .map(|(mean, deviation)| mean + deviation * normal(&mut self.rng))
                .collect();
            let metrics = Metrics::of(&self.model, homes, &drawn);
            for (all, (_, value)) in simulated.iter_mut().zip(metrics.named()) {
                all.extend(value);
            }
        }
        std::array::from_fn(|place| {
            let all = &simulated[place];
            let count = all.len() as f64;
            let mean = all.iter().sum::<f64>() / count;
            let squares = all.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            (all.len() * 2 > DRAWS).then(|| (squares / (count - 1.0)).sqrt())
        })
    }

    /// Mean and spread of the columns, if the label varies.
    fn scale(&mut self, homes: f64, means: &[f64], counts: &[Option<f64>]) -> Result<(), FitError> {
        let mut state = State {
            means: vec![0.0; self.design.columns()],
            spreads: vec![1.0; self.design.columns()],
            weights: std::mem::take(&mut self.model.state.weights),
        };
        // The mean is rounded, and the mean of squares.
        let low = 3.0 * self.rounding(1.0, homes);
        // Beside noise nothing is taken for constant, and no spread for less than a deviation.
        let least = if self.is_noisy() { low / 9.0 } else { low };
        let scaled = self.design.scaled();
        for (pair, &column) in means.chunks_exact(2).zip(&scaled) {
            let variance = pair[1] - pair[0] * pair[0];
            // Whether it varies cannot be told beside noise.
            if variance < low && self.settings.l2 == 0.0 && !self.is_noisy() {
                if self.design.is_number(column) {
                    return Err(FitError::Degenerate(self.name(column)));
                }
                // A value of a category that nobody has: the column is 0 everywhere.
                state.means[column] = pair[0];
                continue;
            }
            state.means[column] = pair[0];
            state.spreads[column] = variance.max(least).sqrt().max(LEAST_SPREAD);
        }
        let varies = match (self.model.training.label, &means[2 * scaled.len()..]) {
            (None, _) => true,
            _ if self.is_noisy() => true,
            // The count of a class may be withheld, but never if all homes have that class.
            (Some(label), _) if label.classes > 0 && self.model.training.guarded => {
                !counts.contains(&Some(homes))
            }
            (Some(label), [mean, square]) if label.classes == 0 => square - mean * mean > low,
            (Some(_), shares) => shares.iter().filter(|share| **share > low).count() > 1,
        };
        if !varies {
            return Err(FitError::ConstantLabel);
        }
        self.spreads.clone_from(&state.spreads);
        if matches!(
            self.model.training.family,
            Family::Logistic { newton: true }
        ) {
            // Newton's steps are the same on any scale.
            state.means.clear();
            state.spreads.clear();
        }
        self.model.state = state;
        Ok(())
    }

    fn name(&self, column: usize) -> String {
        let name = self.names.get(column).cloned();
        name.unwrap_or_else(|| format!("column {column}"))
    }

    /// Ends with the best model whose loss is known, where the last one known is clearly worse: then what the last
    /// step led to is no better.
    fn settle(&mut self, loss: f64) {
        if self.is_noisy() {
            // Which is best cannot be told.
            return;
        }
        let Some((best, weights)) = &self.best else {
            return;
        };
        // Who takes part changes, and with it the loss, by a little.
        if loss > best * 1.05 + 0.02 {
            self.model.state.weights.clone_from(weights);
            self.early = Some(Early::Unsteady);
        }
    }

    /// Whether the loss says to stop; keeps the best weights so far.
    fn judge(&mut self, loss: f64) -> Option<Early> {
        let weights = &self.model.state.weights;
        let first = *self.first_loss.get_or_insert(loss);
        let finite = weights.iter().all(|weight| weight.is_finite()) && loss.is_finite();
        if finite && self.best.as_ref().is_none_or(|(best, _)| loss <= *best) {
            self.best = Some((loss, weights.clone()));
        }
        // Momentum overshoots at first; what is twice as bad as nothing does not come back.
        let most = (2.0 * first + 0.5).min(0.95 * MAX_LOSS);
        let diverged = !finite || loss > most + 6.0 * self.loss_noise;
        if !diverged {
            return None;
        }
        if let Some((_, weights)) = &self.best {
            self.model.state.weights.clone_from(weights);
        }
        Some(Early::Diverged)
    }

    /// A step of gradient descent with momentum.
    fn descend(&mut self, loss: f64, gradient: &[f64]) -> Option<Early> {
        if let Some(early) = self.judge(loss) {
            return Some(early);
        }
        let Settings {
            rate, momentum, l2, ..
        } = self.settings;
        let stride = self.design.columns() + 1;
        self.velocity.resize(gradient.len(), 0.0);
        let worse = |last| loss > last + 3.0 * self.loss_noise;
        let last = self.last_loss.replace(loss);
        self.calm += 1;
        if last.is_some_and(worse) {
            // Momentum went too far: begin again from here (O'Donoghue and Candes, 2015).
            self.velocity.fill(0.0);
        }
        // If it is much worse again and again, it is the steps that are too long.
        if last.is_some_and(|last| worse(1.02 * last + 1e-2)) && std::mem::take(&mut self.calm) <= 3
        {
            self.caution /= 2.0;
        }
        let rate = rate * self.caution;
        let weights = self.model.state.weights.iter_mut().zip(&mut self.velocity);
        for (place, ((weight, velocity), slope)) in weights.zip(gradient).enumerate() {
            let penalty = if place % stride == 0 {
                0.0
            } else {
                l2 * *weight
            };
            let slope = slope + penalty;
            *velocity = momentum * *velocity + slope;
            // Nesterov's: where momentum leads, not where it came from.
            *weight -= rate * (slope + momentum * *velocity);
        }
        None
    }

    /// A step along the homes' mean update that adapts to each weight (Reddi et al. 2021, FedAdam). What is no
    /// more than `noise` moves a weight by little.
    fn average(&mut self, loss: f64, update: &[f64], noise: f64) -> Option<Early> {
        if let Some(early) = self.judge(loss) {
            return Some(early);
        }
        const SECOND: f64 = 0.99;
        const LEAST: f64 = 1e-5;
        let Settings {
            rate, momentum, l2, ..
        } = self.settings;
        self.velocity.resize(update.len(), 0.0);
        self.squares.resize(update.len(), 0.0);
        self.steps += 1;
        let moments = self.velocity.iter_mut().zip(&mut self.squares);
        let weights = self.model.state.weights.iter_mut().zip(moments);
        // Of a linear model the constant's weight is the first of each class.
        let linear = !matches!(self.model.training.family, Family::Mlp { .. });
        let stride = linear.then_some(self.design.columns() + 1);
        for (place, ((weight, (mean, square)), change)) in weights.zip(update).enumerate() {
            *mean = momentum * *mean + (1.0 - momentum) * change;
            *square = SECOND * *square + (1.0 - SECOND) * change * change;
            let mean = *mean / (1.0 - momentum.powi(self.steps));
            let square = *square / (1.0 - SECOND.powi(self.steps));
            *weight += rate * mean / (square.sqrt() + LEAST.max(noise));
            let constant = stride.is_some_and(|stride| place % stride == 0);
            *weight -= if constant { 0.0 } else { rate * l2 * *weight };
        }
        None
    }

    /// From what each class sums to, its logarithms.
    fn bayes(&mut self, sums: &Sums) -> Result<(), FitError> {
        const LEAST_VARIANCE: f64 = 1e-6;
        const NEVER: f64 = -1e9;
        let each = bayes_weights(&self.design);
        let smoothing = 1.0 / sums.homes;
        // What is no more than noise is as good as nothing.
        let noise = SURE * self.noise * self.level();
        let classes = self.design.classes();
        let mut weights = Vec::with_capacity(classes * each);
        let mut known = 0;
        for class in 0..classes {
            let section = sums.sections.get(1 + class).and_then(Option::as_ref);
            let Some((_, values)) = section.filter(|(_, values)| values[0] > noise) else {
                // Too few have it: it is never said.
                weights.push(NEVER);
                for source in &self.design.sources {
                    match source {
                        Source::Number { .. } => weights.extend([0.5, 1.0]),
                        other => weights.extend(vec![NEVER; statistics(other)]),
                    }
                }
                continue;
            };
            known += 1;
            let share = values[0];
            weights.push((share / sums.homes).ln());
            let mut place = 1;
            for source in &self.design.sources {
                let of = &values[place..place + statistics(source)];
                place += of.len();
                match source {
                    Source::Number { .. } => {
                        let mean = (of[0] / share).clamp(0.0, 1.0);
                        let variance = (of[1] / share - mean * mean).min(0.25);
                        let rounding = self.rounding(1.0, share);
                        let least = LEAST_VARIANCE.max(noise / share).max(rounding);
                        weights.extend([mean, variance.max(least)]);
                    }
                    Source::Category { .. } | Source::Words { .. } => {
                        let smoothing = (smoothing.max(1e-6) * share.max(1.0)).max(noise);
                        let all: f64 = of.iter().map(|sum| sum.max(0.0) + smoothing).sum();
                        let log = |sum: &f64| ((sum.max(0.0) + smoothing) / all).ln();
                        weights.extend(of.iter().map(log));
                    }
                }
            }
        }
        if known < 2 {
            return Err(FitError::ConstantLabel);
        }
        self.model.state.weights = weights;
        Ok(())
    }
}
