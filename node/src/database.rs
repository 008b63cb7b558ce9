//! SQLite file of a node.

mod error;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use error::{DatabaseError, TransactionError};

use crate::{
    InPlace,
    private::{self, Exposed},
};

/// Layout of a role's database.
pub struct Schema {
    /// Name of the role, as in "the database of a conductor".
    pub role: &'static str,
    /// `PRAGMA application_id` of the files.
    pub application: i32,
    /// Statements that bring a file from each version to the next. `PRAGMA user_version` is the number of them that a
    /// file has had.
    pub migrations: &'static [&'static str],
    /// Advice for a file whose entries cannot be read.
    pub damaged: &'static str,
}

/// Longest wait for another process to release the file. A process that is ending does so within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time of the tries to empty SQLite's log while another process reads it.
const LOG_PATIENCE: Duration = Duration::from_secs(3);
/// Longest wait of one such try, during which no process can write.
const LOG_TRY: Duration = Duration::from_millis(100);
/// Pause between two tries, in which other processes write.
const LOG_PAUSE: Duration = Duration::from_millis(20);

/// Processes that may use a file at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    /// One process, which keeps SQLite's lock.
    One,
    /// Several processes. SQLite locks the file for each transaction.
    Several,
}

/// Open database.
pub struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
    schema: &'static Schema,
    files: InPlace,
    patience: Duration,
    /// True if SQLite's log may hold content that was to be erased.
    log_holds_erased: AtomicBool,
}

impl Database {
    /// Opens the file for this process only, or creates a missing one. Two processes would each make promises that the
    /// other does not know.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do.
    pub fn open(path: &Path, schema: &'static Schema) -> Result<Self, DatabaseError> {
        Self::open_within(path, schema, PATIENCE)
    }

