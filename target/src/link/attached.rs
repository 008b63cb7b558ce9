//! Stacks that attach themselves, because their hosts cannot be dialled.
//!
//! A stack opens a stream to the Target. The Target sends asks down this stream, and the stack sends its answers up in
//! the same order. The TLS key of the connection identifies the host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::Name,
};
use dispers_core::ask::{Answer, Ask, AttachedAnswer};
use dispers_node::{Reply, blocking};
use dispers_proto::{Messages, chunks, v1::Chunk};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Answering, StackLink};

/// Most asks that wait for one stack.
const WAITING: usize = 4;

/// An ask that waits for a stack, with the largest size of its answer in bytes.
struct Pending {
    ask: Ask,
    limit: usize,
    answer: oneshot::Sender<Result<Answer, Status>>,
}

/// Attached stacks by host. A stack that attaches again replaces its previous stream.
#[derive(Clone)]
pub(crate) struct Attached {
    links: Arc<Mutex<HashMap<Name, mpsc::Sender<Pending>>>>,
    /// Most streams at the same time.
    most: usize,
    /// Longest time that a stream stays open without an ask.
    idle: Duration,
}

impl Attached {
    /// Allows `most` streams at the same time. A stream ends when nothing was asked over it for `idle`.
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self {
            links: Arc::default(),
            most,
            idle,
        }
    }

    /// Locks the table of attached stacks.
    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<Name, mpsc::Sender<Pending>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the stack of `host` is attached.
    pub(crate) fn has(&self, host: &Name) -> bool {
        self.links().get(host).is_some_and(|link| !link.is_closed())
    }

    /// Takes a stack's stream. Returns the stream of asks to that stack.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` if too many other stacks are attached.
    pub(crate) fn attach(&self, host: Name, answers: Messages) -> Result<Reply, Status> {
        let (link, asks) = mpsc::channel(WAITING);
        let (down, stream) = mpsc::channel(WAITING);
        let mut links = self.links();
        // Closed streams stay in the table until it is full, so that most calls need not search it. A host that is in
        // the table replaces its own stream and needs no new place.
        if links.len() >= self.most && !links.contains_key(&host) {
            links.retain(|_, link| !link.is_closed());
            if links.len() >= self.most {
                return Err(Status::resource_exhausted(
                    "too many stacks are attached: try another target, or later",
                ));
            }
        }
        // Replacing drops the previous sender, which ends the previous stream's relay.
        links.insert(host, link);
        drop(links);
        tokio::spawn(relay(asks, down, answers, self.idle));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

fn gone() -> Status {
    Status::unavailable("the attached stack went away")
}

/// Passes asks down and answers up, one at a time, until either side ends its stream or nothing was asked for `idle`.
async fn relay(
    mut asks: mpsc::Receiver<Pending>,
    down: mpsc::Sender<Result<Chunk, Status>>,
    mut answers: Messages,
    idle: Duration,
) {
    loop {
        let Pending { ask, limit, answer } = tokio::select! {
            pending = asks.recv() => match pending {
                Some(pending) => pending,
                // The stack attached again, so this stream gets no more asks.
                None => return,
            },
            () = down.closed() => return,
            () = sleep(idle) => return,
        };
        let Ok(bytes) = blocking(move || Ok(to_bytes(&ask))).await else {
            return;
        };
        for chunk in chunks([bytes]) {
            if down.send(Ok(chunk)).await.is_err() {
                let _ = answer.send(Err(gone()));
                return;
            }
        }
        // Answers carry no identifier of their ask. One ask at a time pairs them, so a stream that fails once cannot
        // be used again.
        let Ok(bytes) = answers.expect(limit).await else {
            let _ = answer.send(Err(gone()));
            return;
        };
        let decoded = blocking(move || {
            from_bytes::<AttachedAnswer>(&bytes, limit, "answer")
                .map_err(|error| Status::data_loss(error.to_string()))?
                .map_err(Status::failed_precondition)
        })
        .await;
        // The asking task may have stopped waiting.
        let _ = answer.send(decoded);
    }
}

impl StackLink for Attached {
    fn ask<'a>(&'a self, host: &'a Name, ask: Ask, limit: usize) -> Answering<'a> {
        // The lock is released before the first await.
        let link = self.links().get(host).cloned();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let link = link.ok_or_else(gone)?;
            link.send(Pending { ask, limit, answer })
                .await
                .map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
    }
}
