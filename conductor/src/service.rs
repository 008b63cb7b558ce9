//! The gRPC edge of a Conductor: convert, call, convert.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dispers_core::{
    conduct::{Conduct, Phase},
    encoding::{from_bytes, to_bytes},
    envelope::EnvelopeSecretKey,
    evaluation::MAX_REQUEST,
    find::MAX_FIND_HEAD,
    id::{MemberNumber, QueryId, Role},
    manifest::{MAX_MANIFEST, SignedManifest},
    oprf::Pseudonym,
    subscription::{
        Handle, MAX_UPLOAD, SealedUpload, SealedWithdrawal, upload_context, withdrawal_context,
    },
};
use dispers_node::{
    Channels, Node, blocking, now, require_querier, require_querier_or_role, require_role,
};
use dispers_proto::{
    Messages,
    v1::{
        Chunk, Empty, EvaluateRequest, Message, OffersReply, Query, StatusUpdate, SubmitRequest,
        Total, TotalsReply, WithdrawReply, concept_indexor_client::ConceptIndexorClient,
        conductor_server::Conductor, data_aggregator_client::DataAggregatorClient,
    },
};
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Config, Error, InMemory,
    drive::{self, Driver},
    lists::Lists,
    queries::{Progress, Queries},
};

/// Most pseudonyms of one target profile.
const MAX_PSEUDONYMS: usize = 256;
/// Most handles of one withdrawal.
const MAX_HANDLES: usize = 1 << 20;

/// Serves the Conductor.
pub struct Service {
    node: Arc<Node>,
    envelope: Arc<EnvelopeSecretKey>,
    config: Config,
    channels: Channels,
    lists: Arc<Mutex<Lists>>,
    queries: Queries,
}

impl Service {
    /// Serves the conductor of `node`.
    pub fn new(node: Arc<Node>, envelope: EnvelopeSecretKey, config: Config) -> Self {
        Self {
            channels: Channels::new(node.clone()),
            envelope: Arc::new(envelope),
            lists: Arc::new(Mutex::new(Lists::new(config.max_entries))),
            queries: Queries::new(config.max_queries),
            config,
            node,
        }
    }

    fn start(
        &self,
        request: SubmitRequest,
        sender: &dispers_core::id::Name,
    ) -> Result<QueryId, Error> {
        let now = now();
        let signed: SignedManifest =
            from_bytes(&request.manifest, 2 * MAX_MANIFEST, "signed manifest")?;
        let manifest = signed.verify(&self.node.directory, now)?;
        if manifest.querier != *sender {
            return Err(Error::OtherQuerier);
        }
        let profile = from_bytes(&request.profile, MAX_FIND_HEAD, "sealed profile")?;
        let pseudonyms: Vec<Pseudonym> = request
            .pseudonyms
            .iter()
            .map(|bytes| from_bytes(bytes, 64, "pseudonym"))
            .collect::<Result<_, _>>()?;
        if pseudonyms.is_empty() || pseudonyms.len() > MAX_PSEUDONYMS {
            return Err(Error::BadPseudonyms);
        }
        let query = manifest.query();
        let (querier, expires) = (manifest.querier.clone(), manifest.expires);
        let key_epoch = manifest.key_epoch;
        let (conduct, commands) = Conduct::new(manifest);
        let start = Progress {
            status: conduct.status(),
            totals: None,
        };
        let Some(progress) = self.queries.insert(query, querier, expires, start, now)? else {
            return Ok(query);
        };
        let segments = self
            .lists
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .segments(key_epoch, &pseudonyms);
        let driver = Arc::new(Driver {
            node: self.node.clone(),
            channels: self.channels.clone(),
            config: self.config.clone(),
            manifest: signed,
            profile,
            kept: Arc::new(InMemory {
                segments,
                batches: Mutex::default(),
            }),
        });
        let life = Duration::from_millis(expires.0.saturating_sub(now.0));
        tracing::info!(%query, "query started");
        tokio::spawn(drive::run(driver, conduct, commands, progress, life));
        Ok(query)
    }
}

fn status(error: Error) -> Status {
    error.fault().status(&error)
}

fn query_id(query: &Query) -> Result<QueryId, Status> {
    <[u8; 32]>::try_from(query.id.as_slice())
        .map(QueryId)
        .map_err(|_| Status::invalid_argument("a query id has 32 bytes"))
}

#[tonic::async_trait]
impl Conductor for Service {
    type WatchStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<StatusUpdate, Status>> + Send + 'static>>;

