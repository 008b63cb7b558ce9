//! Errors of a Conductor, each attributed to the caller, a peer, the operator or this node.

use dispers_base::{
    encoding::DecodeError,
    id::{Name, QueryId},
};
use dispers_core::{manifest::ManifestError, session::ParametersError};
use dispers_crypto::envelope::OpenError;
use dispers_node::{Fault, NoRoom};
use tonic::Status;

/// Errors of a request to a Conductor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not decode to a request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The envelope does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The manifest is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The sender is not the querier of the manifest.
    #[error("the query belongs to another querier")]
    OtherQuerier,
    /// The Conductor does not know the query.
    #[error("no such query: it may have expired; submit it again")]
    UnknownQuery,
    /// The query has no result yet.
    #[error("the query is not done yet")]
    NotDone,
    /// The upload is for another key epoch or partition, is empty, or has too many entries.
    #[error("the upload is for another key epoch or partition, or its size is out of bounds")]
    BadUpload,
    /// The number of sealed profiles is not the number of partitions.
    #[error("the target profile is not sealed for each partition: load the current directory")]
    BadProfiles,
    /// The query names no pseudonym, too many, or one twice.
    #[error(
        "the target profile names no pseudonym, too many, or one twice: name each of its pseudonyms once"
    )]
    BadPseudonyms,
    /// The store failed to read or write.
    #[error("the conductor cannot read or write what it keeps: {0}")]
    Storage(String),
    /// The database cannot be reached now.
    #[error("the conductor cannot reach its database: {0}; the same request may come again")]
    Away(String),
    /// The manifest of a kept query does not verify under the present directory.
    #[error(
        "the kept query {query} cannot be driven, because its manifest is not valid under this directory: {reason}; it stays until it expires, and its querier may submit it again"
    )]
    Invalid {
        /// Id of the query.
        query: QueryId,
        /// Broken rule.
        reason: ManifestError,
    },
    /// Another Conductor drives the query.
    #[error("another conductor has taken the query over")]
    TakenOver,
    /// Too few witnesses co-signed the log.
    #[error("{needed} witnesses must co-sign the log of queries and too few did; missing are {}: start them and ask again", missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Unwitnessed {
        /// Number of operators that must co-sign.
        needed: usize,
        /// Witnesses that did not co-sign.
        missing: Vec<Name>,
    },
    /// Another Conductor drives the session, or is about to take it up.
    #[error("another conductor drives the query: the same request may come again")]
    Elsewhere,
    /// The session has ended, so that no further round begins.
    #[error("the session has ended: its status says why")]
    Ended,
    /// The query has ended, so that it cannot be cancelled.
    #[error("the query has ended already")]
    HasEnded,
    /// The parameters do not begin a round.
    #[error(transparent)]
    Parameters(ParametersError),
    /// The log never had these sizes in this order.
    #[error("the log never had these sizes in this order")]
    NoSuchLog,
    /// The querier runs as many queries as one querier may.
    #[error(
        "{0} of your queries run at this conductor, the limit of one querier: wait until one ends, or cancel one"
    )]
    OwnQueries(usize),
    /// The Conductor holds as many of these as it may.
    #[error("the conductor holds as many {0} as it may: try again later")]
    Full(&'static str),
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
    /// Logs the error at the edge, and returns its gRPC status.
    pub(crate) fn status(self) -> Status {
        self.fault().status(&self)
    }

    /// Returns who is at fault, which determines the gRPC code.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Decode(_)
            | Self::Open(_)
            | Self::Manifest(_)
            | Self::BadUpload
            | Self::BadProfiles
            | Self::BadPseudonyms
            | Self::Parameters(_) => Fault::Caller,
            Self::OtherQuerier => Fault::Denied,
            Self::UnknownQuery | Self::NoSuchLog => Fault::NotFound,
            Self::NotDone | Self::Full(_) | Self::OwnQueries(_) => Fault::TryLater,
            Self::TakenOver | Self::Ended | Self::HasEnded => Fault::Conflict,
            Self::Invalid { .. } => Fault::Operator,
            Self::Storage(_) => Fault::Us,
            Self::Away(_) | Self::Elsewhere | Self::Unwitnessed { .. } => Fault::Peer,
        }
    }
}
