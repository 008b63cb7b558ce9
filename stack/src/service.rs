//! gRPC edge of a stack: decodes an ask, answers it, and encodes the answer.

use std::sync::Arc;

use dispers_base::{encoding::to_bytes, id::Role};
use dispers_core::ask::MAX_ASK;
use dispers_node::{Reply, reply, require_role};
use dispers_proto::{
    Messages,
    v1::{Chunk, stack_server::Stack},
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::Answerer;

/// Service that offers an [`Answerer`] to the Targets.
pub struct Service {
    answerer: Arc<Answerer>,
    slots: Arc<Semaphore>,
}

impl Service {
    /// Creates a service that answers at most `parallel_asks` asks at the same time.
    pub fn new(answerer: Arc<Answerer>, parallel_asks: usize) -> Self {
        Self {
            answerer,
            slots: Arc::new(Semaphore::new(parallel_asks.max(1))),
        }
    }
}

#[tonic::async_trait]
impl Stack for Service {
    type AskStream = Reply;

    async fn ask(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        require_role(&request, Role::Target)?;
        let body = Messages::of_request(request.into_inner())
            .expect(MAX_ASK)
            .await?;
        // Taken only after the whole ask has arrived, so that a slow sender occupies no slot.
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_| Status::unavailable("the stack is shutting down"))?;
        let answer = self.answerer.clone().answer_paced(body).await;
        let answer = answer.map_err(|error| error.fault().status(&error))?;
        Ok(reply([to_bytes(&answer)]))
    }
}
