//! The server of a node, and its stop.

use std::{future::Future, time::Duration};

use tokio::{net::TcpListener, time::timeout};
use tonic::{service::Routes, transport::Server};

use crate::{
    Node,
    activity::Running,
    health::Health,
    observe::ObserveLayer,
    tls::{self, TlsError},
};

/// Longest time that running requests may take after a stop.
const CLOSE: Duration = Duration::from_secs(10);
/// Longest time after a node has drained. Only streams that never end are left then.
const CLOSE_DRAINED: Duration = Duration::from_secs(1);

/// Reasons why serving ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `routes` to the peers that the directory lists, until `shutdown`. From then on no request is taken, and
/// running requests have ten seconds to end.
///
/// # Errors
/// [`ServeError`] if TLS or the transport fails.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    node: &Node,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    serve_until(listener, routes, node, None, shutdown).await
}

/// As [`serve`], but after `shutdown` the queries that run here have the time `drain` to end. Meanwhile the node's
/// health is `NOT_SERVING`, requests that would begin a query are refused with `UNAVAILABLE`, and the steps of running
/// queries are taken.
///
/// # Errors
/// [`ServeError`] if TLS or the transport fails.
pub async fn serve_draining(
    listener: TcpListener,
    routes: Routes,
    node: &Node,
    drain: Duration,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    serve_until(listener, routes, node, Some(drain), shutdown).await
}

async fn serve_until(
    listener: TcpListener,
    routes: Routes,
    node: &Node,
    drain: Option<Duration>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let incoming = tls::incoming(
        listener,
        &node.tls,
        node.directory.clone(),
        node.watcher.clone(),
    )?;
    let (health, routes) = Health::beside(routes);
    let activity = &node.activity;
    // A sandbox may start a node again in the same process, with the activity of the stopped one.
    activity.drains(false);
    activity.directory_expires(node.directory.expires);
    let (close, closing) = tokio::sync::oneshot::channel::<()>();
    let serving = Server::builder()
        .initial_stream_window_size(tls::WINDOW)
        .initial_connection_window_size(4 * tls::WINDOW)
        // A probe finds callers that vanished without closing the connection, so that their requests end.
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .layer(ObserveLayer(activity.clone()))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move {
            // This also resolves when the future that holds the sender is dropped.
            let _ = closing.await;
        });
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return Ok(result?),
        () = shutdown => {}
    }

    activity.drains(true);
    // Health changes before the wait: a peer that watches it can call another node meanwhile.
    health.stops().await;
    let mut left = CLOSE;
    if let Some(limit) = drain {
        tokio::select! {
            result = &mut serving => return Ok(result?),
            () = until_idle(node, limit) => left = CLOSE_DRAINED,
        }
    }
    let _ = close.send(());
    let closed = timeout(left, serving).await;
    tell_cut_off(node);
    closed.unwrap_or(Ok(()))?;
    Ok(())
}

/// Waits until nothing runs at a node that serves nobody, for at most `limit`. Logs what was cut off.
pub async fn drain(node: &Node, limit: Duration) {
    node.activity.drains(true);
    until_idle(node, limit).await;
    tell_cut_off(node);
}

async fn until_idle(node: &Node, limit: Duration) {
    let running = node.activity.running();
    tracing::info!(node = %node.name, %running, ?limit, "stopping: what runs may end");
    let _ = timeout(limit, node.activity.idle()).await;
}

fn tell_cut_off(node: &Node) {
    let cut_off = node.activity.running();
    if cut_off != Running::default() {
        tracing::warn!(node = %node.name, %cut_off, "stopped while something ran");
    }
}

/// Resolves when the process gets SIGINT or SIGTERM.
pub async fn shutdown_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
