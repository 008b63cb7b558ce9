//! Storage of a Conductor: sealed subscription lists, and queries until they expire. None of it is secret to the
//! Conductor. A change that must survive a restart is written before anybody is told of it.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

use std::time::Duration;

use dispers_base::{
    encoding::hash,
    id::{BatchId, KeyEpoch, Name, QueryId, Timestamp},
    labels,
};
use dispers_core::{log::Leaf, subscription::Upload};
use dispers_crypto::oprf::Pseudonym;

#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresError, Settings};
pub use sqlite::Sqlite;

use crate::Error;

/// Largest encoded record, profiles or totals of a query, in bytes.
pub(crate) const MAX_RECORD: usize = 64 << 20;

/// Returns the name under which an upload with these encoded envelopes is stored. An upload that comes
/// twice has one name.
fn name_of(envelopes: &[u8]) -> [u8; 32] {
    // The encapsulations are different for every upload, so that their hash names it.
    hash(labels::HASH_UPLOAD, &[envelopes])
}

/// Query that has just been accepted.
pub struct NewQuery {
    /// Id of the query.
    pub id: QueryId,
    /// Querier that may see the query.
    pub querier: Name,
    /// Time after which the query is forgotten.
    pub expires: Timestamp,
    /// Encoded signed manifest.
    pub manifest: Vec<u8>,
    /// Encoded sealed profiles, one per partition.
    pub profiles: Vec<u8>,
    /// Pseudonyms of the target profile. Their lists are streamed to the finder.
    pub pseudonyms: Vec<Pseudonym>,
    /// First state of the query.
    pub state: State,
}

/// Part of a stored query that changes while the query runs.
#[derive(Clone)]
pub struct State {
    /// Encoded [`Record`](dispers_core::conduct::Record).
    pub record: Vec<u8>,
    /// Encoded [`Status`](dispers_core::conduct::Status).
    pub status: Vec<u8>,
    /// Encoded sealed totals, once the query is done.
    pub totals: Option<Vec<u8>>,
    /// True if the query is done or has failed.
    pub ended: bool,
}

/// Stored query that the caller of [`Store::take_up`] drives from now on.
pub struct TakenUp {
    /// Encoded signed manifest.
    pub manifest: Vec<u8>,
    /// Encoded sealed profiles, one per partition.
    pub profiles: Vec<u8>,
    /// Pseudonyms of the target profile. Their lists are streamed to the finder.
    pub pseudonyms: Vec<Pseudonym>,
    /// Encoded record.
    pub record: Vec<u8>,
    /// Version that the next save replaces.
    pub version: u64,
}

/// Part of a stored query that its querier may see.
pub struct Seen {
    /// Querier that may see the query.
    pub querier: Name,
    /// Encoded status.
    pub status: Vec<u8>,
    /// Encoded sealed totals.
    pub totals: Option<Vec<u8>>,
    /// True if the query is done or has failed.
    pub ended: bool,
}

/// Right of one process to drive a query for some time. If the process does not renew the lease, another Conductor
/// takes the query up. Leases end by the clock of the store, since the clocks of Conductors may differ.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Name of the process, which no other process has.
    pub holder: String,
    /// Duration from the moment when the lease is taken or renewed.
    pub length: Duration,
}

/// Storage of a Conductor. A call that fails changes nothing, unless the connection broke during a write. Such a call
/// may be repeated: what was written before is not written a second time.
///
/// # Errors
/// Beside the errors of each method, all of them return [`Error::Away`] if the database cannot be reached.
#[tonic::async_trait]
pub trait Store: Send + Sync {
    /// Stores an upload. An upload that was stored before changes nothing, so it does not bring back what was
    /// withdrawn.
    ///
    /// # Errors
    /// [`Error::Full`] beyond `max_entries`. [`Error::Storage`].
    async fn add(&self, upload: Upload, max_entries: usize) -> Result<(), Error>;

