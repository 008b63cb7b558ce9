//! The network of a sandbox: keys, directory, subscriptions.

use std::{collections::BTreeMap, sync::Arc};

use dispers_base::{
    id::{Name, Role, Threshold},
    keys::SigningKey,
};
use dispers_conductor::Sqlite;
use dispers_crypto::dealing::deal;
use dispers_node::{Activity, Node, TlsIdentity, Watcher, rng};
use dispers_querier::Querier;
use dispers_stack::{Relay, Rules, Store, subscribe};
use dispers_trust::directory::Directory;
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use crate::{
    Error, Executors, Meter, Options, Progress, Recording,
    durable::{Durable, Keeping},
    options::population,
    population::Population,
    seats::{Seats, Signed, sign},
};

mod querier;
mod services;
mod stopping;

/// Most hosts that subscribe their homes at the same time.
const PARALLEL_HOSTS: usize = 4;

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
