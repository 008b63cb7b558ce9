//! What a stack refuses, and whose fault it is.

use dispers_base::encoding::DecodeError;
use dispers_core::{
    ask::AskError,
    consent::{RulesError, WordError},
    log::LogError,
    manifest::ManifestError,
};
use dispers_crypto::oprf::OprfError;
use dispers_node::{DatabaseError, Fault};

use crate::{engine::EngineError, rule_file::RuleFileError};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A manifest that is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A query that is not in the log, or a log that is not one.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Nobody shows that two heads are of one log.
    #[error("nobody shows that the log is the one that was seen before: ask later")]
    NoProof,
    /// An ask that is refused.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The same work was answered before.
    #[error("this batch and attempt was answered before: start another attempt")]
    Repeated,
    /// Too many asks are remembered.
    #[error("this stack answered too many batches of queries that still run: ask later")]
    Busy,
    /// The time for answers is over.
    #[error("the time for answers to this query is over")]
    TooLate,
    /// The source of documents failed.
    #[error("the documents cannot be read: {0}")]
    Source(String),
    /// The database failed.
    #[error("the stack's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file of the database cannot be used.
    #[error(transparent)]
    File(#[from] DatabaseError),
    /// The local query could not be evaluated.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Rules that cannot be.
    #[error(transparent)]
    Rules(#[from] RuleFileError),
    /// A word of an owner that changes nothing.
    #[error(transparent)]
    Word(#[from] WordError),
    /// The concept indexors did not give a pseudonym.
    #[error("a concept could not be turned into its pseudonym: {0}")]
    Oprf(#[from] OprfError),
    /// A node did not do its part.
    #[error("{what} failed: {reason}")]
    Remote {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        reason: String,
    },
    /// Another process withdrew what was on its way.
    #[error("another command withdrew subscriptions that were being sent: repeat this one")]
    Interrupted,
    /// Not listed.
    #[error("the directory lists no {0}")]
    NotListed(&'static str),
    /// The concept is not in the catalogue.
    #[error("the catalogue has no concept {0:?}: see `dispers catalog`")]
    UnknownConcept(String),
    /// The home holds nothing.
    #[error("this stack holds no home {0:?}: import its documents first")]
    UnknownHome(String),
}

impl From<RulesError> for Error {
    fn from(error: RulesError) -> Self {
        Self::Rules(error.into())
    }
}

impl Error {
    /// A word for logs that names nobody.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) | Self::File(_) => "database",
            Self::Engine(_) => "engine",
            Self::Decode(_) => "decode",
            Self::NotListed(_) => "directory",
            _ => "other",
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Decode(_) | Self::Manifest(_) | Self::Ask(_) | Self::Engine(_) => Fault::Caller,
            Self::TooLate | Self::UnknownConcept(_) | Self::UnknownHome(_) => Fault::Caller,
            Self::Rules(_) | Self::Log(_) => Fault::Caller,
            Self::Word(_) => Fault::Conflict,
            Self::Repeated => Fault::Conflict,
            Self::Busy | Self::Interrupted | Self::NoProof => Fault::TryLater,
            Self::Database(_) | Self::File(_) => Fault::Us,
            Self::Oprf(_) | Self::Remote { .. } => Fault::Peer,
            Self::NotListed(_) | Self::Source(_) => Fault::Operator,
        }
    }
}
