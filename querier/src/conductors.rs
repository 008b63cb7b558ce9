//! The way to the Conductors, of which any will do.

use std::{sync::Arc, time::Duration};

use dispers_base::id::Role;
use dispers_node::{AnyOf, Channel, Channels, Node};
use dispers_proto::v1::conductor_client::ConductorClient;
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status};

use crate::Error;

/// How long a query that runs is followed while no conductor can be reached.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// All that are listed.
pub(crate) struct Conductors(AnyOf);

impl Conductors {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let channels = Channels::new(node.clone());
        Self(AnyOf::new(node, channels, Role::Conductor))
    }

    /// Asks one after the other until one can be reached. What `call` does may be repeated.
    pub(crate) async fn call<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        call: impl Fn(ConductorClient<Channel>) -> F,
    ) -> Result<T, Status> {
        let call = |channel| call(ConductorClient::new(channel));
        Ok(self.0.call(call).await?.into_inner())
    }
}

pub(crate) fn refused(status: &Status) -> Error {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled => {
            Error::Unreachable(status.message().to_owned())
        }
        Code::ResourceExhausted => Error::Busy(status.message().to_owned()),
        _ => Error::Refused(status.message().to_owned()),
    }
}

/// Tries again while no conductor can be reached.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    mut step: impl FnMut() -> F,
) -> Result<T, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match step().await {
            Err(Error::Unreachable(_)) if Instant::now() < deadline => sleep(PAUSE).await,
            done => return done,
        }
    }
}
