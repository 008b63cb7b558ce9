//! Watchers of what a node receives and opens, for tests and for a sandbox that shows it to people.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use dispers_crypto::envelope;
use dispers_trust::directory::TlsKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Observer of everything that one node receives. Nodes of a real network have none.
pub trait Watcher: envelope::Watcher {
    /// Called when the node received `bytes`, after TLS, from the holder of the key `from`. Further bytes of the same
    /// `connection` come in further calls.
    fn received(&self, from: TlsKey, connection: u64, bytes: &[u8]);
}

/// Stream that shows its received bytes to a watcher.
pub(crate) struct Watched<S> {
    stream: S,
    from: TlsKey,
    connection: u64,
    watcher: Option<Arc<dyn Watcher>>,
}

/// Number of the next connection of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, from: TlsKey, watcher: Option<Arc<dyn Watcher>>) -> Self {
        Self {
            stream,
            from,
            connection: NEXT.fetch_add(1, Ordering::Relaxed),
            watcher,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let (Poll::Ready(Ok(())), Some(watcher)) = (&polled, &self.watcher) {
            watcher.received(self.from, self.connection, &buffer.filled()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
