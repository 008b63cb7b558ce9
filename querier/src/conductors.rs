//! Calls to the Conductors. Several Conductors share one database, so that each of them serves any query (protocol.md
//! §8).

use std::{sync::Arc, time::Duration};

use dispers_base::id::Role;
use dispers_node::{AnyOf, CallFailure, Channel, Channels, Node, Patience};
use dispers_proto::v1::conductor_client::ConductorClient;
use tonic::{Response, Status};

use crate::Error;

/// Tries to reach a Conductor while none can be reached: a running query goes on without one for a while.
pub(crate) const AWAY: Patience = Patience::new(Duration::from_millis(500), Duration::from_secs(2))
    .within(Duration::from_secs(60));

/// All Conductors that the directory lists.
pub(crate) struct Conductors(AnyOf);

impl Conductors {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let channels = Channels::new(node.clone());
        Self(AnyOf::new(node, channels, Role::Conductor))
    }

    /// Calls one Conductor after the other until one can be reached. More than one may receive the request, so that
    /// `call` must only do what may be repeated.
    pub(crate) async fn call<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        call: impl Fn(ConductorClient<Channel>) -> F,
    ) -> Result<T, Status> {
        let call = |channel| call(ConductorClient::new(channel));
        Ok(self.0.call(call).await?.into_inner())
    }
}

/// Converts the status of a failed call into the error that tells what to do next.
pub(crate) fn refused(status: &Status) -> Error {
    let message = status.message().to_owned();
    match CallFailure::of(status) {
        // The Conductor may have done its work, but all calls may be repeated.
        CallFailure::Unreachable => Error::Unreachable(message),
        CallFailure::Busy => Error::Busy(message),
        CallFailure::Missing => Error::NoQuery,
        CallFailure::Lost | CallFailure::Sender | CallFailure::Refused => Error::Refused(message),
    }
}

/// Repeats `step` while no Conductor can be reached, under [`AWAY`].
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    step: impl FnMut() -> F,
) -> Result<T, Error> {
    let is_unreachable = |error: &Error| matches!(error, Error::Unreachable(_));
    AWAY.retry(is_unreachable, step).await
}
