//! `dispers serve`: one service.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use dispers_base::id;
use dispers_node::{
    Activity, Config, Cosigner, Node, drain,
    keyfile::{NodeKeys, PreviousKeys},
    limit_workers, load_telemetry, now, serve_draining, serve_metrics, shutdown_signal, telemetry,
};
use dispers_proto::v1::{
    concept_indexor_server::ConceptIndexorServer, conductor_server::ConductorServer,
    data_aggregator_server::DataAggregatorServer, stack_server::StackServer,
    target_finder_server::TargetFinderServer, target_server::TargetServer,
};
use dispers_stack::{Answerer, notify::Notifier, page};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::exit::{Exit, MISUSE, UNAVAILABLE};

/// Log filter that applies if `DISPERS_LOG` is not set.
const LOGGED: &str = "info,h2=warn,hyper=warn,rustls=warn";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Which service.
    role: Role,
    /// Its configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// Log one JSON object a line.
    #[arg(long)]
    json_logs: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Conductor,
    ConceptIndexor,
    TargetFinder,
    Target,
    DataAggregator,
    Stack,
}

/// A service's node, keys and configuration. All are read before a port is bound.
struct Start<T> {
    node: Arc<Node>,
    keys: Keys,
    config: Config<T>,
}

/// Secrets of a service other than those that every node has.
struct Keys {
    envelope: Option<dispers_crypto::envelope::EnvelopeSecretKey>,
    pool_envelope: Option<dispers_crypto::envelope::EnvelopeSecretKey>,
    pool_secret: Option<dispers_core::ticket::PoolSecret>,
    share: Option<dispers_crypto::dealing::KeyShare>,
    previous: PreviousKeys,
}

impl<T: DeserializeOwned> Start<T> {
    fn load(path: &std::path::Path, role: id::Role) -> Result<Self, Exit> {
        let config: Config<T> = Config::load(path, role.name())?;
        // Only a limit that is set before the first computation counts.
        if let Some(workers) = config.node.workers {
            limit_workers(workers);
        }
        let (directory, keys) = config.open(role)?;
        if directory.trial {
            tracing::warn!("this network is a trial: one dealer may know its threshold keys");
        }
        let left = directory.expires.0.saturating_sub(now().0) / 86_400_000;
        if left < config.node.warn_days {
            let expires = directory.expires;
            tracing::warn!(%expires, days = left, "the directory expires soon: install the next one and restart");
        }
        let NodeKeys {
            tls,
            signing,
            envelope,
            pool_envelope,
            pool_secret,
            share,
            previous,
        } = keys;
        let node = Node {
            name: config.name()?,
            directory: Arc::new(directory),
            signing,
            tls,
            watcher: None,
            activity: Activity::new(role),
        };
        Ok(Self {
            node: Arc::new(node),
            keys: Keys {
                envelope,
                pool_envelope,
                pool_secret,
                share,
                previous,
            },
            config,
        })
    }
}

fn needed<T>(value: Option<T>, what: &str) -> Result<T, Exit> {
    value.ok_or_else(|| Exit::misuse(anyhow!("the configuration or key file lacks {what}")))
}

