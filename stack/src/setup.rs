//! Setting up of the service.

use std::sync::Arc;

use dispers_proto::v1::stack_server::StackServer;
use tonic::service::Routes;

use crate::{Answerer, Service};

/// Returns the routes of a stack that targets dial. It answers at most `parallel` asks at the same time.
pub fn routes(answerer: Arc<Answerer>, parallel: usize) -> Routes {
    Routes::new(StackServer::new(Service::new(answerer, parallel)))
}
