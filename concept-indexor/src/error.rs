//! Errors of a Concept Indexor, each attributed to the caller, a peer, the operator or this node.

use dispers_base::{encoding::DecodeError, keys::BadSignature};
use dispers_crypto::{envelope::OpenError, oprf::OprfError};
use dispers_node::Fault;

/// Errors of an evaluation request, or of setting up a Concept Indexor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The envelope does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The bytes do not decode to a request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The requester's signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The blinded elements are refused.
    #[error(transparent)]
    Oprf(#[from] OprfError),
    /// The requester is neither a host nor a querier of the directory.
    #[error("only hosts and queriers of the directory may have concepts evaluated")]
    UnknownRequester,
    /// The request is too old or from the future, is for another indexor or key epoch, or holds no concept or too many.
    #[error(
        "the request is stale, for another indexor or key epoch, or holds no or too many concepts"
    )]
    Unacceptable,
    /// The requester has used up its concepts for this hour.
    #[error("too many concepts in an hour: try again later")]
    RateLimited,
    /// The directory does not list this node under the number of its key share.
    #[error("the directory lists no concept indexor of this name and key share")]
    NotListed,
}

impl Error {
    /// Returns who is at fault, which determines the gRPC code.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Open(_) | Self::Decode(_) | Self::Oprf(_) | Self::Unacceptable => Fault::Caller,
            Self::Signature(_) | Self::UnknownRequester => Fault::Denied,
            Self::RateLimited => Fault::TryLater,
            Self::NotListed => Fault::Operator,
        }
    }
}
