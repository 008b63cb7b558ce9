//! The network of a sandbox: keys, directory, services, subscriptions, and stopping.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
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
use dispers_node::{
    Activity, Node, Patience, TlsIdentity, Watcher,
    keyfile::{NodeKeys, PreviousKeys},
    private, rng, serve,
};
use dispers_proto::v1::{
    concept_indexor_server::ConceptIndexorServer, conductor_server::ConductorServer,
    stack_server::StackServer, target_server::TargetServer,
};
use dispers_querier::{PrivacyLoss, Querier, QueryResult, Question};
use dispers_query::catalogue::Catalogue;
use dispers_sql::plan::{Plan, PlanLimits};
use dispers_stack::{Answerer, Connector, Relay, Rules, Store, attach, subscribe};
use dispers_trust::directory::{Directory, SIZE_NOISE};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, task::JoinSet};
use tonic::service::Routes;

use crate::{
    Error, Executors, Meter, Recording, Synthetic,
    durable::{Durable, Keeping},
    population::{Population, Sheets},
    seats::{Seat, Seats, Signed, sign},
};

/// Most homes that one query may ask.
pub(crate) const MAX_HOMES: u64 = 10_000_000;
/// Most hosts that subscribe their homes at the same time.
const PARALLEL_HOSTS: usize = 4;
/// Tries to listen at the address of a node that has just stopped.
const FREE: Patience = Patience::new(Duration::from_millis(100), Duration::from_millis(200))
    .within(Duration::from_secs(5));

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Options of a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// CSV files, one per doctype. Without any, the sandbox uses the example data.
    pub data: Vec<PathBuf>,
    /// Homes with computed documents, instead of homes from data files.
    pub synthetic: Option<Synthetic>,
    /// Column that identifies the home of a row. If `None`, each row is a home of its own.
    pub home_column: Option<String>,
    /// Columns whose values are concepts that homes subscribe to.
    pub concepts: Vec<String>,
    /// Number of hosts.
    pub hosts: usize,
    /// Number of hosts that attach themselves to the Target instead of being dialled.
    pub attached: usize,
    /// Number of concept indexors.
    pub indexors: u8,
    /// Number of concept indexors that an evaluation needs.
    pub indexor_threshold: u8,
    /// Number of data aggregators of each committee.
    pub aggregators: u8,
    /// Number of data aggregators of a committee that a query needs.
    pub threshold: u8,
    /// Number of committees.
    pub committees: u16,
    /// Number of partitions of the subscriptions.
    pub partitions: u16,
    /// Number of target finders of each partition.
    pub finders: u8,
    /// Number of targets.
    pub targets: u16,
    /// Minimum cohort of the network.
    pub min_cohort: u32,
    /// Scale of the noise of sizes of sets, in homes.
    pub size_noise: u32,
    /// Number of exact queries that a home answers one querier.
    pub exact_queries: usize,
    /// Wrapper of the connectors through which hosts read documents. If `None`, hosts read their stores directly.
    pub through: Option<Through>,
    /// Rules of every home.
    pub rules: Rules,
    /// Purpose that the directory registers for the querier, and that the querier asks for.
    pub purpose: String,
    /// Suite of the envelopes.
    pub suite: Suite,
    /// Homes per batch.
    pub batch_size: u32,
    /// Configuration of the Targets.
    pub target: dispers_target::Config,
    /// True if the sandbox records the bytes that each node receives and the envelopes that it opens.
    pub record: bool,
    /// True if the sandbox counts the bytes that each role receives. Ignored together with `record`.
    pub meter: bool,
    /// Folder of the nodes' files. If `None`, nodes store their state in memory.
    pub state: Option<PathBuf>,
}

impl Options {
    /// Returns the options of a small network for examples: 400 homes with an age and a heart rate each, doctype
    /// `health`, at two hosts. It starts and answers in seconds.
    pub fn small() -> Self {
        Self {
            synthetic: Some(Synthetic {
                homes: 400,
                seed: 1,
            }),
            hosts: 2,
            ..Self::default()
        }
    }
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

/// Function that wraps the connector of a host.
pub type Wrap = dyn Fn(Arc<dyn Connector>) -> Arc<dyn Connector> + Send + Sync;

/// Wrapper of the connectors through which hosts read documents.
#[derive(Clone)]
pub struct Through(pub Arc<Wrap>);

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Through")
    }
}

