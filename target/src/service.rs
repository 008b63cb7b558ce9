//! The gRPC edge of a Target, and the relay between hosts and the Conductor.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dispers_base::{
    encoding::{Message as _, from_bytes, to_bytes},
    id::Role,
};
use dispers_core::{
    ask::{AnswerHead, TargetRequest},
    find::MAX_BATCH,
    subscription::SealedUpload,
};
use dispers_node::{AnyOf, Channels, Node, Reply, reply, require_host, require_role};
use dispers_proto::{
    Messages, chunks,
    v1::{
        Chunk, Empty, EvaluateRequest, LogSizes, Message, WithdrawReply,
        conductor_client::ConductorClient, target_server::Target as TargetService,
    },
};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use crate::{Error, Target};

/// Largest encoded request to ask a batch, in bytes: the batch, and room for manifest, inclusion proof and parameters.
const MAX_REQUEST: usize = MAX_BATCH + (4 << 20);
/// Largest encoded sealed upload or withdrawal, in bytes.
const MAX_SEALED: usize = SealedUpload::LIMIT;
/// Longest wait for one Conductor's consistency proof of the log.
const PATIENCE: Duration = Duration::from_secs(3);

/// Serves a [`Target`]: asks for the Conductor, and the relay for hosts.
pub struct Service {
    target: Arc<Target>,
    conductors: AnyOf,
}

impl Service {
    /// Serves `target`.
    pub fn new(node: Arc<Node>, target: Target) -> Self {
        Self {
            target: Arc::new(target),
            conductors: AnyOf::new(node.clone(), Channels::new(node), Role::Conductor),
        }
    }
}

fn status(error: Error) -> Status {
    error.fault().status(&error)
}

/// Receives and decodes one batch.
async fn batch(request: Request<Streaming<Chunk>>) -> Result<TargetRequest, Status> {
    let body = Messages::of_request(request.into_inner())
        .expect(MAX_REQUEST)
        .await?;
    from_bytes(&body, MAX_REQUEST, "batch")
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

#[tonic::async_trait]
impl TargetService for Service {
    type AskStream = Reply;
    type AttachStream = Reply;

    async fn ask(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        require_role(&request, Role::Conductor)?;
        let request = batch(request).await?;
        let answer = self.target.clone().ask(request).await?;
        let head = AnswerHead {
            statement: answer.statement,
            signature: answer.signature,
            answered: answer.answered,
            groups: answer.groups.iter().map(|all| all.len() as u32).collect(),
        };
        let groups = answer.groups.into_iter().flatten();
        let groups = groups.map(|group| to_bytes(&group));
        Ok(reply(std::iter::once(to_bytes(&head)).chain(groups)))
    }

    async fn announce(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Empty>, Status> {
        require_role(&request, Role::Conductor)?;
        let request = batch(request).await?;
        self.target.clone().announce(request).await?;
        Ok(Response::new(Empty {}))
    }

    async fn attach(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        let host = require_host(&request)?.clone();
        // No time limit between messages: an attached stack is silent until it is asked.
        let answers = Messages::new(request.into_inner());
        self.target.attach(host, answers).map(Response::new)
    }

    async fn upload(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Empty>, Status> {
        let host = require_host(&request)?.clone();
        let quotas = &self.target.quotas;
        // A host that has used up its quota is refused before its upload is received.
        if quotas.left(&host, Instant::now()) == 0 {
            quotas.take(&host, 1, Instant::now()).map_err(status)?;
        }
        let sealed = Messages::of_request(request.into_inner())
            .expect(MAX_SEALED)
            .await?;
        let taken = quotas.take(&host, sealed.len(), Instant::now());
        taken.map_err(status)?;
        // The Conductor receives the upload over the Target's connection, so that it does not learn which host sent it
        // (§5).
        let uploaded = self.conductors.call(|channel| {
            let sealed = tokio_stream::iter(chunks([sealed.clone()]));
            async move { ConductorClient::new(channel).upload(sealed).await }
        });
        let uploaded = uploaded.await;
        if uploaded.is_err() {
            // Without this, an outage of the Conductors would use up the quota of hosts that try again.
            quotas.give_back(&host, sealed.len());
        }
        uploaded.map(|_| Response::new(Empty {}))
    }

    async fn log_consistency(
        &self,
        request: Request<LogSizes>,
    ) -> Result<Response<Message>, Status> {
        require_host(&request)?;
        let sizes = request.into_inner();
        // The host needs the proof before it answers an ask. A Conductor that hangs must leave time to try another
        // one.
        let proof = self.conductors.call(|channel| async move {
            let mut conductor = ConductorClient::new(channel);
            let proof = timeout(PATIENCE, conductor.log_consistency(sizes)).await;
            proof.unwrap_or_else(|_| Err(Status::unavailable("the conductor does not answer")))
        });
        proof.await.map(|reply| Response::new(reply.into_inner()))
    }

    async fn withdraw(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<WithdrawReply>, Status> {
        require_host(&request)?;
        let sealed = Messages::of_request(request.into_inner())
            .expect(MAX_SEALED)
            .await?;
        let withdrawn = self.conductors.call(|channel| {
            let sealed = tokio_stream::iter(chunks([sealed.clone()]));
            async move { ConductorClient::new(channel).withdraw(sealed).await }
        });
        withdrawn
            .await
            .map(|reply| Response::new(reply.into_inner()))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<Message>, Status> {
        require_host(&request)?;
        let request = request.into_inner();
        let evaluated = self.conductors.call(|channel| {
            let request = request.clone();
            async move { ConductorClient::new(channel).evaluate(request).await }
        });
        evaluated
            .await
            .map(|reply| Response::new(reply.into_inner()))
    }
}
