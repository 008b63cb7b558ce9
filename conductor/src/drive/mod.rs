//! Driver of one query: carries out the commands of [`Conduct`](dispers_core::conduct::Conduct) over the network and
//! returns their outcomes as events.

mod announce;
mod ask;
mod call;
mod find;
mod release;
mod steps;

use std::{sync::Arc, time::Duration};

use dispers_base::id::{AggregatorId, Name, Role, Timestamp};
use dispers_core::{
    conduct::{Command, Event, Wait},
    find::{BatchMessage, SealedProfile, assigned, responsible},
    log::Inclusion,
    manifest::{SignedManifest, VerifiedManifest},
};
use dispers_node::{Channel, Channels, Node, now};
use dispers_proto::v1::data_aggregator_client::DataAggregatorClient;
use dispers_trust::directory::Node as Listed;
use tokio::sync::OnceCell;
use tonic::Status;

use self::call::malformed;
use crate::{Config, Error, Kept, Log, Submission};

/// Driver of one query. It carries out commands over the network.
pub struct Driver {
    pub(crate) node: Arc<Node>,
    channels: Channels,
    config: Config,
    /// Manifest with the querier's signature, as other nodes get it.
    signed: SignedManifest,
    /// The same manifest, verified when the query was submitted or loaded.
    manifest: Arc<VerifiedManifest>,
    profiles: Vec<SealedProfile>,
    kept: Arc<dyn Kept>,
    log: Arc<Log>,
    /// Proof that the query is in the log, once it is.
    inclusion: OnceCell<Inclusion>,
    /// Set once the announcement of the query to homes has started.
    announced: OnceCell<()>,
}

impl Driver {
    /// Creates the driver of one query for a Conductor's node. `kept` has the lists of the query's profile, and `log`
    /// takes the manifest.
    pub fn new(
        node: Arc<Node>,
        config: Config,
        submission: Submission,
        kept: Arc<dyn Kept>,
        log: Arc<Log>,
    ) -> Self {
        Self {
            // The channels of the log are shared, so that a node has one connection for all queries.
            channels: log.channels().clone(),
            node,
            config,
            signed: submission.signed,
            manifest: Arc::new(submission.manifest),
            profiles: submission.profiles,
            kept,
            log,
            inclusion: OnceCell::new(),
            announced: OnceCell::new(),
        }
    }

    /// Returns the longest wait for one step.
    fn step(&self) -> Duration {
        Duration::from_millis(self.config.step_timeout_ms)
    }

    /// Carries out `command`. Returns the outcome as an event, which is a failure at the latest when the command's
    /// time is up.
    pub async fn carry_out(self: Arc<Self>, command: Command) -> Event {
        use Command as C;
        use Event as E;
        match command {
            C::Find { partition } => E::Found(partition, self.find(partition).await),
            C::Begin {
                aggregator: to,
                grants,
            } => E::Begun(to, self.begin(to, &grants).await),
            C::Ask { work, parameters } => E::Asked(work, self.ask(work, parameters).await),
            C::Deal {
                aggregator: to,
                request,
            } => E::Dealt(to, request.work, self.deal(to, &request).await),
            C::OpenDeals {
                aggregator: to,
                position,
                request,
                deals,
            } => {
                let opened = self.open_deals(to, position, &request, &deals).await;
                E::Opened(to, request.work, opened)
            }
            C::Open {
                aggregator: to,
                position,
                answer,
            } => {
                let work = answer.statement.work;
                E::Opened(to, work, self.open(to, position, answer).await)
            }
            C::Verify {
                aggregator: to,
                work,
                messages,
            } => E::Verified(to, work, self.verify(to, work, messages).await),
            C::Decide {
                aggregator: to,
                work,
                quorum,
                messages,
            } => E::Decided(to, work, self.decide(to, work, quorum, messages).await),
            C::Commit {
                aggregator: to,
                work,
                acknowledgements,
            } => E::Committed(to, work, self.commit(to, work, &acknowledgements).await),
            C::Notarise { proposal } => E::Notarised(self.notarise(&proposal).await),
            C::Guards {
                aggregator: to,
                proposal,
                certificate,
            } => E::Guarded(to, self.guards(to, &proposal, &certificate).await),
            C::Release {
                aggregator: to,
                round,
                messages,
            } => E::Released(to, self.release(to, round, messages).await),
        }
    }

    /// Returns a channel to a listed node, which accepts only the node's listed TLS key.
    pub(crate) fn channel(&self, node: &Listed) -> Result<Channel, Status> {
        self.channels.to(&node.address, node.tls_key)
    }

    /// Returns the Target Finders of a partition that may find the query. For a query without noise this is only the
    /// one that remembers the querier (protocol.md §6).
    fn finders(&self, partition: u16) -> impl Iterator<Item = &Listed> {
        let directory = &self.node.directory;
        let only = responsible(directory, &self.manifest, partition);
        let finders = directory.nodes(Role::TargetFinder);
        finders.filter(move |node| {
            node.group == partition && only.is_none_or(|only| only.name == node.name)
        })
    }

    /// Returns the Target Finder that signs the one release.
    fn notary(&self) -> Option<&Listed> {
        self.node.directory.node(&self.manifest.notary)
    }

    /// Returns the proof that the query is in the log. The first call puts the query there.
    pub(crate) async fn inclusion(&self) -> Result<Inclusion, Error> {
        // If too few witnesses answer within the time of one step, the query fails and names them, rather than hang
        // (§16).
        let until = now().plus(self.config.step_timeout_ms);
        let published = self
            .inclusion
            .get_or_try_init(|| self.log.publish(&self.signed, until));
        published.await.cloned()
    }

    /// Returns the proof that the query is in the log, for requests that need it.
    pub(crate) async fn logged(&self) -> Result<Inclusion, Status> {
        let inclusion = self.inclusion().await;
        inclusion.map_err(Error::status)
    }

    /// Returns the Target to which the finder gave an attempt at a batch.
    ///
    /// # Errors
    /// `DATA_LOSS` if the statement does not decode, `NOT_FOUND` if the directory does not list the Target.
    pub(crate) fn target(&self, batch: &BatchMessage, attempt: u8) -> Result<&Listed, Status> {
        let statement = batch.statement.unverified().map_err(malformed)?;
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
        Ok(DataAggregatorClient::new(self.channel(node)?))
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
            Command::Ask { .. } => since.max(self.manifest.answer_from),
            _ => since,
        };
        Some(Wait {
            node: node?.name.clone(),
            step,
            since,
            until: begins.plus(within),
        })
    }
}
