//! Stacks that attach themselves: for hosts that cannot be dialled.
//!
//! A stack opens a stream to the Target; asks go down, answers come up in the same order. The host is
//! whom the directory lists for the connection's key.

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

/// Asks that wait for one stack.
const WAITING: usize = 4;

struct Pending {
    ask: Ask,
    limit: usize,
    answer: oneshot::Sender<Result<Answer, Status>>,
}

/// The attached stacks, by host. A stack that attaches again replaces its former stream.
#[derive(Clone)]
pub(crate) struct Attached {
    links: Arc<Mutex<HashMap<Name, mpsc::Sender<Pending>>>>,
    /// Most streams at a time.
    most: usize,
    /// Longest time without an ask.
    idle: Duration,
}

impl Attached {
    /// Takes `most` streams, each as long as it is asked once in `idle`.
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self {
            links: Arc::default(),
            most,
            idle,
        }
    }

    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<Name, mpsc::Sender<Pending>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the stack of `host` is attached.
    pub(crate) fn has(&self, host: &Name) -> bool {
        self.links().get(host).is_some_and(|link| !link.is_closed())
    }

    /// Takes a stack's stream; the stream of asks to it.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many other stacks are attached.
    pub(crate) fn attach(&self, host: Name, answers: Messages) -> Result<Reply, Status> {
        let (link, asks) = mpsc::channel(WAITING);
        let (down, stream) = mpsc::channel(WAITING);
        let mut links = self.links();
        if links.len() >= self.most && !links.contains_key(&host) {
            links.retain(|_, link| !link.is_closed());
            if links.len() >= self.most {
                return Err(Status::resource_exhausted(
                    "too many stacks are attached: try another target, or later",
                ));
            }
        }
        links.insert(host, link);
        drop(links);
        tokio::spawn(relay(asks, down, answers, self.idle));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

/// Passes asks down and answers up, one after the other, until either side goes away or nothing was asked
/// for `idle`.
async fn relay(
    mut asks: mpsc::Receiver<Pending>,
    down: mpsc::Sender<Result<Chunk, Status>>,
    mut answers: Messages,
    idle: Duration,
) {
    let gone = || Status::unavailable("the attached stack went away");
    loop {
        let Pending { ask, limit, answer } = tokio::select! {
            pending = asks.recv() => match pending {
                Some(pending) => pending,
                // Attached anew: this stream is no longer asked.
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
        // Who asked may have stopped waiting.
        let _ = answer.send(decoded);
    }
}

impl StackLink for Attached {
    fn ask<'a>(&'a self, host: &'a Name, ask: Ask, limit: usize) -> Answering<'a> {
        let link = self.links().get(host).cloned();
        Box::pin(async move {
            let gone = || Status::unavailable("the attached stack went away");
            let (answer, answered) = oneshot::channel();
            let link = link.ok_or_else(gone)?;
            link.send(Pending { ask, limit, answer })
                .await
                .map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
    }
}
