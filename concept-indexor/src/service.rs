//! The gRPC edge of a Concept Indexor.

use std::sync::Arc;

use dispers_base::{
    encoding::{decode, to_bytes},
    id::Role,
};
use dispers_node::{blocking, require_role};
use dispers_proto::v1::{EvaluateRequest, Message, concept_indexor_server::ConceptIndexor};
use tonic::{Request, Response, Status};

use crate::{Error, Indexor};

/// Serves an [`Indexor`] to the Conductor.
pub struct Service(Arc<Indexor>);

impl Service {
    /// Serves `indexor`.
    pub fn new(indexor: Indexor) -> Self {
        Self(Arc::new(indexor))
    }
}

#[tonic::async_trait]
impl ConceptIndexor for Service {
    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<Message>, Status> {
        // Hosts and queriers send requests through the Conductor (§4), so no other role has to reach an indexor.
        require_role(&request, Role::Conductor)?;
        let sealed = request.into_inner().sealed;
        let indexor = self.0.clone();
        let evaluation = blocking(move || {
            decode(&sealed)
                .map_err(Error::from)
                .and_then(|sealed| indexor.evaluate(&sealed))
                .map_err(|error| error.fault().status(&error))
        })
        .await?;
        Ok(Response::new(Message {
            body: to_bytes(&evaluation),
        }))
    }
}
