//! Training: a model from homes' data, and of no home more than one bounded vector a round
//! (protocol.md §18).
//!
//! A session is one manifest with several rounds. In each the querier sends parameters, every chosen home
//! computes one vector from its documents and them ([`home`]), and the aggregators release the sum. What the
//! querier makes of it is [`fit`]. The schedule of rounds is part of the manifest, so that an owner knows
//! beforehand what will be asked.

mod data;
pub mod fit;
pub mod home;
mod layout;
mod model;
mod perceptron;
mod predict;
mod scores;

use borsh::{BorshDeserialize, BorshSerialize};

pub use data::{Cell, Design, Document};
pub use layout::{Layout, Sums};
pub use model::{Kind, METRICS, Metrics, Model, Prediction, hash_words};

use dispers_circuit::{Circuit, CircuitError};
use dispers_query::local::LocalQuery;

/// Most rounds of a session.
pub const MAX_ROUNDS: u16 = 1024;
/// Most buckets that words are hashed into.
pub const MAX_BUCKETS: u16 = 1 << 14;
/// Most classes of a label.
pub const MAX_CLASSES: u16 = 64;
/// Most columns of the design.
pub const MAX_COLUMNS: usize = 1 << 15;
/// Bins of the scores from which the area under the curve is computed.
pub const SCORE_BINS: usize = 64;

/// What every home of a session computes in each round.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Training {
    /// What is learnt from. The numbers count the local query's measures.
    pub features: Vec<Feature>,
    /// What is learnt; none where homes are grouped by likeness.
    pub label: Option<Label>,
    /// What is trained.
    pub family: Family,
    /// Bits of a coordinate, a multiple of 4.
    pub bits: u8,
    /// Longest update of a home, in the Euclidean norm; a longer one is scaled down.
    pub clip: f64,
    /// Thousandths of the homes that are held out to validate with.
    pub held_out: u16,
    /// Rounds of updates, beside those that prepare and validate.
    pub updates: u16,
    /// True if classes and confusion are counts that are withheld below the cohort, as in a session without noise.
    pub guarded: bool,
}

/// Something that is learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Feature {
    /// A bounded number: one column.
    Number(u16),
    /// A measure that numbers the values of a category: a column for each but the first.
    Category(u16),
    /// The words of a text, hashed into so many buckets: a column each.
    Words {
        /// The measure.
        measure: u16,
        /// Number of buckets.
        buckets: u16,
    },
}

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Label {
    /// The local query's measure.
    pub measure: u16,
    /// Number of classes; 0 for a number.
    pub classes: u16,
}

/// The models that can be trained.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Family {
    /// Linear regression from second moments.
    Linear,
    /// Logistic regression, of two classes or more.
    Logistic {
        /// Whether homes send second moments too, for Newton's steps.
        newton: bool,
    },
    /// Linear support vector machine with squared hinge loss.
    Svm,
    /// Naive Bayes.
    Bayes,
    /// Clusters around means.
    KMeans {
        /// How many.
        clusters: u16,
        /// Points among which the first means are chosen.
        candidates: u16,
    },
    /// A perceptron with hidden layers.
    Mlp {
        /// Width of each hidden layer.
        hidden: Vec<u16>,
        /// Passes over a home's documents in each round.
        epochs: u8,
        /// Length of a home's own steps.
        rate: f64,
    },
}

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Mean and spread of each column, and how the label is spread.
    Scale,
    /// How many are nearest to each of the first points.
    Candidates,
    /// An update of the model.
    Update,
    /// How good it is, at the homes that are held out.
    Validate,
}

/// A session that no home should take part in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTraining {
    /// A measure that is none, or not of that kind.
    #[error("a feature or the label is no measured value of its kind")]
    Measure,
    /// A bound is exceeded.
    #[error("{0}")]
    Bound(&'static str),
    /// A number of rounds that the schedule does not have.
    #[error("the number of rounds is not that of the schedule")]
    Rounds,
    /// A query that sums something by itself.
    #[error("a session's query has no groups and no sums of its own")]
    Sums,
}

impl Training {
    /// Bits of a coordinate of a round. Scales take at least 16: whether a column varies at all shows in them.
    pub fn bits_of(&self, task: Task) -> u8 {
        match task {
            Task::Scale => self.bits.max(16),
            _ => self.bits,
        }
    }

    /// What each round is for.
    pub fn schedule(&self) -> Vec<Task> {
        let scaled = !matches!(self.family, Family::Linear | Family::Bayes);
        let updates = match self.family {
            Family::Linear | Family::Bayes => 1,
            _ => usize::from(self.updates),
        };
        let mut tasks = Vec::from_iter(scaled.then_some(Task::Scale));
        if matches!(self.family, Family::KMeans { .. }) {
            tasks.push(Task::Candidates);
        }
        tasks.extend(std::iter::repeat_n(Task::Update, updates));
        if self.held_out > 0 {
            tasks.push(Task::Validate);
        }
        tasks
    }

    /// The kinds of rounds, each once, in the order in which they first come.
    pub fn kinds(&self) -> Vec<Task> {
        let mut kinds = self.schedule();
        kinds.dedup();
        kinds
    }

    /// Over how many rounds of this kind and the others a home's privacy loss is spread. Homes that validate
    /// take part in no other round, and the others not in that one: each round has its part of all, but
    /// the validation has all.
    pub fn share(&self, task: Task) -> u16 {
        let all = self.schedule().len() as u16;
        match task {
            Task::Validate => 1,
            _ => all - u16::from(self.held_out > 0),
        }
    }

