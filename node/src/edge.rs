//! What every service does at its gRPC edge.

use std::pin::Pin;

use dispers_proto::{chunks, v1::Chunk};
use tokio_stream::Stream;
use tonic::{Response, Status};

/// A streamed answer.
pub type Reply = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send + 'static>>;

/// Streams messages, cut into chunks.
pub fn reply<I>(messages: I) -> Response<Reply>
where
    I: IntoIterator<Item = Vec<u8>>,
    I::IntoIter: Send + 'static,
{
    let chunks = chunks(messages.into_iter().collect::<Vec<_>>());
    Response::new(Box::pin(tokio_stream::iter(chunks.map(Ok))))
}

/// Computes off the executor's threads.
///
/// # Errors
/// What `work` returns, and `INTERNAL` when it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Status::internal("a computation failed")))
}
