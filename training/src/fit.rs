//! Querier's side of a session: from the sums of a round to the parameters of the next.

use borsh::{BorshDeserialize, BorshSerialize};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use super::coefficients::Coefficient;
use super::data::Design;
use super::descent::Update;
use super::layout::Layout;
use super::models::Steps;
use super::scaling::Scales;
use super::scores::State;
use super::sums::Sums;
use super::{Metrics, Model, Task, Training};
use dispers_privacy::Noise;
use dispers_query::local::LocalQuery;

/// Number of standard deviations of noise above which a share of homes counts as non-zero.
pub(crate) const SURE: f64 = 3.0;

/// Settings of the querier's steps.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Settings {
    /// Length of a step.
    pub rate: f64,
    /// Part of a step that is kept in the next one.
    pub momentum: f64,
    /// Penalty on the squares of standardised weights.
    pub l2: f64,
    /// True if steps along gradients adapt to each weight. Steps of a perceptron always do.
    pub adaptive: bool,
    /// Seed from which first weights and points are drawn.
    pub seed: u64,
}

impl Settings {
    /// Checks that every step with these settings is a finite number.
    ///
    /// # Errors
    /// [`FitError::Settings`] for the first setting out of its range.
    pub fn check(&self) -> Result<(), FitError> {
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        if !not_negative(self.rate) {
            return Err(FitError::Settings("the length of a step is 0 or above"));
        }
        // With a momentum of 1 the velocity would never decay, and an adaptive step would divide by zero.
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(FitError::Settings("a momentum is from 0 to below 1"));
        }
        if !not_negative(self.l2) {
            return Err(FitError::Settings("a penalty is 0 or above"));
        }
        Ok(())
    }
}

/// Result of a round.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Number of the round.
    pub number: u16,
    /// Purpose of the round.
    pub task: Task,
    /// Homes whose vectors were added up.
    pub homes: u64,
    /// Mean loss over homes, before the update.
    pub loss: Option<f64>,
}

/// Reason why a session ended before its last round, or with an earlier model than that of its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// Another step would change next to nothing.
    Converged,
    /// The loss grew without bound.
    Diverged,
    /// The loss of the last round was clearly above the least one.
    Unsteady,
    /// A later step of Newton's method had no solution, as when the features separate the classes completely.
    Flat,
    /// Fewer homes than the cohort took part in a round.
    TooFew,
}

/// Reason why sums give no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Nothing was released, because fewer homes than the cohort took part.
    #[error(
        "fewer homes than the minimum cohort have a document with all values: widen --where, take fewer \
         features, or hold fewer homes out"
    )]
    TooFew,
    /// The label is the same everywhere.
    #[error("the label is the same in all documents: there is nothing to learn")]
    ConstantLabel,
    /// A column never varies, or follows from others.
    #[error(
        "{0} never varies, or follows from the other features: leave it out, or give --l2 a value above 0"
    )]
    Degenerate(String),
    /// A setting of the steps is out of its range.
    #[error("{0}")]
    Settings(&'static str),
}

/// Release of a round, with its place in the session.
pub(crate) struct Released<'a> {
    pub(crate) task: Task,
    pub(crate) sums: &'a Sums,
    /// Means of the first section over homes.
    pub(crate) means: &'a [f64],
    /// Standard deviation of the noise on each of these means.
    pub(crate) deviations: &'a [f64],
    pub(crate) design: &'a Design,
    /// Names of the columns.
    pub(crate) names: &'a [String],
    /// True if no round of updates follows.
    pub(crate) is_last: bool,
    /// True if an earlier round gave a model.
    pub(crate) has_model: bool,
}

impl Released<'_> {
    /// Reads the first section as a mean update, of which the last coordinate is the loss.
    ///
    /// # Errors
    /// [`FitError::TooFew`] for a section without coordinates.
    pub(crate) fn update(&self) -> Result<Update<'_>, FitError> {
        let (loss, sums) = self.means.split_last().ok_or(FitError::TooFew)?;
        Ok(Update {
            loss: *loss,
            loss_noise: self.deviations.last().copied().unwrap_or(0.0),
            sums,
            // The coordinates of a clipped update have one range, and so the same noise.
            noise: self.deviations.first().copied().unwrap_or(0.0),
        })
    }

    /// Returns the name of a column.
    pub(crate) fn name(&self, column: usize) -> String {
        let name = self.names.get(column).cloned();
        name.unwrap_or_else(|| format!("column {column}"))
    }
}

