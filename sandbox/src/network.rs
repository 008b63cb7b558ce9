//! The network: keys, directory, services, subscriptions, and the way down.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use dispers_core::{
    dealing::deal,
    directory::Directory,
    envelope::Suite,
    id::{MemberNumber, Name, Role, Threshold},
    keys::SigningKey,
    plan::{Plan, PlanLimits},
    subscription::HomeId,
};
use dispers_node::{Node, TlsIdentity, rng, serve};
use dispers_proto::v1::{
    concept_indexor_server::ConceptIndexorServer, conductor_server::ConductorServer,
    data_aggregator_server::DataAggregatorServer, stack_server::StackServer,
    target_finder_server::TargetFinderServer, target_server::TargetServer,
};
use dispers_querier::{Querier, QueryResult, Question};
use dispers_stack::{Answerer, Relay, Store, attach, subscribe};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tonic::service::Routes;

use crate::{
    Error, Population,
    seats::{Seats, sign},
};

/// Most homes that one query may ask.
pub(crate) const MAX_HOMES: u64 = 10_000_000;

/// What a sandbox is made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// CSV files, one per doctype; the example where there are none.
    pub data: Vec<PathBuf>,
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
    /// The network's minimum cohort.
    pub min_cohort: u32,
    /// The purpose that the directory registers for the querier, and that it asks for.
    pub purpose: String,
    /// The envelopes' suite.
    pub suite: Suite,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            home_column: None,
            concepts: Vec::new(),
            hosts: 4,
            attached: 0,
            indexors: 3,
            indexor_threshold: 2,
            aggregators: 3,
            threshold: 2,
            min_cohort: 20,
            purpose: "sandbox".into(),
            suite: Suite::default(),
        }
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
    let population = Population::read(
        &options.data,
        options.home_column.as_deref(),
        &options.concepts,
    )?;
    let limits = PlanLimits {
        max_homes: MAX_HOMES,
        ..PlanLimits::default()
    };
    Plan::new(sql, &population.catalogue(), &limits)?;
    Ok(())
}

/// A stack that serves, and what its homes are yet to be subscribed to.
struct Settled {
    relay: Relay,
    store: Arc<Store>,
    concepts: BTreeMap<HomeId, Vec<String>>,
}

/// A running sandbox.
pub struct Network {
    directory: Arc<Directory>,
    querier: Querier,
    purpose: String,
    stop: watch::Sender<bool>,
    services: JoinSet<()>,
    aggregators: BTreeMap<Name, watch::Sender<bool>>,
}

impl Network {
    /// Starts every role and subscribes every home.
    ///
    /// # Errors
    /// [`Error`]; what was started is stopped again.
    pub async fn start(
        options: &Options,
        mut observe: impl FnMut(Progress),
    ) -> Result<Self, Error> {
        let population = Population::read(
            &options.data,
            options.home_column.as_deref(),
            &options.concepts,
        )?;
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
        let services = 3 + indexors.members() + committee.members() + options.hosts;
        observe(Progress::Starting { services });

        let indexor_keys = deal(indexors, &mut rng());
        let committee_keys = deal(committee, &mut rng());
        let (querier_tls, querier_signing) =
            (TlsIdentity::generate(), SigningKey::generate(&mut rng()));
        let public = (indexor_keys.public.clone(), committee_keys.public.clone());
        let seats = Seats::new(options, indexor_keys, committee_keys).await?;
        let body = seats.body(
            options,
            &population,
            public,
            querier_tls.key(),
            querier_signing.public(),
        )?;
        let directory = Arc::new(sign(&body)?);
        let (stop, stopped) = watch::channel(false);
        let mut network = Self {
            querier: Querier::new(
                Arc::new(Node {
                    name: Name::new("querier")?,
                    directory: directory.clone(),
                    signing: querier_signing,
                    tls: querier_tls,
                }),
                dispers_querier::Config::default(),
            ),
            directory,
            purpose: options.purpose.clone(),
            stop,
            services: JoinSet::new(),
            aggregators: BTreeMap::new(),
        };
        let stacks = network.start_services(seats, options, &population, &stopped)?;
        let of = population.len();
        let mut homes = 0;
        for stack in stacks {
            let count = stack.concepts.len();
            subscribe(&stack.relay, &stack.store, stack.concepts).await?;
            homes += count;
            observe(Progress::Subscribed { homes, of });
        }
        Ok(network)
    }

