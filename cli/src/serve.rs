//! `dispers serve`: one service.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use dispers_base::id::Role;
use dispers_node::{
    Config, Cosigner, Node, RoleKeys, Storage, drain, limit_workers, load_telemetry, now,
    serve_draining, serve_metrics, shutdown_signal, telemetry,
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
    #[arg(value_parser = service())]
    role: Role,
    /// Its configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// Log one JSON object a line.
    #[arg(long)]
    json_logs: bool,
}

/// Returns the parser of a role that is a service.
fn service() -> impl TypedValueParser<Value = Role> {
    let services = Role::ALL.into_iter().filter(|role| *role != Role::Querier);
    PossibleValuesParser::new(services.map(Role::name))
        .try_map(|name| Role::named(&name).ok_or("no such role"))
}

/// A service's node, keys and configuration. All are read before a port is bound.
struct Start<T> {
    node: Arc<Node>,
    keys: RoleKeys,
    config: Config<T>,
}

impl<T: DeserializeOwned> Start<T> {
    fn load(path: &Path, role: Role) -> Result<Self, Exit> {
        let config: Config<T> = Config::load(path, role.name())?;
        // Only a limit that is set before the first computation counts.
        if let Some(workers) = config.node.workers {
            limit_workers(workers);
        }
        let (node, keys) = config.node(role)?;
        let directory = &node.directory;
        if directory.trial {
            tracing::warn!("this network is a trial: one dealer may know its threshold keys");
        }
        let left = directory.expires.0.saturating_sub(now().0) / 86_400_000;
        if left < config.node.warn_days {
            let expires = directory.expires;
            tracing::warn!(%expires, days = left, "the directory expires soon: install the next one and restart");
        }
        Ok(Self {
            node: Arc::new(node),
            keys,
            config,
        })
    }

    /// Returns the place of a database at `path`, which is relative to the configuration file.
    fn storage(&self, path: &Path) -> Storage {
        Storage::File(self.config.resolve(path))
    }
}

/// Opens the database of a conductor, which conductors share if there are several.
async fn conductor_store(
    start: &Start<dispers_conductor::Config>,
) -> Result<Arc<dyn dispers_conductor::Store>, Exit> {
    let config = &start.config.role;
    let listed = start.node.directory.nodes(Role::Conductor).count();
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
    let name = arguments.role.name();
    // The guard lives until the end, so that the last traces are sent.
    let _traces =
        telemetry::init_with(LOGGED, arguments.json_logs, &traces, name).map_err(Exit::misuse)?;
    match arguments.role {
        Role::Conductor => serve_conductor(Start::load(path, Role::Conductor)?).await,
        Role::ConceptIndexor => {
            let start = Start::load(path, Role::ConceptIndexor)?;
            let routes =
                dispers_concept_indexor::routes(start.node.clone(), start.keys, &start.config.role);
            listen(start.node, &start.config, routes.map_err(Exit::misuse)?).await
        }
        Role::TargetFinder => {
            let start: Start<dispers_target_finder::Config> =
                Start::load(path, Role::TargetFinder)?;
            let (node, config) = (start.node.clone(), &start.config.role);
            let storage = start.storage(&config.database);
            let routes = dispers_target_finder::routes(node, start.keys, &storage, config);
            listen(start.node, &start.config, routes.map_err(Exit::misuse)?).await
        }
        Role::Target => {
            let start = Start::load(path, Role::Target)?;
            let routes = dispers_target::routes(start.node.clone(), start.keys, &start.config.role);
            listen(start.node, &start.config, routes.map_err(Exit::misuse)?).await
        }
        Role::DataAggregator => {
            let start: Start<dispers_data_aggregator::Config> =
                Start::load(path, Role::DataAggregator)?;
            let (node, config) = (start.node.clone(), &start.config.role);
            let storage = start.storage(&config.database);
            let routes = dispers_data_aggregator::routes(node, start.keys, &storage, config);
            listen(start.node, &start.config, routes.map_err(Exit::misuse)?).await
        }
        Role::Stack => serve_stack(Start::load(path, Role::Stack)?).await,
        Role::Querier => Err(Exit::misuse(anyhow!("a querier serves nothing"))),
    }
}

/// Runs a conductor, and takes up the queries that no other one drives.
async fn serve_conductor(start: Start<dispers_conductor::Config>) -> Result<(), Exit> {
    let store = conductor_store(&start).await?;
    let config = start.config.role.clone();
    let routes = dispers_conductor::routes(start.node.clone(), start.keys, store, config);
    let (service, routes) = routes.map_err(Exit::misuse)?;
    let stopped = tokio::select! {
        // `keep_up` never returns by itself, so this ends when the server stops.
        stopped = listen(start.node, &start.config, routes) => stopped,
        () = service.clone().keep_up() => Ok(()),
    };
    // Other conductors then need not wait until this one's leases run out.
    service.give_up().await;
    stopped
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
        let routes = dispers_stack::routes(answerer, config.parallel_asks);
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
    let witness = Storage::File(config.witness_database());
    let routes = Cosigner::add_if_listed(&node, &witness, routes).map_err(Exit::misuse)?;
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