/// Outcome of a round of candidates or updates.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Step {
    /// Mean loss over homes before the step; `None` if the round does not measure a loss.
    pub(crate) loss: Option<f64>,
    /// Reason why the session ends with this round, if it does.
    pub(crate) early: Option<Early>,
}

/// Draws a number that is nearly normal with mean 0 and variance 1: the sum of twelve uniform numbers, less 6.
pub(crate) fn normal(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// Model in training.
pub struct Fit {
    model: Model,
    design: Design,
    steps: Box<dyn Steps>,
    names: Vec<String>,
    l2: f64,
    round: u16,
    schedule: Vec<Task>,
    rng: StdRng,
    /// Results of the rounds so far.
    pub history: Vec<Round>,
    /// Reason why the session ended early, if it did.
    pub early: Option<Early>,
    /// Quality of the model, once it is validated.
    pub metrics: Option<Metrics>,
}

impl Fit {
    /// Creates a session that has not begun. `names` holds the names of the columns.
    pub fn new(
        training: &Training,
        local: &LocalQuery,
        names: Vec<String>,
        settings: Settings,
    ) -> Self {
        let design = Design::of(training, local);
        // A session that is resumed takes the same sums again, and must draw the same numbers.
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let algorithm = training.family.algorithm();
        let state = State {
            weights: algorithm.first_weights(&design, &mut rng),
            ..State::empty()
        };
        Self {
            schedule: training.schedule(),
            steps: algorithm.steps(&design, &settings),
            model: Model {
                training: training.clone(),
                local: local.clone(),
                state,
            },
            design,
            names,
            l2: settings.l2,
            round: 0,
            rng,
            history: Vec::new(),
            early: None,
            metrics: None,
        }
    }

    /// Returns the number of the next round and the parameters for it; `None` once the session is over.
    pub fn next(&self) -> Option<(u16, State)> {
        self.schedule.get(usize::from(self.round))?;
        Some((self.round, self.model.state.clone()))
    }

    /// Returns the model so far.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns whether an earlier round gave a model, so that the session may end here.
    pub fn is_usable(&self) -> bool {
        self.history.iter().any(|round| round.task == Task::Update)
    }

    /// Returns the coefficients of a linear model with one score, the constant's first; `None` for other models.
    pub fn coefficients(&self) -> Option<Vec<Coefficient>> {
        let Model {
            training,
            local,
            state,
        } = &self.model;
        let label = training.label_range(local);
        self.steps.coefficients(&self.design, state, label)
    }

    /// Takes the outputs that a round released, steps, and returns the round's result.
    ///
    /// `noise` has an entry for each committee whose sums were added up, and is empty for exact sums. If too few homes
    /// took part, the session ends with the model so far, and `None` is returned.
    ///
    /// # Errors
    /// [`FitError`] if nothing can be learnt from the outputs, and there is no model yet.
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
        // With noise the number of homes may be 0 or below, and sums are divided by it.
        let sums = sums.filter(|sums| sums.homes >= 1.0);
        let Some((means, sums)) = sums.and_then(|sums| Some((sums.means()?, sums))) else {
            if !self.is_usable() {
                return Err(FitError::TooFew);
            }
            // Too few homes to validate do not change the model.
            self.early = self
                .early
                .or((task != Task::Validate).then_some(Early::TooFew));
            self.round = self.schedule.len() as u16;
            return Ok(None);
        };
        let sums = sums.with_noise(noise);
        let deviations = sums.deviations();
        let mut next = self.round + 1;
        let released = Released {
            task,
            sums: &sums,
            means: &means,
            deviations: &deviations,
            design: &self.design,
            names: &self.names,
            is_last: self.schedule.get(usize::from(next)) != Some(&Task::Update),
            has_model: self.is_usable(),
        };
        let state = &mut self.model.state;
        let mut step = Step::default();
        match task {
            Task::Scale => {
                let scales = Scales::of(&released, &self.model.training, self.l2)?;
                (state.means, state.spreads) = (scales.means, scales.spreads);
                self.steps.scaled(state);
            }
            Task::Candidates | Task::Update => {
                step = self.steps.take(&released, state, &mut self.rng)?;
                self.early = step.early;
            }
            Task::Validate => {
                let metrics = Metrics::released(&self.model, &released, &mut self.rng);
                self.metrics = Some(metrics);
            }
        }
        if self.early.is_some() && task != Task::Validate {
            // Of the rounds left, only the validating one is of use.
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
            loss: step.loss,
        });
        self.round = next;
        Ok(self.history.last())
    }
}
