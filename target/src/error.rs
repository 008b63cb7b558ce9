//! What a Target refuses, and whose fault it is.

use dispers_core::{ask::AskError, encoding::DecodeError, manifest::ManifestError};
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
    /// A host uploaded too much.
    #[error(
        "this host has uploaded as much as it may, {most} bytes at once and as many again in a month: the same upload may come again in {hours} hours, or the target's operator raises upload-quota-bytes"
    )]
    Quota {
        /// Bytes that a host may upload at once.
        most: u64,
        /// When the upload may come again.
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