    /// Opens a file that several processes use at a time, or creates a missing one. `adopt` is called first, and may
    /// mark a file of a release that wrote no `application_id`.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do.
    pub fn open_shared(
        path: &Path,
        schema: &'static Schema,
        adopt: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
    ) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::new(path, schema, source);
        let mut connection = connect(path)?.map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        adopt(&mut connection).map_err(failed)?;
        let mut database = Self::prepare(path, schema, connection, Users::Several, PATIENCE)?;
        database.files = InPlace::of(path, schema.role);
        Ok(database)
    }

    /// Opens a database in memory, which ends with the process.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`] if SQLite does not start.
    pub fn in_memory(schema: &'static Schema) -> Result<Self, DatabaseError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory()
            .map_err(|source| DatabaseError::new(path, schema, source))?;
        Self::prepare(path, schema, connection, Users::One, PATIENCE)
    }

    fn open_within(
        path: &Path,
        schema: &'static Schema,
        patience: Duration,
    ) -> Result<Self, DatabaseError> {
        let connection =
            connect(path)?.map_err(|source| DatabaseError::new(path, schema, source))?;
        let mut database = Self::prepare(path, schema, connection, Users::One, patience)?;
        database.files = InPlace::of(path, schema.role);
        Ok(database)
    }

    fn prepare(
        path: &Path,
        schema: &'static Schema,
        connection: Connection,
        users: Users,
        patience: Duration,
    ) -> Result<Self, DatabaseError> {
        let database = Self {
            connection: Mutex::new(connection),
            path: path.to_owned(),
            schema,
            files: InPlace::default(),
            patience,
            log_holds_erased: AtomicBool::new(false),
        };
        database.set_up(users)?;
        Ok(database)
    }

    /// Checks that the file is of this role, and brings it to the newest version.
    fn set_up(&self, users: Users) -> Result<(), DatabaseError> {
        let mut connection = self.lock()?;
        let failed = |source| self.failed(source);
        connection.busy_timeout(self.patience).map_err(failed)?;
        if users == Users::One {
            // Set before the first read: SQLite then takes the lock at that read and keeps it.
            connection
                .pragma_update(None, "locking_mode", "EXCLUSIVE")
                .map_err(failed)?;
        }
        // Nothing is written before this check, so that a file of another program stays as it is.
        self.missing(&connection)
            .map_err(|error| error.described(failed))?;
        // FULL syncs every commit to the disk: what a node promises must survive a power failure. `secure_delete`
        // overwrites deleted content, since an erased key must not stay in free pages.
        for (name, value) in [
            ("journal_mode", "WAL"),
            ("synchronous", "FULL"),
            ("secure_delete", "ON"),
        ] {
            connection
                .pragma_update(None, name, value)
                .map_err(failed)?;
        }
        self.migrate(&mut connection)
            .map_err(|error| error.described(failed))?;
        // An erasure may have ended before the log was emptied.
        if !self.empty_log(&connection).map_err(failed)? {
            tracing::warn!("another process reads the log of the database, which is not emptied");
        }
        Ok(())
    }

    /// Returns the migrations that the file has not had.
    fn missing(
        &self,
        connection: &Connection,
    ) -> Result<&'static [&'static str], TransactionError<DatabaseError>> {
        let found = pragma(connection, "user_version")?;
        let application = pragma(connection, "application_id")?;
        let tables: i64 =
            connection.query_one("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
        // All three are 0 in a new file.
        if application != self.schema.application && (application, found, tables) != (0, 0, 0) {
            return Err(TransactionError::Refused(DatabaseError::Other {
                path: self.path.clone(),
                role: self.schema.role,
            }));
        }
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        let migrations = self.schema.migrations;
        migrations.get(found..).ok_or_else(|| {
            TransactionError::Refused(DatabaseError::Newer {
                path: self.path.clone(),
                found,
                known: migrations.len(),
            })
        })
    }

    /// Runs the missing migrations in one transaction. It writes even if none is missing, so that a file that cannot be
    /// written is noticed at the start.
    fn migrate(&self, connection: &mut Connection) -> Result<(), TransactionError<DatabaseError>> {
        written(connection, |transaction| {
            // Read again under the lock: another process may have run them meanwhile.
            for migration in self.missing(transaction)? {
                transaction.execute_batch(migration)?;
            }
            let version = self.schema.migrations.len();
            transaction.pragma_update(None, "application_id", self.schema.application)?;
            Ok(transaction.pragma_update(None, "user_version", version as i32)?)
        })
    }

    /// Runs `work`, which only reads.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let connection = self.lock()?;
        work(&connection).map_err(|source| self.failed(source))
    }

    /// Runs `work` in a transaction. All that it writes is on the disk when this function returns, or nothing of it.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self.lock()?;
        written(&mut connection, work).map_err(|source| self.failed(source))
    }

    /// As [`Self::read`], for work that can also end with an error of the caller.
    ///
    /// # Errors
    /// The error of `work`, or [`DatabaseError`].
    pub fn try_read<T, E: From<DatabaseError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, TransactionError<E>>,
    ) -> Result<T, E> {
        let connection = self.lock()?;
        work(&connection).map_err(|error| error.described(|source| self.failed(source)))
    }

    /// As [`Self::write`], for work that can also end with an error of the caller.
    ///
    /// # Errors
    /// The error of `work`, or [`DatabaseError`]. Nothing was written then.
    pub fn try_write<T, E: From<DatabaseError>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, TransactionError<E>>,
    ) -> Result<T, E> {
        let mut connection = self.lock()?;
        written(&mut connection, work)
            .map_err(|error| error.described(|source| self.failed(source)))
    }

    /// As [`Self::write`], and removes deleted content from SQLite's log too.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do. After [`DatabaseError::LogInUse`], all is written, and deleted content
    /// is left in the log only.
    pub fn erase<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self.lock()?;
        let before = connection.total_changes();
        let result = written(&mut connection, work).map_err(|source| self.failed(source))?;
        if connection.total_changes() != before {
            // SQLite's log still holds the earlier content of the changed pages.
            self.log_holds_erased.store(true, Ordering::Relaxed);
        }
        if self.log_holds_erased.load(Ordering::Relaxed) {
            let emptied = self.empty_log(&connection);
            if !emptied.map_err(|source| self.failed(source))? {
                return Err(DatabaseError::LogInUse(self.path.clone()));
            }
            self.log_holds_erased.store(false, Ordering::Relaxed);
        }
        Ok(result)
    }

    /// Brings the content of SQLite's log into the file and empties the log. Returns false if other processes read the
    /// log all the time.
    fn empty_log(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let end = Instant::now() + LOG_PATIENCE;
        // Many short tries instead of one long one, since a try that waits for a reader keeps others from writing.
        connection.busy_timeout(LOG_TRY.min(self.patience))?;
        let emptied = loop {
            // SQLite reports in the first column, and not as an error, that another process was in the way.
            let busy: rusqlite::Result<bool> =
                connection.query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            match busy {
                Ok(true) if Instant::now() < end => thread::sleep(LOG_PAUSE),
                other => break other.map(|busy| !busy),
            }
        };
        connection.busy_timeout(self.patience)?;
        emptied
    }

    /// Returns the error for an entry of `table` that does not decode.
    pub fn unreadable(&self, table: &'static str) -> DatabaseError {
        DatabaseError::Unreadable {
            path: self.path.clone(),
            table,
            advice: self.schema.damaged,
        }
    }

    /// Locks the connection, after it checked that the connection leads to the file at the path.
    fn lock(&self) -> Result<MutexGuard<'_, Connection>, DatabaseError> {
        let connection = self.connection.lock();
        self.files.check()?;
        // A panic while the lock was held has rolled its transaction back.
        Ok(connection.unwrap_or_else(PoisonError::into_inner))
    }

    fn failed(&self, source: rusqlite::Error) -> DatabaseError {
        // SQLite could read the value and Rust cannot hold it, so that this program did not write it.
        match source {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => self.unreadable("of this file"),
            source => DatabaseError::new(&self.path, self.schema, source),
        }
    }
}

/// Opens the file of a database, or creates a missing one. The file is private from its first moment, as are the files
/// that SQLite makes beside it. A file that other users may use is not opened.
///
/// # Errors
/// [`Exposed`] in the outer result; in the inner one, SQLite's reason.
pub fn connect(path: &Path) -> Result<rusqlite::Result<Connection>, Exposed> {
    // A failure is ignored here: SQLite opens the same path next and describes the failure better.
    let _ = private::create_new(path);
    for file in private::database_files(path) {
        private::check(&file)?;
    }
    Ok(Connection::open(path))
}

fn written<T, E: From<rusqlite::Error>>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// Returns a number that is stored in the file's header.
fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests;
