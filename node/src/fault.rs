//! Whose fault an error is, and the one mapping to gRPC codes.

use std::fmt::Display;

use tonic::{Code, Status};

/// Whose fault an error is. Every error enum of a role says it in an exhaustive match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller sent something that is not acceptable.
    Caller,
    /// The caller may not do this.
    Denied,
    /// What the caller names is not here.
    NotFound,
    /// It contradicts what was done before.
    Conflict,
    /// This node has lost what the step builds on: it may be begun again.
    Lost,
    /// The content that the caller relays is not what its sender signed, or cannot be used; the caller is not at
    /// fault.
    Sender,
    /// Another node did not do its part.
    Peer,
    /// This node is configured wrongly.
    Operator,
    /// It may succeed later, unchanged.
    TryLater,
    /// This node is stopping: another one, or its next start, may do it.
    Stopping,
    /// A defect or a failing disk.
    Us,
}

impl Fault {
    /// The gRPC code of this fault.
    pub fn code(self) -> Code {
        match self {
            Self::Caller => Code::InvalidArgument,
            Self::Denied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Conflict => Code::FailedPrecondition,
            Self::Lost => Code::Aborted,
            Self::Sender => Code::DataLoss,
            Self::Peer | Self::Stopping => Code::Unavailable,
            Self::Operator | Self::Us => Code::Internal,
            Self::TryLater => Code::ResourceExhausted,
        }
    }

    /// The status that a caller gets, and the one log line at this edge. Error texts hold no
    /// secret.
    pub fn status(self, error: &dyn Display) -> Status {
        match self {
            Self::Operator | Self::Us => tracing::error!(fault = ?self, %error, "request failed"),
            _ => tracing::info!(fault = ?self, %error, "request refused"),
        }
        Status::new(self.code(), error.to_string())
    }
}
