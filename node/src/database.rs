//! SQLite file of a node, and the remedies when it cannot be used.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

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

/// Reasons why a database cannot be read or written. Each message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The file cannot be opened.
    #[error("cannot open {0}: does its folder exist, and may this user read and write it?")]
    CannotOpen(PathBuf),
    /// Other users may read or write the file.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The file is not the database of this role.
    #[error(
        "{path} is not the database of a {role}: set `database` to its own file, or to one that is not there yet"
    )]
    Other {
        /// Path of the file.
        path: PathBuf,
        /// Role whose database was expected.
        role: &'static str,
    },
    /// A newer program wrote the file.
    #[error(
        "{path} was written by a newer dispers (version {found}, this one knows {known}): run that one"
    )]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Version of the file.
        found: usize,
        /// Newest version that this program knows.
        known: usize,
    },
    /// Another process uses the file.
    #[error("{0} is in use by another process: stop that one, or give each node its own file")]
    InUse(PathBuf),
    /// The path of the open database leads to another file, or to none.
    #[error(
        "{path} was removed or replaced while it was in use. The {role} refuses every request, since its writes would be \
         lost. Move the file back, or restart the {role}, which then uses the file that is there now"
    )]
    Replaced {
        /// Path of the database.
        path: PathBuf,
        /// Role that uses the database.
        role: &'static str,
    },
    /// The file is read-only.
    #[error("{0} is read-only: let this user write it and its folder")]
    ReadOnly(PathBuf),
    /// The disk is full.
    #[error("no space is left to write {0}: free some; the same request may then come again")]
    Full(PathBuf),
    /// An entry of the database cannot be read.
    #[error("{path}: an entry of table {table:?} does not open: {advice}")]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Name of the table.
        table: &'static str,
        /// Advice for the operator.
        advice: &'static str,
    },
    /// SQLite failed for another reason.
    #[error("{path}: {source}")]
    Failed {
        /// Path of the file.
        path: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
    },
}

impl DatabaseError {
    fn new(path: &Path, schema: &Schema, source: rusqlite::Error) -> Self {
        let (path, role) = (path.to_owned(), schema.role);
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Other { path, role },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::CannotOpen(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse(path),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(path),
            Some(ErrorCode::DiskFull) => Self::Full(path),
            _ => Self::Failed { path, source },
        }
    }
}

/// Open database, which one process uses at a time. Two processes would each make promises that the other does not
/// know.
pub struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
    schema: &'static Schema,
    files: InPlace,
}

impl Database {
    /// Opens the file, or creates a missing one.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do.
    pub fn open(path: &Path, schema: &'static Schema) -> Result<Self, DatabaseError> {
        Self::open_within(path, schema, PATIENCE)
    }

    /// Opens a database in memory, which ends with the process.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`] if SQLite does not start.
    pub fn in_memory(schema: &'static Schema) -> Result<Self, DatabaseError> {
        Self::prepare(
            Path::new(":memory:"),
            schema,
            Connection::open_in_memory(),
            PATIENCE,
        )
    }

    fn open_within(
        path: &Path,
        schema: &'static Schema,
        patience: Duration,
    ) -> Result<Self, DatabaseError> {
        let mut database = Self::prepare(path, schema, connect(path)?, patience)?;
        database.files = InPlace::of(path, schema.role);
        Ok(database)
    }

