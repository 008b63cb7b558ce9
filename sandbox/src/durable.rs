//! Services that can be restarted with their keys and stored state.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use dispers_base::id::Role;
use dispers_conductor::Sqlite;
use dispers_core::ticket::PoolSecret;
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopeSecretKey};
use dispers_data_aggregator::Aggregator;
use dispers_node::{Cosigner, Database, Node};
use dispers_proto::v1::{
    data_aggregator_server::DataAggregatorServer, stack_server::StackServer,
    target_finder_server::TargetFinderServer,
};
use dispers_stack::{Answerer, Store};
use dispers_target_finder::Finder;
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

/// Returns the error of a node that does not start.
fn failed(node: &Node, reason: impl ToString) -> Error {
    Error::start(node.name.as_str(), reason)
}

impl Keeping {
    /// Returns the path of a node's file, or `None` for storage in memory.
    fn path(&self, node: &str) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Folder(folder) => Some(folder.join(format!("{node}.db"))),
        }
    }

    /// Opens the storage of a node: `file` in a folder, `memory` otherwise.
    fn open<T, E: ToString>(
        &self,
        node: &Node,
        file: impl FnOnce(&Path) -> Result<T, E>,
        memory: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error> {
        let opened = match self.path(node.name.as_str()) {
            Some(path) => file(&path),
            None => memory(),
        };
        opened.map_err(|error| failed(node, error))
    }

    /// Opens the store of the Conductor.
    pub(crate) fn lists(&self, node: &Node) -> Result<Arc<Sqlite>, Error> {
        self.open(node, Sqlite::open, Sqlite::in_memory)
            .map(Arc::new)
    }

    /// Adds the service of a witness of the log to `routes`, if the directory lists the node as one.
    pub(crate) fn witness(&self, node: &Arc<Node>, routes: Routes) -> Result<Routes, Error> {
        if !node.directory.witnesses.names.contains(&node.name) {
            return Ok(routes);
        }
        // A witness has a file of its own: it must remember the head that it co-signed last, whatever else the node
        // does (§16).
        let path = self.path(&format!("{}.witness", node.name));
        let cosigner = match path {
            Some(path) => Cosigner::open(node.clone(), &path),
            None => Cosigner::in_memory(node.clone()),
        };
        Ok(cosigner
            .map_err(|error| failed(node, error))?
            .beside(routes))
    }

    /// Opens the store of a host.
    pub(crate) fn store(&self, host: &str) -> Result<Store, Error> {
        Ok(match self.path(host) {
            Some(path) => Store::open(&path)?,
            None => Store::in_memory()?,
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

    /// Creates the service, with the stored state of its node.
    pub(crate) fn routes(&self, node: &Arc<Node>, keeping: &Keeping) -> Result<Routes, Error> {
        let owned = node.clone();
        Ok(match self {
            Self::Aggregator(share) => {
                use dispers_data_aggregator::{Config, SCHEMA, Service};
                // Secret keys cannot be cloned. A copy through their bytes leaves this one for the next restart.
                let share = KeyShare::from_bytes(&*share.to_bytes());
                let share = share.map_err(|error| failed(node, error))?;
                let database = keeping.open(
                    node,
                    |path| Database::open(path, &SCHEMA),
                    || Database::in_memory(&SCHEMA),
                )?;
                let config = Config::new(PathBuf::new());
                let aggregator = Aggregator::new(owned, share, database, &config);
                let aggregator = aggregator.map_err(|error| failed(node, error))?;
                Routes::new(DataAggregatorServer::new(Service::new(aggregator)))
            }
            Self::Finder(envelope, secret) => {
                use dispers_target_finder::{Certificates, Config, Service};
                let seed = envelope.to_seed_bytes();
                let envelope = EnvelopeSecretKey::from_bytes(envelope.suite(), &*seed);
                let envelope = node.watched(envelope.map_err(|error| failed(node, error))?);
                let certificates =
                    keeping.open(node, Certificates::open, Certificates::in_memory)?;
                let config = Config::new(PathBuf::new());
                let finder = Finder::new(owned, envelope, secret.clone(), certificates, &config);
                let finder = finder.map_err(|error| failed(node, error))?;
                Routes::new(TargetFinderServer::new(Service::new(finder)))
            }
            Self::Stack(exact) => {
                let store = keeping.store(node.name.as_str())?;
                let answerer = Answerer::new(owned, Arc::new(store));
                let answerer = Arc::new(answerer.exact(*exact));
                let service = dispers_stack::Service::new(answerer, 2);
                Routes::new(StackServer::new(service))
            }
        })
    }
}
