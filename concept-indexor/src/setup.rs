//! Setting up of the service.

use std::sync::Arc;

use dispers_node::{Node, RoleKeys, SetUpError};
use dispers_proto::v1::concept_indexor_server::ConceptIndexorServer;
use tonic::service::Routes;

use crate::{Config, Indexor, Service};

/// Sets up the service of `node`, and returns its routes.
///
/// # Errors
/// [`SetUpError`] if a key is missing, or is not the one that the directory lists.
pub fn routes(node: Arc<Node>, mut keys: RoleKeys, config: &Config) -> Result<Routes, SetUpError> {
    let indexor = Indexor::new(
        node.clone(),
        node.watched(keys.envelope()?),
        keys.share()?,
        config,
    );
    let indexor = indexor.map_err(SetUpError::role)?;
    let service = Service::new(indexor.with_previous(keys.previous.share));
    Ok(Routes::new(ConceptIndexorServer::new(service)))
}
