//! Serving and stopping.

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

/// How long requests that run may go on after a stop.
const CLOSE: Duration = Duration::from_secs(10);
/// The same, once all were waited for: streams that have no end of their own are left.
const CLOSE_DRAINED: Duration = Duration::from_secs(1);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// TLS is not set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `routes` to the nodes that the directory lists, until `shutdown`; then requests that run
/// may end, for ten seconds, and none is taken any longer.
///
/// # Errors
/// [`ServeError`] when TLS or the transport fails.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    node: &Node,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    serve_until(listener, routes, node, None, shutdown).await
}

/// As [`serve`], but after `shutdown` the queries that run here may end, for `drain`. Meanwhile the
/// node's health is `NOT_SERVING`, whatever would begin a query is refused with `UNAVAILABLE`, and the
/// steps of queries that run are taken.
///
/// # Errors
/// [`ServeError`] when TLS or the transport fails.
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
    activity.drains(false);
    activity.directory_expires(node.directory.expires);
    let (close, closing) = tokio::sync::oneshot::channel::<()>();
    let serving = Server::builder()
        .initial_stream_window_size(tls::WINDOW)
        .initial_connection_window_size(4 * tls::WINDOW)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .layer(ObserveLayer(activity.clone()))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move {
            // Also when this future is dropped, and the sender with it.
            let _ = closing.await;
        });
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return Ok(result?),
        () = shutdown => {}
    }

    activity.drains(true);
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

/// Has what runs at a node that serves nobody end, for `limit`; says what did not.
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

/// Resolves at SIGINT or SIGTERM.
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
