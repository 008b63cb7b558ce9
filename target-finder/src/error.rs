//! Errors of a Target Finder, each attributed to the caller, a peer, the operator or this node.

use dispers_base::encoding::DecodeError;
use dispers_core::{find::FindError, manifest::ManifestError};
use dispers_crypto::envelope::OpenError;
use dispers_node::{DatabaseError, Fault};

/// Errors of a find, of a request to notarise, or of setting up a Target Finder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not decode to a request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The manifest is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The find is refused.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The envelope does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The request is for another partition.
    #[error("this node does not serve that partition")]
    OtherPartition,
    /// The manifest names another notary, or has no such round.
    #[error("the manifest names another notary")]
    OtherNotary,
    /// Another release of the round was certified before, or a release of a later round.
    #[error("another release of this round is certified already")]
    SecondRelease,
    /// The notary holds as many certificates as it may.
    #[error("too many certificates are open at this notary: try again later")]
    Full,
    /// The database of certificates and asked sets cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The directory does not list this node, lists no pool with its envelope key, or lists no pool of Targets.
    #[error("the directory lists no target finder of this name, or no pool for it")]
    NotListed,
}

impl Error {
    /// Returns who is at fault, which determines the gRPC code.
    pub fn fault(&self) -> Fault {
        match self {
            // These limits end with the key epoch or as queries expire, so the same question can succeed later.
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
