//! Training of a model from homes' data. Each home gives one bounded vector per round (protocol.md §18).
//!
//! A session is one manifest with several rounds. In each round the querier sends parameters, every chosen home
//! computes one vector from its documents and these parameters ([`home`]), and the aggregators release the sum of the
//! vectors. From the sum the querier computes the next parameters ([`fit`]). The schedule of rounds follows from the
//! manifest, so that an owner knows beforehand what will be asked.
//!
//! `models/` has one file for each model, with everything that is the model's own. All other files serve every model.

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

/// Most rounds of updates in a session.
pub const MAX_ROUNDS: u16 = 1024;
/// Most buckets into which the words of a text are hashed.
pub const MAX_BUCKETS: u16 = 1 << 14;
/// Most classes of a label.
pub const MAX_CLASSES: u16 = 64;
/// Most columns of a design.
pub const MAX_COLUMNS: usize = 1 << 15;
/// Number of bins, for each of two classes, of the scores from which the area under the curve is computed.
pub const SCORE_BINS: usize = 64;

/// Part of a manifest that determines what homes compute in each round of a session.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Training {
    /// Features that the model learns from, as indices of the local query's measures.
    pub features: Vec<Feature>,
    /// Label that the model learns; `None` for clusters.
    pub label: Option<Label>,
    /// Model that is trained, with its own settings.
    pub family: Family,
    /// Bits of a coordinate, a multiple of 4.
    pub bits: u8,
    /// Longest update of a home, in the Euclidean norm. A home scales a longer update down.
    pub clip: f64,
    /// Thousandths of the homes that are held out to validate the model.
    pub held_out: u16,
    /// Rounds of updates. The rounds that prepare and validate come on top.
    pub updates: u16,
    /// True if classes and confusion are counts of homes, withheld below the cohort. A session has this if it has no
    /// noise.
    pub guarded: bool,
}

/// Input of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Feature {
    /// Bounded number, which becomes one column.
    Number(u16),
    /// Category whose measure numbers its values. Each value but the first becomes a column.
    Category(u16),
    /// Words of a text, hashed into buckets. Each bucket becomes a column.
    Words {
        /// Index of the text's measure.
        measure: u16,
        /// Number of buckets.
        buckets: u16,
    },
}

/// Value that a model learns to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Label {
    /// Index of the label's measure in the local query.
    pub measure: u16,
    /// Number of classes; 0 for a number.
    pub classes: u16,
}

/// Model that can be trained, as the manifest encodes it.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Family {
    // The order of the variants is part of the encoding: a new model comes after all others.
    /// Linear regression from second moments.
    Linear,
    /// Logistic regression, of two classes or more.
    Logistic {
        /// True if homes send second moments too, for Newton's steps.
        newton: bool,
    },
    /// Linear support vector machine with squared hinge loss.
    Svm,
    /// Naive Bayes.
    Bayes,
    /// Clusters around means.
    KMeans {
        /// Number of clusters.
        clusters: u16,
        /// Number of random points among which the first means are chosen.
        candidates: u16,
    },
    /// Perceptron with hidden layers.
    Mlp {
        /// Width of each hidden layer.
        hidden: Vec<u16>,
        /// Passes over a home's documents in each round.
        epochs: u8,
        /// Length of the steps that a home takes on its own documents.
        rate: f64,
    },
    /// Mean of the label, whatever the features. The smallest model, for tests.
    #[cfg(test)]
    Mean,
}

/// Kind of label that a model learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// No label, as for clusters.
    None,
    /// Number. A label of two classes is learnt as a number too: the share of the second class.
    Number,
    /// Classes.
    Classes,
    /// Number or classes.
    Any,
}

impl Family {
    /// Returns the model's name on the command line and in model files.
    pub fn name(&self) -> &'static str {
        self.algorithm().name()
    }

    /// Returns the kind of label that the model learns.
    pub fn labels(&self) -> Labels {
        self.algorithm().labels()
    }

    /// Checks the label and the model's own settings.
    ///
    /// # Errors
    /// [`InvalidTraining::Bound`], whose text says what the model needs.
    pub fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        self.algorithm().check(label)
    }
}

/// Purpose of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Mean and spread of each column, and distribution of the label.
    Scale,
    /// Share of documents nearest to each candidate of k-means.
    Candidates,
    /// Update of the model.
    Update,
    /// Quality of the model at the homes that are held out.
    Validate,
}

/// Error for a session that no home should take part in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTraining {
    /// A feature or label names a measure that does not exist, or is of another kind.
    #[error("a feature or the label is no measured value of its kind")]
    Measure,
    /// A bound is exceeded.
    #[error("{0}")]
    Bound(&'static str),
    /// The manifest has another number of rounds than the schedule.
    #[error("the number of rounds is not that of the schedule")]
    Rounds,
    /// The local query has groups or sums of its own.
    #[error("a session's query has no groups and no sums of its own")]
    Sums,
}

impl Training {
    /// Returns the bits of a coordinate in rounds of this task.
    pub fn bits_of(&self, task: Task) -> u8 {
        match task {
            // Scales decide whether a column varies at all, so rounding must be small beside a spread.
            Task::Scale => self.bits.max(16),
            _ => self.bits,
        }
    }

    /// Returns the purpose of each round, in order.
    pub fn schedule(&self) -> Vec<Task> {
        let mut tasks = self.family.algorithm().rounds(self.updates);
        if self.held_out > 0 {
            tasks.push(Task::Validate);
        }
        tasks
    }

    /// Returns the kinds of rounds, each once, in the order of the schedule.
    pub fn kinds(&self) -> Vec<Task> {
        let mut kinds = self.schedule();
        // Rounds of one kind follow one another, so this leaves each kind once.
        kinds.dedup();
        kinds
    }

    /// Returns the number of rounds over which a home's privacy loss is spread, for a home that takes part in `task`
    /// (protocol.md §18).
    pub fn share(&self, task: Task) -> u16 {
        let all = self.schedule().len() as u16;
        match task {
            // A held-out home takes part in no other round, so this round may cost the whole loss.
            Task::Validate => 1,
            _ => all - u16::from(self.held_out > 0),
        }
    }

    /// Returns the longest update if the querier chose none: a length that few updates exceed.
    pub fn default_clip(&self, local: &LocalQuery) -> f64 {
        let design = Design::of(self, local);
        self.family.algorithm().default_clip(&design)
    }

    /// Makes the circuit of each kind of round, in the order of `kinds`.
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

    /// Returns the purpose of a round; `None` beyond the last round.
    pub fn task(&self, round: u16) -> Option<Task> {
        self.schedule().get(usize::from(round)).copied()
    }
}
