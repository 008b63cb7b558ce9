//! Errors of a Data Aggregator, each attributed to the caller, a peer, the operator or this node.

use dispers_base::{encoding::DecodeError, keys::BadSignature};
use dispers_core::{aggregation::AggregationError, manifest::ManifestError};
use dispers_node::{DatabaseError, Fault, NoRoom};
use dispers_privacy::ledger::BudgetSpent;

/// Errors of a request to a Data Aggregator, or of setting one up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not decode to a request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The manifest is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The step is refused.
    #[error(transparent)]
    Aggregation(#[from] AggregationError),
    /// The directory does not list the querier.
    #[error("the querier is not in the directory")]
    UnknownQuerier,
    /// The request for an offer or budget is outside its time.
    #[error("the offer request has expired, or asks for more than seven days")]
    OfferTime,
    /// The query is not open at this aggregator.
    #[error(
        "the query is not open at this aggregator: it was never begun here, or has expired; submit the query again"
    )]
    UnknownQuery,
    /// The querier has as many open queries as one querier may.
    #[error(
        "{0} queries of the querier are open at this aggregator, the limit of one querier: wait until one is released or \
         expires"
    )]
    OwnQueries(usize),
    /// As many of these are open as may be.
    #[error("too many {0} are open at this aggregator: try again later")]
    Full(&'static str),
    /// The privacy budget does not cover the query.
    #[error(transparent)]
    Budget(#[from] BudgetSpent),
    /// The node is stopping.
    #[error("this node is stopping: try again")]
    Stopping,
    /// The database cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The directory gives this node no place in a committee.
    #[error("this node has no place in a committee of the directory")]
    NoMember,
}

impl From<NoRoom> for Error {
    fn from(none: NoRoom) -> Self {
        match none {
            NoRoom::Full => Self::Full("queries"),
            NoRoom::Own(most) => Self::OwnQueries(most),
        }
    }
}

impl Error {
    /// Returns who is at fault, which determines the gRPC code.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Decode(_) | Self::Manifest(_) | Self::OfferTime => Fault::Caller,
            Self::Signature(_) | Self::UnknownQuerier => Fault::Denied,
            Self::UnknownQuery => Fault::NotFound,
            Self::Full(_) | Self::OwnQueries(_) | Self::Budget(_) => Fault::TryLater,
            Self::Stopping => Fault::Stopping,
            Self::NoMember => Fault::Operator,
            Self::Database(_) => Fault::Us,
            Self::Aggregation(error) => match error {
                AggregationError::TooManyInFlight => Fault::TryLater,
                AggregationError::Forgotten => Fault::Lost,
                // The Conductor only passes the groups on. This fault has a gRPC code of its own, by which the
                // Conductor knows to blame the Target.
                AggregationError::BadGroups | AggregationError::Unopened { .. } => Fault::Sender,
                AggregationError::SecondFind
                | AggregationError::SecondRelease
                | AggregationError::OtherGroups
                | AggregationError::AlreadyCommitted
                | AggregationError::WrongStep => Fault::Conflict,
                _ => Fault::Caller,
            },
        }
    }
}
