//! What a Concept Indexor refuses, and whose fault it is.

use dispers_base::{encoding::DecodeError, keys::BadSignature};
use dispers_crypto::{envelope::OpenError, oprf::OprfError};
use dispers_node::Fault;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An envelope that does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Bytes that are no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A signature that does not hold.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// Elements that are refused.
    #[error(transparent)]
    Oprf(#[from] OprfError),
    /// Neither a host nor a querier of the directory.
    #[error("only hosts and queriers of the directory may have concepts evaluated")]
    UnknownRequester,
    /// Old, from the future, for another indexor or key epoch, empty or too long.
    #[error(
        "the request is stale, for another indexor or key epoch, or holds no or too many concepts"
    )]
    Unacceptable,
    /// Too many.
    #[error("too many concepts in an hour: try again later")]
    RateLimited,
    /// Not listed.
    #[error("the directory lists no concept indexor of this name and key share")]
    NotListed,
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Open(_) | Self::Decode(_) | Self::Oprf(_) | Self::Unacceptable => Fault::Caller,
            Self::Signature(_) | Self::UnknownRequester => Fault::Denied,
            Self::RateLimited => Fault::TryLater,
            Self::NotListed => Fault::Operator,
        }
    }
}
