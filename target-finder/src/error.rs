//! What a Target Finder refuses, and whose fault it is.

use dispers_base::encoding::DecodeError;
use dispers_core::{find::FindError, manifest::ManifestError};
use dispers_crypto::envelope::OpenError;
use dispers_node::{DatabaseError, Fault};

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
    /// A find that is refused.
    #[error(transparent)]
    Find(#[from] FindError),
    /// An envelope that does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another partition's lists.
    #[error("this node does not serve that partition")]
    OtherPartition,
    /// The manifest names another notary.
    #[error("the manifest names another notary")]
    OtherNotary,
    /// Another release was certified.
    #[error("another release of this round is certified already")]
    SecondRelease,
    /// Full.
    #[error("too many certificates are open at this notary: try again later")]
    Full,
    /// What it certified cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Not listed.
    #[error("the directory lists no target finder of this name, or no pool for it")]
    NotListed,
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Find(
                FindError::TooManyPopulations(_)
                | FindError::TooManySets
                | FindError::TooManyQueries
                | FindError::TooManyRefused(_),
            ) => Fault::TryLater,
            Self::Decode(_)
            | Self::Manifest(_)
            | Self::Find(_)
            | Self::Open(_)
            | Self::OtherPartition
            | Self::OtherNotary => Fault::Caller,
            Self::SecondRelease => Fault::Conflict,
            Self::Full => Fault::TryLater,
            Self::Database(_) => Fault::Us,
            Self::NotListed => Fault::Operator,
        }
    }
}
