//! Services of a sandbox: how they start.

use std::{pin::Pin, sync::Arc};

use dispers_base::id::Role;
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopeSecretKey};
use dispers_node::{Node, RoleKeys, serve};
use dispers_stack::{Answerer, Relay, Store, attach};
use tokio::{net::TcpListener, runtime::Handle, sync::watch};
use tonic::service::Routes;

use super::{Host, Network, Switch};
use crate::{
    Error, Options,
    durable::Durable,
    population::Population,
    seats::{Seat, Seats},
};

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Network {
    /// Returns the executor for the services of a role.
    pub(super) fn handle(&self, role: Role) -> Handle {
        let handle = self.handles.get(&role).cloned();
        handle.unwrap_or_else(Handle::current)
    }

    /// Starts every service. Returns the hosts, whose homes are not subscribed yet.
    pub(super) fn start_services(
        &mut self,
        seats: Seats,
        options: &Options,
        population: &dyn Population,
    ) -> Result<Vec<Host>, Error> {
        let (seat, envelope) = seats.conductor;
        self.start_conductor(seat, envelope, options.batch_size)?;
        for (seat, envelope, share) in seats.indexors {
            self.start_indexor(seat, envelope, share)?;
        }
        for pool in seats.finders {
            for seat in pool.seats {
                let (node, listener) = self.sit(seat, Role::TargetFinder);
                let envelope = copy(&node, &pool.envelope)?;
                let finder = Durable::Finder(envelope, pool.secret.clone());
                self.start_durable(node, listener, finder)?;
            }
        }
        for seat in seats.targets {
            self.start_target(seat, &seats.target_key, &options.target)?;
        }
        for (seat, share) in seats.aggregators.into_iter().flatten() {
            let (node, listener) = self.sit(seat, Role::DataAggregator);
            self.start_durable(node, listener, Durable::Aggregator(share))?;
        }
        let stacks = seats.stacks.into_iter().enumerate();
        stacks
            .map(|(host, seat)| self.start_host(host, seat, options, population))
            .collect()
    }

    fn start_conductor(
        &mut self,
        seat: Seat,
        envelope: EnvelopeSecretKey,
        batch_size: u32,
    ) -> Result<(), Error> {
        let (node, listener) = self.sit(seat, Role::Conductor);
        let lists = self.keeping.lists(&node)?;
        self.lists = Some(lists.clone());
        let config = dispers_conductor::Config {
            batch_size,
            ..dispers_conductor::Config::default()
        };
        let keys = RoleKeys {
            envelope: Some(envelope),
            ..RoleKeys::default()
        };
        let (service, routes) = dispers_conductor::routes(node.clone(), keys, lists, config)
            .map_err(|error| start_error(&node, error))?;
        let served = node.clone();
        self.spawn(&node, Role::Conductor, |stopped| async move {
            // `keep_up` never returns. It ends when the service is stopped.
            tokio::select! {
                () = run(served, listener, routes, stopped) => {}
                () = service.keep_up() => {}
            }
        });
        Ok(())
    }

    fn start_indexor(
        &mut self,
        seat: Seat,
        envelope: EnvelopeSecretKey,
        share: KeyShare,
    ) -> Result<(), Error> {
        let (node, listener) = self.sit(seat, Role::ConceptIndexor);
        let keys = RoleKeys {
            envelope: Some(envelope),
            share: Some(share),
            ..RoleKeys::default()
        };
        let config = dispers_concept_indexor::Config::default();
        let routes = dispers_concept_indexor::routes(node.clone(), keys, &config)
            .map_err(|error| start_error(&node, error))?;
        self.serve(node, Role::ConceptIndexor, listener, routes);
        Ok(())
    }

    fn start_target(
        &mut self,
        seat: Seat,
        envelope: &EnvelopeSecretKey,
        config: &dispers_target::Config,
    ) -> Result<(), Error> {
        let (node, listener) = self.sit(seat, Role::Target);
        let keys = RoleKeys {
            pool_envelope: Some(copy(&node, envelope)?),
            ..RoleKeys::default()
        };
        let routes = dispers_target::routes(node.clone(), keys, config)
            .map_err(|error| start_error(&node, error))?;
        self.serve(node, Role::Target, listener, routes);
        Ok(())
    }

    fn start_host(
        &mut self,
        host: usize,
        seat: Seat,
        options: &Options,
        population: &dyn Population,
    ) -> Result<Host, Error> {
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
            let routes = dispers_stack::routes(answerer, 2);
            // The documents of synthetic homes are not in the host's file, so a restart would lose them.
            if options.synthetic.is_none() {
                self.durable
                    .insert(node.name.clone(), Durable::Stack(options.exact_queries));
            }
            self.serve(node, Role::Stack, listener, routes);
        }
        Ok(Host { name, relay, store })
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
    pub(super) fn serve(
        &mut self,
        node: Arc<Node>,
        role: Role,
        listener: TcpListener,
        routes: Routes,
    ) {
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
}

/// Copies a pool's envelope key for `node`. Secret keys cannot be cloned, so the copy is made from the key's bytes.
fn copy(node: &Node, envelope: &EnvelopeSecretKey) -> Result<EnvelopeSecretKey, Error> {
    EnvelopeSecretKey::from_bytes(envelope.suite(), &*envelope.to_seed_bytes())
        .map_err(|error| start_error(node, error))
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
