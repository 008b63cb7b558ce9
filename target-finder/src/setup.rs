//! Setting up of the service.

use std::sync::Arc;

use dispers_node::{Node, RoleKeys, SetUpError, Storage};
use dispers_proto::v1::target_finder_server::TargetFinderServer;
use tonic::service::Routes;

use crate::{Certificates, Config, Finder, Service};

/// Sets up the service of `node`, and returns its routes.
///
/// # Errors
/// [`SetUpError`] if the database cannot be opened, or a key is missing or not the one that the directory lists.
pub fn routes(
    node: Arc<Node>,
    mut keys: RoleKeys,
    storage: &Storage,
    config: &Config,
) -> Result<Routes, SetUpError> {
    let certificates = Certificates::open(storage)?;
    let (envelope, secret) = (node.watched(keys.pool_envelope()?), keys.pool_secret()?);
    let finder = Finder::new(node, envelope, secret, certificates, config);
    let previous = keys.previous;
    let finder = finder
        .map_err(SetUpError::role)?
        .with_previous(previous.pool_envelope.zip(previous.pool_secret));
    Ok(Routes::new(TargetFinderServer::new(Service::new(finder))))
}