    async fn offers(&self, request: Request<Message>) -> Result<Response<OffersReply>, Status> {
        require_querier(&request)?;
        let body = request.into_inner().body;
        let wait = Duration::from_millis(self.config.step_timeout_ms.min(10_000));
        let committee = self
            .node
            .directory
            .committees
            .first()
            .ok_or_else(|| Status::unavailable("the directory lists no committee"))?;
        let asked: Vec<_> = committee
            .threshold()
            .numbers()
            .map(|member| {
                let node = self
                    .node
                    .directory
                    .member(Role::DataAggregator, 0, member)
                    .map(|node| (node.address.clone(), node.tls_key));
                let (channels, body) = (self.channels.clone(), body.clone());
                tokio::spawn(async move {
                    let (address, key) = node?;
                    let mut client = DataAggregatorClient::new(channels.to(&address, key).ok()?);
                    let offer = client.offer(Message { body });
                    let reply = tokio::time::timeout(wait, offer).await.ok()?.ok()?;
                    Some(reply.into_inner().body)
                })
            })
            .collect();
        let mut offers = Vec::with_capacity(asked.len());
        for offer in asked {
            offers.push(offer.await.ok().flatten().unwrap_or_default());
        }
        Ok(Response::new(OffersReply { offers }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Query>, Status> {
        let sender = require_querier(&request)?.clone();
        let query = self.start(request.into_inner(), &sender).map_err(status)?;
        Ok(Response::new(Query {
            id: query.0.to_vec(),
        }))
    }

    async fn watch(&self, request: Request<Query>) -> Result<Response<Self::WatchStream>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        let progress = self.queries.watch(query, &querier).map_err(status)?;
        let mut ended = false;
        let updates = WatchStream::new(progress)
            .take_while(move |progress| {
                let before = ended;
                ended = matches!(progress.status.phase, Phase::Done | Phase::Failed);
                !before
            })
            .map(|progress| {
                Ok(StatusUpdate {
                    status: to_bytes(&progress.status),
                })
            });
        // The sender of an ended query is gone, so the stream ends by itself after its last value.
        Ok(Response::new(Box::pin(updates)))
    }

    async fn totals(&self, request: Request<Query>) -> Result<Response<TotalsReply>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        let progress = self.queries.watch(query, &querier).map_err(status)?;
        let totals = progress.borrow().totals.clone();
        let totals = totals.ok_or(Error::NotDone).map_err(status)?;
        Ok(Response::new(TotalsReply {
            totals: totals
                .iter()
                .map(|(member, sealed)| Total {
                    member: member.point().into(),
                    sealed: to_bytes(sealed),
                })
                .collect(),
        }))
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<Message>, Status> {
        require_querier_or_role(&request, Role::Target)?;
        let request = request.into_inner();
        if request.sealed.len() > 2 * MAX_REQUEST {
            return Err(Status::invalid_argument("the request is over its limit"));
        }
        let node = u8::try_from(request.member)
            .ok()
            .and_then(|number| MemberNumber::new(number).ok())
            .and_then(|member| self.node.directory.member(Role::ConceptIndexor, 0, member))
            .ok_or_else(|| Status::not_found("no such concept indexor"))?;
        let channel = self.channels.to(&node.address, node.tls_key)?;
        let reply = tokio::time::timeout(
            Duration::from_millis(self.config.step_timeout_ms.min(10_000)),
            ConceptIndexorClient::new(channel).evaluate(request),
        )
        .await
        .map_err(|_| Status::unavailable("the concept indexor did not answer in time"))??;
        Ok(Response::new(reply.into_inner()))
    }

    async fn upload(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Empty>, Status> {
        require_role(&request, Role::Target)?;
        let body = Messages::new(request.into_inner())
            .expect(MAX_UPLOAD + (1 << 16))
            .await?;
        let (envelope, lists) = (self.envelope.clone(), self.lists.clone());
        let listed = self.node.directory.epochs();
        let listed: Vec<_> = listed.map(|keys| keys.key_epoch).collect();
        blocking(move || {
            let add = || -> Result<(), Error> {
                let sealed: SealedUpload = from_bytes(&body, MAX_UPLOAD + (1 << 16), "upload")?;
                let upload = sealed.open(&envelope, &upload_context(), MAX_UPLOAD)?;
                lists
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(upload, &listed)
            };
            add().map_err(status)
        })
        .await?;
        Ok(Response::new(Empty {}))
    }

    async fn withdraw(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<WithdrawReply>, Status> {
        require_role(&request, Role::Target)?;
        let body = Messages::new(request.into_inner())
            .expect(MAX_UPLOAD)
            .await?;
        let (envelope, lists) = (self.envelope.clone(), self.lists.clone());
        let withdrawn = blocking(move || {
            let withdraw = || -> Result<u32, Error> {
                let sealed: SealedWithdrawal = from_bytes(&body, MAX_UPLOAD, "withdrawal")?;
                let handles: Vec<Handle> =
                    sealed.open(&envelope, &withdrawal_context(), 17 * MAX_HANDLES)?;
                Ok(lists
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .withdraw(&handles))
            };
            withdraw().map_err(status)
        })
        .await?;
        Ok(Response::new(WithdrawReply { withdrawn }))
    }
}
