//! The network: keys, directory, services, subscriptions, and the way down.

use std::{
    collections::BTreeMap, fmt, io::ErrorKind, path::PathBuf, pin::Pin, sync::Arc, time::Duration,
};

use dispers_base::{
    id::{Name, Role, Threshold},
    keys::SigningKey,
};
use dispers_conductor::Sqlite;
use dispers_crypto::{
    dealing::deal,
    envelope::{EnvelopeSecretKey, Suite},
};
use dispers_node::{Activity, Node, TlsIdentity, Watcher, rng, serve};
use dispers_proto::v1::{
    concept_indexor_server::ConceptIndexorServer, conductor_server::ConductorServer,
    stack_server::StackServer, target_server::TargetServer,
};
use dispers_querier::{PrivacyLoss, Querier, QueryResult, Question};
use dispers_query::catalogue::Catalogue;
use dispers_sql::plan::{Plan, PlanLimits};
use dispers_stack::{Answerer, Connector, Relay, Rules, Store, attach, subscribe};
use dispers_trust::directory::{Directory, SIZE_NOISE};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, task::JoinSet, time::sleep};
use tonic::service::Routes;

use crate::{
    Error, Executors, Meter, Recording, Synthetic,
    durable::{Durable, Keeping},
    population::{Population, Sheets},
    seats::{Seat, Seats, sign},
};

/// Most homes that one query may ask.
pub(crate) const MAX_HOMES: u64 = 10_000_000;
/// Hosts that subscribe their homes at the same time.
const PARALLEL_HOSTS: usize = 4;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a sandbox is made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// CSV files, one per doctype; the example where there are none.
    pub data: Vec<PathBuf>,
    /// Homes that are computed, instead of those of data files.
    pub synthetic: Option<Synthetic>,
    /// The column that tells homes apart; each row its own home if `None`.
    pub home_column: Option<String>,
    /// Columns whose values homes subscribe to.
    pub concepts: Vec<String>,
    /// Number of hosts.
    pub hosts: usize,
    /// How many of the hosts attach themselves to the target instead of being dialled.
    pub attached: usize,
    /// Number of concept indexors.
    pub indexors: u8,
    /// Concept indexors needed.
    pub indexor_threshold: u8,
    /// Number of data aggregators.
    pub aggregators: u8,
    /// Data aggregators needed.
    pub threshold: u8,
    /// Number of committees of so many data aggregators.
    pub committees: u16,
    /// Number of partitions of the subscriptions.
    pub partitions: u16,
    /// Number of target finders of each partition.
    pub finders: u8,
    /// Number of targets.
    pub targets: u16,
    /// The network's minimum cohort.
    pub min_cohort: u32,
    /// Scale of the noise of sizes of sets, in homes.
    pub size_noise: u32,
    /// Exact queries that a home answers one querier.
    pub exact_queries: usize,
    /// What hosts read their homes' documents through, instead of directly.
    pub through: Option<Through>,
    /// The rules of every home.
    pub rules: Rules,
    /// The purpose that the directory registers for the querier, and that it asks for.
    pub purpose: String,
    /// The envelopes' suite.
    pub suite: Suite,
    /// Homes per batch.
    pub batch_size: u32,
    /// How the targets ask stacks.
    pub target: dispers_target::Config,
    /// Whether to record what every node receives and opens.
    pub record: bool,
    /// Whether to count what every role receives; not together with `record`.
    pub meter: bool,
    /// Folder for what data aggregators, the target finder and hosts keep; in memory if `None`.
    pub state: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            synthetic: None,
            home_column: None,
            concepts: Vec::new(),
            hosts: 4,
            attached: 0,
            indexors: 3,
            indexor_threshold: 2,
            aggregators: 3,
            threshold: 2,
            committees: 1,
            partitions: 1,
            finders: 1,
            targets: 1,
            min_cohort: 20,
            size_noise: SIZE_NOISE,
            exact_queries: 10,
            through: None,
            rules: Rules::allow_everything(),
            purpose: "sandbox".into(),
            suite: Suite::default(),
            batch_size: dispers_conductor::Config::default().batch_size,
            target: dispers_target::Config::default(),
            record: false,
            meter: false,
            state: None,
        }
    }
}