/// Progress of starting a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The services start.
    Starting {
        /// Number of services.
        services: usize,
    },
    /// More homes are subscribed.
    Subscribed {
        /// Number of homes that are subscribed so far.
        homes: usize,
        /// Number of all homes.
        of: usize,
    },
}

/// Plans `sql` against the catalogue of the options' data. No service starts.
///
/// # Errors
/// [`Error`] if the data or the question is refused.
pub fn check(options: &Options, sql: &str) -> Result<(), Error> {
    let population = population(options)?;
    let limits = PlanLimits {
        max_homes: MAX_HOMES,
        ..PlanLimits::default()
    };
    Plan::new(sql, &population.catalogue(), &limits)?;
    Ok(())
}

/// Returns the catalogue of the options' data, and the number of homes.
///
/// # Errors
/// [`Error`] if the data is refused.
pub fn catalogue(options: &Options) -> Result<(Catalogue, usize), Error> {
    let population = population(options)?;
    Ok((population.catalogue(), population.len()))
}

/// Returns the homes that the options describe.
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

/// Host of a sandbox, with access to its store and to the network.
pub struct Host {
    /// Name of the host in the directory.
    pub name: Name,
    /// Relay through which the host subscribes and withdraws.
    pub relay: Relay,
    /// Store of the host.
    pub store: Arc<Store>,
}

/// Switch that stops one service.
struct Switch {
    stop: watch::Sender<bool>,
    /// Channel that closes when the service has ended.
    ended: watch::Receiver<()>,
}

/// Running sandbox.
pub struct Network {
    signed: Signed,
    directory: Arc<Directory>,
    querier: Querier,
    querier_node: Arc<Node>,
    purpose: String,
    services: JoinSet<()>,
    /// Switch of each service, by the name of its node.
    switches: BTreeMap<Name, Switch>,
    watching: Watching,
    /// Executors of the roles. A role without one runs on the caller's executor.
    handles: BTreeMap<Role, Handle>,
    hosts: Vec<Host>,
    nodes: BTreeMap<Name, Arc<Node>>,
    /// Nodes that can be restarted.
    durable: BTreeMap<Name, Durable>,
    keeping: Keeping,
    /// Store of the Conductor.
    lists: Option<Arc<Sqlite>>,
}

impl Network {
    /// Starts every role and subscribes every home.
    ///
    /// # Errors
    /// [`Error`]. Services that have started are stopped again.
    pub async fn start(options: &Options, observe: impl FnMut(Progress)) -> Result<Self, Error> {
        let population = population(options)?;
        let mut network = Self::set_up(options, None, population.as_ref()).await?;
        network
            .subscribe_homes(population.as_ref(), &options.rules, observe)
            .await?;
        Ok(network)
    }

    /// Starts every role on its executor. No home is subscribed.
    ///
    /// # Errors
    /// [`Error`]. Services that have started are stopped again.
    pub async fn start_on(executors: &Executors, options: &Options) -> Result<Self, Error> {
        Self::set_up(options, Some(executors), population(options)?.as_ref()).await
    }

