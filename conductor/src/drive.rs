//! Runs one query: does what [`Conduct`] says and tells it what came back.

use std::{future::Future, sync::Arc, time::Duration};

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{
    encoding::{DecodeError, from_bytes, to_bytes},
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
        BatchMessage, BatchStatement, FindRequest, FindSummary, MAX_BATCH, MAX_STATEMENT,
        SealedProfile, assigned, responsible,
    },
    log::Inclusion,
    manifest::{MAX_MANIFEST, Manifest, SignedManifest},
    peer::{MAX_PEER_MESSAGE, PeerMessage},
    release::{Certificate, MAX_TOTAL, NotariseRequest, Proposal},
    session::SignedParameters,
};
use dispers_node::{Channel, Channels, Node, blocking, now};
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
use tonic::{Code, Response, Status, Streaming};

use crate::{Config, Error, Kept, Log};

/// Largest encoded batch with its statement, in bytes.
pub(crate) const MAX_BATCH_MESSAGE: usize = MAX_BATCH + 2 * MAX_STATEMENT;
/// Largest encoded head of a batch's answers, in bytes.
const MAX_HEAD: usize = 1 << 20;
const MESSAGES: usize = 16 * MAX_PEER_MESSAGE;
/// Most aggregators of a committee.
const MOST_MEMBERS: usize = u8::MAX as usize;
/// Before a batch is asked again whose target went away; doubled at every attempt.
const ASK_PAUSE: Duration = Duration::from_secs(2);
/// Chunks of the lists that wait to be sent.
const CHUNKS_AHEAD: usize = 4;
/// Tries of a step that may be repeated, after which its node is out of the query.
const TRIES: u32 = 3;

/// Carries out the commands of one query, over the network.
pub struct Driver {
    pub(crate) node: Arc<Node>,
    pub(crate) channels: Channels,
    pub(crate) config: Config,
    pub(crate) manifest: SignedManifest,
    pub(crate) profiles: Vec<SealedProfile>,
    pub(crate) kept: Arc<dyn Kept>,
    pub(crate) log: Arc<Log>,
    /// Set once the query is in the log.
    pub(crate) inclusion: OnceCell<Inclusion>,
    /// Set once homes were told that they will be asked.
    pub(crate) announced: OnceCell<()>,
}

impl Driver {
    /// A driver for one query, as the node of a Conductor. `kept` has the lists of its profile, `log` takes
    /// the manifest.
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

fn step_error(status: &Status) -> StepError {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            StepError::Unreachable
        }
        Code::Aborted => StepError::Forgotten,
        _ => StepError::Refused(status.message().to_owned()),
    }
}

/// Returns what a step gave, or whose messages could not be read.
fn read<T>(reply: StepReply<T>) -> Result<T, StepError> {
    match reply {
        StepReply::Done(done) => Ok(done),
        StepReply::Unread { members } => Err(unread(members)),
    }
}

fn unread(members: Vec<MemberNumber>) -> StepError {
    match members.len() <= MOST_MEMBERS {
        true => StepError::Unread { members },
        false => too_many_names(),
    }
}

fn too_many_names() -> StepError {
    StepError::Refused("it named more aggregators than there can be".to_owned())
}

/// Waits for one step, and no longer.
async fn within<T>(
    wait: Duration,
    step: impl Future<Output = Result<T, Status>>,
) -> Result<T, StepError> {
    match timeout(wait, step).await {
        Ok(result) => result.map_err(|status| step_error(&status)),
        Err(_) => Err(StepError::Unreachable),
    }
}

/// Repeats a step that may be repeated while its node cannot be reached; `wait` is for all tries.
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

/// Encodes and cuts one message off the executor: it may be long.
pub(crate) async fn outgoing<T: BorshSerialize + Send + 'static>(
    message: T,
) -> Result<impl tokio_stream::Stream<Item = Chunk> + Send + 'static, Status> {
    let bytes = blocking(move || Ok(to_bytes(&message))).await?;
    Ok(tokio_stream::iter(chunks([bytes])))
}

