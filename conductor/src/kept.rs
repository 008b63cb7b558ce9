//! The part of the store that a query's driver uses: lists and batches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dispers_base::id::{BatchId, QueryId};
use dispers_crypto::oprf::Pseudonym;
use dispers_node::Patience;
use tonic::Status;

use crate::{Error, Store, Submission};

/// Tries of a step while the database cannot be reached. The step's own deadline may be earlier.
const AWAY: Patience = Patience::new(Duration::from_millis(500), Duration::from_secs(2))
    .within(Duration::from_secs(120));

/// Access to the lists of one query, and to its batches between find and ask.
#[tonic::async_trait]
pub trait Kept: Send + Sync {
    /// Returns the pseudonyms of the lists that the segments belong to.
    fn lists(&self) -> &[Pseudonym];

    /// Returns the encoded list segment of this number in a partition, or `None` after the last. A segment may be
    /// empty.
    ///
    /// # Errors
    /// A status if the segment cannot be read.
    async fn segment(&self, partition: u16, number: usize) -> Result<Option<Vec<u8>>, Status>;

    /// Stores an encoded batch until the query ends.
    ///
    /// # Errors
    /// A status if the batch cannot be stored.
    async fn keep(&self, batch: BatchId, message: Vec<u8>) -> Result<(), Status>;

    /// Returns an encoded batch.
    ///
    /// # Errors
    /// A status if the batch cannot be read.
    async fn batch(&self, batch: BatchId) -> Result<Vec<u8>, Status>;
}

/// Lists and batches in memory.
#[derive(Default)]
pub struct InMemory {
    /// Pseudonyms of the lists that the segments belong to.
    pub lists: Vec<Pseudonym>,
    /// Encoded [`ListSegment`](dispers_core::find::ListSegment)s of the one partition.
    pub segments: Vec<Vec<u8>>,
    /// Encoded batches.
    pub batches: Mutex<HashMap<BatchId, Vec<u8>>>,
}

#[tonic::async_trait]
impl Kept for InMemory {
    fn lists(&self) -> &[Pseudonym] {
        &self.lists
    }

    async fn segment(&self, _partition: u16, number: usize) -> Result<Option<Vec<u8>>, Status> {
        Ok(self.segments.get(number).cloned())
    }

    async fn keep(&self, batch: BatchId, message: Vec<u8>) -> Result<(), Status> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.insert(batch, message);
        Ok(())
    }

    async fn batch(&self, batch: BatchId) -> Result<Vec<u8>, Status> {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let message = batches.get(&batch).cloned();
        message.ok_or_else(|| Status::not_found("no such batch is kept"))
    }
}

/// The lists and batches of a query in a Conductor's store.
pub(crate) struct Stored {
    store: Arc<dyn Store>,
    query: QueryId,
    holder: String,
    /// Numbers of the uploads of each partition.
    uploads: Vec<Vec<i64>>,
    pseudonyms: Vec<Pseudonym>,
}

impl Stored {
    /// Reads which uploads the query's lists consist of.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Away`].
    pub(crate) async fn new(
        store: Arc<dyn Store>,
        holder: String,
        submission: &Submission,
        partitions: u16,
    ) -> Result<Self, Error> {
        let epoch = submission.manifest.key_epoch;
        // The uploads are read once, so that a find that another finder repeats streams the same segments.
        let mut uploads = Vec::new();
        for partition in 0..partitions {
            uploads.push(store.uploads(epoch, partition).await?);
        }
        Ok(Self {
            store,
            query: submission.manifest.query(),
            holder,
            uploads,
            pseudonyms: submission.pseudonyms.clone(),
        })
    }
}

/// Repeats a step while the database cannot be reached, so that a query waits rather than fails.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    step: impl FnMut() -> F,
) -> Result<T, Status> {
    let is_away = |error: &Error| matches!(error, Error::Away(_));
    AWAY.retry(is_away, step).await.map_err(Error::status)
}

#[tonic::async_trait]
impl Kept for Stored {
    fn lists(&self) -> &[Pseudonym] {
        &self.pseudonyms
    }

    async fn segment(&self, partition: u16, number: usize) -> Result<Option<Vec<u8>>, Status> {
        let uploads = self.uploads.get(usize::from(partition));
        let Some(upload) = uploads.and_then(|uploads| uploads.get(number)) else {
            return Ok(None);
        };
        let segment = patiently(|| self.store.segment(*upload, &self.pseudonyms));
        segment.await.map(Some)
    }

    async fn keep(&self, batch: BatchId, message: Vec<u8>) -> Result<(), Status> {
        let stored = patiently(|| {
            let message = message.clone();
            self.store.keep(self.query, &self.holder, batch, message)
        });
        stored.await
    }

    async fn batch(&self, batch: BatchId) -> Result<Vec<u8>, Status> {
        patiently(|| self.store.batch(self.query, batch)).await
    }
}
