//! The gRPC edge of a Target Finder: convert, call, convert.

use std::sync::Arc;

use dispers_core::{
    encoding::{from_bytes, to_bytes},
    find::MAX_FIND_HEAD,
    id::Role,
    subscription::MAX_UPLOAD,
};
use dispers_node::{Reply, blocking, reply, require_role};
use dispers_proto::{
    Messages,
    v1::{Chunk, Message, target_finder_server::TargetFinder},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{Error, Finder};

/// Serves a [`Finder`] to the Conductor.
pub struct Service(Arc<Finder>);

impl Service {
    /// Serves `finder`.
    pub fn new(finder: Finder) -> Self {
        Self(Arc::new(finder))
    }

    async fn call<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Finder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let finder = self.0.clone();
        blocking(move || step(&finder).map_err(|error| error.fault().status(&error))).await
    }
}

#[tonic::async_trait]
impl TargetFinder for Service {
    type FindStream = Reply;

    async fn find(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        require_role(&request, Role::Conductor)?;
        let mut messages = Messages::new(request.into_inner());
        let head = messages.expect(MAX_FIND_HEAD).await?;
        let mut finding = self
            .call(move |f| f.start(&from_bytes(&head, MAX_FIND_HEAD, "find request")?))
            .await?;
        while let Some(segment) = messages.next(MAX_UPLOAD).await? {
            finding = self
                .call(move |f| {
                    f.absorb(&mut finding, &segment)?;
                    Ok(finding)
                })
                .await?;
        }
        let found = self.call(move |f| f.finish(finding)).await?;
        let batches = found.batches.into_iter().map(|batch| to_bytes(&batch));
        Ok(reply([to_bytes(&found.summary)].into_iter().chain(batches)))
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
