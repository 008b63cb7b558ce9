//! What a Conductor refuses, and whose fault it is.

use dispers_base::{encoding::DecodeError, id::Name};
use dispers_core::{manifest::ManifestError, session::ParametersError};
use dispers_crypto::envelope::OpenError;
use dispers_node::{Fault, NoRoom};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An envelope that does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A manifest that is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The querier of the manifest did not send it.
    #[error("the query belongs to another querier")]
    OtherQuerier,
    /// Not known.
    #[error("no such query: it may have expired; submit it anew")]
    UnknownQuery,
    /// Not done.
    #[error("the query is not done yet")]
    NotDone,
    /// An upload of another key epoch or partition, empty or too long.
    #[error("the upload is for another key epoch or partition, or its size is out of bounds")]
    BadUpload,
    /// Profiles for other partitions than there are.
    #[error("the target profile is not sealed for each partition: load the current directory")]
    BadProfiles,
    /// Too many or malformed pseudonyms.
    #[error(
        "the target profile names no pseudonym, too many, or one twice: name each of its pseudonyms once"
    )]
    BadPseudonyms,
    /// What is kept cannot be read or written.
    #[error("the conductor cannot read or write what it keeps: {0}")]
    Storage(String),
    /// The database cannot be reached now.
    #[error("the conductor cannot reach its database: {0}; the same request may come again")]
    Away(String),
    /// Another conductor drives the query.
    #[error("another conductor has taken the query over")]
    TakenOver,
    /// Too few witnesses.
    #[error("{needed} witnesses must co-sign the log of queries and too few did; missing are {}: start them and ask again", missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Unwitnessed {
        /// How many are needed.
        needed: usize,
        /// Who did not.
        missing: Vec<Name>,
    },
    /// Another conductor drives the session, or is about to.
    #[error("another conductor drives the query: the same request may come again")]
    Elsewhere,
    /// No round begins any longer.
    #[error("the session has ended: its status says why")]
    Ended,
    /// Parameters that begin no round.
    #[error(transparent)]
    Parameters(ParametersError),
    /// No such sizes.
    #[error("the log never had these sizes in this order")]
    NoSuchLog,
    /// The querier reached its share of the places.
    #[error(
        "{0} of your queries run at this conductor, the limit of one querier: wait until one ends, or cancel one"
    )]
    OwnQueries(usize),
    /// Full.
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
    /// Whose fault it is.
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
            Self::TakenOver | Self::Ended => Fault::Conflict,
            Self::Storage(_) => Fault::Us,
            Self::Away(_) | Self::Elsewhere | Self::Unwitnessed { .. } => Fault::Peer,
        }
    }
}
