//! Recording of the bytes that each node of a sandbox receives, and of the envelopes that it opens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dispers_base::id::{Name, Role};
use dispers_crypto::envelope;
use dispers_node::Watcher;
use dispers_trust::directory::TlsKey;

/// Envelope that a node opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Purpose of the envelope: one of the `ENVELOPE_…` labels.
    pub purpose: &'static str,
    /// Sealed bytes, without the encapsulation.
    pub ciphertext: Vec<u8>,
    /// Opened bytes.
    pub plaintext: Vec<u8>,
}

/// Bytes and envelopes that came to one node.
#[derive(Default)]
pub struct Received {
    /// Bytes of each connection, without TLS.
    pub connections: BTreeMap<u64, Vec<u8>>,
    /// Envelopes that the node opened, in order.
    pub opened: Vec<Opened>,
}

/// Record of one node.
#[derive(Default)]
pub struct Record(Mutex<Received>);

impl Record {
    /// Returns what the node has received so far. The record is locked while the result is held.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl envelope::Watcher for Record {
    fn opened(&self, purpose: &'static str, ciphertext: &[u8], plaintext: &[u8]) {
        self.received().opened.push(Opened {
            purpose,
            ciphertext: ciphertext.to_vec(),
            plaintext: plaintext.to_vec(),
        });
    }
}

impl Watcher for Record {
    fn received(&self, _: TlsKey, connection: u64, bytes: &[u8]) {
        let mut received = Record::received(self);
        let stream = received.connections.entry(connection).or_default();
        stream.extend_from_slice(bytes);
    }
}

/// Records of all nodes of a network.
#[derive(Default)]
pub struct Recording {
    records: BTreeMap<Name, (Role, Arc<Record>)>,
}

impl Recording {
    /// Creates the record of a node.
    pub(crate) fn of(&mut self, name: &Name, role: Role) -> Arc<Record> {
        let record = Arc::new(Record::default());
        self.records.insert(name.clone(), (role, record.clone()));
        record
    }

    /// Returns every node with its role and its record.
    pub fn records(&self) -> impl Iterator<Item = (&Name, Role, &Record)> {
        let records = self.records.iter();
        records.map(|(name, (role, record))| (name, *role, &**record))
    }
}
