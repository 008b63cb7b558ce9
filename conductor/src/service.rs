//! The gRPC edge of a Conductor.

use std::{pin::Pin, sync::Arc, time::Duration};

use dispers_base::{
    encoding::{Message as _, decode, from_bytes, to_bytes},
    id::{AggregatorId, QueryId, Role},
};
use dispers_core::{
    evaluation::SealedEvaluationRequest,
    release::SealedTotal,
    session::SignedParameters,
    subscription::{MAX_UPLOAD, SealedUpload},
};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_node::{
    Channels, Node, Reply, now, reply, require_listed, require_querier, require_querier_or_role,
    require_role,
};
use dispers_proto::{
    Messages,
    v1::{
        AdvanceRequest, BudgetsReply, Chunk, Empty, EvaluateRequest, LogRange, LogSizes, Message,
        OffersReply, Query, StatusUpdate, SubmitRequest, Total, TotalsReply, WithdrawReply,
        conductor_server::Conductor,
    },
};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Config, Error, Log, Store, Submission, conducting::Conducting, relay::Relay, store::MAX_RECORD,
    submission::damaged, uploads::Uploads,
};

/// Most entries of the log in one answer.
const LOGGED: u64 = 256;

/// Serves a Conductor to queriers, Targets and readers of the log.
#[derive(Clone)]
pub struct Service {
    conducting: Arc<Conducting>,
    relay: Arc<Relay>,
    uploads: Arc<Uploads>,
    log: Arc<Log>,
}

impl Service {
    /// Serves the Conductor of `node`. [`keep_up`](Self::keep_up) takes up the queries that are in `store`.
    pub fn new(
        node: Arc<Node>,
        envelope: EnvelopeSecretKey,
        config: Config,
        store: Arc<dyn Store>,
    ) -> Self {
        let channels = Channels::new(node.clone());
        let log = Arc::new(Log::new(node.clone(), channels.clone(), store.clone()));
        let relay = Relay {
            node: node.clone(),
            channels,
            wait: Duration::from_millis(config.step_timeout_ms.min(10_000)),
        };
        let uploads = Uploads {
            node: node.clone(),
            envelope: Arc::new(envelope),
            store: store.clone(),
            max_entries: config.max_entries,
        };
        Self {
            conducting: Arc::new(Conducting::new(node, config, store, log.clone())),
            relay: Arc::new(relay),
            uploads: Arc::new(uploads),
            log,
        }
    }

    /// Takes up queries that no process drives, renews the leases of those that this process drives, and cancels those
    /// that are to be cancelled. Runs until it is dropped.
    pub async fn keep_up(self) {
        self.conducting.keep_up().await;
    }

    /// Gives up the leases of this process, so that another Conductor takes up its queries at once.
    pub async fn give_up(&self) {
        self.conducting.give_up().await;
    }
}

/// Decodes a query id.
fn query_id(query: &Query) -> Result<QueryId, Status> {
    <[u8; 32]>::try_from(query.id.as_slice())
        .map(QueryId)
        .map_err(|_| Status::invalid_argument("a query id has 32 bytes"))
}

#[tonic::async_trait]
impl Conductor for Service {
    type LogStream = Reply;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<StatusUpdate, Status>> + Send + 'static>>;

    async fn offers(&self, request: Request<Message>) -> Result<Response<OffersReply>, Status> {
        require_querier(&request)?;
        let offers = self
            .relay
            .every_aggregator(request.into_inner(), |mut aggregator, message| async move {
                aggregator.offer(message).await
            });
        let offers = offers.await;
        Ok(Response::new(OffersReply { offers }))
    }

