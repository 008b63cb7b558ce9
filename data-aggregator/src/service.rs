//! The gRPC edge of a Data Aggregator.

use std::{sync::Arc, time::Duration};

use dispers_base::{
    encoding::{DecodeError, decode, from_bytes, to_bytes},
    id::Role,
};
use dispers_core::{
    aggregation::{AggregationError, MAX_DEAL},
    ask::MAX_ANSWER,
    peer::{MAX_PEER_MESSAGES, PeerMessage},
    release::MAX_PROPOSAL,
};
use dispers_node::{InOrder, Reply, blocking, reply, require_role};
use dispers_proto::{
    Messages,
    v1::{Chunk, Empty, Message, data_aggregator_server::DataAggregator},
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::{Aggregator, Error};

/// Time between two erasures of what has expired. They do not depend on requests.
const SWEEP: Duration = Duration::from_secs(60);
/// Largest request that holds no batch, in bytes.
const SMALL: usize = 4 << 20;

/// Most batches that are received at the same time, of all queries together. Further batches wait.
const BATCHES: usize = 8;

/// Serves an [`Aggregator`] to the Conductor.
pub struct Service {
    aggregator: Arc<Aggregator>,
    batches: Semaphore,
}

impl Service {
    /// Serves `aggregator`, and erases what has expired for as long as the service exists.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub fn new(aggregator: Aggregator) -> Self {
        let aggregator = Arc::new(aggregator);
        // Weak references: neither the count nor the sweep may keep the aggregator, and its secrets, alive.
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
        Self {
            aggregator,
            batches: Semaphore::new(BATCHES),
        }
    }

    /// Runs one step of the aggregator on a worker thread.
    async fn call<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Aggregator) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let aggregator = self.aggregator.clone();
        blocking(move || step(&aggregator).map_err(|error| error.fault().status(&error))).await
    }
}

/// Converts a decoding error to a gRPC status.
fn malformed(error: DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Receives one long message from the Conductor.
async fn receive(request: Request<Streaming<Chunk>>, limit: usize) -> Result<Vec<u8>, Status> {
    require_role(&request, Role::Conductor)?;
    Messages::of_request(request.into_inner())
        .expect(limit)
        .await
}

/// Encodes the messages to the other aggregators.
fn peers(messages: &[PeerMessage]) -> Vec<u8> {
    to_bytes(&messages)
}

#[tonic::async_trait]
impl DataAggregator for Service {
    type DealStream = Reply;
    type OpenDealsStream = Reply;
    type OpenStream = Reply;
    type VerifyStream = Reply;
    type DecideStream = Reply;
    type GuardsStream = Reply;
    type ReleaseStream = Reply;

    async fn offer(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        require_role(&request, Role::Conductor)?;
        let body = request.into_inner().body;
        let offer = self.call(move |a| a.offer(&decode(&body)?)).await?;
        Ok(Response::new(Message {
            body: to_bytes(&offer),
        }))
    }

    async fn budget(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        require_role(&request, Role::Conductor)?;
        let body = request.into_inner().body;
        let budget = self.call(move |a| a.budget(&decode(&body)?)).await?;
        Ok(Response::new(Message {
            body: to_bytes(&budget),
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
        require_role(&request, Role::Conductor)?;
        let mut groups = Messages::of_request(request.into_inner());
        let head = groups.expect(SMALL).await?;
        // The groups are not read before there is a slot, so that gRPC's flow control holds the sender back.
        let _slot = self.batches.acquire().await;
        let mut receiving = self
            .call(move |a| a.receive(&from_bytes(&head, SMALL, "head of a batch")?))
            .await?;
        // Several groups are opened while the next ones arrive, and are added in the order in which they came.
        let opener = receiving.opener();
        let mut opening = InOrder::default();
        // All groups together are bounded in bytes and in number. Otherwise one batch could fill the memory.
        let mut left = MAX_ANSWER;
        let mut room = receiving.most_groups();
        while let Some(group) = groups.next(left).await? {
            left -= group.len();
            room = room.checked_sub(1).ok_or_else(|| {
                let error = Error::from(AggregationError::BadGroups);
                error.fault().status(&error)
            })?;
            let opener = opener.clone();
            let opened = opening.push(move || {
                let group = from_bytes(&group, MAX_ANSWER, "group").map_err(malformed)?;
                Ok(opener.open(group))
            });
            if let Some(opened) = opened.await? {
                receiving.add(opened);
            }
        }
        while let Some(opened) = opening.next().await? {
            receiving.add(opened);
        }
        let messages = self.call(move |a| a.freeze(receiving)).await?;
        Ok(reply([peers(&messages)]))
    }

    async fn deal(&self, request: Request<Message>) -> Result<Response<Reply>, Status> {
        require_role(&request, Role::Conductor)?;
        let body = request.into_inner().body;
        let deal = self
            .call(move |a| a.deal(&from_bytes(&body, SMALL, "deal request")?))
            .await?;
        Ok(reply([to_bytes(&deal)]))
    }

    async fn open_deals(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Reply>, Status> {
        let body = receive(request, MAX_DEAL).await?;
        let messages = self
            .call(move |a| a.open_deals(from_bytes(&body, MAX_DEAL, "deals")?))
            .await?;
        Ok(reply([peers(&messages)]))
    }

    async fn verify(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let body = receive(request, MAX_PEER_MESSAGES).await?;
        let verified = self
            .call(move |a| a.verify(&from_bytes(&body, MAX_PEER_MESSAGES, "randomness")?))
            .await?;
        Ok(reply([to_bytes(&verified)]))
    }

    async fn decide(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let body = receive(request, MAX_PEER_MESSAGES).await?;
        let verdict = self
            .call(move |a| a.decide(&from_bytes(&body, MAX_PEER_MESSAGES, "verifier messages")?))
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
        let body = receive(request, MAX_PEER_MESSAGES).await?;
        let total = self
            .call(move |a| a.release(&from_bytes(&body, MAX_PEER_MESSAGES, "guard counts")?))
            .await?;
        Ok(reply([to_bytes(&total)]))
    }
}
