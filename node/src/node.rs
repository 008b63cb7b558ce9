//! A node of the network, and its channels to the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dispers_base::{id::Name, keys::SigningKey};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_trust::directory::{Directory, TlsKey};
use tonic::Status;

use crate::{
    Activity, Channel, Watcher,
    tls::{self, TlsIdentity},
};

/// Who this process is, and the directory that it trusts.
pub struct Node {
    /// Its name in the directory.
    pub name: Name,
    /// The verified directory.
    pub directory: Arc<Directory>,
    /// Signs what this node says.
    pub signing: SigningKey,
    /// Proves to other nodes who this is.
    pub tls: TlsIdentity,
    /// Sees what it receives and opens: in sandboxes and tests only.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// What it is doing.
    pub activity: Arc<Activity>,
}

impl Node {
    /// `key`, under the eyes of the node's watcher if it has one.
    pub fn watched(&self, key: EnvelopeSecretKey) -> EnvelopeSecretKey {
        match &self.watcher {
            Some(watcher) => key.watched(watcher.clone()),
            None => key,
        }
    }
}

/// Channels to other nodes, one for each, made on first use and kept.
#[derive(Clone)]
pub struct Channels {
    node: Arc<Node>,
    open: Arc<Mutex<HashMap<(String, TlsKey), Channel>>>,
}

impl Channels {
    /// No channel yet.
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            open: Arc::default(),
        }
    }

    /// The channel to `address`, which must hold the TLS key `key`.
    ///
    /// # Errors
    /// `INTERNAL` when the directory's address is not one.
    pub fn to(&self, address: &str, key: TlsKey) -> Result<Channel, Status> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(&(address.to_owned(), key)) {
            return Ok(channel.clone());
        }
        let channel = tls::connect(address, key, &self.node.tls, self.node.watcher.clone())
            .map_err(|error| Status::internal(error.to_string()))?;
        let channel = Channel::new(channel, self.node.activity.role());
        open.insert((address.to_owned(), key), channel.clone());
        Ok(channel)
    }
}
