//! What a Conductor keeps: sealed subscription lists, and queries until they expire. Nothing of it
//! is secret to the Conductor, and what must not be lost with the process is written before anybody
//! is told.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

use std::time::Duration;

use dispers_base::id::{BatchId, KeyEpoch, Name, QueryId, Timestamp};
use dispers_core::{log::Leaf, subscription::Upload};
use dispers_crypto::oprf::Pseudonym;

#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresError, Settings};
pub use sqlite::Sqlite;

use crate::Error;

/// A query as it begins.
pub struct NewQuery {
    /// Its id.
    pub id: QueryId,
    /// Who may see it.
    pub querier: Name,
    /// When it is forgotten.
    pub expires: Timestamp,
    /// Encoded signed manifest.
    pub manifest: Vec<u8>,
    /// Encoded sealed profiles, one per partition.
    pub profiles: Vec<u8>,
    /// Whose lists are streamed.
    pub pseudonyms: Vec<Pseudonym>,
    /// Its first state.
    pub state: State,
}

/// The changing part of a query.
#[derive(Clone)]
pub struct State {
    /// Encoded [`Record`](dispers_core::conduct::Record).
    pub record: Vec<u8>,
    /// Encoded [`Status`](dispers_core::conduct::Status).
    pub status: Vec<u8>,
    /// Encoded sealed totals, once it is done.
    pub totals: Option<Vec<u8>>,
    /// Whether it is done or failed.
    pub ended: bool,
}

/// A query that was taken up.
pub struct TakenUp {
    /// Encoded signed manifest.
    pub manifest: Vec<u8>,
    /// Encoded sealed profiles, one per partition.
    pub profiles: Vec<u8>,
    /// Whose lists are streamed.
    pub pseudonyms: Vec<Pseudonym>,
    /// Encoded record.
    pub record: Vec<u8>,
    /// The version that the next save replaces.
    pub version: u64,
}

/// What the querier sees of a query.
pub struct Seen {
    /// Who may see it.
    pub querier: Name,
    /// Encoded status.
    pub status: Vec<u8>,
    /// Encoded sealed totals.
    pub totals: Option<Vec<u8>>,
    /// Whether it is done or failed.
    pub ended: bool,
}

/// Who drives a query, and for how long unless it is renewed. Another conductor takes it up
/// afterwards. The store has the one clock by which leases end: those of conductors may differ.
#[derive(Debug, Clone)]
pub struct Lease {
    /// This process: a name that no other one has.
    pub holder: String,
    /// From when it is taken or renewed.
    pub length: Duration,
}

/// Where a Conductor keeps what it keeps. Every error leaves what was kept as it was, unless the
/// connection broke while it was written: then the same call may come again, which changes nothing
/// that was done.
///
/// # Errors
/// Beside what is said, each gives [`Error::Away`] where the database cannot be reached.
#[tonic::async_trait]
pub trait Store: Send + Sync {
    /// Keeps an upload; one that was kept before changes nothing, and brings nothing back.
    ///
    /// # Errors
    /// [`Error::Full`] beyond `max_entries`, [`Error::Storage`].
    async fn add(&self, upload: Upload, max_entries: usize) -> Result<(), Error>;

    /// Removes the entries with these withdrawal hashes; how many there were.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn withdraw(&self, hashes: Vec<[u8; 32]>) -> Result<u32, Error>;

    /// The uploads of a key epoch and partition, in the order in which they came.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn uploads(&self, epoch: KeyEpoch, partition: u16) -> Result<Vec<i64>, Error>;

    /// The encoded entries of one upload under `pseudonyms`; empty where there are none.
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

    /// Replaces the state of a query that the holder drives, if it is of this version still.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another one drives it, [`Error::Storage`].
    async fn save(
        &self,
        query: QueryId,
        holder: &str,
        version: u64,
        state: State,
    ) -> Result<(), Error>;

    /// Keeps one batch of a query that the holder drives.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another one drives it, [`Error::Storage`].
    async fn keep(
        &self,
        query: QueryId,
        holder: &str,
        batch: BatchId,
        message: Vec<u8>,
    ) -> Result<(), Error>;

    /// One batch of a query.
    ///
    /// # Errors
    /// [`Error::UnknownQuery`] where there is none, [`Error::Storage`].
    async fn batch(&self, query: QueryId, batch: BatchId) -> Result<Vec<u8>, Error>;

    /// Takes up a running query that nobody drives, if there is one.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn take_up(&self, lease: &Lease) -> Result<Option<TakenUp>, Error>;

    /// Keeps those of the holder's queries for longer that it does drive; those of them that are to
    /// be cancelled. One that it does not drive any longer is taken up again once its lease is over.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn renew(&self, lease: &Lease, driven: &[QueryId]) -> Result<Vec<QueryId>, Error>;

    /// Gives up every query of the holder, so that another one takes it up at once.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn give_up(&self, holder: &str) -> Result<(), Error>;

    /// Has whoever drives a query cancel it.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn cancel(&self, query: QueryId) -> Result<(), Error>;

    /// What the querier may see.
    ///
    /// # Errors
    /// [`Error::UnknownQuery`], [`Error::Storage`].
    async fn see(&self, query: QueryId) -> Result<Seen, Error>;

    /// Puts a manifest, encoded with its signature, at the end of the log of this number; its place, also if it was
    /// there. Places are numbered from 0 without a gap, whoever else appends.
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

    /// So many leaves of the log, from a place on.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn leaves(&self, log: u32, from: u64, count: u64) -> Result<Vec<Leaf>, Error>;

    /// So many encoded signed manifests of the log, from a place on.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn logged(&self, log: u32, from: u64, count: u64) -> Result<Vec<Vec<u8>>, Error>;

    /// Keeps an encoded head of the log with its signatures, unless a larger one is kept.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn keep_head(&self, log: u32, size: u64, head: Vec<u8>) -> Result<(), Error>;

    /// The largest head that was kept.
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