/// Makes of what a host reads documents from what it is to read them through.
pub type Wrap = dyn Fn(Arc<dyn Connector>) -> Arc<dyn Connector> + Send + Sync;

/// What hosts read documents through.
#[derive(Clone)]
pub struct Through(pub Arc<Wrap>);

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Through")
    }
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Services start.
    Starting {
        /// How many.
        services: usize,
    },
    /// Homes were subscribed.
    Subscribed {
        /// How many so far.
        homes: usize,
        /// Of how many.
        of: usize,
    },
}

/// Plans `sql` against the catalogue of the options' data, before anything starts.
///
/// # Errors
/// [`Error`] when the data or the question is refused.
pub fn check(options: &Options, sql: &str) -> Result<(), Error> {
    let population = population(options)?;
    let limits = PlanLimits {
        max_homes: MAX_HOMES,
        ..PlanLimits::default()
    };
    Plan::new(sql, &population.catalogue(), &limits)?;
    Ok(())
}

/// What may be asked of the options' data, and how many homes hold it.
///
/// # Errors
/// [`Error`] when the data is refused.
pub fn catalogue(options: &Options) -> Result<(Catalogue, usize), Error> {
    let population = population(options)?;
    Ok((population.catalogue(), population.len()))
}

fn population(options: &Options) -> Result<Box<dyn Population>, Error> {
    Ok(match options.synthetic {
        Some(synthetic) => Box::new(synthetic),
        None => Box::new(Sheets::read(
            &options.data,
            options.home_column.as_deref(),
            &options.concepts,
        )?),
    })
}

/// One host: its homes and its way to the network.
pub struct Host {
    /// Its name in the directory.
    pub name: Name,
    /// What it subscribes and withdraws through.
    pub relay: Relay,
    /// What it keeps.
    pub store: Arc<Store>,
}

/// Stops one service.
struct Switch {
    stop: watch::Sender<bool>,
    /// Closed once the service has ended.
    ended: watch::Receiver<()>,
}

/// A running sandbox.
pub struct Network {
    directory: Arc<Directory>,
    querier: Querier,
    purpose: String,
    services: JoinSet<()>,
    /// What stops each service, by the name of its node.
    switches: BTreeMap<Name, Switch>,
    watching: Watching,
    /// Where the services of a role run, by default with the caller.
    handles: BTreeMap<Role, Handle>,
    hosts: Vec<Host>,
    nodes: BTreeMap<Name, Arc<Node>>,
    /// The nodes that can be restarted.
    durable: BTreeMap<Name, Durable>,
    keeping: Keeping,
    /// What the conductor keeps.
    lists: Option<Arc<Sqlite>>,
}

impl Network {
    /// Starts every role and subscribes every home.
    ///
    /// # Errors
    /// [`Error`]; what was started is stopped again.
    pub async fn start(options: &Options, observe: impl FnMut(Progress)) -> Result<Self, Error> {
        let population = population(options)?;
        let mut network = Self::set_up(options, None, population.as_ref()).await?;
        network
            .subscribe_homes(population.as_ref(), &options.rules, observe)
            .await?;
        Ok(network)
    }

    /// Starts every role on the executor that is for it. No home is subscribed.
    ///
    /// # Errors
    /// [`Error`]; what was started is stopped again.
    pub async fn start_on(executors: &Executors, options: &Options) -> Result<Self, Error> {
        Self::set_up(options, Some(executors), population(options)?.as_ref()).await
    }