    /// The circuits of the kinds of rounds.
    ///
    /// # Errors
    /// [`CircuitError`] for a vector that is too long.
    pub fn circuits(&self, local: &LocalQuery) -> Result<Vec<Circuit>, CircuitError> {
        let design = Design::of(self, local);
        let circuit = |task| Circuit::vector(&Layout::of(self, &design, task).shape());
        self.kinds().into_iter().map(circuit).collect()
    }

    /// What a round is for; `None` beyond the last.
    pub fn task(&self, round: u16) -> Option<Task> {
        self.schedule().get(usize::from(round)).copied()
    }

    /// Checks a session that a stranger wrote, beside its query.
    ///
    /// # Errors
    /// [`InvalidTraining`], the first rule that is broken.
    pub fn validate(&self, local: &LocalQuery, rounds: u16) -> Result<(), InvalidTraining> {
        let bound = |holds: bool, what| match holds {
            true => Ok(()),
            false => Err(InvalidTraining::Bound(what)),
        };
        if !local.keys.is_empty() || !local.moments.is_empty() {
            return Err(InvalidTraining::Sums);
        }
        bound(
            !self.features.is_empty() && self.features.len() <= local.measures.len(),
            "a model has at least one feature, and each once",
        )?;
        bound(
            self.bits > 0 && self.bits <= 24 && self.bits.is_multiple_of(4),
            "a coordinate has 4, 8, 12, 16, 20 or 24 bits",
        )?;
        bound(
            self.clip.is_finite() && self.clip > 0.0,
            "the longest update is a number above 0",
        )?;
        bound(
            self.held_out <= 900,
            "at most 900 thousandths of the homes are held out",
        )?;
        bound(
            (1..=MAX_ROUNDS).contains(&self.updates),
            "a session has 1 to 1024 rounds of updates",
        )?;
        let measure = |number: u16| {
            local
                .measures
                .get(usize::from(number))
                .ok_or(InvalidTraining::Measure)
        };
        for feature in &self.features {
            match *feature {
                Feature::Number(number) => {
                    let grid = measure(number)?.quantiser;
                    grid.ok_or(InvalidTraining::Measure)?;
                }
                Feature::Category(number) => {
                    let grid = measure(number)?.quantiser;
                    let grid = grid.filter(|grid| grid.lo() == 0.0 && grid.width() == 1.0);
                    let levels = grid.ok_or(InvalidTraining::Measure)?.max();
                    bound(levels < 4096, "a category has at most 4096 values")?;
                }
                Feature::Words {
                    measure: of,
                    buckets,
                } => {
                    if measure(of)?.quantiser.is_some() {
                        return Err(InvalidTraining::Measure);
                    }
                    bound(
                        (2..=MAX_BUCKETS).contains(&buckets),
                        "words are hashed into 2 to 16384 buckets",
                    )?;
                }
            }
        }
        if let Some(label) = self.label {
            let grid = measure(label.measure)?.quantiser;
            let grid = grid.ok_or(InvalidTraining::Measure)?;
            if label.classes > 0 {
                let fits = grid.lo() == 0.0
                    && grid.width() == 1.0
                    && grid.max() + 1 == u64::from(label.classes);
                fits.then_some(()).ok_or(InvalidTraining::Measure)?;
            }
            bound(
                label.classes != 1 && label.classes <= MAX_CLASSES,
                "a label has 2 to 64 classes",
            )?;
        }
        let classes = self.label.map(|label| label.classes);
        match &self.family {
            Family::Linear => bound(classes == Some(0), "linear regression needs a number")?,
            Family::Logistic { newton: true } => bound(
                classes == Some(2),
                "Newton's steps are for two classes: leave the solver out for more",
            )?,
            Family::Logistic { .. } | Family::Bayes => bound(
                classes.is_some_and(|classes| classes > 1),
                "this model needs a label with classes",
            )?,
            Family::Svm => bound(
                classes == Some(2),
                "this model needs a label with two classes",
            )?,
            Family::Mlp {
                hidden,
                epochs,
                rate,
            } => {
                bound(classes.is_some(), "this model needs a label")?;
                bound(
                    (1..=2).contains(&hidden.len())
                        && hidden.iter().all(|width| (1..=1024).contains(width)),
                    "a perceptron has one or two hidden layers of at most 1024",
                )?;
                bound(
                    (1..=20).contains(epochs) && rate.is_finite() && *rate > 0.0,
                    "a home passes 1 to 20 times over its documents, in steps above 0",
                )?;
            }
            Family::KMeans {
                clusters,
                candidates,
            } => {
                bound(classes.is_none(), "clusters have no label")?;
                bound(
                    (2..=128).contains(clusters) && candidates >= clusters && *candidates <= 512,
                    "there are 2 to 128 clusters, chosen among at most 512 points",
                )?;
            }
        }
        let design = Design::of(self, local);
        bound(
            design.columns() <= MAX_COLUMNS,
            "a model has at most 32768 columns",
        )?;
        if let Family::KMeans { candidates, .. } = self.family {
            let numbers = usize::from(candidates) * design.columns();
            bound(
                numbers <= dispers_circuit::MAX_COORDINATES,
                "the points among which clusters are chosen have at most 65536 numbers: take fewer features or \
                 clusters",
            )?;
        }
        if self.schedule().len() != usize::from(rounds) {
            return Err(InvalidTraining::Rounds);
        }
        for task in self.kinds() {
            bound(
                Layout::coordinates(self, &design, task) <= dispers_circuit::MAX_COORDINATES,
                "a home's vector has at most 65536 coordinates: take fewer features or a smaller model",
            )?;
        }
        Ok(())
    }
}