    /// Removes the entries with these withdrawal hashes. Returns the number of removed entries.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn withdraw(&self, hashes: Vec<[u8; 32]>) -> Result<u32, Error>;

    /// Returns the numbers of the uploads of a key epoch and partition, in the order in which they came.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn uploads(&self, epoch: KeyEpoch, partition: u16) -> Result<Vec<i64>, Error>;

    /// Returns the encoded entries of one upload under `pseudonyms`, or no bytes if there are none.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn segment(&self, upload: i64, pseudonyms: &[Pseudonym]) -> Result<Vec<u8>, Error>;

    /// Stores a new query, driven by the holder of `lease`. Returns false if it is stored already. An ended query may
    /// be forgotten for it before that query expires.
    ///
    /// # Errors
    /// [`Error::Full`] when `max_queries` run, [`Error::OwnQueries`] when the querier runs a quarter of them,
    /// [`Error::Storage`].
    async fn begin(
        &self,
        query: NewQuery,
        lease: &Lease,
        max_queries: usize,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Replaces the state of a query if `holder` drives it and the stored state has this version.
    ///
    /// # Errors
    /// [`Error::TakenOver`] if another process drives the query, or wrote another version. [`Error::Storage`].
    async fn save(
        &self,
        query: QueryId,
        holder: &str,
        version: u64,
        state: State,
    ) -> Result<(), Error>;

    /// Stores one batch of a query that `holder` drives.
    ///
    /// # Errors
    /// [`Error::TakenOver`] if another process drives the query. [`Error::Storage`].
    async fn keep(
        &self,
        query: QueryId,
        holder: &str,
        batch: BatchId,
        message: Vec<u8>,
    ) -> Result<(), Error>;

    /// Returns one batch of a query.
    ///
    /// # Errors
    /// [`Error::UnknownQuery`] if the batch is not stored. [`Error::Storage`].
    async fn batch(&self, query: QueryId, batch: BatchId) -> Result<Vec<u8>, Error>;

    /// Takes up a running query that no process drives. Returns `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn take_up(&self, lease: &Lease) -> Result<Option<TakenUp>, Error>;

    /// Renews the leases of the `driven` queries that the holder has. Returns those of them that are to be cancelled.
    /// The lease of a query that the holder no longer drives ends, and then a process takes the query up.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn renew(&self, lease: &Lease, driven: &[QueryId]) -> Result<Vec<QueryId>, Error>;

    /// Gives up all leases of `holder`, so that other processes take its queries up at once.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn give_up(&self, holder: &str) -> Result<(), Error>;

    /// Marks a query as to be cancelled, for the process that drives it.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn cancel(&self, query: QueryId) -> Result<(), Error>;

    /// Returns the part of a query that its querier may see.
    ///
    /// # Errors
    /// [`Error::UnknownQuery`], [`Error::Storage`].
    async fn see(&self, query: QueryId) -> Result<Seen, Error>;

    /// Appends a manifest, encoded with its signature, to the log of this number, unless it is there. Returns its
    /// place. Places are numbered from 0 without a gap, even if several processes append.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn append(
        &self,
        log: u32,
        query: QueryId,
        leaf: Leaf,
        manifest: Vec<u8>,
    ) -> Result<u64, Error>;

    /// Returns at most `count` leaves of the log, beginning at place `from`.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn leaves(&self, log: u32, from: u64, count: u64) -> Result<Vec<Leaf>, Error>;

    /// Returns at most `count` encoded signed manifests of the log, beginning at place `from`.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn logged(&self, log: u32, from: u64, count: u64) -> Result<Vec<Vec<u8>>, Error>;

    /// Stores an encoded head of the log with its signatures, unless a larger one is stored.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn keep_head(&self, log: u32, size: u64, head: Vec<u8>) -> Result<(), Error>;

    /// Returns the largest head that was stored.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn head(&self, log: u32) -> Result<Option<Vec<u8>>, Error>;

    /// Forgets queries that have expired.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn expire(&self, now: Timestamp) -> Result<(), Error>;
}
