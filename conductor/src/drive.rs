//! Driver of one query: carries out the commands of [`Conduct`] over the network and returns their outcomes as events.

use std::{future::Future, sync::Arc, time::Duration};

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{
    encoding::{DecodeError, Message as _, decode, from_bytes, to_bytes},
    id::{AggregatorId, MemberNumber, Name, Role, Timestamp, Work},
};
use dispers_core::{
    aggregation::{
        BeginRequest, CommitRequest, Deal, DealtRequest, DecideRequest, GuardsRequest, MAX_DEAL,
        OpenHead, ReleaseRequest, StepReply, Verdict, VerifyRequest,
    },
    ask::{AnswerHead, BatchAnswer, MAX_ANSWER, TargetRequest, most_homes},
    conduct::{Command, Event, StepError, Wait},
    find::{
        BatchMessage, BatchStatement, FindRequest, FindSummary, MAX_BATCH, SealedProfile, assigned,
        responsible,
    },
    log::Inclusion,
    manifest::{Manifest, SignedManifest},
    peer::{MAX_PEER_MESSAGE, PeerMessage},
    release::{Certificate, NotariseRequest, Proposal, SealedTotal},
    session::SignedParameters,
};
use dispers_node::{CallFailure, Channel, Channels, Node, blocking, now};
use dispers_proto::{
    Messages, chunks,
    v1::{
        Chunk, Message, data_aggregator_client::DataAggregatorClient, target_client::TargetClient,
        target_finder_client::TargetFinderClient,
    },
};
use dispers_trust::directory::Node as Listed;
use tokio::{
    sync::{OnceCell, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use crate::{Config, Error, Kept, Log};

/// Largest encoded head of a batch's answers, in bytes.
const MAX_HEAD: usize = 1 << 20;
/// Largest encoded answer of an aggregator's step, in bytes: its messages to all others.
const MESSAGES: usize = 16 * MAX_PEER_MESSAGE;
/// Upper bound on the aggregators of a committee, whose member numbers have one byte.
const MOST_MEMBERS: usize = u8::MAX as usize;
/// Pause after an ask whose Target cannot be reached. Doubled at every attempt, up to 16 times this long.
const ASK_PAUSE: Duration = Duration::from_secs(2);
/// Most chunks of the lists that wait to be sent.
const CHUNKS_AHEAD: usize = 4;
/// Most tries of a repeatable step while its node cannot be reached. Then the step fails.
const TRIES: u32 = 3;

/// Driver of one query. It carries out commands over the network.
pub struct Driver {
    pub(crate) node: Arc<Node>,
    pub(crate) channels: Channels,
    pub(crate) config: Config,
    pub(crate) manifest: SignedManifest,
    pub(crate) profiles: Vec<SealedProfile>,
    pub(crate) kept: Arc<dyn Kept>,
    pub(crate) log: Arc<Log>,
    /// Proof that the query is in the log, once it is.
    pub(crate) inclusion: OnceCell<Inclusion>,
    /// Set once the announcement of the query to homes has started.
    pub(crate) announced: OnceCell<()>,
}

impl Driver {
    /// Creates the driver of one query for a Conductor's node. `kept` has the lists of the query's profile, and `log`
    /// takes the manifest.
    pub fn new(
        node: Arc<Node>,
        config: Config,
        manifest: SignedManifest,
        profiles: Vec<SealedProfile>,
        kept: Arc<dyn Kept>,
        log: Arc<Log>,
    ) -> Self {
        Self {
            channels: Channels::new(node.clone()),
            node,
            config,
            manifest,
            profiles,
            kept,
            log,
            inclusion: OnceCell::new(),
            announced: OnceCell::new(),
        }
    }
}

/// Converts a status of a step to the error that decides how the query goes on.
fn step_error(status: &Status) -> StepError {
    match CallFailure::of(status) {
        CallFailure::Unreachable => StepError::Unreachable,
        // An aggregator lost the contributions of a frozen attempt in a restart (§8).
        CallFailure::Lost => StepError::Forgotten,
        // A node that is full stays so for longer than a step may take, so that a repetition would not help.
        CallFailure::Busy | CallFailure::Missing | CallFailure::Sender | CallFailure::Refused => {
            StepError::Refused(status.message().to_owned())
        }
    }
}

/// Returns the result of a step, or an error with the aggregators whose messages could not be read.
fn read<T>(reply: StepReply<T>) -> Result<T, StepError> {
    match reply {
        StepReply::Done(done) => Ok(done),
        StepReply::Unread { members } => Err(unread(members)),
    }
}

fn malformed(error: DecodeError) -> Status {
    Status::data_loss(error.to_string())
}

/// Returns the error for aggregators whose messages could not be read.
fn unread(members: Vec<MemberNumber>) -> StepError {
    // The names become part of the query's record, and an answer may be large. More names than a committee has members
    // are refused.
    match members.len() <= MOST_MEMBERS {
        true => StepError::Unread { members },
        false => too_many_names(),
    }
}

/// Returns the error for an answer that names too many aggregators.
fn too_many_names() -> StepError {
    StepError::Refused("it named more aggregators than there can be".to_owned())
}

/// Waits at most `wait` for one step.
async fn within<T>(
    wait: Duration,
    step: impl Future<Output = Result<T, Status>>,
) -> Result<T, StepError> {
    match timeout(wait, step).await {
        Ok(result) => result.map_err(|status| step_error(&status)),
        Err(_) => Err(StepError::Unreachable),
    }
}

/// Carries out an idempotent step, and repeats it while its node cannot be reached. `wait` limits all tries together.
async fn repeatedly<T, F: Future<Output = Result<T, Status>>>(
    wait: Duration,
    step: impl Fn() -> F,
) -> Result<T, StepError> {
    let deadline = Instant::now() + wait;
    let mut tries = 1;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match within(left, step()).await {
            Err(StepError::Unreachable) if tries < TRIES && Instant::now() < deadline => {
                sleep(Duration::from_millis(100 << tries)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Encodes a message and cuts it into chunks on a worker thread, since the message may be long.
pub(crate) async fn outgoing<T: BorshSerialize + Send + 'static>(
    message: T,
) -> Result<impl tokio_stream::Stream<Item = Chunk> + Send + 'static, Status> {
    let bytes = blocking(move || Ok(to_bytes(&message))).await?;
    Ok(tokio_stream::iter(chunks([bytes])))
}

/// Receives and decodes the only message of an answer.
async fn incoming<T: BorshDeserialize + Send + 'static>(
    response: Response<Streaming<Chunk>>,
    limit: usize,
) -> Result<T, Status> {
    let bytes = Messages::new(response.into_inner()).expect(limit).await?;
    blocking(move || {
        from_bytes(&bytes, limit, "answer").map_err(|error| Status::data_loss(error.to_string()))
    })
    .await
}

impl Driver {
    /// Returns the longest wait for one step.
    fn step(&self) -> Duration {
        Duration::from_millis(self.config.step_timeout_ms)
    }

    /// Returns a channel to a listed node, which accepts only the node's listed TLS key.
    pub(crate) fn channel(&self, node: &Listed) -> Result<Channel, Status> {
        self.channels.to(&node.address, node.tls_key)
    }

    /// Returns the Target Finders of a partition that may find the query. For a query without noise this is only the
    /// one that remembers the querier (protocol.md §6).
    fn finders(&self, partition: u16) -> impl Iterator<Item = &Listed> {
        let directory = &self.node.directory;
        let only = self
            .manifest()
            .and_then(|manifest| responsible(directory, &manifest, partition));
        let finders = directory.nodes(Role::TargetFinder);
        finders.filter(move |node| {
            node.group == partition && only.is_none_or(|only| only.name == node.name)
        })
    }

    /// Decodes the manifest, which was verified when the query was submitted.
    fn manifest(&self) -> Option<Manifest> {
        self.manifest.unverified().ok()
    }

    /// Returns the Target Finder that signs the one release.
    fn notary(&self) -> Option<&Listed> {
        self.node.directory.node(&self.manifest()?.notary)
    }

    /// Returns the proof that the query is in the log. The first call puts the query there.
    pub(crate) async fn inclusion(&self) -> Result<Inclusion, Error> {
        // If too few witnesses answer within the time of one step, the query fails and names them, rather than hang
        // (§16).
        let until = now().plus(self.config.step_timeout_ms);
        let published = self
            .inclusion
            .get_or_try_init(|| self.log.publish(&self.manifest, until));
        published.await.cloned()
    }

    /// Returns the proof that the query is in the log, for requests that need it.
    pub(crate) async fn logged(&self) -> Result<Inclusion, Status> {
        let inclusion = self.inclusion().await;
        inclusion.map_err(|error| error.fault().status(&error))
    }

    /// Returns the number of homes per batch: the configured number, or fewer if their answers would be too large.
    fn batch_size(&self) -> u32 {
        let manifest = self.manifest.verify(&self.node.directory, now());
        let most = manifest.map_or(u32::MAX, |manifest| most_homes(&manifest));
        self.config.batch_size.min(most)
    }

    /// Returns the Target to which the finder gave an attempt at a batch.
    ///
    /// # Errors
    /// `DATA_LOSS` if the statement does not decode, `NOT_FOUND` if the directory does not list the Target.
    pub(crate) fn target(&self, batch: &BatchMessage, attempt: u8) -> Result<&Listed, Status> {
        let statement: BatchStatement =
            decode(&batch.statement).map_err(|error| Status::data_loss(error.to_string()))?;
        let target = statement.target(attempt);
        let node = target.and_then(|name| self.node.directory.node(name));
        node.filter(|node| node.role == Role::Target)
            .ok_or_else(|| Status::not_found("the directory does not list the batch's target"))
    }

    /// Returns a client for an aggregator.
    fn aggregator(
        &self,
        aggregator: AggregatorId,
    ) -> Result<DataAggregatorClient<Channel>, Status> {
        let node = self
            .node
            .directory
            .member(
                Role::DataAggregator,
                aggregator.committee,
                aggregator.member,
            )
            .ok_or_else(|| Status::not_found("no such aggregator is listed"))?;
        Ok(DataAggregatorClient::new(
            self.channels.to(&node.address, node.tls_key)?,
        ))
    }

    /// Returns the node that `command` waits for, and until when.
    pub(crate) fn wait(&self, command: &Command, since: Timestamp) -> Option<Wait> {
        let directory = &self.node.directory;
        let (step, aggregator) = command.step();
        let node = match (aggregator, command) {
            (Some(AggregatorId { committee, member }), _) => {
                directory.member(Role::DataAggregator, committee, member)
            }
            (None, Command::Ask { work, .. }) => {
                // The finder assigns attempts by the same rule (§6), so the stored batch need not be read.
                let targets = directory.nodes(Role::Target).map(|node| node.name.clone());
                let targets = assigned(&targets.collect::<Vec<Name>>(), work.batch);
                let place = usize::from(work.attempt) % targets.len().max(1);
                targets.get(place).and_then(|name| directory.node(name))
            }
            (None, Command::Find { partition }) => self.finders(*partition).next(),
            (None, _) => self.notary(),
        };
        let within = match command {
            Command::Ask { .. } | Command::Find { .. } => self.config.ask_timeout_ms,
            _ => self.config.step_timeout_ms,
        };
        let begins = match command {
            Command::Ask { .. } => since.max(self.answer_from()),
            _ => since,
        };
        Some(Wait {
            node: node?.name.clone(),
            step,
            since,
            until: begins.plus(within),
        })
    }

    /// Carries out `command`. Returns the outcome as an event, which is a failure at the latest when the command's
    /// time is up.
    pub async fn carry_out(self: Arc<Self>, command: Command) -> Event {
        let step = self.step();
        match command {
            Command::Find { partition } => {
                let wait = Duration::from_millis(self.config.ask_timeout_ms);
                Event::Found(partition, within(wait, self.find_anywhere(partition)).await)
            }
            Command::Begin { aggregator, grants } => {
                let begun = repeatedly(step, || async {
                    for (partition, grant) in &*grants {
                        let body = to_bytes(&BeginRequest {
                            manifest: self.manifest.clone(),
                            partition: *partition,
                            grant: grant.clone(),
                        });
                        self.aggregator(aggregator)?.begin(Message { body }).await?;
                    }
                    Ok(())
                });
                Event::Begun(aggregator, begun.await)
            }
            Command::Ask { work, parameters } => {
                self.wait_for_owners().await;
                // Stacks answer a (query, round, batch, attempt) once (§8), so a failed ask is not repeated: the next
                // attempt has another number.
                let wait = Duration::from_millis(self.config.ask_timeout_ms);
                let asked = within(wait, self.ask(work, parameters)).await;
                let asked = asked.and_then(|asked| asked);
                if matches!(asked, Err(StepError::Unreachable)) {
                    // A Target or stack that restarts may be back by the next attempt.
                    sleep(ASK_PAUSE * (1 << work.attempt.min(4))).await;
                }
                Event::Asked(work, asked)
            }
            Command::Deal {
                aggregator,
                request,
            } => {
                let dealt = repeatedly(step, || async {
                    let body = to_bytes(&*request);
                    let reply = self.aggregator(aggregator)?.deal(Message { body }).await?;
                    incoming(reply, MAX_DEAL).await
                });
                let dealt = dealt.await.and_then(|deal: Deal| {
                    // > C hands on only what the dealer signed (§9). Every reader would refuse anything else, and fail
                    // its own step in the dealer's place.
                    let signed = deal.is_signed_by(aggregator, &self.node.directory);
                    signed.then_some(deal).ok_or(StepError::BadNoise)
                });
                Event::Dealt(aggregator, request.work, dealt)
            }
            Command::OpenDeals {
                aggregator,
                position,
                request,
                deals,
            } => {
                let opened = repeatedly(step, || async {
                    let dealt =
                        DealtRequest::for_reader(&request, &deals, position).ok_or_else(|| {
                            Status::data_loss("a deal has no share for an aggregator")
                        })?;
                    let sent = outgoing(dealt).await?;
                    let reply = self.aggregator(aggregator)?.open_deals(sent).await?;
                    incoming(reply, MESSAGES).await
                });
                Event::Opened(aggregator, request.work, opened.await)
            }
            Command::Open {
                aggregator,
                position,
                answer,
            } => {
                let work = answer.statement.work;
                let opened = repeatedly(step, || self.open(aggregator, position, answer.clone()));
                let opened = opened.await.and_then(|opened| {
                    let target = answer.statement.target.clone();
                    opened.ok_or(StepError::OtherBytes { target })
                });
                Event::Opened(aggregator, work, opened)
            }
            Command::Verify {
                aggregator,
                work,
                messages,
            } => {
                let verified = repeatedly(step, || async {
                    let messages = messages.clone();
                    let request = outgoing(VerifyRequest { work, messages }).await?;
                    let reply = self.aggregator(aggregator)?.verify(request).await?;
                    incoming(reply, MESSAGES).await
                });
                Event::Verified(aggregator, work, verified.await.and_then(read))
            }
            Command::Decide {
                aggregator,
                work,
                quorum,
                messages,
            } => {
                let verdict = repeatedly(step, || async {
                    let request = outgoing(DecideRequest {
                        work,
                        quorum: quorum.clone(),
                        messages: messages.clone(),
                    })
                    .await?;
                    let reply = self.aggregator(aggregator)?.decide(request).await?;
                    incoming(reply, MESSAGES).await
                });
                let verdict = verdict.await.and_then(|verdict| match verdict {
                    Verdict::Prepared(acknowledgement) => {
                        // Commit needs the acknowledgements of the whole quorum. With a forged one, the readers
                        // would fail their steps instead of the sender (§8).
                        let signed = acknowledgement.is_signed_by(aggregator, &self.node.directory);
                        signed
                            .then_some(acknowledgement)
                            .ok_or(StepError::BadAcknowledgement)
                    }
                    Verdict::Inconsistent { suspect } => Err(StepError::Inconsistent { suspect }),
                    Verdict::BadDeals { dealers, disputes } => {
                        let few = dealers.len() <= MOST_MEMBERS
                            && disputes.len() <= MOST_MEMBERS * MOST_MEMBERS;
                        Err(match few {
                            true => StepError::BadDeals { dealers, disputes },
                            false => too_many_names(),
                        })
                    }
                    Verdict::Unread { members } => Err(unread(members)),
                });
                Event::Decided(aggregator, work, verdict)
            }
            Command::Commit {
                aggregator,
                work,
                acknowledgements,
            } => {
                let committed = repeatedly(step, || async {
                    let body = to_bytes(&CommitRequest {
                        work,
                        acknowledgements: (*acknowledgements).clone(),
                    });
                    self.aggregator(aggregator)?
                        .commit(Message { body })
                        .await?;
                    Ok(())
                });
                Event::Committed(aggregator, work, committed.await)
            }
            Command::Notarise { proposal } => {
                Event::Notarised(repeatedly(step, || self.notarise(&proposal)).await)
            }
            Command::Guards {
                aggregator,
                proposal,
                certificate,
            } => {
                let guarded = repeatedly(step, || async {
                    let request = outgoing(GuardsRequest {
                        proposal: (*proposal).clone(),
                        certificate: (*certificate).clone(),
                    })
                    .await?;
                    let reply = self.aggregator(aggregator)?.guards(request).await?;
                    incoming(reply, MESSAGES).await
                });
                Event::Guarded(aggregator, guarded.await)
            }
            Command::Release {
                aggregator,
                round,
                messages,
            } => {
                let query = self.manifest.query();
                let released = repeatedly(step, || async {
                    let request = outgoing(ReleaseRequest {
                        query,
                        round,
                        messages: messages.clone(),
                    })
                    .await?;
                    let reply = self.aggregator(aggregator)?.release(request).await?;
                    // The reply says beside the total whether the aggregator has one.
                    incoming(reply, SealedTotal::LIMIT + 1024).await
                });
                Event::Released(aggregator, released.await.and_then(read))
            }
        }
    }

    /// Has the first finder of a partition that can be reached find the query. All finders of a partition share a
    /// secret and find the same.
    async fn find_anywhere(&self, partition: u16) -> Result<FindSummary, Status> {
        let mut found = Err(Status::not_found("no finder of the partition is listed"));
        for finder in self.finders(partition) {
            found = self.find(partition, finder).await;
            match &found {
                Err(status) if CallFailure::of(status) == CallFailure::Unreachable => {}
                _ => break,
            }
        }
        found
    }

    /// Streams a partition's lists to a finder, and stores the batches that come back.
    ///
    /// # Errors
    /// The finder's status. `DATA_LOSS` if the answer is malformed or contradicts itself.
    async fn find(&self, partition: u16, finder: &Listed) -> Result<FindSummary, Status> {
        let profile = self.profiles.get(usize::from(partition));
        let profile = profile.ok_or_else(|| Status::not_found("no profile for the partition"))?;
        let head = to_bytes(&FindRequest {
            manifest: self.manifest.clone(),
            profile: profile.clone(),
            partition,
            batch_size: self.batch_size(),
            lists: self.kept.lists().to_vec(),
            inclusion: self.logged().await?,
        });
        let (sender, lists) = mpsc::channel(CHUNKS_AHEAD);
        let kept = self.kept.clone();
        // The lists are read while they are sent, so that only a few segments are in memory.
        let lists_read = tokio::spawn(async move {
            let mut number = 0;
            let mut message = Some(head);
            while let Some(bytes) = message {
                for chunk in chunks((!bytes.is_empty()).then_some(bytes)) {
                    // The finder stopped reading; its answer tells why.
                    if sender.send(chunk).await.is_err() {
                        return Ok(());
                    }
                }
                message = kept.segment(partition, number).await?;
                number += 1;
            }
            Ok(())
        });
        let reply = TargetFinderClient::new(self.channel(finder)?)
            .find(ReceiverStream::new(lists))
            .await?;
        let mut messages = Messages::new(reply.into_inner());
        let summary: FindSummary =
            from_bytes(&messages.expect(MAX_BATCH).await?, MAX_BATCH, "summary")
                .map_err(malformed)?;
        // The numbers of homes that the querier learns follow from this noise (§6), so the finder must use the scale
        // of the directory.
        if !summary
            .noisy_size
            .has_scale(self.node.directory.floors.size_noise)
        {
            let other = "its noise is not that of the directory";
            return Err(Status::data_loss(other));
        }
        // If a list could not be read to its end, the finder saw a part of it only, and homes would look unsubscribed
        // (§6).
        lists_read
            .await
            .unwrap_or_else(|_| Err(Status::internal("the lists could not be read")))?;
        let mut of_find = None;
        for (id, count) in summary.batches.batches(partition) {
            let message = messages.expect(BatchMessage::LIMIT).await?;
            let batch: BatchMessage = decode(&message).map_err(malformed)?;
            let statement: BatchStatement = decode(&batch.statement).map_err(malformed)?;
            // Another cut is another find (§6). Batches of two finds could both contain the same home.
            let same_find = *of_find.get_or_insert(statement.find) == statement.find;
            if (statement.batch, statement.count) != (id, count) || !same_find {
                return Err(Status::data_loss(
                    "the find sent a batch that its summary does not list",
                ));
            }
            self.kept.keep(id, message).await?;
        }
        Ok(summary)
    }

    /// Has the Target ask a batch, and checks the answer against the Target's signature before any aggregator sees it.
    async fn ask(
        &self,
        work: Work,
        parameters: Option<Arc<SignedParameters>>,
    ) -> Result<Result<BatchAnswer, StepError>, Status> {
        let batch = self.kept.batch(work.batch).await?;
        let batch: BatchMessage = decode(&batch).map_err(malformed)?;
        let statement: BatchStatement = decode(&batch.statement).map_err(malformed)?;
        let asked = self.target(&batch, work.attempt)?;
        let name = asked.name.clone();
        let target = self.channel(asked)?;
        let request = TargetRequest {
            manifest: self.manifest.clone(),
            inclusion: self.logged().await?,
            work,
            parameters: parameters.as_deref().cloned(),
            batch,
        };
        let request = outgoing(request).await?;
        let reply = TargetClient::new(target).ask(request).await?;
        let mut messages = Messages::new(reply.into_inner());
        let head = messages.expect(MAX_HEAD).await?;
        let head: AnswerHead = from_bytes(&head, MAX_HEAD, "answer").map_err(malformed)?;
        if head.statement.work != work || head.groups.len() != head.statement.digests.len() {
            return Err(Status::data_loss("the target answered something else"));
        }
        // Each group comes from a host with at least one home of the batch, so no honest answer has more groups than
        // homes.
        if head.groups.iter().any(|groups| *groups > statement.count) {
            return Ok(Err(StepError::OtherBytes { target: name }));
        }
        let mut left = MAX_ANSWER;
        let mut groups = Vec::with_capacity(head.groups.len());
        for count in head.groups {
            let mut received = Vec::new();
            for _ in 0..count {
                let group = messages.expect(left).await?;
                left -= group.len();
                received.push(from_bytes(&group, MAX_ANSWER, "group").map_err(malformed)?);
            }
            groups.push(received);
        }
        let answer = BatchAnswer {
            statement: head.statement,
            signature: head.signature,
            answered: head.answered,
            groups,
        };
        // Each digest must match the bytes of the groups. Any other answer costs the Target the attempt (§6). Otherwise
        // aggregators would have to refuse the groups, and could not tell who changed them.
        let (node, signed) = (self.node.clone(), self.manifest.clone());
        blocking(move || {
            let directory = &node.directory;
            let manifest = signed
                .verify(directory, now())
                .map_err(|error| Status::failed_precondition(error.to_string()))?;
            let checked = answer.check(work, &name, statement.count, &manifest, directory);
            Ok(match checked {
                Ok(()) => Ok(answer),
                Err(_) => Err(StepError::OtherBytes { target: name }),
            })
        })
        .await
    }

    /// Sends an aggregator its groups. Returns `None` if the aggregator refuses the groups as the Target's fault.
    async fn open(
        &self,
        aggregator: AggregatorId,
        position: usize,
        answer: Arc<BatchAnswer>,
    ) -> Result<Option<Vec<PeerMessage>>, Status> {
        let head = to_bytes(&OpenHead {
            statement: answer.statement.clone(),
            signature: answer.signature,
        });
        let count = answer.groups.get(position).map_or(0, Vec::len);
        let groups = (0..count).map(move |number| to_bytes(&answer.groups[position][number]));
        let request = tokio_stream::iter(chunks(std::iter::once(head).chain(groups)));
        // `position` is the aggregator's place among those with an offer. A place without groups gets none.
        match self.aggregator(aggregator)?.open(request).await {
            Ok(reply) => incoming(reply, MESSAGES).await.map(Some),
            Err(status) if CallFailure::of(&status) == CallFailure::Sender => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Asks the notary to certify a proposal. The notary sees the proposal's hash only (protocol.md §9).
    async fn notarise(&self, proposal: &Proposal) -> Result<Certificate, Status> {
        let body = to_bytes(&NotariseRequest {
            manifest: self.manifest.clone(),
            round: proposal.round,
            proposal: proposal.hash(),
        });
        let notary = self.notary();
        let notary = notary.ok_or_else(|| Status::not_found("the notary is not listed"))?;
        let reply = TargetFinderClient::new(self.channel(notary)?)
            .notarise(Message { body })
            .await?;
        from_bytes(&reply.into_inner().body, 4096, "certificate")
            .map_err(|error| Status::data_loss(error.to_string()))
    }
}