    fn prepare(
        path: &Path,
        schema: &'static Schema,
        connection: rusqlite::Result<Connection>,
        patience: Duration,
    ) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::new(path, schema, source);
        let mut connection = connection.map_err(failed)?;
        connection.busy_timeout(patience).map_err(failed)?;
        // Set before the first read: SQLite then takes the lock at that read and keeps it.
        connection
            .pragma_update(None, "locking_mode", "EXCLUSIVE")
            .map_err(failed)?;
        let found = pragma(&connection, "user_version").map_err(failed)?;
        let application = pragma(&connection, "application_id").map_err(failed)?;
        let tables: i64 = connection
            .query_one("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        // Nothing was written so far, so that a file of another program stays as it is. All three are 0 in a new file.
        if application != schema.application && (application, found, tables) != (0, 0, 0) {
            return Err(DatabaseError::Other {
                path: path.to_owned(),
                role: schema.role,
            });
        }
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        let Some(missing) = schema.migrations.get(found..) else {
            return Err(DatabaseError::Newer {
                path: path.to_owned(),
                found,
                known: schema.migrations.len(),
            });
        };
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
        migrate(&mut connection, schema, missing).map_err(failed)?;
        Ok(Self {
            connection: Mutex::new(connection),
            path: path.to_owned(),
            schema,
            files: InPlace::default(),
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

    /// As [`Self::write`], and removes deleted content from SQLite's log too.
    ///
    /// # Errors
    /// [`DatabaseError`], which says what to do.
    pub fn erase<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self.lock()?;
        let before = connection.total_changes();
        let result = written(&mut connection, work).map_err(|source| self.failed(source))?;
        if connection.total_changes() != before {
            // SQLite's log still holds the earlier content of the changed pages.
            connection
                .query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(|source| self.failed(source))?;
        }
        Ok(result)
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

fn written<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// Returns a number that is stored in the file's header.
fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Runs the missing migrations in one transaction. It writes even if none is missing, so that a file that cannot be
/// written is noticed at the start.
fn migrate(connection: &mut Connection, schema: &Schema, missing: &[&str]) -> rusqlite::Result<()> {
    written(connection, |transaction| {
        for migration in missing {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", schema.application)?;
        transaction.pragma_update(None, "user_version", schema.migrations.len() as i32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static SCHEMA: Schema = Schema {
        role: "data aggregator",
        application: 0x7465_7374,
        migrations: &["CREATE TABLE offer (id BLOB PRIMARY KEY, expires INTEGER, body BLOB)"],
        damaged: "move it away",
    };

    fn refusal(path: &Path) -> String {
        let opened = Database::open_within(path, &SCHEMA, Duration::ZERO);
        opened.err().expect("it is refused").to_string()
    }

    #[test]
    fn a_file_that_is_made_opens_again_and_for_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aggregator.db");
        let insert = "INSERT INTO offer VALUES (x'01', 1, x'02')";
        let database = Database::open(&path, &SCHEMA).unwrap();
        database.write(|row| row.execute(insert, [])).unwrap();
        assert!(refusal(&path).contains("in use by another process"));
        drop(database);
        let database = Database::open(&path, &SCHEMA).unwrap();
        let again = database.write(|row| row.execute(insert, []));
        assert!(matches!(again, Err(DatabaseError::Failed { .. })));
    }

    #[test]
    fn a_file_that_is_none_of_ours_or_newer_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("notes.txt");
        let notes = "what to buy: ".repeat(1000);
        private::write(&text, &notes).unwrap();
        assert!(refusal(&text).contains("is not the database of a data aggregator"));
        assert_eq!(std::fs::read_to_string(&text).unwrap(), notes);

        let other = folder.path().join("other.db");
        let connection = connect(&other).unwrap().unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(connection);
        let before = std::fs::read(&other).unwrap();
        assert!(refusal(&other).contains("is not the database of a data aggregator"));
        assert_eq!(std::fs::read(&other).unwrap(), before);

        let newer = folder.path().join("newer.db");
        drop(Database::open(&newer, &SCHEMA).unwrap());
        let connection = Connection::open(&newer).unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        drop(connection);
        assert!(refusal(&newer).contains("newer dispers (version 9, this one knows 1)"));
    }

    #[cfg(unix)]
    #[test]
    fn a_database_is_private_and_one_that_others_may_read_is_refused_and_left_alone() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aggregator.db");
        let database = Database::open(&path, &SCHEMA).unwrap();
        let wal = private::database_files(&path)[1].clone();
        for file in [&path, &wal] {
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        drop(database);
        fs::write(&wal, "").unwrap();
        for file in [&path, &wal] {
            fs::set_permissions(&wal, fs::Permissions::from_mode(0o600)).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
            let before = fs::read(&path).unwrap();
            let refusal = refusal(&path);
            assert!(
                refusal.ends_with(&format!("run chmod 600 {}", file.display())),
                "{refusal}"
            );
            assert_eq!(fs::read(&path).unwrap(), before);
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Database::open(&path, &SCHEMA).unwrap();
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_neither_read_nor_written_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aggregator.db");
        let [file, wal, _] = private::database_files(&path);
        let database = Database::open(&path, &SCHEMA).unwrap();
        let insert = || {
            database
                .write(|row| row.execute("INSERT INTO offer VALUES (randomblob(9), 1, x'02')", []))
        };
        let away = folder.path().join("away");
        for moved in [&file, &wal] {
            insert().unwrap();
            std::fs::rename(moved, &away).unwrap();
            let refused = || {
                let read = database.read(|_| Ok(())).unwrap_err().to_string();
                let erased = database.erase(|_| Ok(())).unwrap_err().to_string();
                let written = insert().unwrap_err().to_string();
                assert_eq!((&read, &erased), (&written, &written));
                for words in ["was removed or replaced", "restart the data aggregator"] {
                    assert!(written.contains(words), "{written}");
                }
            };
            refused();
            // A copy with the same bytes is another file.
            std::fs::copy(&away, moved).unwrap();
            refused();
            std::fs::rename(&away, moved).unwrap();
        }
        insert().unwrap();
        let count = "SELECT COUNT(*) FROM offer";
        let count = database.read(|row| row.query_one(count, [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.unwrap(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_made_says_what_to_look_at() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere/aggregator.db");
        assert!(refusal(&nowhere).contains("does its folder exist"));
        assert!(refusal(folder.path()).contains("cannot open"));
    }

    #[test]
    fn a_file_that_is_full_or_read_only_keeps_what_it_had() {
        let database = Database::in_memory(&SCHEMA).unwrap();
        let pragma = |name: &str, value: &str| {
            let connection = database.connection.lock().unwrap();
            connection.pragma_update(None, name, value).unwrap();
        };
        let fill = || {
            database.write(|row| {
                row.execute("INSERT INTO offer VALUES (x'03', 1, zeroblob(100000))", [])
            })
        };
        pragma("max_page_count", "10");
        assert!(fill().unwrap_err().to_string().contains("no space is left"));
        pragma("max_page_count", "1000");
        pragma("query_only", "ON");
        assert!(fill().unwrap_err().to_string().contains("is read-only"));
        pragma("query_only", "OFF");
        let count = "SELECT COUNT(*) FROM offer";
        let count = database.write(|row| row.query_one(count, [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.unwrap(), 0);
        assert!(fill().is_ok());
    }
}