/// Opens the database of a conductor, which conductors share if there are several.
async fn conductor_store(
    start: &Start<dispers_conductor::Config>,
) -> Result<Arc<dyn dispers_conductor::Store>, Exit> {
    let config = &start.config.role;
    let listed = start.node.directory.nodes(id::Role::Conductor).count();
    // Any conductor may be asked about any query and must know every subscription, so several need one
    // database.
    if let (2.., Some(dispers_conductor::Database::File(path))) = (listed, &config.database) {
        return Err(Exit::misuse(anyhow!(
            "the directory lists {listed} conductors, which must share what they keep, and {} is one's alone: write database = \"postgres://USER@HOST:PORT/NAME\" in [conductor] of each",
            path.display()
        )));
    }
    if config
        .database
        .as_ref()
        .is_some_and(dispers_conductor::Database::holds_password)
    {
        // A configuration with a password must not be readable by other users.
        start.config.check_private()?;
    }
    // The conventional variable of PostgreSQL, so that the password need not stand in the file.
    let password = std::env::var("PGPASSWORD").ok();
    let opened = config.open(|path| start.config.resolve(path), password);
    opened.await.map_err(|error| {
        // A database that is down may come back. Any other error is one of the configuration.
        let code = if error.is_temporary() {
            UNAVAILABLE
        } else {
            MISUSE
        };
        Exit {
            code,
            error: error.into(),
        }
    })
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    let path = &arguments.config;
    // Nonces must be unique over all threads. Without the feature `record-nonces` this does nothing.
    dispers_crypto::aead::share_record();
    // A file that cannot be read is reported below, where the service reads it.
    let traces = load_telemetry(path).unwrap_or_default();
    let name = arguments.role.to_possible_value();
    let name = name.as_ref().map_or("dispers", |name| name.get_name());
    // The guard lives until the end, so that the last traces are sent.
    let _traces =
        telemetry::init_with(LOGGED, arguments.json_logs, &traces, name).map_err(Exit::misuse)?;
    match arguments.role {
        Role::Conductor => {
            let start: Start<dispers_conductor::Config> = Start::load(path, id::Role::Conductor)?;
            let store = conductor_store(&start).await?;
            let envelope = needed(start.keys.envelope, "the envelope key")?;
            let service = dispers_conductor::Service::new(
                start.node.clone(),
                envelope,
                start.config.role.clone(),
                store,
            );
            let routes = Routes::new(ConductorServer::new(service.clone()));
            let listening = listen(start.node, &start.config, routes);
            let stopped = tokio::select! {
                // `keep_up` never returns by itself, so this ends when the server stops.
                stopped = listening => stopped,
                () = service.clone().keep_up() => Ok(()),
            };
            // Other conductors then need not wait until this one's leases run out.
            service.give_up().await;
            stopped
        }
        Role::ConceptIndexor => {
            let start: Start<dispers_concept_indexor::Config> =
                Start::load(path, id::Role::ConceptIndexor)?;
            let indexor = dispers_concept_indexor::Indexor::new(
                start.node.clone(),
                needed(start.keys.envelope, "the envelope key")?,
                needed(
                    start.keys.share,
                    "the threshold share (share = \"FILE\" in [node])",
                )?,
                &start.config.role,
            )
            .map_err(Exit::misuse)?
            .with_previous(start.keys.previous.share);
            let service = dispers_concept_indexor::Service::new(indexor);
            let routes = Routes::new(ConceptIndexorServer::new(service));
            listen(start.node, &start.config, routes).await
        }
        Role::TargetFinder => {
            let start: Start<dispers_target_finder::Config> =
                Start::load(path, id::Role::TargetFinder)?;
            let previous = start.keys.previous;
            let previous = previous.pool_envelope.zip(previous.pool_secret);
            let database = start.config.resolve(&start.config.role.database);
            let database = dispers_target_finder::Certificates::open(&database);
            let finder = dispers_target_finder::Finder::new(
                start.node.clone(),
                needed(start.keys.pool_envelope, "the pool's envelope key")?,
                needed(start.keys.pool_secret, "the pool's secret")?,
                database.map_err(Exit::misuse)?,
                &start.config.role,
            )
            .map_err(Exit::misuse)?
            .with_previous(previous);
            let service = dispers_target_finder::Service::new(finder);
            let routes = Routes::new(TargetFinderServer::new(service));
            listen(start.node, &start.config, routes).await
        }
        Role::Target => {
            let start: Start<dispers_target::Config> = Start::load(path, id::Role::Target)?;
            let target = dispers_target::Target::new(
                start.node.clone(),
                needed(start.keys.pool_envelope, "the pool's envelope key")?,
                &start.config.role,
            )
            .map_err(Exit::misuse)?
            .with_previous(start.keys.previous.pool_envelope);
            let service = dispers_target::Service::new(start.node.clone(), target);
            listen(
                start.node,
                &start.config,
                Routes::new(TargetServer::new(service)),
            )
            .await
        }
        Role::DataAggregator => {
            let start: Start<dispers_data_aggregator::Config> =
                Start::load(path, id::Role::DataAggregator)?;
            let database = start.config.resolve(&start.config.role.database);
            let database =
                dispers_node::Database::open(&database, &dispers_data_aggregator::SCHEMA);
            let aggregator = dispers_data_aggregator::Aggregator::new(
                start.node.clone(),
                needed(
                    start.keys.share,
                    "the threshold share (share = \"FILE\" in [node])",
                )?,
                database.map_err(Exit::misuse)?,
                &start.config.role,
            )
            .map_err(Exit::misuse)?;
            let service = dispers_data_aggregator::Service::new(aggregator);
            let routes = Routes::new(DataAggregatorServer::new(service));
            listen(start.node, &start.config, routes).await
        }
        Role::Stack => serve_stack(Start::load(path, id::Role::Stack)?).await,
    }
}