    async fn set_up(
        options: &Options,
        executors: Option<&Executors>,
        population: &dyn Population,
    ) -> Result<Self, Error> {
        // Its nodes seal on many threads.
        dispers_crypto::aead::share_record();
        if options.hosts == 0 || options.hosts > population.len() {
            return Err(Error::Option(format!(
                "--hosts must be 1 to {}, the number of homes",
                population.len()
            )));
        }
        if options.min_cohort < 2 {
            return Err(Error::Option(
                "--min-cohort must be at least 2, or one person's value would be released".into(),
            ));
        }
        let indexors = Threshold::new(options.indexor_threshold, options.indexors)?;
        let committee = Threshold::of_aggregators(options.threshold, options.aggregators)?;

        let indexor_keys = deal(indexors, &mut rng());
        let committees: Vec<_> = (0..options.committees)
            .map(|_| deal(committee, &mut rng()))
            .collect();
        let (querier_tls, querier_signing) =
            (TlsIdentity::generate(), SigningKey::generate(&mut rng()));
        let committee_keys = committees.iter().map(|dealing| dealing.public.clone());
        let public = (indexor_keys.public.clone(), committee_keys.collect());
        let seats = Seats::new(options, indexor_keys, committees).await?;
        let body = seats.body(
            options,
            population,
            public,
            querier_tls.key(),
            querier_signing.public(),
        )?;
        let directory = Arc::new(sign(&body)?);
        let mut watching = match (options.record, options.meter) {
            (true, _) => Watching::Everything(Recording::default()),
            (_, true) => Watching::Sizes(Meter::default()),
            _ => Watching::Nothing,
        };
        let querier = Name::new("querier")?;
        let querier = Arc::new(Node {
            watcher: watching.watcher(&querier, Role::Querier),
            activity: Activity::new(Role::Querier),
            name: querier,
            directory: directory.clone(),
            signing: querier_signing,
            tls: querier_tls,
        });
        let mut network = Self {
            querier: Querier::new(querier.clone(), dispers_querier::Config::default()),
            directory,
            purpose: options.purpose.clone(),
            services: JoinSet::new(),
            switches: BTreeMap::new(),
            watching,
            handles: BTreeMap::new(),
            hosts: Vec::new(),
            nodes: [(querier.name.clone(), querier)].into(),
            durable: BTreeMap::new(),
            keeping: options
                .state
                .clone()
                .map_or(Keeping::Memory, Keeping::Folder),
            lists: None,
        };
        if let Some(executors) = executors {
            for role in network.roles() {
                network.handles.insert(role, executors.of(role).clone());
            }
        }
        network.hosts = network.start_services(seats, options, population)?;
        Ok(network)
    }

    fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        let nodes = self.directory.nodes.iter().map(|node| node.role);
        let mut roles: Vec<Role> = nodes.chain([Role::Stack, Role::Querier]).collect();
        roles.sort_unstable();
        roles.dedup();
        roles.into_iter()
    }

    /// Subscribes every home, several hosts at a time.
    ///
    /// # Errors
    /// [`Error::Stack`] of the first host that fails.
    pub async fn subscribe(
        &mut self,
        options: &Options,
        observe: impl FnMut(Progress),
    ) -> Result<(), Error> {
        self.subscribe_homes(population(options)?.as_ref(), &options.rules, observe)
            .await
    }

    async fn subscribe_homes(
        &mut self,
        population: &dyn Population,
        rules: &Rules,
        mut observe: impl FnMut(Progress),
    ) -> Result<(), Error> {
        observe(Progress::Starting {
            services: self.switches.len(),
        });
        let of = population.len();
        let mut subscribed = 0;
        let mut subscribing = JoinSet::new();
        let mut hosts = self.hosts.iter().enumerate();
        loop {
            while subscribing.len() < PARALLEL_HOSTS
                && let Some((place, host)) = hosts.next()
            {
                let homes = population.homes(place, self.hosts.len());
                let (relay, store, count) = (host.relay.clone(), host.store.clone(), homes.len());
                let handle = self.handle(Role::Stack);
                let rules = rules.clone();
                subscribing.spawn_on(
                    async move {
                        store.set_rules(homes.keys(), rules)?;
                        subscribe(&relay, &store, homes).await?;
                        Ok::<usize, dispers_stack::Error>(count)
                    },
                    &handle,
                );
            }
            let Some(done) = subscribing.join_next().await else {
                return Ok(());
            };
            subscribed += done.map_err(|error| Error::Start {
                node: "a stack".into(),
                reason: error.to_string(),
            })??;
            let homes = subscribed;
            observe(Progress::Subscribed { homes, of });
        }
    }

    /// Where the services of a role run.
    fn handle(&self, role: Role) -> Handle {
        let handle = self.handles.get(&role).cloned();
        handle.unwrap_or_else(Handle::current)
    }

    /// Starts every service; the hosts, whose homes are yet to be subscribed.
    fn start_services(
        &mut self,
        seats: Seats,
        options: &Options,
        population: &dyn Population,
    ) -> Result<Vec<Host>, Error> {
        let (seat, envelope) = seats.conductor;
        let (node, listener) = self.sit(seat, Role::Conductor);
        let lists = self.keeping.lists(&node)?;
        self.lists = Some(lists.clone());
        let service = dispers_conductor::Service::new(
            node.clone(),
            node.watched(envelope),
            dispers_conductor::Config {
                batch_size: options.batch_size,
                ..dispers_conductor::Config::default()
            },
            lists,
        );
        let routes = Routes::new(ConductorServer::new(service.clone()));
        let served = node.clone();
        self.spawn(&node, Role::Conductor, |stopped| async move {
            tokio::select! {
                () = run(served, listener, routes, stopped) => {}
                () = service.keep_up() => {}
            }
        });

        for (seat, envelope, share) in seats.indexors {
            let (node, listener) = self.sit(seat, Role::ConceptIndexor);
            let indexor = dispers_concept_indexor::Indexor::new(
                node.clone(),
                node.watched(envelope),
                share,
                &dispers_concept_indexor::Config::default(),
            )
            .map_err(|error| start_error(&node, error))?;
            let service = dispers_concept_indexor::Service::new(indexor);
            let routes = Routes::new(ConceptIndexorServer::new(service));
            self.serve(node, Role::ConceptIndexor, listener, routes);
        }

        for pool in seats.finders {
            let (suite, key) = (pool.envelope.suite(), pool.envelope.to_seed_bytes());
            for seat in pool.seats {
                let (node, listener) = self.sit(seat, Role::TargetFinder);
                let envelope = EnvelopeSecretKey::from_bytes(suite, &key[..])
                    .map_err(|error| start_error(&node, error))?;
                let finder = Durable::Finder(envelope, pool.secret.clone());
                self.start_durable(node, listener, finder)?;
            }
        }

        let (suite, key) = (seats.target_key.suite(), seats.target_key.to_seed_bytes());
        for seat in seats.targets {
            let (node, listener) = self.sit(seat, Role::Target);
            let envelope = EnvelopeSecretKey::from_bytes(suite, &key[..])
                .map_err(|error| start_error(&node, error))?;
            let target =
                dispers_target::Target::new(node.clone(), node.watched(envelope), &options.target)
                    .map_err(|error| start_error(&node, error))?;
            let service = dispers_target::Service::new(node.clone(), target);
            self.serve(
                node,
                Role::Target,
                listener,
                Routes::new(TargetServer::new(service)),
            );
        }

        for (seat, share) in seats.aggregators.into_iter().flatten() {
            let (node, listener) = self.sit(seat, Role::DataAggregator);
            self.start_durable(node, listener, Durable::Aggregator(share))?;
        }

        let mut hosts = Vec::with_capacity(seats.stacks.len());
        for (host, seat) in seats.stacks.into_iter().enumerate() {
            let store = self.keeping.store(seat.name.as_str())?;
            let mut store = population.settle(host, options.hosts, store)?;
            if let Some(through) = &options.through {
                let documents = through.0(Arc::new(store));
                store = Store::in_memory()?.with_documents(documents);
            }
            let store = Arc::new(store);
            let name = seat.name.clone();
            let (node, listener) = self.sit(seat, Role::Stack);
            let relay = Relay::new(node.clone());
            let answerer = Answerer::new(node.clone(), store.clone());
            let answerer = Arc::new(answerer.exact(options.exact_queries));
            if host < options.attached {
                let relay = relay.clone();
                self.spawn(&node, Role::Stack, |stopped| async move {
                    tokio::select! {
                        () = attach(relay, answerer) => {}
                        () = stopped => {}
                    }
                });
            } else {
                let service = dispers_stack::Service::new(answerer, 2);
                let routes = Routes::new(StackServer::new(service));
                if options.synthetic.is_none() {
                    self.durable
                        .insert(node.name.clone(), Durable::Stack(options.exact_queries));
                }
                self.serve(node, Role::Stack, listener, routes);
            }
            hosts.push(Host { name, relay, store });
        }
        Ok(hosts)
    }

    fn sit(&mut self, seat: Seat, role: Role) -> (Arc<Node>, TcpListener) {
        let watcher = self.watching.watcher(&seat.name, role);
        let (node, listener) = seat.sit(&self.directory, role, watcher);
        self.nodes.insert(node.name.clone(), node.clone());
        (node, listener)
    }

    /// Runs `service` as the node's, given what resolves once it is to stop.
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        node: &Node,
        role: Role,
        service: impl FnOnce(BoxFuture) -> F,
    ) {
        let (stop, mut stopped) = watch::channel(false);
        let (running, ended) = watch::channel(());
        let name = node.name.clone();
        self.switches.insert(name, Switch { stop, ended });
        let service = service(Box::pin(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }));
        let handle = self.handle(role);
        self.services.spawn_on(
            async move {
                service.await;
                drop(running);
            },
            &handle,
        );
    }

    fn serve(&mut self, node: Arc<Node>, role: Role, listener: TcpListener, routes: Routes) {
        let served = node.clone();
        self.spawn(&node, role, |stopped| {
            run(served, listener, routes, stopped)
        });
    }

    /// Starts a service that can be restarted.
    fn start_durable(
        &mut self,
        node: Arc<Node>,
        listener: TcpListener,
        durable: Durable,
    ) -> Result<(), Error> {
        let routes = durable.routes(&node, &self.keeping)?;
        let routes = self.keeping.witness(&node, routes)?;
        let role = durable.role();
        self.durable.insert(node.name.clone(), durable);
        self.serve(node, role, listener, routes);
        Ok(())
    }

    /// The network's directory.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// What the conductor keeps, for tests that act in its place.
    pub fn conductor_store(&self) -> Option<Arc<Sqlite>> {
        self.lists.clone()
    }

    /// The sandbox's querier.
    pub fn querier(&self) -> &Querier {
        &self.querier
    }

    /// Asks as the sandbox's querier.
    ///
    /// # Errors
    /// As [`Querier::ask`].
    pub async fn ask(
        &self,
        sql: &str,
        min_cohort: Option<u32>,
        observe: impl FnMut(&dispers_querier::Step),
    ) -> Result<QueryResult, dispers_querier::Error> {
        let question = self.question(sql, min_cohort, None);
        self.querier.ask(&question, observe).await
    }

    /// A question of the sandbox's querier.
    pub fn question(
        &self,
        sql: &str,
        min_cohort: Option<u32>,
        loss: Option<PrivacyLoss>,
    ) -> Question {
        Question {
            sql: sql.to_owned(),
            purpose: self.purpose.clone(),
            min_cohort,
            loss,
            owners_ms: 0,
        }
    }

    /// One node with its keys, so that a test may speak in its name.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        let node = self.nodes.iter().find(|(node, _)| node.as_str() == name);
        node.map(|(_, node)| node)
    }

    /// Every host, in order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What every node received and opened, if the options asked for it.
    pub fn recording(&self) -> Option<&Recording> {
        match &self.watching {
            Watching::Everything(recording) => Some(recording),
            _ => None,
        }
    }

    /// Bytes that went from one role to another so far, if the options asked for it.
    pub fn hops(&self) -> Option<BTreeMap<(Role, Role), u64>> {
        match &self.watching {
            Watching::Sizes(meter) => Some(meter.hops(&self.directory)),
            _ => None,
        }
    }

    /// Stops one node for good, as if its machine had died. Whether there was one of that name.
    pub fn stop_node(&self, name: &str) -> bool {
        let switch = self.switches.iter().find(|(node, _)| node.as_str() == name);
        switch.is_some_and(|(_, switch)| switch.stop.send(true).is_ok())
    }

    /// Stops one node and waits until it answers nobody any longer.
    pub async fn end_node(&self, name: &str) -> bool {
        let stopped = self.stop_node(name);
        let switch = self.switches.iter().find(|(node, _)| node.as_str() == name);
        if let Some((_, switch)) = switch {
            // Closed, not changed: it never is.
            let _ = switch.ended.clone().changed().await;
        }
        stopped
    }

    /// Ends a service and listens at its address, for whoever is to be there instead.
    ///
    /// # Errors
    /// [`Error::Start`] when there is no such node, or its address is not free within some seconds.
    pub async fn take_place(&self, name: &str) -> Result<TcpListener, Error> {
        let error = |reason: String| Error::Start {
            node: name.to_owned(),
            reason,
        };
        let node = self.node(name);
        let name = &node
            .ok_or_else(|| error("there is no such node".into()))?
            .name;
        let address = self
            .directory
            .node(name)
            .map(|entry| &entry.address)
            .or_else(|| self.directory.host(name).map(|host| &host.address))
            .cloned()
            .unwrap_or_default();
        self.end_node(name.as_str()).await;
        let mut tries = 50;
        loop {
            match TcpListener::bind(&address).await {
                // A connection of somebody else may have the port for a moment.
                Err(busy) if busy.kind() == ErrorKind::AddrInUse && tries > 0 => {
                    tries -= 1;
                    sleep(Duration::from_millis(100)).await;
                }
                bound => return bound.map_err(|reason| error(reason.to_string())),
            }
        }
    }

    /// Stops one node, and starts it again with nothing but its keys and what it keeps: a data
    /// aggregator, the target finder, or a host that is dialled.
    ///
    /// # Errors
    /// [`Error`] when there is no such node, or it does not start again.
    pub async fn restart_node(&mut self, name: &str) -> Result<(), Error> {
        let listener = self.take_place(name).await?;
        let node = self.node(name).cloned();
        let durable = node.and_then(|node| Some((self.durable.get(&node.name)?, node)));
        let (durable, node) = durable.ok_or_else(|| Error::Start {
            node: name.to_owned(),
            reason: "it cannot be restarted".into(),
        })?;
        let (role, routes) = (durable.role(), durable.routes(&node, &self.keeping)?);
        let routes = self.keeping.witness(&node, routes)?;
        self.serve(node, role, listener, routes);
        Ok(())
    }

    /// Stops every service and waits for it.
    pub async fn stop(mut self) {
        for switch in self.switches.values() {
            let _ = switch.stop.send(true);
        }
        while self.services.join_next().await.is_some() {}
    }
}

/// What is noted of what the nodes receive.
enum Watching {
    Nothing,
    Everything(Recording),
    Sizes(Meter),
}

impl Watching {
    fn watcher(&mut self, name: &Name, role: Role) -> Option<Arc<dyn Watcher>> {
        match self {
            Self::Nothing => None,
            Self::Everything(recording) => Some(recording.of(name, role)),
            Self::Sizes(meter) => Some(meter.of(role)),
        }
    }
}

fn start_error(node: &Node, reason: impl ToString) -> Error {
    Error::Start {
        node: node.name.to_string(),
        reason: reason.to_string(),
    }
}

async fn run(
    node: Arc<Node>,
    listener: TcpListener,
    routes: Routes,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    if let Err(error) = serve(listener, routes, &node, shutdown).await {
        tracing::error!(node = %node.name, %error, "service ended");
    }
}
