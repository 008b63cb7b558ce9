//! Serving and stopping.

use std::{future::Future, time::Duration};

use tokio::net::TcpListener;
use tonic::{service::Routes, transport::Server};

use crate::{
    Node,
    tls::{self, TlsError},
};

/// How long requests that run may go on after a stop.
const DRAIN: Duration = Duration::from_secs(10);

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
/// may end, for ten seconds.
///
/// # Errors
/// [`ServeError`] when TLS or the transport fails.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    node: &Node,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let incoming = tls::incoming(
        listener,
        &node.tls,
        node.directory.clone(),
        node.witness.clone(),
    )?;
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let serving = Server::builder()
        .initial_stream_window_size(tls::WINDOW)
        .initial_connection_window_size(4 * tls::WINDOW)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move {
            shutdown.await;
            let _ = stopping.send(());
        });
    let drained = async move {
        // A server that ends by itself drops the sender, and then nothing is to be waited for.
        match stopped.await {
            Ok(()) => tokio::time::sleep(DRAIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = serving => result?,
        () = drained => tracing::warn!("requests that still ran were dropped"),
    }
    Ok(())
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
