//! What every service does at its gRPC edge.

use std::{
    collections::VecDeque,
    num::NonZero,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use dispers_proto::{chunks, v1::Chunk};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_stream::Stream;
use tonic::{Response, Status};

/// A streamed answer.
pub type Reply = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send + 'static>>;

/// Streams messages, cut into chunks. Each is made when it is sent.
pub fn reply<I>(messages: I) -> Response<Reply>
where
    I: IntoIterator<Item = Vec<u8>> + 'static,
    I::IntoIter: Send + 'static,
{
    let chunks = chunks(messages);
    Response::new(Box::pin(tokio_stream::iter(chunks.map(Ok))))
}

/// The workers of this process: so many computations run at a time.
static WORKERS: OnceLock<Arc<Semaphore>> = OnceLock::new();

fn all_processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Limits computations to `workers` at a time, one for each processor where it is not said. Only the
/// first call before any computation counts.
pub fn limit_workers(workers: NonZero<usize>) {
    WORKERS.get_or_init(|| Arc::new(Semaphore::new(workers.get())));
}

/// Computes on a worker, off the executor's threads, once one is free.
///
/// # Errors
/// What `work` returns, and `INTERNAL` when it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let workers = WORKERS.get_or_init(|| Arc::new(Semaphore::new(all_processors())));
    let worker = workers.clone().acquire_owned().await;
    let worker = worker.map_err(|_| Status::unavailable("the process is shutting down"))?;
    // A caller that gives up leaves its work behind: the worker is free when that ends.
    let work = move || {
        let result = work();
        drop(worker);
        result
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Status::internal("a computation failed")))
}

/// Computes one thing after the other, several at a time, and takes the results in order.
pub struct InOrder<T> {
    running: VecDeque<JoinHandle<Result<T, Status>>>,
    most: usize,
}

impl<T: Send + 'static> Default for InOrder<T> {
    fn default() -> Self {
        Self {
            running: VecDeque::new(),
            most: 2 * all_processors(),
        }
    }
}

impl<T: Send + 'static> InOrder<T> {
    /// Starts `work`; the oldest result where enough is under way.
    ///
    /// # Errors
    /// As [`blocking`], of the oldest.
    pub async fn push(
        &mut self,
        work: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<Option<T>, Status> {
        self.running.push_back(tokio::spawn(blocking(work)));
        match self.running.len() > self.most {
            true => self.next().await,
            false => Ok(None),
        }
    }

    /// The oldest result, once it is there; `None` where nothing is under way.
    ///
    /// # Errors
    /// As [`blocking`].
    pub async fn next(&mut self) -> Result<Option<T>, Status> {
        let Some(oldest) = self.running.pop_front() else {
            return Ok(None);
        };
        let result = oldest.await;
        result
            .unwrap_or_else(|_| Err(Status::internal("a computation failed")))
            .map(Some)
    }
}

impl<T> Drop for InOrder<T> {
    fn drop(&mut self) {
        for running in &self.running {
            running.abort();
        }
    }
}
