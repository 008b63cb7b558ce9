//! Setting up of the service.

use std::sync::Arc;

use dispers_node::{Node, RoleKeys, SetUpError};
use dispers_proto::v1::conductor_server::ConductorServer;
use tonic::service::Routes;

use crate::{Config, Service, Store};

/// Sets up the service of `node`. Returns it with its routes: its [`keep_up`](Service::keep_up) has to run beside them.
///
/// # Errors
/// [`SetUpError`] if the envelope key is missing.
pub fn routes(
    node: Arc<Node>,
    mut keys: RoleKeys,
    store: Arc<dyn Store>,
    config: Config,
) -> Result<(Service, Routes), SetUpError> {
    let envelope = node.watched(keys.envelope()?);
    let service = Service::new(node, envelope, config, store);
    let routes = Routes::new(ConductorServer::new(service.clone()));
    Ok((service, routes))
}
