//! Node of the network, and its channels to other nodes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dispers_base::{
    id::{Name, Role},
    keys::SigningKey,
};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_trust::directory::{Directory, TlsKey};
use tonic::Status;

use crate::{
    Activity, Channel, RoleKeys, Watcher,
    keyfile::NodeKeys,
    tls::{self, TlsIdentity},
};

/// Identity of this process, with the directory that it trusts.
pub struct Node {
    /// Name of the node in the directory.
    pub name: Name,
    /// Verified directory.
    pub directory: Arc<Directory>,
    /// Key that signs the node's messages.
    pub signing: SigningKey,
    /// TLS key that proves the node's identity to other nodes.
    pub tls: TlsIdentity,
    /// Watcher of all that the node receives and opens; only in sandboxes and tests.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// Requests and queries that run at the node.
    pub activity: Arc<Activity>,
}

impl Node {
    /// Creates a node that nobody watches, with its keys. Returns it with the keys of its role.
    pub fn new(name: Name, role: Role, directory: Directory, keys: NodeKeys) -> (Self, RoleKeys) {
        let node = Self {
            name,
            directory: Arc::new(directory),
            signing: keys.signing,
            tls: keys.tls,
            watcher: None,
            activity: Activity::new(role),
        };
        let keys = RoleKeys {
            envelope: keys.envelope,
            pool_envelope: keys.pool_envelope,
            pool_secret: keys.pool_secret,
            share: keys.share,
            previous: keys.previous,
        };
        (node, keys)
    }

    /// Returns `key`, observed by the node's watcher if it has one.
    pub fn watched(&self, key: EnvelopeSecretKey) -> EnvelopeSecretKey {
        match &self.watcher {
            Some(watcher) => key.watched(watcher.clone()),
            None => key,
        }
    }
}

/// Channels to other nodes. A channel is made on first use and kept.
#[derive(Clone)]
pub struct Channels {
    node: Arc<Node>,
    open: Arc<Mutex<HashMap<(String, TlsKey), Channel>>>,
}

impl Channels {
    /// Creates an empty set of channels.
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            open: Arc::default(),
        }
    }

    /// Returns the channel to `address`, where the server must hold the TLS key `key`.
    ///
    /// # Errors
    /// `INTERNAL` if the directory's address cannot be dialled.
    pub fn to(&self, address: &str, key: TlsKey) -> Result<Channel, Status> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The expected key is part of the map's key: a channel to one node never serves another at the same address.
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
