//! The party at fault for an error, the only mapping of faults to gRPC codes, and the only reading of gRPC codes.

use std::{error::Error as _, fmt::Display};

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

/// Reading of the status of a failed call: what its caller can do next. Every caller that acts on a status reads it
/// with [`CallFailure::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFailure {
    /// The node, or a node that it needs, cannot be reached, does not answer in time, or the connection broke. Another
    /// node may answer, or the same one later. The call may have had its effect.
    Unreachable,
    /// The node has no free capacity, or no result yet. The same request may succeed later.
    Busy,
    /// The node lost the state that the step builds on. The step may be begun again.
    Lost,
    /// The object that the caller names is not there.
    Missing,
    /// What the caller relayed is not what its sender signed, or cannot be used. The sender is at fault.
    Sender,
    /// The node refuses the request, or failed at it. The same request will fail again.
    Refused,
}

impl CallFailure {
    /// Returns what the status of a failed call means to its caller.
    pub fn of(status: &Status) -> Self {
        // A status with a source was made by the transport of this process from a connection that broke, whatever its
        // code is. A node's own status comes without a source.
        if status.source().is_some() {
            return Self::Unreachable;
        }
        match status.code() {
            // No node answers with `CANCELLED` or `UNKNOWN` by itself: they come from connections that end during a call
            // and from proxies. `DEADLINE_EXCEEDED` is also the answer to a request that did not arrive in time.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                Self::Unreachable
            }
            Code::ResourceExhausted => Self::Busy,
            Code::Aborted => Self::Lost,
            Code::NotFound => Self::Missing,
            Code::DataLoss => Self::Sender,
            Code::Ok
            | Code::InvalidArgument
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::Unauthenticated => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_reading() {
        let unreachable = [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::Unknown,
        ];
        for number in 0..=16 {
            let code = Code::from_i32(number);
            let expected = match code {
                code if unreachable.contains(&code) => CallFailure::Unreachable,
                Code::ResourceExhausted => CallFailure::Busy,
                Code::Aborted => CallFailure::Lost,
                Code::NotFound => CallFailure::Missing,
                Code::DataLoss => CallFailure::Sender,
                _ => CallFailure::Refused,
            };
            let status = Status::new(code, "");
            assert_eq!(CallFailure::of(&status), expected, "{code:?}");
        }
    }

    #[test]
    fn the_caller_reads_what_the_fault_says() {
        for (fault, expected) in [
            (Fault::Caller, CallFailure::Refused),
            (Fault::Denied, CallFailure::Refused),
            (Fault::NotFound, CallFailure::Missing),
            (Fault::Conflict, CallFailure::Refused),
            (Fault::Lost, CallFailure::Lost),
            (Fault::Sender, CallFailure::Sender),
            (Fault::Peer, CallFailure::Unreachable),
            (Fault::Operator, CallFailure::Refused),
            (Fault::TryLater, CallFailure::Busy),
            (Fault::Stopping, CallFailure::Unreachable),
            (Fault::Us, CallFailure::Refused),
        ] {
            let status = fault.status(&"reason");
            assert_eq!(CallFailure::of(&status), expected, "{fault:?}");
        }
    }

    #[test]
    fn a_broken_connection_is_unreachable_whatever_its_code() {
        for code in [
            Code::Internal,
            Code::ResourceExhausted,
            Code::PermissionDenied,
        ] {
            let mut status = Status::new(code, "the connection broke");
            status.set_source(std::sync::Arc::new(std::io::Error::other("broken")));
            assert_eq!(
                CallFailure::of(&status),
                CallFailure::Unreachable,
                "{code:?}"
            );
        }
    }
}
