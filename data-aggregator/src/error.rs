//! What a Data Aggregator refuses, and whose fault it is.

use dispers_base::{encoding::DecodeError, keys::BadSignature};
use dispers_core::{aggregation::AggregationError, manifest::ManifestError};
use dispers_node::{DatabaseError, Fault, NoRoom};
use dispers_privacy::ledger::BudgetSpent;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A signature that does not hold.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A manifest that is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A step that is refused.
    #[error(transparent)]
    Aggregation(#[from] AggregationError),
    /// A querier that the directory does not list.
    #[error("the querier is not in the directory")]
    UnknownQuerier,
    /// An offer request outside its time.
    #[error("the offer request has expired, or asks for more than seven days")]
    OfferTime,
    /// A query that is not open here.
    #[error(
        "the query is not open at this aggregator: it was never begun here, or has expired; submit the query anew"
    )]
    UnknownQuery,
    /// The querier reached its share of the places.
    #[error(
        "{0} queries of the querier are open at this aggregator, the limit of one querier: wait until one is released or \
         expires"
    )]
    OwnQueries(usize),
    /// Full.
    #[error("too many {0} are open at this aggregator: try again later")]
    Full(&'static str),
    /// A privacy budget that is spent.
    #[error(transparent)]
    Budget(#[from] BudgetSpent),
    /// The node is stopping.
    #[error("this node is stopping: try again")]
    Stopping,
    /// What it keeps cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Not a member of a committee.
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
    /// Whose fault it is.
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
