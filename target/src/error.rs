//! What a Target refuses, and whose fault it is.

use dispers_base::encoding::DecodeError;
use dispers_core::{ask::AskError, manifest::ManifestError};
use dispers_node::Fault;

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
    /// A batch that is refused.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The same work was asked before.
    #[error("this batch and attempt was asked before: start another attempt")]
    Repeated,
    /// The host reached its upload quota.
    #[error(
        "the upload exceeds this host's quota of {most} bytes at once and as many again in a month: repeat it in {hours} \
         hours, or ask the target's operator to raise upload-quota-bytes"
    )]
    Quota {
        /// Number of bytes that a host may upload at once.
        most: u64,
        /// Hours until the upload fits in the quota.
        hours: u64,
    },
    /// Not listed.
    #[error("the directory lists no target of this name, or no pool for it")]
    NotListed,
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Decode(_) | Self::Manifest(_) | Self::Ask(_) => Fault::Caller,
            Self::Repeated => Fault::Conflict,
            Self::Quota { .. } => Fault::TryLater,
            Self::NotListed => Fault::Operator,
        }
    }
}