/// Receives and decodes the one message of an answer.
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
    fn step(&self) -> Duration {
        Duration::from_millis(self.config.step_timeout_ms)
    }

    pub(crate) fn channel(&self, node: &Listed) -> Result<Channel, Status> {
        self.channels.to(&node.address, node.tls_key)
    }

    /// Returns the Target Finders of a partition that may find the query.
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

    fn manifest(&self) -> Option<Manifest> {
        from_bytes(&self.manifest.body, MAX_MANIFEST, "manifest").ok()
    }

    /// The Target Finder that signs the one release.
    fn notary(&self) -> Option<&Listed> {
        self.node.directory.node(&self.manifest()?.notary)
    }

    /// Shows that the query is in the log; puts it there first.
    pub(crate) async fn inclusion(&self) -> Result<Inclusion, Error> {
        // A query whose witnesses are gone ends soon, and says so.
        let until = now().plus(self.config.step_timeout_ms);
        let publish = || self.log.publish(&self.manifest, until);
        self.inclusion.get_or_try_init(publish).await.cloned()
    }

    /// Returns the proof that the query is in the log, for requests that need it.
    pub(crate) async fn logged(&self) -> Result<Inclusion, Status> {
        let inclusion = self.inclusion().await;
        inclusion.map_err(|error| error.fault().status(&error))
    }

    /// Homes of a batch: as many as configured, fewer where each sends much.
    fn batch_size(&self) -> u32 {
        let manifest = self.manifest.verify(&self.node.directory, now());
        let most = manifest.map_or(u32::MAX, |manifest| most_homes(&manifest));
        self.config.batch_size.min(most)
    }

    /// The Target that the finder gave an attempt at a batch to.
    pub(crate) fn target(&self, batch: &BatchMessage, attempt: u8) -> Result<&Listed, Status> {
        let statement: BatchStatement = from_bytes(&batch.statement, MAX_STATEMENT, "statement")
            .map_err(|error| Status::data_loss(error.to_string()))?;
        let target = statement.target(attempt);
        let node = target.and_then(|name| self.node.directory.node(name));
        node.filter(|node| node.role == Role::Target)
            .ok_or_else(|| Status::not_found("the directory does not list the batch's target"))
    }

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

    /// Whom `command` waits for, and until when.
    pub(crate) fn wait(&self, command: &Command, since: Timestamp) -> Option<Wait> {
        let directory = &self.node.directory;
        let (step, aggregator) = command.step();
        let node = match (aggregator, command) {
            (Some(AggregatorId { committee, member }), _) => {
                directory.member(Role::DataAggregator, committee, member)
            }
            (None, Command::Ask { work, .. }) => {
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

    /// Does what `command` says; what comes back, a failure at the latest when its time is up.
    pub async fn carry_out(self: Arc<Self>, command: Command) -> Event {
        let step = self.step();
        match command {
            Command::Find { partition } => {
                let wait = Duration::from_millis(self.config.ask_timeout_ms);
                Event::Found(partition, within(wait, self.find_anywhere(partition)).await)
            }
            Command::Begin { aggregator, grants } => {
                let request = || async {
                    for (partition, grant) in &*grants {
                        let body = to_bytes(&BeginRequest {
                            manifest: self.manifest.clone(),
                            partition: *partition,
                            grant: grant.clone(),
                        });
                        self.aggregator(aggregator)?.begin(Message { body }).await?;
                    }
                    Ok(())
                };
                Event::Begun(aggregator, repeatedly(step, request).await)
            }
            Command::Ask { work, parameters } => {
                self.wait_for_owners().await;
                let wait = Duration::from_millis(self.config.ask_timeout_ms);
                let asked = within(wait, self.ask(work, parameters)).await;
                let asked = asked.and_then(|asked| asked);
                if matches!(asked, Err(StepError::Unreachable)) {
                    // The next attempt finds a target that restarts, or its stacks, again.
                    sleep(ASK_PAUSE * (1 << work.attempt.min(4))).await;
                }
                Event::Asked(work, asked)
            }
            Command::Deal {
                aggregator,
                request,
            } => {
                let deal = || async {
                    let body = to_bytes(&*request);
                    let reply = self.aggregator(aggregator)?.deal(Message { body }).await?;
                    incoming(reply, MAX_DEAL).await
                };
                let dealt = repeatedly(step, deal).await.and_then(|deal: Deal| {
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
                let open = || async {
                    let dealt =
                        DealtRequest::for_reader(&request, &deals, position).ok_or_else(|| {
                            Status::data_loss("a deal has no share for an aggregator")
                        })?;
                    let sent = outgoing(dealt).await?;
                    let reply = self.aggregator(aggregator)?.open_deals(sent).await?;
                    incoming(reply, MESSAGES).await
                };
                Event::Opened(aggregator, request.work, repeatedly(step, open).await)
            }
            Command::Open {
                aggregator,
                position,
                answer,
            } => {
                let work = answer.statement.work;
                let open = || self.open(aggregator, position, answer.clone());
                let opened = repeatedly(step, open).await.and_then(|opened| {
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
                let verify = || async {
                    let messages = messages.clone();
                    let request = outgoing(VerifyRequest { work, messages }).await?;
                    let reply = self.aggregator(aggregator)?.verify(request).await?;
                    incoming(reply, MESSAGES).await
                };
                let verified = repeatedly(step, verify).await.and_then(read);
                Event::Verified(aggregator, work, verified)
            }
            Command::Decide {
                aggregator,
                work,
                quorum,
                messages,
            } => {
                let decide = || async {
                    let request = outgoing(DecideRequest {
                        work,
                        quorum: quorum.clone(),
                        messages: messages.clone(),
                    })
                    .await?;
                    let reply = self.aggregator(aggregator)?.decide(request).await?;
                    incoming(reply, MESSAGES).await
                };
                let verdict = repeatedly(step, decide)
                    .await
                    .and_then(|verdict| match verdict {
                        Verdict::Prepared(acknowledgement) => {
                            let signed =
                                acknowledgement.is_signed_by(aggregator, &self.node.directory);
                            signed
                                .then_some(acknowledgement)
                                .ok_or(StepError::BadAcknowledgement)
                        }
                        Verdict::Inconsistent { suspect } => {
                            Err(StepError::Inconsistent { suspect })
                        }
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
                let commit = || async {
                    let body = to_bytes(&CommitRequest {
                        work,
                        acknowledgements: (*acknowledgements).clone(),
                    });
                    self.aggregator(aggregator)?
                        .commit(Message { body })
                        .await?;
                    Ok(())
                };
                Event::Committed(aggregator, work, repeatedly(step, commit).await)
            }
            Command::Notarise { proposal } => {
                Event::Notarised(repeatedly(step, || self.notarise(&proposal)).await)
            }
            Command::Guards {
                aggregator,
                proposal,
                certificate,
            } => {
                let guards = || async {
                    let request = outgoing(GuardsRequest {
                        proposal: (*proposal).clone(),
                        certificate: (*certificate).clone(),
                    })
                    .await?;
                    let reply = self.aggregator(aggregator)?.guards(request).await?;
                    incoming(reply, MESSAGES).await
                };
                Event::Guarded(aggregator, repeatedly(step, guards).await)
            }
            Command::Release {
                aggregator,
                round,
                messages,
            } => {
                let query = self.manifest.query();
                let release = || async {
                    let request = outgoing(ReleaseRequest {
                        query,
                        round,
                        messages: messages.clone(),
                    })
                    .await?;
                    let reply = self.aggregator(aggregator)?.release(request).await?;
                    incoming(reply, 2 * MAX_TOTAL).await
                };
                let released = repeatedly(step, release).await.and_then(read);
                Event::Released(aggregator, released)
            }
        }
    }

    /// The find at the first of a partition's finders that can be reached: all of them have the same
    /// secret, so that all find the same.
    async fn find_anywhere(&self, partition: u16) -> Result<FindSummary, Status> {
        let mut found = Err(Status::not_found("no finder of the partition is listed"));
        for finder in self.finders(partition) {
            found = self.find(partition, finder).await;
            match &found {
                Err(status) if status.code() == Code::Unavailable => {}
                _ => break,
            }
        }
        found
    }

    /// Streams a partition's lists to a finder, and keeps the batches that come back.
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
        // The lists are read while they are sent: a find holds a few segments at a time.
        let lists_read = tokio::spawn(async move {
            let mut number = 0;
            let mut message = Some(head);
            while let Some(bytes) = message {
                for chunk in chunks((!bytes.is_empty()).then_some(bytes)) {
                    // The finder has ended: its answer says why.
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
        let malformed = |error: DecodeError| Status::data_loss(error.to_string());
        let summary: FindSummary =
            from_bytes(&messages.expect(MAX_BATCH).await?, MAX_BATCH, "summary")
                .map_err(malformed)?;
        if !summary
            .noisy_size
            .has_scale(self.node.directory.floors.size_noise)
        {
            let other = "its noise is not that of the directory";
            return Err(Status::data_loss(other));
        }
        // A list that could not be read to its end is not the whole list.
        lists_read
            .await
            .unwrap_or_else(|_| Err(Status::internal("the lists could not be read")))?;
        let mut of_find = None;
        for (id, count) in summary.batches.batches(partition) {
            let message = messages.expect(MAX_BATCH_MESSAGE).await?;
            let batch: BatchMessage =
                from_bytes(&message, MAX_BATCH_MESSAGE, "batch").map_err(malformed)?;
            let statement: BatchStatement =
                from_bytes(&batch.statement, MAX_STATEMENT, "statement").map_err(malformed)?;
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

    /// Has the Target ask a batch, and compares its answer with its signature before any aggregator sees the answer.
    async fn ask(
        &self,
        work: Work,
        parameters: Option<Arc<SignedParameters>>,
    ) -> Result<Result<BatchAnswer, StepError>, Status> {
        let malformed = |error: DecodeError| Status::data_loss(error.to_string());
        let batch = self.kept.batch(work.batch).await?;
        let batch: BatchMessage =
            from_bytes(&batch, MAX_BATCH_MESSAGE, "batch").map_err(malformed)?;
        let statement: BatchStatement =
            from_bytes(&batch.statement, MAX_STATEMENT, "statement").map_err(malformed)?;
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
        // A group comes from a host with at least one home, so that more groups than homes are never read.
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
        let (node, signed) = (self.node.clone(), self.manifest.clone());
        blocking(move || {
            let directory = &node.directory;
            let manifest = signed
                .verify(directory, now())
                .map_err(|error| Status::failed_precondition(error.to_string()))?;
            let checked = answer.check(work, &name, statement.count, &manifest, directory);
            let other = |_| StepError::OtherBytes { target: name };
            Ok(checked.map(|()| answer).map_err(other))
        })
        .await
    }

    /// Sends an aggregator its groups. Returns `None` if it refuses them as the Target's fault.
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
        match self.aggregator(aggregator)?.open(request).await {
            Ok(reply) => incoming(reply, MESSAGES).await.map(Some),
            Err(status) if status.code() == Code::DataLoss => Ok(None),
            Err(status) => Err(status),
        }
    }

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
