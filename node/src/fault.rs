//! The party at fault for an error, and the only mapping of faults to gRPC codes.

use std::fmt::Display;

use tonic::{Code, Status};

/// Party or cause at fault for an error. Every error enum of a role maps its variants to this type in an exhaustive
/// match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller sent an unacceptable request.
    Caller,
    /// The caller is not allowed to do this.
    Denied,
    /// The object that the caller names is not here.
    NotFound,
    /// The request contradicts an earlier step.
    Conflict,
    /// This node has lost the state that the step builds on. The step may be begun again.
    Lost,
    /// The content that the caller relays is not what its sender signed, or cannot be used; the caller is not at
    /// fault.
    Sender,
    /// Another node did not do its part.
    Peer,
    /// This node is configured wrongly.
    Operator,
    /// The same request may succeed later.
    TryLater,
    /// This node is stopping. Another node, or this one after its next start, may do it.
    Stopping,
    /// A defect or a failing disk.
    Us,
}

impl Fault {
    /// Returns the gRPC code of this fault.
    pub fn code(self) -> Code {
        match self {
            Self::Caller => Code::InvalidArgument,
            Self::Denied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Conflict => Code::FailedPrecondition,
            Self::Lost => Code::Aborted,
            Self::Sender => Code::DataLoss,
            // At `UNAVAILABLE`, a caller that may use any node of the role tries the next one (`AnyOf`).
            Self::Peer | Self::Stopping => Code::Unavailable,
            // The caller can repair neither of the two.
            Self::Operator | Self::Us => Code::Internal,
            Self::TryLater => Code::ResourceExhausted,
        }
    }

    /// Logs the error once, at this edge, and returns the status for the caller. Error texts hold no secret.
    pub fn status(self, error: &dyn Display) -> Status {
        // Anybody can cause a refusal, so that only faults of this node are logged as errors.
        match self {
            Self::Operator | Self::Us => tracing::error!(fault = ?self, %error, "request failed"),
            _ => tracing::info!(fault = ?self, %error, "request refused"),
        }
        Status::new(self.code(), error.to_string())
    }
}
