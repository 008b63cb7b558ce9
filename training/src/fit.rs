//! The querier's side: from the sums of a round to the parameters of the next.

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

/// What a round released, and where it stands in the session.
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
    /// True if a round before gave a model.
    pub(crate) has_model: bool,
}

impl Released<'_> {
    /// Reads the first section as a mean update with the loss behind it.
    ///
    /// # Errors
    /// [`FitError::TooFew`] for a section without coordinates.
    pub(crate) fn update(&self) -> Result<Update<'_>, FitError> {
        let (loss, sums) = self.means.split_last().ok_or(FitError::TooFew)?;
        Ok(Update {
            loss: *loss,
            loss_noise: self.deviations.last().copied().unwrap_or(0.0),
            sums,
            noise: self.deviations.first().copied().unwrap_or(0.0),
        })
    }

    /// Returns the name of a column.
    pub(crate) fn name(&self, column: usize) -> String {
        let name = self.names.get(column).cloned();
        name.unwrap_or_else(|| format!("column {column}"))
    }
}

/// What a round of candidates or updates led to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Step {
    /// Mean loss over homes before the step, where the round tells it.
    pub(crate) loss: Option<f64>,
    /// Why the session ends with this round, if it does.
    pub(crate) early: Option<Early>,
}

/// Draws a number from a normal distribution, nearly: the sum of twelve uniform ones.
pub(crate) fn normal(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// A model while it is trained.
pub struct Fit {
    model: Model,
    design: Design,
    steps: Box<dyn Steps>,
    names: Vec<String>,
    l2: f64,
    round: u16,
    schedule: Vec<Task>,
    rng: StdRng,
    /// What each round gave.
    pub history: Vec<Round>,
    /// Why it ended early.
    pub early: Option<Early>,
    /// How good it is, once validated.
    pub metrics: Option<Metrics>,
}

impl Fit {
    /// Creates a session that has not begun. `names` are those of the columns.
    pub fn new(
        training: &Training,
        local: &LocalQuery,
        names: Vec<String>,
        settings: Settings,
    ) -> Self {
        let design = Design::of(training, local);
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

    /// Returns the next round and what homes need for it; `None` once the model is trained.
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

    /// Returns whether there is a model, should no other round come.
    pub fn is_usable(&self) -> bool {
        self.history.iter().any(|round| round.task == Task::Update)
    }

    /// Returns the coefficients of a linear model of one score, the constant's first; `None` of others.
    pub fn coefficients(&self) -> Option<Vec<Coefficient>> {
        let Model {
            training,
            local,
            state,
        } = &self.model;
        let label = training.label_range(local);
        self.steps.coefficients(&self.design, state, label)
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
            loss: step.loss,
        });
        self.round = next;
        Ok(self.history.last())
    }
}
