//! Errors of a Target, each attributed to the caller, a peer, the operator or this node.

use dispers_base::encoding::DecodeError;
use dispers_core::{ask::AskError, manifest::ManifestError};
use dispers_node::Fault;

/// Errors of a request to a Target, or of setting one up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not decode to a request.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The manifest is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The batch is refused.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The batch was asked before with this round and attempt, or with a later one.
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
    /// The directory lists no pool of Targets with this node's envelope key.
    #[error("the directory lists no target of this name, or no pool for it")]
    NotListed,
}

impl Error {
    /// Returns who is at fault, which determines the gRPC code.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Decode(_) | Self::Manifest(_) | Self::Ask(_) => Fault::Caller,
            Self::Repeated => Fault::Conflict,
            Self::Quota { .. } => Fault::TryLater,
            Self::NotListed => Fault::Operator,
        }
    }
}
