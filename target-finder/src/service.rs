//! The gRPC edge of a Target Finder.

use std::sync::Arc;

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::Role,
};
use dispers_core::{
    find::{Chosen, Finding, MAX_FIND_HEAD, OpenedSegment},
    subscription::MAX_UPLOAD,
};
use dispers_node::{InOrder, Reply, blocking, require_role};
use dispers_proto::{
    Messages, chunks,
    v1::{Chunk, Message, target_finder_server::TargetFinder},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{Error, Finder};

/// Serves a [`Finder`] to the Conductor.
pub struct Service(Arc<Finder>);

impl Service {
    /// Serves `finder`.
    pub fn new(finder: Finder) -> Self {
        Self(Arc::new(finder))
    }

    /// Runs one step of the finder on a worker thread.
    async fn call<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Finder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let finder = self.0.clone();
        blocking(move || step(&finder).map_err(status)).await
    }

    /// Adds an opened segment to the find on a worker thread.
    async fn take(&self, mut finding: Finding, opened: OpenedSegment) -> Result<Finding, Status> {
        self.call(move |_| {
            finding.add(opened)?;
            Ok(finding)
        })
        .await
    }
}

/// Converts an error to the gRPC status of its fault.
fn status(error: Error) -> Status {
    error.fault().status(&error)
}

/// Sends the result of a find: first the summary, then each batch as soon as it is sealed.
async fn send(
    finder: Arc<Finder>,
    chosen: Arc<Chosen>,
    sender: mpsc::Sender<Result<Chunk, Status>>,
) {
    let mut sealing = InOrder::default();
    let mut message = Ok(Some(to_bytes(&chosen.summary)));
    let mut places = 0..chosen.count();
    loop {
        match message {
            Ok(Some(bytes)) => {
                // The channel holds one chunk, so that batches are sealed no faster than the Conductor takes them.
                for chunk in chunks([bytes]) {
                    if sender.send(Ok(chunk)).await.is_err() {
                        return;
                    }
                }
            }
            Ok(None) => {}
            Err(status) => {
                let _ = sender.send(Err(status)).await;
                return;
            }
        }
        message = match places.next() {
            Some(place) => {
                let (finder, chosen) = (finder.clone(), chosen.clone());
                sealing
                    .push(move || {
                        let batch = finder.batch(&chosen, place).map_err(status)?;
                        let batch =
                            batch.ok_or_else(|| Status::internal("the cut has no such batch"));
                        Ok(to_bytes(&batch?))
                    })
                    .await
            }
            None => match sealing.next().await {
                Ok(None) => return,
                sealed => sealed,
            },
        };
    }
}

#[tonic::async_trait]
impl TargetFinder for Service {
    type FindStream = Reply;

    async fn find(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        require_role(&request, Role::Conductor)?;
        let mut messages = Messages::of_request(request.into_inner());
        let head = messages.expect(MAX_FIND_HEAD).await?;
        let mut finding = self
            .call(move |f| f.start(&from_bytes(&head, MAX_FIND_HEAD, "find request")?))
            .await?;
        // Several segments are opened while the next ones arrive, and are added in the order in which they came.
        let opener = finding.opener();
        let mut opening = InOrder::default();
        // The lists may have any length. A segment is received only when there is room for it, so that few are held at
        // once.
        while let Some(segment) = messages.next(MAX_UPLOAD).await? {
            let (finder, opener) = (self.0.clone(), opener.clone());
            let opened = opening.push(move || finder.open(&opener, &segment).map_err(status));
            if let Some(opened) = opened.await? {
                finding = self.take(finding, opened).await?;
            }
        }
        while let Some(opened) = opening.next().await? {
            finding = self.take(finding, opened).await?;
        }
        let chosen = Arc::new(self.call(move |f| f.finish(finding)).await?);
        let (sender, batches) = mpsc::channel(1);
        tokio::spawn(send(self.0.clone(), chosen, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(batches))))
    }

    async fn notarise(&self, request: Request<Message>) -> Result<Response<Message>, Status> {
        require_role(&request, Role::Conductor)?;
        let body = request.into_inner().body;
        let certificate = self
            .call(move |f| f.notarise(&from_bytes(&body, MAX_FIND_HEAD, "notarise request")?))
            .await?;
        Ok(Response::new(Message {
            body: to_bytes(&certificate),
        }))
    }
}
