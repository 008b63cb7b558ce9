//! Number of bytes that each role receives from each other role.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use dispers_base::id::Role;
use dispers_crypto::envelope;
use dispers_node::Watcher;
use dispers_trust::directory::{Directory, TlsKey};

/// Number of bytes that the nodes of one role received, by the TLS key of the sender, without TLS.
#[derive(Default)]
struct Count(Mutex<BTreeMap<TlsKey, u64>>);

impl envelope::Watcher for Count {
    fn opened(&self, _: &'static str, _: &[u8], _: &[u8]) {}
}

impl Watcher for Count {
    fn received(&self, from: TlsKey, _: u64, bytes: &[u8]) {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *senders.entry(from).or_default() += bytes.len() as u64;
    }
}

/// Number of bytes between the roles of a network, including gRPC, without TLS.
#[derive(Default)]
pub struct Meter(BTreeMap<Role, Arc<Count>>);

impl Meter {
    /// Returns the counter for a node of a role.
    pub(crate) fn of(&mut self, role: Role) -> Arc<dyn Watcher> {
        self.0.entry(role).or_default().clone()
    }

    /// Returns the number of bytes that went from one role to another so far.
    pub fn hops(&self, directory: &Directory) -> BTreeMap<(Role, Role), u64> {
        let mut hops = BTreeMap::new();
        for (to, count) in &self.0 {
            let senders = count.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, bytes) in senders.iter() {
                // Keys tell the sender: the address of a connection on loopback does not.
                if let Some(peer) = directory.peer(key) {
                    *hops.entry((peer.role(), *to)).or_default() += bytes;
                }
            }
        }
        hops
    }
}