    async fn budgets(&self, request: Request<Message>) -> Result<Response<BudgetsReply>, Status> {
        require_querier(&request)?;
        let budgets = self
            .relay
            .every_aggregator(request.into_inner(), |mut aggregator, message| async move {
                aggregator.budget(message).await
            });
        let budgets = budgets.await;
        Ok(Response::new(BudgetsReply { budgets }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Query>, Status> {
        let sender = require_querier(&request)?.clone();
        let SubmitRequest {
            manifest,
            profiles,
            pseudonyms,
        } = request.into_inner();
        let directory = &self.conducting.node.directory;
        let submission = Submission::receive(&manifest, &profiles, &pseudonyms, directory, now());
        let submission = submission.map_err(Error::status)?;
        let started = self.conducting.clone().start(submission, &sender).await;
        Ok(Response::new(Query {
            id: started.map_err(Error::status)?.0.to_vec(),
        }))
    }

    async fn watch(&self, request: Request<Query>) -> Result<Response<Self::WatchStream>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        let updates = self.conducting.clone().watch(query, &querier).await;
        let updates = ReceiverStream::new(updates.map_err(Error::status)?).map(|update| {
            let status = update.map_err(Error::status)?;
            Ok(StatusUpdate { status })
        });
        Ok(Response::new(Box::pin(updates)))
    }

    async fn cancel(&self, request: Request<Query>) -> Result<Response<Empty>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        let cancelled = self.conducting.cancel(query, &querier).await;
        cancelled.map_err(Error::status)?;
        Ok(Response::new(Empty {}))
    }

    async fn advance(&self, request: Request<AdvanceRequest>) -> Result<Response<Empty>, Status> {
        let querier = require_querier(&request)?.clone();
        let AdvanceRequest { id, parameters } = request.into_inner();
        let query = query_id(&Query { id })?;
        let parameters: SignedParameters =
            decode(&parameters).map_err(|error| Error::from(error).status())?;
        let begun = self.conducting.advance(query, &querier, parameters).await;
        begun.map_err(Error::status)?;
        Ok(Response::new(Empty {}))
    }

    async fn totals(&self, request: Request<Query>) -> Result<Response<TotalsReply>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        let seen = self.conducting.see(query, &querier).await;
        let seen = seen.map_err(Error::status)?;
        let totals = seen.totals.ok_or(Error::NotDone).map_err(Error::status)?;
        let totals: Vec<(AggregatorId, SealedTotal)> =
            from_bytes(&totals, MAX_RECORD, "totals").map_err(|error| damaged(error).status())?;
        Ok(Response::new(TotalsReply {
            totals: totals
                .iter()
                .map(|(from, sealed)| Total {
                    committee: from.committee.into(),
                    member: from.member.point().into(),
                    sealed: to_bytes(sealed),
                })
                .collect(),
        }))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<Message>, Status> {
        // Hosts send their requests through a Target, so that the Conductor does not see which host asks (§4).
        require_querier_or_role(&request, Role::Target)?;
        let request = request.into_inner();
        if request.sealed.len() > SealedEvaluationRequest::LIMIT {
            return Err(Status::invalid_argument("the request is over its limit"));
        }
        Ok(Response::new(self.relay.evaluate(request).await?))
    }

    async fn upload(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Empty>, Status> {
        require_role(&request, Role::Target)?;
        let mut messages = Messages::of_request(request.into_inner());
        let body = messages.expect(SealedUpload::LIMIT).await?;
        self.uploads.add(body).await?;
        Ok(Response::new(Empty {}))
    }

    async fn withdraw(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<WithdrawReply>, Status> {
        require_role(&request, Role::Target)?;
        let mut messages = Messages::of_request(request.into_inner());
        let body = messages.expect(MAX_UPLOAD).await?;
        let withdrawn = self.uploads.withdraw(body).await?;
        Ok(Response::new(WithdrawReply { withdrawn }))
    }

    async fn log(&self, request: Request<LogRange>) -> Result<Response<Reply>, Status> {
        require_listed(&request)?;
        let LogRange { from, count } = request.into_inner();
        let logged = self.log.entries(from, count.min(LOGGED)).await;
        Ok(reply(logged.map_err(Error::status)?))
    }

    async fn log_head(&self, request: Request<Empty>) -> Result<Response<Message>, Status> {
        require_listed(&request)?;
        let head = self.log.head().await.map_err(Error::status)?;
        Ok(Response::new(Message {
            body: head.unwrap_or_default(),
        }))
    }

    async fn log_consistency(
        &self,
        request: Request<LogSizes>,
    ) -> Result<Response<Message>, Status> {
        require_listed(&request)?;
        let LogSizes { older, newer } = request.into_inner();
        let body = self.log.consistency(older, newer).await;
        let body = body.map_err(Error::status)?;
        Ok(Response::new(Message { body }))
    }
}
