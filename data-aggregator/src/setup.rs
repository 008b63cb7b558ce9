//! Setting up of the service.

use std::sync::Arc;

use dispers_node::{Node, RoleKeys, SetUpError, Storage};
use dispers_proto::v1::data_aggregator_server::DataAggregatorServer;
use tonic::service::Routes;

use crate::{Aggregator, Config, SCHEMA, Service};

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
    let database = storage.open(&SCHEMA)?;
    let aggregator = Aggregator::new(node, keys.share()?, database, config);
    let service = Service::new(aggregator.map_err(SetUpError::role)?);
    Ok(Routes::new(DataAggregatorServer::new(service)))
}
