//! Services that can be restarted with their keys and stored state.

use std::{path::PathBuf, sync::Arc};

use dispers_base::id::Role;
use dispers_conductor::Sqlite;
use dispers_core::ticket::PoolSecret;
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopeSecretKey};
use dispers_node::{Cosigner, Node, RoleKeys, SetUpError, Storage};
use dispers_stack::{Answerer, Store};
use tonic::service::Routes;

use crate::Error;

/// Storage of all nodes of a sandbox.
#[derive(Clone)]
pub(crate) enum Keeping {
    /// Storage in memory, which a restart loses.
    Memory,
    /// Storage in this folder, one file per node.
    Folder(PathBuf),
}

/// Service that can be restarted, with the keys that it needs beside its node's.
pub(crate) enum Durable {
    Aggregator(KeyShare),
    Finder(EnvelopeSecretKey, PoolSecret),
    /// A host whose documents are in its file. Its homes answer one querier this many exact queries.
    Stack(usize),
}

impl Keeping {
    /// Returns the place of a node's database.
    fn storage(&self, node: &str) -> Storage {
        match self {
            Self::Memory => Storage::Memory,
            Self::Folder(folder) => Storage::File(folder.join(format!("{node}.db"))),
        }
    }

    /// Opens the store of the Conductor.
    pub(crate) fn lists(&self, node: &Node) -> Result<Arc<Sqlite>, Error> {
        let opened = match self.storage(node.name.as_str()) {
            Storage::File(path) => Sqlite::open(&path),
            Storage::Memory => Sqlite::in_memory(),
        };
        let store = opened.map_err(|error| Error::start(node.name.as_str(), error))?;
        Ok(Arc::new(store))
    }

    /// Adds the service of a witness of the log to `routes`, if the directory lists the node as one.
    pub(crate) fn witness(&self, node: &Arc<Node>, routes: Routes) -> Result<Routes, Error> {
        let storage = self.storage(&format!("{}.witness", node.name));
        Cosigner::add_if_listed(node, &storage, routes)
            .map_err(|error| Error::start(node.name.as_str(), error))
    }

    /// Opens the store of a host.
    pub(crate) fn store(&self, host: &str) -> Result<Store, Error> {
        Ok(match self.storage(host) {
            Storage::File(path) => Store::open(&path)?,
            Storage::Memory => Store::in_memory()?,
        })
    }
}

impl Durable {
    /// Returns the role of the service.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Aggregator(_) => Role::DataAggregator,
            Self::Finder(..) => Role::TargetFinder,
            Self::Stack(_) => Role::Stack,
        }
    }

    /// Sets up the service, with the stored state of its node.
    pub(crate) fn routes(&self, node: &Arc<Node>, keeping: &Keeping) -> Result<Routes, Error> {
        let storage = keeping.storage(node.name.as_str());
        let routes = match self {
            Self::Aggregator(share) => {
                let config = dispers_data_aggregator::Config::new(PathBuf::new());
                copy_of_share(share).and_then(|keys| {
                    dispers_data_aggregator::routes(node.clone(), keys, &storage, &config)
                })
            }
            Self::Finder(envelope, secret) => {
                let config = dispers_target_finder::Config::new(PathBuf::new());
                copy_of_pool(envelope, secret).and_then(|keys| {
                    dispers_target_finder::routes(node.clone(), keys, &storage, &config)
                })
            }
            Self::Stack(exact) => {
                let store = keeping.store(node.name.as_str())?;
                let answerer = Answerer::new(node.clone(), Arc::new(store)).exact(*exact);
                Ok(dispers_stack::routes(Arc::new(answerer), 2))
            }
        };
        routes.map_err(|error| Error::start(node.name.as_str(), error))
    }
}

/// Copies a share. Secret keys cannot be cloned, and a copy through their bytes leaves this one for the next restart.
fn copy_of_share(share: &KeyShare) -> Result<RoleKeys, SetUpError> {
    let share = KeyShare::from_bytes(&*share.to_bytes()).map_err(SetUpError::role)?;
    Ok(RoleKeys {
        share: Some(share),
        ..RoleKeys::default()
    })
}

/// Copies the keys of a pool, like [`copy_of_share`].
fn copy_of_pool(envelope: &EnvelopeSecretKey, secret: &PoolSecret) -> Result<RoleKeys, SetUpError> {
    let copy = EnvelopeSecretKey::from_bytes(envelope.suite(), &*envelope.to_seed_bytes());
    Ok(RoleKeys {
        pool_envelope: Some(copy.map_err(SetUpError::role)?),
        pool_secret: Some(secret.clone()),
        ..RoleKeys::default()
    })
}
