//! Training: a model from homes' data, and of no home more than one bounded vector a round
//! (protocol.md §18).
//!
//! A session is one manifest with several rounds. In each the querier sends parameters, every chosen home
//! computes one vector from its documents and them ([`home`]), and the aggregators release the sum. What the
//! querier makes of it is [`fit`]. The schedule of rounds is part of the manifest, so that an owner knows
//! beforehand what will be asked.
//!
//! `models/` has one file for each model, with all that is the model's own; every other file is the same for all.

mod check;
mod clip;
mod coefficients;
mod data;
mod descent;
pub mod fit;
mod gradient;
pub mod graph;
pub mod home;
mod layout;
mod metrics;
mod model;
mod models;
mod perceptron;
mod scaling;
mod scores;
mod solve;
mod sums;
mod validation;

use borsh::{BorshDeserialize, BorshSerialize};

pub use data::{Cell, Design, Document, hash_words};
pub use layout::Layout;
pub use metrics::{METRICS, Metrics};
pub use model::{Kind, Model, Prediction};
pub use sums::Sums;

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
    /// The mean of the label, whatever the features: the smallest model, for tests.
    #[cfg(test)]
    Mean,
}

/// Labels that a model learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// No label: homes are grouped by likeness.
    None,
    /// A number. The share of a label of two classes is a number too.
    Number,
    /// Classes.
    Classes,
    /// A number or classes.
    Any,
}

impl Family {
    /// Returns the model's name on the command line and in model files.
    pub fn name(&self) -> &'static str {
        self.algorithm().name()
    }

    /// Returns what kind of label the model learns.
    pub fn labels(&self) -> Labels {
        self.algorithm().labels()
    }

    /// Checks the label and the model's own settings.
    ///
    /// # Errors
    /// [`InvalidTraining::Bound`] with what the model needs.
    pub fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        self.algorithm().check(label)
    }
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
    /// Returns the bits of a coordinate of a round. Scales take at least 16: whether a column varies at all shows in
    /// them.
    pub fn bits_of(&self, task: Task) -> u8 {
        match task {
            Task::Scale => self.bits.max(16),
            _ => self.bits,
        }
    }

    /// Returns what each round is for.
    pub fn schedule(&self) -> Vec<Task> {
        let mut tasks = self.family.algorithm().rounds(self.updates);
        if self.held_out > 0 {
            tasks.push(Task::Validate);
        }
        tasks
    }

    /// Returns the kinds of rounds, each once, in the order in which they first come.
    pub fn kinds(&self) -> Vec<Task> {
        let mut kinds = self.schedule();
        kinds.dedup();
        kinds
    }

    /// Returns over how many rounds, of this kind and others, a home's privacy loss is spread. Homes that validate
    /// take part in no other round, and the others not in that one: each round has its part of all, but
    /// the validation has all.
    pub fn share(&self, task: Task) -> u16 {
        let all = self.schedule().len() as u16;
        match task {
            Task::Validate => 1,
            _ => all - u16::from(self.held_out > 0),
        }
    }

    /// Returns the longest update where the querier chose none: few updates are longer.
    pub fn default_clip(&self, local: &LocalQuery) -> f64 {
        let design = Design::of(self, local);
        self.family.algorithm().default_clip(&design)
    }

    /// Makes the circuits of the kinds of rounds.
    ///
    /// # Errors
    /// [`CircuitError`] for a vector that is too long.
    pub fn circuits(&self, local: &LocalQuery) -> Result<Vec<Circuit>, CircuitError> {
        let design = Design::of(self, local);
        let kinds = self.kinds().into_iter();
        kinds
            .map(|task| Circuit::vector(&Layout::of(self, &design, task).shape()))
            .collect()
    }

    /// Returns what a round is for; `None` beyond the last.
    pub fn task(&self, round: u16) -> Option<Task> {
        self.schedule().get(usize::from(round)).copied()
    }
}
