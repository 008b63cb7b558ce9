//! Shared parts of the services' gRPC edges: streamed answers, and workers for computations.

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

/// Streamed answer.
pub type Reply = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send + 'static>>;

/// Streams messages, cut into chunks. Each message is made when it is sent.
pub fn reply<I>(messages: I) -> Response<Reply>
where
    I: IntoIterator<Item = Vec<u8>> + 'static,
    I::IntoIter: Send + 'static,
{
    let chunks = chunks(messages);
    Response::new(Box::pin(tokio_stream::iter(chunks.map(Ok))))
}

/// Workers of this process, which limit the number of computations that run at a time.
static WORKERS: OnceLock<Arc<Semaphore>> = OnceLock::new();

fn all_processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Limits the computations that run at a time to `workers`; the default is one per processor. Only the first call
/// counts, and only before any computation.
pub fn limit_workers(workers: NonZero<usize>) {
    WORKERS.get_or_init(|| Arc::new(Semaphore::new(workers.get())));
}

/// Runs `work` outside the executor's threads, once a worker is free.
///
/// # Errors
/// The error of `work`, or `INTERNAL` if it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let workers = WORKERS.get_or_init(|| Arc::new(Semaphore::new(all_processors())));
    // The wait is here and not on a blocking thread, so that waiting computations hold no threads.
    let worker = workers.clone().acquire_owned().await;
    let worker = worker.map_err(|_| Status::unavailable("the process is shutting down"))?;
    let computation = tokio::task::spawn_blocking(move || {
        let result = work();
        // The computation of a caller that gives up goes on: its worker is free only when the computation ends.
        drop(worker);
        result
    });
    computation
        .await
        .unwrap_or_else(|_| Err(Status::internal("a computation failed")))
}

/// Queue of computations, several of which run at a time, with results in the order of the queue.
pub struct InOrder<T> {
    running: VecDeque<JoinHandle<Result<T, Status>>>,
    most: usize,
}

impl<T: Send + 'static> Default for InOrder<T> {
    fn default() -> Self {
        Self {
            running: VecDeque::new(),
            // More than one per worker, so that a worker finds work while the oldest result is awaited.
            most: 2 * all_processors(),
        }
    }
}

impl<T: Send + 'static> InOrder<T> {
    /// Starts `work`. Returns the oldest result if more than the limit are under way.
    ///
    /// # Errors
    /// As [`blocking`], for the oldest computation.
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

    /// Waits for the oldest result. Returns `None` if nothing is under way.
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
        // This frees the places of computations that still wait for a worker. One that runs goes on to its end.
        for running in &self.running {
            running.abort();
        }
    }
}
