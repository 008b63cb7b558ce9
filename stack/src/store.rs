//! Store of a stack, in one SQLite file. It holds documents; a tag, a ticket key and subscriptions per home and key
//! epoch; handles of entries that the Conductor may hold but should not; a record of answered work; and the queries
//! that homes were asked, with their decisions and rules.
//!
//! The stack and commands beside it use the file at the same time, so that what is read before it is changed is read in
//! the transaction that changes it.

mod answered;
mod columns;
mod consent;
mod documents;
mod erase;
mod heads;
mod schema;
mod secrets;
mod sessions;
mod subscriptions;

pub(crate) use consent::Deciding;
pub use consent::{Bounds, Entry, SentGroup};
pub(crate) use heads::KnownHeads;
pub(crate) use sessions::SESSION_LIFE;
pub use sessions::Token;

use std::{path::Path, sync::Arc};

use dispers_node::{Database, TransactionError};
use rusqlite::{Connection, Transaction};

use crate::{Connector, Error};

/// Result of work in the database.
type Transacted<T> = Result<T, TransactionError<Error>>;

impl From<Error> for TransactionError<Error> {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Store of a stack.
pub struct Store {
    database: Database,
    /// Source of the homes' documents, if they are not in the file.
    elsewhere: Option<Arc<dyn Connector>>,
}

impl Store {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// [`Error::Database`] if other users may use the file, if it is not a stack's file, or if it cannot be written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self::of(schema::open(path)?))
    }

    /// Creates a store in memory, which ends with the process.
    ///
    /// # Errors
    /// [`Error::Database`] when SQLite does not start.
    pub fn in_memory() -> Result<Self, Error> {
        Ok(Self::of(schema::in_memory()?))
    }

    fn of(database: Database) -> Self {
        Self {
            database,
            elsewhere: None,
        }
    }

    /// Reads the homes' documents from `connector` instead of the file.
    #[must_use]
    pub fn with_documents(mut self, connector: Arc<dyn Connector>) -> Self {
        self.elsewhere = Some(connector);
        self
    }

    /// Runs `work`, which only reads.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Transacted<T>) -> Result<T, Error> {
        self.database.try_read(work)
    }

    /// Runs `work` in a transaction, which is on the disk when this returns, or rolled back if `work` fails.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Transacted<T>) -> Result<T, Error> {
        self.database.try_write(work)
    }
}

#[cfg(test)]
mod tests;
