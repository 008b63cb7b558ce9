//! The gRPC edge of a Data Aggregator: convert, call, convert.

use std::{sync::Arc, time::Duration};

use dispers_core::{
    aggregation::OpenRequest,
    ask::MAX_ANSWER,
    encoding::{from_bytes, to_bytes},
    id::Role,
    peer::{MAX_PEER_MESSAGE, PeerMessage},
    release::MAX_PROPOSAL,
};
use dispers_node::{Reply, blocking, reply, require_role};
use dispers_proto::{
    Messages,
    v1::{Chunk, Empty, Message, data_aggregator_server::DataAggregator},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{Aggregator, Error};

/// How often what has expired is erased, also where nobody asks.
const SWEEP: Duration = Duration::from_secs(60);
const SMALL: usize = 4 << 20;
const MESSAGES: usize = 16 * MAX_PEER_MESSAGE;

/// Serves an [`Aggregator`] to the Conductor.
pub struct Service(Arc<Aggregator>);

impl Service {
    /// Serves `aggregator`, and has it erase what has expired for as long as it is served.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(aggregator: Aggregator) -> Self {
        let aggregator = Arc::new(aggregator);
        let counted = Arc::downgrade(&aggregator);
        aggregator.activity().queries_are(move || {
            counted
                .upgrade()
                .map_or(0, |aggregator| aggregator.running())
        });
        let served = Arc::downgrade(&aggregator);
        tokio::spawn(async move {
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                sweep.tick().await;
                let Some(aggregator) = served.upgrade() else {
                    return;
                };
                let expired = blocking(move || Ok(aggregator.expire())).await;
                if let Ok(Err(error)) = expired {
                    tracing::error!(%error, "what has expired could not be erased");
                }
            }
        });
        Self(aggregator)
    }

    async fn call<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Aggregator) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let aggregator = self.0.clone();
        blocking(move || step(&aggregator).map_err(|error| error.fault().status(&error))).await
    }
}

async fn receive(request: Request<Streaming<Chunk>>, limit: usize) -> Result<Vec<u8>, Status> {
    require_role(&request, Role::Conductor)?;
    Messages::new(request.into_inner()).expect(limit).await
}

fn peers(messages: &[PeerMessage]) -> Vec<u8> {
    to_bytes(&messages)
}

#[tonic::async_trait]
impl DataAggregator for Service {
    type OpenStream = Reply;
    type VerifyStream = Reply;
    type DecideStream = Reply;
    type GuardsStream = Reply;
    type ReleaseStream = Reply;

    async fn offer(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        require_role(&request, Role::Conductor)?;
        let body = request.into_inner().body;
        let offer = self
            .call(move |a| a.offer(&from_bytes(&body, SMALL, "offer request")?))
            .await?;
        Ok(Response::new(Message {
            body: to_bytes(&offer),
        }))
    }

    async fn begin(&self, request: Request<Message>) -> Result<Response<Empty>, Status> {
        require_role(&request, Role::Conductor)?;
        let body = request.into_inner().body;
        self.call(move |a| a.begin(&from_bytes(&body, SMALL, "begin request")?))
            .await?;
        Ok(Response::new(Empty {}))
    }

    async fn open(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let body = receive(request, MAX_ANSWER).await?;
        let messages = self
            .call(move |a| {
                let request: OpenRequest = from_bytes(&body, MAX_ANSWER, "groups")?;
                drop(body);
                a.open(&request)
            })
            .await?;
        Ok(reply([peers(&messages)]))
    }

    async fn verify(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let body = receive(request, MESSAGES).await?;
        let messages = self
            .call(move |a| a.verify(&from_bytes(&body, MESSAGES, "randomness")?))
            .await?;
        Ok(reply([peers(&messages)]))
    }

    async fn decide(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let body = receive(request, MESSAGES).await?;
        let verdict = self
            .call(move |a| a.decide(&from_bytes(&body, MESSAGES, "verifier messages")?))
            .await?;
        Ok(reply([to_bytes(&verdict)]))
    }

    async fn commit(&self, request: Request<Message>) -> Result<Response<Empty>, Status> {
        require_role(&request, Role::Conductor)?;
        let body = request.into_inner().body;
        self.call(move |a| a.commit(&from_bytes(&body, SMALL, "acknowledgements")?))
            .await?;
        Ok(Response::new(Empty {}))
    }

    async fn guards(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let body = receive(request, MAX_PROPOSAL).await?;
        let messages = self
            .call(move |a| a.guards(&from_bytes(&body, MAX_PROPOSAL, "release")?))
            .await?;
        Ok(reply([peers(&messages)]))
    }

    async fn release(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let body = receive(request, MESSAGES).await?;
        let total = self
            .call(move |a| a.release(&from_bytes(&body, MESSAGES, "guard counts")?))
            .await?;
        Ok(reply([to_bytes(&total)]))
    }
}