    /// Creates keys and directory, and starts every role.
    async fn set_up(
        options: &Options,
        executors: Option<&Executors>,
        population: &dyn Population,
    ) -> Result<Self, Error> {
        // Tests record the nonces of sealings. The network's nodes seal on many threads, so these share one record.
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
        let signed = sign(&body)?;
        let directory = signed.directory.clone();
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
            signed,
            querier_node: querier.clone(),
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

    /// Returns the roles of the network, each once.
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

    /// Sets the rules of every home, and subscribes it.
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
                        // Rules come first: a home without a rule refuses what it is asked.
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
            subscribed += done.map_err(|error| Error::start("a stack", error))??;
            let homes = subscribed;
            observe(Progress::Subscribed { homes, of });
        }
    }

    /// Returns the executor for the services of a role.
    fn handle(&self, role: Role) -> Handle {
        let handle = self.handles.get(&role).cloned();
        handle.unwrap_or_else(Handle::current)
    }

    /// Starts every service. Returns the hosts, whose homes are not subscribed yet.
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
            // `keep_up` never returns. It ends when the service is stopped.
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
            // Secret keys cannot be cloned. The finders of a pool share one, so each gets a copy made from its bytes.
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
                // Documents come through the wrapper, and everything else is in a fresh store in memory.
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
                // The documents of synthetic homes are not in the host's file, so a restart would lose them.
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

    /// Turns a seat into a running network's node and its socket.
    fn sit(&mut self, seat: Seat, role: Role) -> (Arc<Node>, TcpListener) {
        let watcher = self.watching.watcher(&seat.name, role);
        let (node, listener) = seat.sit(&self.directory, role, watcher);
        self.nodes.insert(node.name.clone(), node.clone());
        (node, listener)
    }

    /// Starts `service` as the service of a node. `service` gets a future that resolves when it has to stop.
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
            // An error means that the switch was dropped. Then the service stops as well.
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

    /// Serves `routes` as the service of a node.
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

    /// Returns the network's directory.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Returns the store of the Conductor, for tests that act in the Conductor's place.
    pub fn conductor_store(&self) -> Option<Arc<Sqlite>> {
        self.lists.clone()
    }

    /// Returns the sandbox's querier.
    pub fn querier(&self) -> &Querier {
        &self.querier
    }

    /// Asks a question as the sandbox's querier.
    ///
    /// # Errors
    /// As [`Querier::ask`].
    pub async fn ask(
        &self,
        sql: &str,
        min_cohort: Option<u32>,
        mut observe: impl FnMut(&dispers_querier::Progress),
    ) -> Result<QueryResult, dispers_querier::Error> {
        let question = self.question(sql, min_cohort, None);
        let mut asking = self.querier.ask(&question);
        while let Some(progress) = asking.next().await {
            observe(&progress);
        }
        asking.await
    }

    /// Returns a question of the sandbox's querier.
    pub fn question(
        &self,
        sql: &str,
        min_cohort: Option<u32>,
        loss: Option<PrivacyLoss>,
    ) -> Question {
        Question::new(sql, &self.purpose)
            .min_cohort(min_cohort)
            .loss(loss)
    }

    /// Writes the files of the sandbox's querier into `folder`, for programs that open a querier from its files as on
    /// any network. Returns the path of the configuration file.
    ///
    /// # Errors
    /// [`Error::Write`] if a file cannot be written, or is there already.
    pub fn write_querier(&self, folder: &Path) -> Result<PathBuf, Error> {
        let failed = |path: &Path, reason: &dyn fmt::Display| Error::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let write = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            let written = private::write(&path, content);
            written.map_err(|reason| failed(&path, &reason))?;
            Ok(path)
        };
        let path = folder.join("querier.key");
        let keys = NodeKeys {
            tls: TlsIdentity::from_pkcs8(self.querier_node.tls.pkcs8())
                .map_err(|reason| failed(&path, &reason))?,
            signing: SigningKey::from_seed(&self.querier_node.signing.seed()),
            envelope: None,
            pool_envelope: None,
            pool_secret: None,
            share: None,
            previous: PreviousKeys::default(),
        };
        let name = self.querier_node.name.as_str();
        keys.save(&path, self.directory.suite, name, Role::Querier)
            .map_err(|reason| failed(&path, &reason))?;
        write("directory.bin", &self.signed.bytes)?;
        let root: String = self
            .signed
            .root
            .0
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let config = format!(
            "[node]\nname = \"{name}\"\ndirectory = \"directory.bin\"\nroots = [\"{root}\"]\nkeys = \"querier.key\"\n"
        );
        write("querier.toml", config.as_bytes())
    }

    /// Returns a node with its keys, so that a test can speak in its name.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        let node = self.nodes.iter().find(|(node, _)| node.as_str() == name);
        node.map(|(_, node)| node)
    }

    /// Returns every host, in the order of their numbers.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns the records of all nodes, if the options asked for them.
    pub fn recording(&self) -> Option<&Recording> {
        match &self.watching {
            Watching::Everything(recording) => Some(recording),
            _ => None,
        }
    }

    /// Returns the number of bytes that went from one role to another so far, if the options asked for it.
    pub fn hops(&self) -> Option<BTreeMap<(Role, Role), u64>> {
        match &self.watching {
            Watching::Sizes(meter) => Some(meter.hops(&self.directory)),
            _ => None,
        }
    }

    /// Stops one node for good, as if its machine had failed. Returns false if no node of that name runs.
    pub fn stop_node(&self, name: &str) -> bool {
        let switch = self.switches.iter().find(|(node, _)| node.as_str() == name);
        switch.is_some_and(|(_, switch)| switch.stop.send(true).is_ok())
    }

    /// Stops one node, and waits until it answers nobody any longer. Returns false if no node of that name runs.
    pub async fn end_node(&self, name: &str) -> bool {
        let stopped = self.stop_node(name);
        let switch = self.switches.iter().find(|(node, _)| node.as_str() == name);
        if let Some((_, switch)) = switch {
            // The channel carries no value. Waiting for a change ends when the channel is closed.
            let _ = switch.ended.clone().changed().await;
        }
        stopped
    }

    /// Stops a node's service and listens at its address, for another service in its place.
    ///
    /// # Errors
    /// [`Error::Start`] if there is no such node, or its address does not become free within five seconds.
    pub async fn take_place(&self, name: &str) -> Result<TcpListener, Error> {
        let node = self.node(name);
        let name = &node
            .ok_or_else(|| Error::start(name, "there is no such node"))?
            .name;
        let address = self
            .directory
            .node(name)
            .map(|entry| &entry.address)
            .or_else(|| self.directory.host(name).map(|host| &host.address))
            .cloned()
            .unwrap_or_default();
        self.end_node(name.as_str()).await;
        // The port can be in use for a moment, for example by a connection of another process.
        let in_use = |error: &io::Error| error.kind() == ErrorKind::AddrInUse;
        let bound = FREE.retry(in_use, || TcpListener::bind(&address)).await;
        bound.map_err(|error| Error::start(name.as_str(), error))
    }

    /// Stops one node, and starts it again with only its keys and its stored state. This works for a data aggregator,
    /// a target finder, and a host that is dialled.
    ///
    /// # Errors
    /// [`Error`] if there is no such node, it cannot be restarted, or it does not start again.
    pub async fn restart_node(&mut self, name: &str) -> Result<(), Error> {
        let listener = self.take_place(name).await?;
        let node = self.node(name).cloned();
        let durable = node.and_then(|node| Some((self.durable.get(&node.name)?, node)));
        let (durable, node) =
            durable.ok_or_else(|| Error::start(name, "it cannot be restarted"))?;
        let (role, routes) = (durable.role(), durable.routes(&node, &self.keeping)?);
        let routes = self.keeping.witness(&node, routes)?;
        self.serve(node, role, listener, routes);
        Ok(())
    }

    /// Stops every service, and waits until all have ended.
    pub async fn stop(mut self) {
        for switch in self.switches.values() {
            let _ = switch.stop.send(true);
        }
        while self.services.join_next().await.is_some() {}
    }
}

/// Observation of the bytes that nodes receive.
enum Watching {
    Nothing,
    Everything(Recording),
    Sizes(Meter),
}

impl Watching {
    /// Returns the watcher for a node.
    fn watcher(&mut self, name: &Name, role: Role) -> Option<Arc<dyn Watcher>> {
        match self {
            Self::Nothing => None,
            Self::Everything(recording) => Some(recording.of(name, role)),
            Self::Sizes(meter) => Some(meter.of(role)),
        }
    }
}

/// Returns the error of a node that does not start.
fn start_error(node: &Node, reason: impl ToString) -> Error {
    Error::start(node.name.as_str(), reason)
}

/// Serves `routes` until `shutdown` resolves.
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
