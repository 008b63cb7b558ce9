//! Training sessions as a program sees them: the question, its progress, and the model.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::id::QueryId;
use dispers_core::conduct::{Funnel, Status};
use dispers_privacy::Privacy;
use dispers_sql::plan::TrainingRequest;
use dispers_training::fit::{Fit, Round, Settings};

use crate::{Error, Pending, PrivacyLoss};

/// Model to train, of which homes, with which privacy loss.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub struct TrainingQuestion {
    /// Features, label and model.
    pub request: TrainingRequest,
    /// Settings of the steps from the sums to a model.
    pub settings: Settings,
    /// Purpose, one of those that the directory registers for the querier.
    pub purpose: String,
    /// Fewest people behind a released number. `None` stands for the network's floor.
    pub min_cohort: Option<u32>,
    /// Largest privacy loss of a home in the whole session. `None` asks for exact sums.
    pub loss: Option<PrivacyLoss>,
    /// Time in which asked owners can decide before homes answer, in milliseconds.
    pub owners_ms: u64,
}

impl TrainingQuestion {
    /// Creates a question. `loss` bounds what the whole session may tell about any one home; `None` asks for exact
    /// sums. The minimum cohort is the network's floor, and owners who decide each time get no extra time.
    pub fn new(
        request: TrainingRequest,
        settings: Settings,
        purpose: impl Into<String>,
        loss: Option<PrivacyLoss>,
    ) -> Self {
        Self {
            request,
            settings,
            purpose: purpose.into(),
            min_cohort: None,
            loss,
            owners_ms: 0,
        }
    }
}

/// Progress of a training session.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainingProgress {
    /// The querier obtains pseudonyms from concept indexors and keys from aggregators.
    Preparing,
    /// The session is on the disk, so that [`Querier::resume`](crate::Querier::resume) can go on with it. Comes once,
    /// before the session is submitted.
    Kept(QueryId),
    /// The state of the session could not be written. The session goes on, and cannot be resumed from here.
    Unkept(QueryId, Error),
    /// The network works on a round, with this status.
    Running(Status),
    /// A round ended after this time.
    Round(Round, Duration),
}

/// Training session on its way to its model.
pub type InTraining = Pending<TrainingProgress, Trained>;

/// Result of a session.
#[non_exhaustive]
pub struct Trained {
    /// Id of the session's query.
    pub query: QueryId,
    /// Question of the session.
    pub question: TrainingQuestion,
    /// Model, its history and its quality.
    pub fit: Fit,
    /// Names of the label's classes; empty for a label that is a number.
    pub classes: Vec<String>,
    /// Duration of each round.
    pub durations: Vec<Duration>,
    /// Number of homes at each step of the last round.
    pub homes: Funnel,
    /// Noise of the session, with its privacy loss. `None` for exact sums.
    pub privacy: Option<Privacy>,
    /// Number of rounds that the manifest allows.
    pub rounds: u16,
    /// Reason why the last rounds failed, if they did. The model is then that of the rounds before.
    pub interrupted: Option<Error>,
}