    /// Starts every service; the stacks' stores and what their homes subscribe to.
    fn start_services(
        &mut self,
        seats: Seats,
        options: &Options,
        population: &Population,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Vec<Settled>, Error> {
        let directory = self.directory.clone();
        let (seat, envelope) = seats.conductor;
        let (node, listener) = seat.sit(&directory);
        let service = dispers_conductor::Service::new(
            node.clone(),
            envelope,
            dispers_conductor::Config::default(),
        );
        self.serve(
            node,
            listener,
            Routes::new(ConductorServer::new(service)),
            stopped.clone(),
        );

        for (seat, envelope, share) in seats.indexors {
            let (node, listener) = seat.sit(&directory);
            let indexor = dispers_concept_indexor::Indexor::new(
                node.clone(),
                envelope,
                share,
                &dispers_concept_indexor::Config::default(),
            )
            .map_err(|error| start_error(&node, error))?;
            let service = dispers_concept_indexor::Service::new(indexor);
            let routes = Routes::new(ConceptIndexorServer::new(service));
            self.serve(node, listener, routes, stopped.clone());
        }

        let (seat, envelope, secret) = seats.finder;
        let (node, listener) = seat.sit(&directory);
        let finder = dispers_target_finder::Finder::new(
            node.clone(),
            envelope,
            secret,
            &dispers_target_finder::Config::default(),
        )
        .map_err(|error| start_error(&node, error))?;
        let service = dispers_target_finder::Service::new(finder);
        self.serve(
            node,
            listener,
            Routes::new(TargetFinderServer::new(service)),
            stopped.clone(),
        );

        let (seat, envelope) = seats.target;
        let (node, listener) = seat.sit(&directory);
        let target =
            dispers_target::Target::new(node.clone(), envelope, &dispers_target::Config::default())
                .map_err(|error| start_error(&node, error))?;
        let service = dispers_target::Service::new(node.clone(), target);
        self.serve(
            node,
            listener,
            Routes::new(TargetServer::new(service)),
            stopped.clone(),
        );

        for (seat, share) in seats.aggregators {
            let (node, listener) = seat.sit(&directory);
            let aggregator = dispers_data_aggregator::Aggregator::new(
                node.clone(),
                share,
                &dispers_data_aggregator::Config::default(),
            )
            .map_err(|error| start_error(&node, error))?;
            let service = dispers_data_aggregator::Service::new(aggregator);
            let (stop, mut one) = watch::channel(false);
            self.aggregators.insert(node.name.clone(), stop);
            let mut all = stopped.clone();
            let routes = Routes::new(DataAggregatorServer::new(service));
            self.services.spawn(async move {
                let shutdown = async move {
                    tokio::select! {
                        _ = one.wait_for(|stop| *stop) => {}
                        _ = all.wait_for(|stop| *stop) => {}
                    }
                };
                run(node, listener, routes, shutdown).await;
            });
        }

        let mut stacks = Vec::with_capacity(seats.stacks.len());
        for (host, seat) in seats.stacks.into_iter().enumerate() {
            let store = Arc::new(Store::in_memory()?);
            let concepts = population.settle(host, options.hosts, &store)?;
            let (node, listener) = seat.sit(&directory);
            let answerer = Arc::new(Answerer::new(node.clone(), store.clone()));
            let relay = Relay::new(node.clone());
            if host < options.attached {
                let (relay, mut stopped) = (relay.clone(), stopped.clone());
                self.services.spawn(async move {
                    tokio::select! {
                        () = attach(relay, answerer) => {}
                        _ = stopped.wait_for(|stop| *stop) => {}
                    }
                });
            } else {
                let service = dispers_stack::Service::new(answerer, 2);
                let routes = Routes::new(StackServer::new(service));
                self.serve(node, listener, routes, stopped.clone());
            }
            stacks.push(Settled {
                relay,
                store,
                concepts,
            });
        }
        Ok(stacks)
    }

    fn serve(
        &mut self,
        node: Arc<Node>,
        listener: TcpListener,
        routes: Routes,
        mut stopped: watch::Receiver<bool>,
    ) {
        self.services.spawn(async move {
            let shutdown = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            run(node, listener, routes, shutdown).await;
        });
    }

    /// The network's directory.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
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
        let question = Question {
            sql: sql.to_owned(),
            purpose: self.purpose.clone(),
            min_cohort,
        };
        self.querier.ask(&question, observe).await
    }

    /// Stops one aggregator, as if its machine had died. Whether there was one of that number.
    pub fn stop_aggregator(&self, member: MemberNumber) -> bool {
        self.directory
            .member(Role::DataAggregator, 0, member)
            .and_then(|node| self.aggregators.get(&node.name))
            .is_some_and(|stop| stop.send(true).is_ok())
    }

    /// Stops every service and waits for it.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.services.join_next().await.is_some() {}
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
    if let Err(error) = serve(
        listener,
        routes,
        &node.tls,
        node.directory.clone(),
        shutdown,
    )
    .await
    {
        tracing::error!(node = %node.name, %error, "service ended");
    }
}
