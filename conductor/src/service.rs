//! The gRPC edge of a Conductor, and the queries that this process drives.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dispers_base::{
    encoding::{Message as _, decode, from_bytes, to_bytes},
    id::{AggregatorId, KeyEpoch, MemberNumber, Name, QueryId, Role},
};
use dispers_core::{
    aggregation::MAX_IN_FLIGHT,
    conduct::{Command, Conduct, Options, Record, Status as QueryStatus},
    evaluation::SealedEvaluationRequest,
    find::{MAX_FIND_HEAD, SealedProfile},
    manifest::SignedManifest,
    release::SealedTotal,
    session::SignedParameters,
    subscription::{
        Handle, MAX_ENTRIES, MAX_UPLOAD, SealedUpload, SealedWithdrawal, Upload, upload_context,
        withdrawal_context,
    },
};
use dispers_crypto::{envelope::EnvelopeSecretKey, oprf::Pseudonym};
use dispers_node::{
    Channel, Channels, Node, Reply, blocking, now, reply, require_listed, require_querier,
    require_querier_or_role, require_role, rng,
};
use dispers_proto::{
    Messages,
    v1::{
        AdvanceRequest, BudgetsReply, Chunk, Empty, EvaluateRequest, LogRange, LogSizes, Message,
        OffersReply, Query, StatusUpdate, SubmitRequest, Total, TotalsReply, WithdrawReply,
        concept_indexor_client::ConceptIndexorClient, conductor_server::Conductor,
        data_aggregator_client::DataAggregatorClient,
    },
};
use rand::Rng;
use tokio::{
    sync::{Notify, OnceCell, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::{
    Config, Driver, Error, Lease, Log, NewQuery, Seen, Store, TakenUp,
    kept::Stored,
    run::{self, Advance, Run},
};

/// Largest encoded record, profiles or totals of a query, in bytes.
const MAX_RECORD: usize = 64 << 20;
/// Time between two looks at a query that another Conductor drives.
const LOOK: Duration = Duration::from_millis(500);
/// Most pseudonyms of one target profile.
const MAX_PSEUDONYMS: usize = 256;
/// Most entries of the log in one answer.
const LOGGED: u64 = 256;
/// Most handles of one withdrawal.
const MAX_HANDLES: usize = 1 << 20;

/// Serves a Conductor to queriers, Targets and readers of the log.
#[derive(Clone)]
pub struct Service(Arc<Conducting>);

struct Conducting {
    node: Arc<Node>,
    envelope: Arc<EnvelopeSecretKey>,
    config: Config,
    channels: Channels,
    store: Arc<dyn Store>,
    log: Arc<Log>,
    /// Name of this process towards other processes that use the same store. It has a random part, so that a
    /// restarted Conductor does not hold the leases of the process before (protocol.md §8).
    holder: String,
    running: Mutex<HashMap<QueryId, Running>>,
}

/// Channels to the task that drives a query in this process.
struct Running {
    progress: watch::Receiver<QueryStatus>,
    cancelled: Arc<Notify>,
    advances: mpsc::Sender<Advance>,
}

impl Service {
    /// Returns the number of the log that the directory names now.
    fn log_number(&self) -> u32 {
        self.0.node.directory.witnesses.log
    }

    /// Serves the Conductor of `node`. [`keep_up`](Self::keep_up) takes up the queries that are in `store`.
    pub fn new(
        node: Arc<Node>,
        envelope: EnvelopeSecretKey,
        config: Config,
        store: Arc<dyn Store>,
    ) -> Self {
        let channels = Channels::new(node.clone());
        let log = Log::new(node.clone(), channels.clone(), store.clone());
        Self(Arc::new(Conducting {
            log: Arc::new(log),
            channels,
            envelope: Arc::new(envelope),
            holder: format!("{} {:016x}", node.name, rng().next_u64()),
            store,
            config,
            node,
            running: Mutex::default(),
        }))
    }

    /// Takes up queries that no process drives, renews the leases of those that this process drives, and cancels those
    /// that are to be cancelled. Runs until it is dropped.
    pub async fn keep_up(self) {
        // Three renewals per lease leave time to repeat one that fails.
        let pause = Duration::from_millis((self.0.config.lease_ms / 3).max(1));
        loop {
            if let Err(error) = self.0.clone().keep_up().await {
                tracing::error!(%error, "what is kept cannot be reached");
            }
            sleep(pause).await;
        }
    }

    /// Gives up the leases of this process, so that another Conductor takes up its queries at once.
    pub async fn give_up(&self) {
        if let Err(error) = self.0.store.give_up(&self.0.holder).await {
            tracing::warn!(%error, "the queries were not given up");
        }
    }
}

impl Conducting {
    /// Locks the table of the queries that this process drives.
    fn running(&self) -> MutexGuard<'_, HashMap<QueryId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the options of the state machine.
    fn options(&self) -> Options {
        Options {
            partitions: self.node.directory.partitions(),
            in_flight: self.config.batches_in_flight.clamp(1, MAX_IN_FLIGHT),
        }
    }

    /// Returns the lease that this process takes and renews.
    fn lease(&self) -> Lease {
        Lease {
            holder: self.holder.clone(),
            length: Duration::from_millis(self.config.lease_ms),
        }
    }

    /// Does one round of [`Service::keep_up`].
    async fn keep_up(self: Arc<Self>) -> Result<(), Error> {
        let driven: Vec<QueryId> = self.running().keys().copied().collect();
        for query in self.store.renew(&self.lease(), &driven).await? {
            if let Some(running) = self.running().get(&query) {
                running.cancelled.notify_one();
            }
        }
        self.store.expire(now()).await?;
        // A Conductor that is stopping takes up nothing, so that another one does.
        if self.node.activity.is_draining() {
            return Ok(());
        }
        while let Some(taken) = self.store.take_up(&self.lease()).await? {
            if let Err(error) = self.clone().go_on(taken).await {
                tracing::error!(%error, "a query that was kept cannot be taken up");
            }
        }
        Ok(())
    }

    /// Goes on with a query that this or another process drove before.
    async fn go_on(self: Arc<Self>, taken: TakenUp) -> Result<(), Error> {
        let signed: SignedManifest = decode(&taken.manifest)?;
        let manifest = signed.verify(&self.node.directory, now())?;
        let profiles = from_bytes(&taken.profiles, MAX_RECORD, "sealed profiles")?;
        let record: Record = from_bytes(&taken.record, MAX_RECORD, "record")?;
        let query = manifest.query();
        // This process still drives the query: it renewed the lease too late, and has just taken it back itself.
        if self.running().contains_key(&query) {
            return Ok(());
        }
        tracing::info!(%query, "query taken up");
        let (conduct, commands) = Conduct::resume(manifest, self.options(), record);
        self.drive(
            signed,
            profiles,
            taken.pseudonyms,
            conduct,
            commands,
            (taken.version, taken.record),
        )
        .await
    }

    /// Accepts a query and starts to drive it. A query that is stored already is not started again.
    async fn start(
        self: Arc<Self>,
        request: SubmitRequest,
        sender: &dispers_base::id::Name,
    ) -> Result<QueryId, Error> {
        let now = now();
        let signed: SignedManifest = decode(&request.manifest)?;
        let manifest = signed.verify(&self.node.directory, now)?;
        if manifest.querier != *sender {
            return Err(Error::OtherQuerier);
        }
        let profiles = request.profiles.iter();
        let profiles: Vec<SealedProfile> = profiles
            .map(|bytes| from_bytes(bytes, MAX_FIND_HEAD, "sealed profile"))
            .collect::<Result<_, _>>()?;
        if profiles.len() != usize::from(self.node.directory.partitions()) {
            return Err(Error::BadProfiles);
        }
        let pseudonyms: Vec<Pseudonym> = request
            .pseudonyms
            .iter()
            .map(|bytes| from_bytes(bytes, 64, "pseudonym"))
            .collect::<Result<_, _>>()?;
        let named: BTreeSet<&Pseudonym> = pseudonyms.iter().collect();
        if named.len() != pseudonyms.len()
            || pseudonyms.is_empty()
            || pseudonyms.len() > MAX_PSEUDONYMS
        {
            return Err(Error::BadPseudonyms);
        }
        let query = manifest.query();
        let (querier, expires) = (manifest.querier.clone(), manifest.expires);
        let (conduct, commands) = Conduct::new(manifest, self.options());
        let state = run::state(&conduct);
        let record = state.record.clone();
        let new = NewQuery {
            id: query,
            querier,
            expires,
            manifest: request.manifest,
            profiles: to_bytes(&profiles),
            pseudonyms: pseudonyms.clone(),
            state,
        };
        let most = self.config.max_queries;
        if self.store.begin(new, &self.lease(), most, now).await? {
            tracing::info!(%query, "query started");
            self.drive(signed, profiles, pseudonyms, conduct, commands, (0, record))
                .await?;
        }
        Ok(query)
    }

    /// Drives a query from this version and record of its stored state.
    async fn drive(
        self: Arc<Self>,
        signed: SignedManifest,
        profiles: Vec<SealedProfile>,
        pseudonyms: Vec<Pseudonym>,
        conduct: Conduct,
        commands: Vec<Command>,
        (version, kept): (u64, Vec<u8>),
    ) -> Result<(), Error> {
        let (query, epoch) = (conduct.manifest().query(), conduct.manifest().key_epoch);
        let expires = conduct.manifest().expires;
        let partitions = self.node.directory.partitions();
        let store = self.store.clone();
        let holder = self.holder.clone();
        let lists = Stored::new(store, query, holder, epoch, pseudonyms, partitions).await?;
        let driver = Driver {
            node: self.node.clone(),
            channels: self.channels.clone(),
            config: self.config.clone(),
            manifest: signed,
            profiles,
            kept: Arc::new(lists),
            log: self.log.clone(),
            inclusion: OnceCell::new(),
            announced: OnceCell::new(),
        };
        let (progress, watched) = watch::channel(conduct.status());
        let cancelled = Arc::new(Notify::new());
        let (advance, advances) = mpsc::channel(1);
        let running = Running {
            progress: watched,
            cancelled: cancelled.clone(),
            advances: advance,
        };
        self.running().insert(query, running);
        let run = Run {
            driver: Arc::new(driver),
            store: self.store.clone(),
            holder: self.holder.clone(),
            version,
            kept,
            progress,
            cancelled,
            advances,
            life: Duration::from_millis(expires.0.saturating_sub(now().0)),
        };
        let driving = async move {
            run.run(conduct, commands).await;
            self.running().remove(&query);
        };
        tokio::spawn(driving.in_current_span());
        Ok(())
    }

    /// Begins the next round of a session that this process drives.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] if this process does not drive the session. [`Error::Parameters`] if no round begins with
    /// these parameters.
    async fn advance(&self, query: QueryId, parameters: SignedParameters) -> Result<(), Error> {
        let advances = self
            .running()
            .get(&query)
            .map(|running| running.advances.clone());
        let advances = advances.ok_or(Error::Elsewhere)?;
        let (taken, told) = oneshot::channel();
        let advance = Advance { parameters, taken };
        advances.send(advance).await.map_err(|_| Error::Elsewhere)?;
        told.await
            .map_err(|_| Error::Elsewhere)?
            .map_err(Error::Parameters)
    }

    /// Returns the state of a query to its own querier.
    ///
    /// # Errors
    /// [`Error::OtherQuerier`] for anybody else, [`Error::UnknownQuery`].
    async fn see(&self, query: QueryId, querier: &Name) -> Result<Seen, Error> {
        let seen = self.store.see(query).await?;
        if seen.querier != *querier {
            return Err(Error::OtherQuerier);
        }
        Ok(seen)
    }

    /// Sends the status of a query to `updates` at every change, until the query has ended or the receiver is gone,
    /// whichever process drives the query.
    async fn tell(
        &self,
        query: QueryId,
        updates: &mpsc::Sender<Result<StatusUpdate, Status>>,
    ) -> Result<(), Error> {
        let mut last = Vec::new();
        let mut local: Option<watch::Receiver<QueryStatus>> = None;
        loop {
            let seen = self.store.see(query).await?;
            // The watch channel closes when this process no longer drives the query. Then the store has the status.
            local = local.filter(|progress| progress.has_changed().is_ok());
            local = local.or_else(|| {
                let running = self.running();
                running.get(&query).map(|running| running.progress.clone())
            });
            let status = match &mut local {
                // The stored status does not tell which nodes the query waits for.
                Some(progress) if !seen.ended => to_bytes(&*progress.borrow_and_update()),
                _ => seen.status,
            };
            if status != last {
                last.clone_from(&status);
                if updates.send(Ok(StatusUpdate { status })).await.is_err() {
                    return Ok(());
                }
            }
            if seen.ended {
                return Ok(());
            }
            match &mut local {
                Some(progress) => {
                    let _ = timeout(LOOK, progress.changed()).await;
                }
                None => sleep(LOOK).await,
            }
        }
    }
}

/// Converts an error to the gRPC status of its fault.
fn status(error: Error) -> Status {
    error.fault().status(&error)
}

/// Checks that an upload is for a listed key epoch and partition, and has a valid number of entries.
fn check_upload(upload: &Upload, listed: &[KeyEpoch], partitions: u16) -> Result<(), Error> {
    let count = upload.entries.len();
    // The number of entries is associated data of each entry (§3), so with a wrong number the finder could open none.
    if !listed.contains(&upload.key_epoch)
        || upload.partition >= partitions
        || count == 0
        || count > MAX_ENTRIES
        || upload.envelopes.entry_count as usize != count
    {
        return Err(Error::BadUpload);
    }
    Ok(())
}

fn open_upload(body: &[u8], envelope: &EnvelopeSecretKey) -> Result<Upload, Error> {
    let sealed: SealedUpload = decode(body)?;
    Ok(sealed.open(envelope, &upload_context(), Upload::LIMIT)?)
}

/// Returns the hashes of the handles in a sealed withdrawal.
fn open_withdrawal(body: &[u8], envelope: &EnvelopeSecretKey) -> Result<Vec<[u8; 32]>, Error> {
    let sealed: SealedWithdrawal = from_bytes(body, MAX_UPLOAD, "withdrawal")?;
    // A handle has 16 bytes, so this bounds their number.
    let handles = sealed.open(envelope, &withdrawal_context(), 17 * MAX_HANDLES)?;
    Ok(handles.iter().map(Handle::hash).collect())
}

/// Decodes a query id.
fn query_id(query: &Query) -> Result<QueryId, Status> {
    <[u8; 32]>::try_from(query.id.as_slice())
        .map(QueryId)
        .map_err(|_| Status::invalid_argument("a query id has 32 bytes"))
}

impl Service {
    /// Sends `message` to each aggregator of each committee at the same time. Returns their answers in the order of
    /// committees and members. The answer of an aggregator that fails or takes too long is empty.
    async fn every_aggregator<F>(
        &self,
        message: Message,
        ask: impl Fn(DataAggregatorClient<Channel>, Message) -> F,
    ) -> Vec<Vec<u8>>
    where
        F: Future<Output = Result<Response<Message>, Status>> + Send + 'static,
    {
        let wait = Duration::from_millis(self.0.config.step_timeout_ms.min(10_000));
        let directory = &self.0.node.directory;
        let members = (0u16..)
            .zip(&directory.committees)
            .flat_map(|(group, key)| {
                let numbers = key.threshold().numbers();
                numbers.map(move |member| directory.member(Role::DataAggregator, group, member))
            });
        // All aggregators are asked at once, so that one that hangs delays nothing beyond `wait`.
        let asked: Vec<_> = members
            .map(|node| {
                let channel =
                    node.and_then(|node| self.0.channels.to(&node.address, node.tls_key).ok());
                let answer = channel.map(|c| ask(DataAggregatorClient::new(c), message.clone()));
                let answered = async move {
                    let reply = tokio::time::timeout(wait, answer?).await.ok()?.ok()?;
                    Some(reply.into_inner().body)
                };
                tokio::spawn(answered.in_current_span())
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(answer.await.ok().flatten().unwrap_or_default());
        }
        answers
    }
}

#[tonic::async_trait]
impl Conductor for Service {
    type LogStream = Reply;
    type WatchStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<StatusUpdate, Status>> + Send + 'static>>;

    async fn offers(&self, request: Request<Message>) -> Result<Response<OffersReply>, Status> {
        require_querier(&request)?;
        let offers = self
            .every_aggregator(request.into_inner(), |mut aggregator, message| async move {
                aggregator.offer(message).await
            });
        let offers = offers.await;
        Ok(Response::new(OffersReply { offers }))
    }

    async fn budgets(&self, request: Request<Message>) -> Result<Response<BudgetsReply>, Status> {
        require_querier(&request)?;
        let budgets = self
            .every_aggregator(request.into_inner(), |mut aggregator, message| async move {
                aggregator.budget(message).await
            });
        let budgets = budgets.await;
        Ok(Response::new(BudgetsReply { budgets }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<Query>, Status> {
        let sender = require_querier(&request)?.clone();
        let started = self.0.clone().start(request.into_inner(), &sender).await;
        Ok(Response::new(Query {
            id: started.map_err(status)?.0.to_vec(),
        }))
    }

    async fn watch(&self, request: Request<Query>) -> Result<Response<Self::WatchStream>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        // Only a query's own querier may watch it; the stream itself does not check again.
        self.0.see(query, &querier).await.map_err(status)?;
        let (sender, updates) = mpsc::channel(1);
        let conducting = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = conducting.tell(query, &sender).await {
                let _ = sender.send(Err(status(error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(updates))))
    }

    async fn cancel(&self, request: Request<Query>) -> Result<Response<Empty>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        let seen = self.0.see(query, &querier).await.map_err(status)?;
        if seen.ended {
            return Err(Status::failed_precondition("the query has ended already"));
        }
        // Another process may drive the query. It reads the mark when it next renews its leases. If this process drives
        // the query, the query is cancelled at once.
        self.0.store.cancel(query).await.map_err(status)?;
        if let Some(running) = self.0.running().get(&query) {
            running.cancelled.notify_one();
        }
        Ok(Response::new(Empty {}))
    }

    async fn advance(&self, request: Request<AdvanceRequest>) -> Result<Response<Empty>, Status> {
        let querier = require_querier(&request)?.clone();
        let AdvanceRequest { id, parameters } = request.into_inner();
        let query = query_id(&Query { id })?;
        let parameters: SignedParameters =
            decode(&parameters).map_err(|error| status(error.into()))?;
        let seen = self.0.see(query, &querier).await.map_err(status)?;
        if seen.ended {
            return Err(status(Error::Ended));
        }
        let begun = self.0.advance(query, parameters).await;
        begun.map_err(status)?;
        Ok(Response::new(Empty {}))
    }

    async fn totals(&self, request: Request<Query>) -> Result<Response<TotalsReply>, Status> {
        let querier = require_querier(&request)?.clone();
        let query = query_id(request.get_ref())?;
        let seen = self.0.see(query, &querier).await.map_err(status)?;
        let totals = seen.totals.ok_or(Error::NotDone).map_err(status)?;
        let totals: Vec<(AggregatorId, SealedTotal)> = from_bytes(&totals, MAX_RECORD, "totals")
            .map_err(|error| status(Error::Storage(error.to_string())))?;
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
        let node = u8::try_from(request.member)
            .ok()
            .and_then(|number| MemberNumber::new(number).ok())
            .and_then(|member| {
                self.0
                    .node
                    .directory
                    .member(Role::ConceptIndexor, 0, member)
            })
            .ok_or_else(|| Status::not_found("no such concept indexor"))?;
        let channel = self.0.channels.to(&node.address, node.tls_key)?;
        let reply = tokio::time::timeout(
            Duration::from_millis(self.0.config.step_timeout_ms.min(10_000)),
            ConceptIndexorClient::new(channel).evaluate(request),
        )
        .await
        .map_err(|_| Status::unavailable("the concept indexor did not answer in time"))??;
        Ok(Response::new(reply.into_inner()))
    }

    async fn upload(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Empty>, Status> {
        require_role(&request, Role::Target)?;
        let body = Messages::of_request(request.into_inner())
            .expect(SealedUpload::LIMIT)
            .await?;
        let envelope = self.0.envelope.clone();
        let upload = blocking(move || open_upload(&body, &envelope).map_err(status)).await?;
        // During a grace the directory lists two key epochs (§2). Lists of any other would never be read.
        let listed = self.0.node.directory.epochs();
        let listed: Vec<_> = listed.map(|keys| keys.key_epoch).collect();
        check_upload(&upload, &listed, self.0.node.directory.partitions()).map_err(status)?;
        let most = self.0.config.max_entries;
        self.0.store.add(upload, most).await.map_err(status)?;
        Ok(Response::new(Empty {}))
    }

    async fn withdraw(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<WithdrawReply>, Status> {
        require_role(&request, Role::Target)?;
        let body = Messages::of_request(request.into_inner())
            .expect(MAX_UPLOAD)
            .await?;
        let envelope = self.0.envelope.clone();
        let hashes = blocking(move || open_withdrawal(&body, &envelope).map_err(status)).await?;
        let withdrawn = self.0.store.withdraw(hashes).await.map_err(status)?;
        Ok(Response::new(WithdrawReply { withdrawn }))
    }

    async fn log(&self, request: Request<LogRange>) -> Result<Response<Reply>, Status> {
        require_listed(&request)?;
        let LogRange { from, count } = request.into_inner();
        let logged = self
            .0
            .store
            .logged(self.log_number(), from, count.min(LOGGED))
            .await;
        Ok(reply(logged.map_err(status)?))
    }

    async fn log_head(&self, request: Request<Empty>) -> Result<Response<Message>, Status> {
        require_listed(&request)?;
        let head = self.0.log.head().await.map_err(status)?;
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
        let body = self.0.log.consistency(older, newer).await.map_err(status)?;
        Ok(Response::new(Message { body }))
    }
}