/// Runs a stack, which is either dialled by targets or attached to them, and its page for owners.
async fn serve_stack(start: Start<dispers_stack::Config>) -> Result<(), Exit> {
    let config = &start.config.role;
    let store = Arc::new(config.open(|path| start.config.resolve(path))?);
    let relay = dispers_stack::Relay::new(start.node.clone());
    // A configuration with a secret must not be readable by other users.
    if config.notify.holds_secret() {
        start.config.check_private()?;
    }
    let mut notify = config.notify.clone();
    let password = notify
        .smtp
        .as_mut()
        .and_then(|smtp| smtp.password_file.as_mut());
    if let Some(file) = password {
        // Paths in a configuration are relative to its file, not to the working directory.
        *file = start.config.resolve(file);
    }
    let notifier = Notifier::new(&notify, config.page.as_ref()).map_err(Exit::misuse)?;
    let answerer = Answerer::new(start.node.clone(), store.clone())
        .telling(Arc::new(notifier))
        .paced(Duration::from_millis(config.answer_quantum_ms))
        .exact(config.exact_queries);
    let answerer = Arc::new(answerer);
    if let Some(page) = &config.page {
        serve_page(&start, page, store.clone(), relay.clone()).await?;
    }
    // The network may be down when the stack starts. In the background, catching up is tried until it
    // succeeds.
    tokio::spawn(dispers_stack::keep_up(relay.clone(), store));
    if !config.attach {
        let service = dispers_stack::Service::new(answerer, config.parallel_asks);
        let routes = Routes::new(StackServer::new(service));
        return listen(start.node, &start.config, routes).await;
    }
    metrics(&start.node, &start.config).await?;
    // An attached stack serves no port to the network: it dials its targets, so that a host can stay behind a
    // firewall.
    tracing::info!(node = %start.node.name, "attaching");
    let limit = Duration::from_secs(start.config.node.drain_seconds);
    let stopped = async {
        shutdown_signal().await;
        drain(&start.node, limit).await;
    };
    tokio::select! {
        () = dispers_stack::attach(relay, answerer) => {}
        () = stopped => {}
    }
    tracing::info!(node = %start.node.name, "stopped");
    Ok(())
}

/// Serves the page for owners beside the stack.
async fn serve_page(
    start: &Start<dispers_stack::Config>,
    config: &page::Config,
    store: Arc<dispers_stack::Store>,
    relay: dispers_stack::Relay,
) -> Result<(), Exit> {
    config.check().map_err(Exit::misuse)?;
    let exact = start.config.role.exact_queries;
    let page = page::Page::new(config, store, &start.node.directory, Some(relay), exact);
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().map_err(Exit::other)?;
    // The page does no TLS itself. Beyond the loopback address, owners' traffic could be read on its way to
    // the proxy.
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the page is served without TLS: let nobody but your proxy reach this address");
    }
    tracing::info!(node = %start.node.name, %address, "page");
    tokio::spawn(async move {
        if let Err(error) = page.serve(listener).await {
            tracing::error!(%error, "the page is no longer served");
        }
    });
    Ok(())
}

/// Adds the co-signing of the log to a node that the directory lists as a witness (protocol.md §16).
fn witness<T>(node: &Arc<Node>, config: &Config<T>, routes: Routes) -> Result<Routes, Exit> {
    if !node.directory.witnesses.names.contains(&node.name) {
        return Ok(routes);
    }
    let cosigner = Cosigner::open(node.clone(), &config.witness_database());
    Ok(cosigner.map_err(Exit::misuse)?.beside(routes))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Exit> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is another process there?"))
        .map_err(Exit::other)
}

/// Serves the node's metrics if the configuration gives an address.
async fn metrics<T>(node: &Node, config: &Config<T>) -> Result<(), Exit> {
    let Some(address) = config.metrics.listen else {
        return Ok(());
    };
    let listener = bind(address).await?;
    let address = listener.local_addr().map_err(Exit::other)?;
    // Metrics have no access control.
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics can be read by whoever reaches this address");
    }
    tracing::info!(node = %node.name, %address, "metrics");
    let activity = node.activity.clone();
    tokio::spawn(async move {
        if let Err(error) = serve_metrics(listener, activity).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(())
}

async fn listen<T>(node: Arc<Node>, config: &Config<T>, routes: Routes) -> Result<(), Exit> {
    let routes = witness(&node, config, routes)?;
    let listener = bind(config.listen()?).await?;
    metrics(&node, config).await?;
    let address = listener.local_addr().map_err(Exit::other)?;
    let limit = Duration::from_secs(config.node.drain_seconds);
    tracing::info!(node = %node.name, %address, "listening");
    serve_draining(listener, routes, &node, limit, shutdown_signal())
        .await
        .map_err(Exit::other)?;
    tracing::info!(node = %node.name, "stopped");
    Ok(())
}
