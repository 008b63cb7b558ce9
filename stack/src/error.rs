//! Errors of a stack, and whose fault each is.

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

/// Reason why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that do not decode as a message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A manifest that is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A query that is not shown to be in the log, or heads that are not of one log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A proof that two heads are of one log was not available.
    #[error("nobody shows that the log is the one that was seen before: ask later")]
    NoProof,
    /// An ask that is not valid.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The work, or later work of its batch, was answered before.
    #[error("this batch and attempt was answered before: start another attempt")]
    Repeated,
    /// The bound on recorded batches of running queries is reached.
    #[error("this stack answered too many batches of queries that still run: ask later")]
    Busy,
    /// The time for answers has passed.
    #[error("the time for answers to this query is over")]
    TooLate,
    /// The source of documents failed.
    #[error("the documents cannot be read: {0}")]
    Source(String),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The local query could not be evaluated.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Rules that are not valid.
    #[error(transparent)]
    Rules(#[from] RuleFileError),
    /// An owner's word that changes nothing.
    #[error(transparent)]
    Word(#[from] WordError),
    /// A concept could not be blinded, or the indexors' evaluations could not be combined into its pseudonym.
    #[error("a concept could not be turned into its pseudonym: {0}")]
    Oprf(#[from] OprfError),
    /// Another node could not be reached, or did not do its part.
    #[error("{what} failed: {reason}")]
    Remote {
        /// Step that the node was asked for.
        what: &'static str,
        /// Reason that the node gave.
        reason: String,
    },
    /// Another process withdrew subscriptions while this one sent them.
    #[error("another command withdrew subscriptions that were being sent: repeat this one")]
    Interrupted,
    /// A node, pool or key epoch that the directory does not list.
    #[error("the directory lists no {0}")]
    NotListed(&'static str),
    /// The concept is not in the catalogue.
    #[error("the catalogue has no concept {0:?}: see `dispers catalog`")]
    UnknownConcept(String),
    /// A home without documents at this stack.
    #[error("this stack holds no home {0:?}: import its documents first")]
    UnknownHome(String),
}

impl From<RulesError> for Error {
    fn from(error: RulesError) -> Self {
        Self::Rules(error.into())
    }
}

impl Error {
    /// Returns a word for logs. It names neither a home nor a query.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Engine(_) => "engine",
            Self::Decode(_) => "decode",
            Self::NotListed(_) => "directory",
            _ => "other",
        }
    }

    /// Returns whose fault the error is.
    pub fn fault(&self) -> Fault {
        match self {
            // The content of a document never makes the engine fail, so that the query is at fault.
            Self::Decode(_) | Self::Manifest(_) | Self::Ask(_) | Self::Engine(_) => Fault::Caller,
            Self::TooLate | Self::UnknownConcept(_) | Self::UnknownHome(_) => Fault::Caller,
            Self::Rules(_) | Self::Log(_) => Fault::Caller,
            Self::Word(_) => Fault::Conflict,
            Self::Repeated => Fault::Conflict,
            Self::Busy | Self::Interrupted | Self::NoProof => Fault::TryLater,
            Self::Database(_) => Fault::Us,
            Self::Oprf(_) | Self::Remote { .. } => Fault::Peer,
            Self::NotListed(_) | Self::Source(_) => Fault::Operator,
        }
    }
}
