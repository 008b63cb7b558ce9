//! Setting up of the service.

use std::sync::Arc;

use dispers_node::{Node, RoleKeys, SetUpError};
use dispers_proto::v1::target_server::TargetServer;
use tonic::service::Routes;

use crate::{Config, Service, Target};

/// Sets up the service of `node`, and returns its routes.
///
/// # Errors
/// [`SetUpError`] if a key is missing, or is not the one that the directory lists.
pub fn routes(node: Arc<Node>, mut keys: RoleKeys, config: &Config) -> Result<Routes, SetUpError> {
    let target = Target::new(node.clone(), node.watched(keys.pool_envelope()?), config);
    let target = target.map_err(SetUpError::role)?;
    let service = Service::new(node, target.with_previous(keys.previous.pool_envelope));
    Ok(Routes::new(TargetServer::new(service)))
}
