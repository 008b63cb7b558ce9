//! Why a question has no answer, and what to do about it.

use dispers_base::encoding::DecodeError;
use dispers_core::{
    conduct::{Failure, StepError},
    manifest::ManifestError,
    release::ReleaseError,
};
use dispers_crypto::oprf::OprfError;
use dispers_sql::{decode::WrongOutputs, statement::SqlError};
use dispers_training::fit::FitError;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The SQL is not one that can be asked. Nobody was asked.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The manifest would be refused. Nobody was asked.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The concept indexors did not give a pseudonym.
    #[error("a concept could not be turned into its pseudonym: {0}")]
    Oprf(#[from] OprfError),
    /// Too few concept indexors answered.
    #[error("{needed} concept indexors are needed and {} gave no valid answer: {}; mend them and ask again", missing.len(), missing.join(", "))]
    TooFewIndexors {
        /// How many are needed.
        needed: usize,
        /// Who did not answer, and why.
        missing: Vec<String>,
    },
    /// Too few aggregators offered a key.
    #[error("{needed} data aggregators are needed and {} did not offer a key: {}; start them and ask again", missing.len(), missing.join(", "))]
    TooFewAggregators {
        /// How many are needed.
        needed: usize,
        /// Who did not.
        missing: Vec<String>,
    },
    /// No conductor could be reached.
    #[error("no conductor can be reached: {0}")]
    Unreachable(String),
    /// The conductor, or what it relays to, has too much to do.
    #[error("the network is busy: {0}")]
    Busy(String),
    /// The conductor refused.
    #[error("the conductor refused: {0}")]
    Refused(String),
    /// The network could not answer.
    #[error("the query failed: {0}")]
    Failed(Failure),
    /// A question that was kept means something else now.
    #[error(
        "the directory's catalogue has changed since the question was asked, so its answer can no longer be read: ask again"
    )]
    Changed,
    /// It would live too long.
    #[error("a query lives at most seven days: give owners less time")]
    TooLong,
    /// A session without δ.
    #[error("training takes Gaussian noise: give --delta, such as 1e-6, beside --epsilon")]
    NoDelta,
    /// Nothing can be learnt from a round.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// Totals of another round.
    #[error("the conductor gave the totals of another round")]
    OtherRound,
    /// The totals give no result.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The released outputs are not those of the plan.
    #[error(transparent)]
    Outputs(#[from] WrongOutputs),
    /// Received bytes that are no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The directory does not list what the query needs.
    #[error("the directory lists no {0}")]
    NotListed(&'static str),
}

impl Error {
    /// Whether the same question may succeed later without a change.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TooFewIndexors { .. }
            | Self::TooFewAggregators { .. }
            | Self::Busy(_)
            | Self::Unreachable(_) => true,
            // What a target finder refuses it refuses again, unless it could not even be reached.
            Self::Failed(Failure::Find(error)) => matches!(error, StepError::Unreachable),
            Self::Failed(_) => true,
            _ => false,
        }
    }

    /// Whether the question itself is at fault.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::Sql(_) | Self::Manifest(_) | Self::TooLong | Self::NoDelta
        )
    }
}
