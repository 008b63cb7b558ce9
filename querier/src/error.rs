//! Reasons why a question has no answer, and what to do about each.

use std::{io, path::PathBuf};

use dispers_base::encoding::DecodeError;
use dispers_core::{
    conduct::{Failure, Status, StepError},
    manifest::ManifestError,
    release::ReleaseError,
};
use dispers_crypto::oprf::OprfError;
use dispers_node::{ConfigError, keyfile::KeyFileError};
use dispers_sql::{decode::WrongOutputs, statement::SqlError};
use dispers_training::fit::FitError;

/// Reason why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the configuration is missing, is wrong, or does not fit the others.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The question states neither a privacy loss nor that its answer is exact.
    #[error(
        "how much may the answer tell about any one home? Set an epsilon such as 1, or ask for an exact answer, which the network and the homes may refuse"
    )]
    NoBound,
    /// No question of this id waits.
    #[error("no question {id:?} waits in {}: give the id of one that was asked from there", folder.display())]
    NoQuestion {
        /// Id that was looked for.
        id: String,
        /// Folder of the waiting questions.
        folder: PathBuf,
    },
    /// No training session of this id is kept.
    #[error("no session {id:?} is kept in {}: give the id of one that was begun from there", folder.display())]
    NoSession {
        /// Id that was looked for.
        id: String,
        /// Folder of the kept sessions.
        folder: PathBuf,
    },
    /// The querier has no folder in which questions wait.
    #[error(
        "this querier keeps no questions: open it from a configuration file, or give it a folder"
    )]
    NoFolder,
    /// A kept question or session cannot be read.
    #[error(transparent)]
    Unreadable(KeyFileError),
    /// The file of a kept question or session does not have its form.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Description of the damage.
        reason: String,
    },
    /// A question cannot be written, so it was not submitted.
    #[error(transparent)]
    Unwritable(KeyFileError),
    /// A file or folder cannot be made, written or removed.
    #[error("cannot {doing} {}: {reason}", path.display())]
    File {
        /// Verb that says what failed.
        doing: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Reason of the operating system.
        reason: io::Error,
    },
    /// The query has not ended yet. The status says where it stands.
    #[error("the query is not done yet: fetch its answer later, or follow it")]
    Unfinished(Box<Status>),
    /// The SQL cannot be asked. It was not sent to any node.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The manifest is not valid, so that other nodes would refuse it. While a question is prepared, the error comes
    /// before any home is asked.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A concept could not be blinded, or the indexors' evaluations could not be combined into its pseudonym.
    #[error("a concept could not be turned into its pseudonym: {0}")]
    Oprf(#[from] OprfError),
    /// Fewer concept indexors than needed gave a valid evaluation.
    #[error("{needed} concept indexors are needed and {} gave no valid answer: {}; mend them and ask again", missing.len(), missing.join(", "))]
    TooFewIndexors {
        /// Number of indexors that are needed.
        needed: usize,
        /// Indexors that gave no valid evaluation, each with the reason.
        missing: Vec<String>,
    },
    /// Fewer aggregators of a committee than needed made a valid offer.
    #[error("{needed} data aggregators are needed and {} did not offer a key: {}; start them and ask again", missing.len(), missing.join(", "))]
    TooFewAggregators {
        /// Number of offers that a committee needs.
        needed: usize,
        /// Names of the committee's aggregators that made no valid offer.
        missing: Vec<String>,
    },
    /// No conductor could be reached.
    #[error("no conductor can be reached: {0}")]
    Unreachable(String),
    /// The Conductor, or a node behind it, has no free capacity.
    #[error("the network is busy: {0}")]
    Busy(String),
    /// The Conductor refused the request.
    #[error("the conductor refused: {0}")]
    Refused(String),
    /// No Conductor has the query.
    #[error("the conductor has no such query: it has expired, or it never arrived; ask again")]
    NoQuery,
    /// The query had ended before it was cancelled.
    #[error("the query had ended already: its answer is released")]
    Released,
    /// Another process goes on with the session.
    #[error("another process goes on with this session: wait until it has ended")]
    InUse,
    /// The query ended without a release.
    #[error("the query failed: {0}")]
    Failed(Failure),
    /// A restored question means something else under the present catalogue, or does not fit its own manifest.
    #[error(
        "the directory's catalogue has changed since the question was asked, so its answer can no longer be read: ask again"
    )]
    Changed,
    /// The query would live longer than seven days.
    #[error(
        "a query lives at most seven days: give owners less time, or lower lifetime-ms in the querier's configuration"
    )]
    TooLong,
    /// A training question without δ, which Gaussian noise needs.
    #[error("training takes Gaussian noise: give --delta, such as 1e-6, beside --epsilon")]
    NoDelta,
    /// The sums of a round do not allow a step of the training.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The Conductor is at a round that this process did not request, so another process goes on with the session, or
    /// the session's file is older than the session.
    #[error(
        "the conductor is at another round of the session: another process runs it, or its file is an older copy"
    )]
    OtherRound,
    /// The totals give no result.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The number of released outputs is not the plan's.
    #[error(transparent)]
    Outputs(#[from] WrongOutputs),
    /// Received bytes that do not decode as the expected message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The directory lists no node, pool or committee of a kind that the query needs.
    #[error("the directory lists no {0}")]
    NotListed(&'static str),
}

impl Error {
    /// Returns whether the same question may succeed later without a change.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TooFewIndexors { .. }
            | Self::TooFewAggregators { .. }
            | Self::Busy(_)
            | Self::Unreachable(_)
            | Self::InUse
            | Self::Unfinished(_) => true,
            // A finder repeats its refusal for the same set of homes (protocol.md §6). Another try only helps where the
            // finder was not reached.
            Self::Failed(Failure::Find(error)) => matches!(error, StepError::Unreachable),
            Self::Failed(Failure::TooManyHomes(_) | Failure::Cancelled) => false,
            Self::Failed(_) => true,
            _ => false,
        }
    }

    /// Returns whether the question, an id or a file is at fault, so that the caller has to change it.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::Sql(_)
                | Self::Manifest(_)
                | Self::TooLong
                | Self::NoDelta
                | Self::Fit(FitError::Settings(_))
                | Self::NoBound
                | Self::Config(_)
                | Self::NoQuestion { .. }
                | Self::NoSession { .. }
                | Self::NoFolder
                | Self::Unreadable(_)
                | Self::Damaged { .. }
        )
    }
}
