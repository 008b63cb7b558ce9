//! What a notary certified, in one SQLite file, and what to do when that cannot be used.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dispers_core::id::{QueryId, Timestamp};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::Error;

/// `PRAGMA application_id` of these files.
const APPLICATION: i32 = 0x4453_5446;
/// How a file gets from each version to the next; `PRAGMA user_version` is how many it has had.
const MIGRATIONS: [&str; 1] = ["
CREATE TABLE certificate (
    query BLOB NOT NULL, round INTEGER NOT NULL, proposal BLOB NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (query, round)
) WITHOUT ROWID;
CREATE INDEX certificate_expires ON certificate (expires);
"];
/// A process that ends gives the file free within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why what a notary certified cannot be read or written. Each says which file, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// It cannot be opened.
    #[error("cannot open {0}: does its folder exist, and may this user read and write it?")]
    CannotOpen(PathBuf),
    /// It is another file.
    #[error(
        "{0} is not the database of a target finder: set `database` to its own file, or to one that is not there yet"
    )]
    Other(PathBuf),
    /// It has a version that this one does not know.
    #[error(
        "{path} was written by a newer dispers (version {found}, this one knows {known}): run that one"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest that is known.
        known: usize,
    },
    /// Another process has it.
    #[error(
        "{0} is in use by another process: stop that one, or give each target finder its own file"
    )]
    InUse(PathBuf),
    /// It cannot be written.
    #[error("{0} is read-only: let this user write it and its folder")]
    ReadOnly(PathBuf),
    /// There is no space.
    #[error("no space is left to write {0}: free some; the same request may then come again")]
    Full(PathBuf),
    /// What it holds is no certificate.
    #[error(
        "{0} is damaged: move it away; rounds that were certified are then certified a second time, of which aggregators take only the first"
    )]
    Unreadable(PathBuf),
    /// Anything else.
    #[error("{path}: {source}")]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl DatabaseError {
    fn new(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::CannotOpen(path),
            Some(ErrorCode::NotADatabase) => Self::Other(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse(path),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(path),
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Unreadable(path),
            _ => Self::Failed { path, source },
        }
    }
}

/// The one release of a round that was certified, until its query expires.
pub(crate) struct Certified {
    pub(crate) query: QueryId,
    pub(crate) round: u16,
    pub(crate) proposal: [u8; 32],
    pub(crate) expires: Timestamp,
}

/// An open file. One process has it at a time.
pub struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Database {
    /// Opens the file, and makes it where there is none.
    ///
    /// # Errors
    /// [`DatabaseError`] saying what to do.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::open_within(path, PATIENCE)
    }

    /// A database that ends with the process.
    ///
    /// # Errors
    /// [`DatabaseError::Failed`] when SQLite does not start.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        Self::prepare(
            Path::new(":memory:"),
            Connection::open_in_memory(),
            PATIENCE,
        )
    }

    fn open_within(path: &Path, patience: Duration) -> Result<Self, DatabaseError> {
        Self::prepare(path, Connection::open(path), patience)
    }

    fn prepare(
        path: &Path,
        connection: rusqlite::Result<Connection>,
        patience: Duration,
    ) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::new(path, source);
        let mut connection = connection.map_err(failed)?;
        connection.busy_timeout(patience).map_err(failed)?;
        connection
            .pragma_update(None, "locking_mode", "EXCLUSIVE")
            .map_err(failed)?;
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let found = number("user_version").map_err(failed)?;
        let application = number("application_id").map_err(failed)?;
        let tables: i64 = connection
            .query_one("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if application != APPLICATION && (application, found, tables) != (0, 0, 0) {
            return Err(DatabaseError::Other(path.to_owned()));
        }
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        let Some(missing) = MIGRATIONS.get(found..) else {
            return Err(DatabaseError::Newer {
                path: path.to_owned(),
                found,
                known: MIGRATIONS.len(),
            });
        };
        for (name, value) in [
            ("journal_mode", "WAL"),
            ("synchronous", "FULL"),
            ("secure_delete", "ON"),
        ] {
            connection
                .pragma_update(None, name, value)
                .map_err(failed)?;
        }
        migrate(&mut connection, missing).map_err(failed)?;
        let database = Self {
            connection: Mutex::new(connection),
            path: path.to_owned(),
        };
        database.check()?;
        Ok(database)
    }

    /// Reads every certificate, so that a damaged one is noticed before anything is served.
    fn check(&self) -> Result<(), DatabaseError> {
        let connection = self.lock();
        let read = || {
            let mut select =
                connection.prepare("SELECT query, round, proposal, expires FROM certificate")?;
            let rows = select.query_map([], |row| {
                row.get::<_, [u8; 32]>(0)?;
                row.get::<_, u16>(1)?;
                row.get::<_, [u8; 32]>(2)?;
                row.get::<_, i64>(3)
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        match read() {
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code().is_none() => {
                Err(DatabaseError::Unreadable(self.path.clone()))
            }
            Err(error) => Err(DatabaseError::new(&self.path, error)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is certified, unless the round has a release already; which one it has, is on the
    /// disk when this returns.
    ///
    /// # Errors
    /// [`Error::SecondRelease`] when it is another, [`Error::Full`] when `most` are noted.
    pub(crate) fn certify(
        &self,
        certified: &Certified,
        most: usize,
        now: Timestamp,
    ) -> Result<(), Error> {
        let taken = self.note(certified, most, now);
        match taken.map_err(|source| DatabaseError::new(&self.path, source))? {
            Some(proposal) if proposal == certified.proposal => Ok(()),
            Some(_) => Err(Error::SecondRelease),
            None => Err(Error::Full),
        }
    }

    fn note(
        &self,
        certified: &Certified,
        most: usize,
        now: Timestamp,
    ) -> rusqlite::Result<Option<[u8; 32]>> {
        let mut connection = self.lock();
        let rows = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Past its skew a query is refused, so forgetting it cannot certify it twice.
        rows.prepare_cached("DELETE FROM certificate WHERE expires < ?1")?
            .execute([now.0.saturating_sub(Timestamp::SKEW) as i64])?;
        rows.prepare_cached(
            "INSERT OR IGNORE INTO certificate SELECT ?1, ?2, ?3, ?4
             WHERE (SELECT COUNT(*) FROM certificate) < ?5",
        )?
        .execute(params![
            certified.query.0,
            certified.round,
            certified.proposal,
            certified.expires.0 as i64,
            most as i64,
        ])?;
        let taken = rows
            .prepare_cached("SELECT proposal FROM certificate WHERE query = ?1 AND round = ?2")?
            .query_row(params![certified.query.0, certified.round], |row| {
                row.get(0)
            })
            .optional()?;
        rows.commit()?;
        Ok(taken)
    }
}

/// In one transaction, also where nothing is missing: what cannot be written is noticed at the start.
fn migrate(connection: &mut Connection, missing: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn certified(query: u8, round: u16, proposal: u8) -> Certified {
        Certified {
            query: QueryId([query; 32]),
            round,
            proposal: [proposal; 32],
            expires: NOW,
        }
    }

    fn refusal(path: &Path) -> String {
        let opened = Database::open_within(path, Duration::ZERO);
        opened.err().expect("it is refused").to_string()
    }

    #[test]
    fn one_release_of_a_round_is_certified_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("finder.db");
        for _ in 0..2 {
            let database = Database::open(&path).unwrap();
            let certify = |query, round, proposal| {
                database.certify(&certified(query, round, proposal), 10, NOW)
            };
            certify(1, 0, 1).unwrap();
            certify(1, 0, 1).unwrap();
            assert!(matches!(certify(1, 0, 2), Err(Error::SecondRelease)));
            certify(1, 1, 2).unwrap();
            certify(2, 0, 2).unwrap();
            assert!(refusal(&path).contains("in use by another process"));
        }
    }

    #[test]
    fn certificates_are_bounded_and_forgotten_with_their_queries() {
        let database = Database::in_memory().unwrap();
        let certify =
            |query, now: Timestamp| database.certify(&certified(query, 0, 1), 2, now).err();
        assert!(certify(1, NOW).is_none() && certify(2, NOW).is_none());
        assert!(matches!(certify(3, NOW), Some(Error::Full)));
        assert!(certify(2, NOW).is_none());
        // Clocks may differ a little.
        let skewed = NOW.plus(Timestamp::SKEW);
        assert!(matches!(certify(3, skewed), Some(Error::Full)));
        assert!(certify(3, skewed.plus(1)).is_none());
    }

    #[test]
    fn a_file_that_cannot_be_used_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "what to buy: ".repeat(1000)).unwrap();
        assert!(refusal(&text).contains("is not the database of a target finder"));
        let other = folder.path().join("other.db");
        let connection = Connection::open(&other).unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(connection);
        assert!(refusal(&other).contains("is not the database of a target finder"));
        let nowhere = folder.path().join("nowhere/finder.db");
        assert!(refusal(&nowhere).contains("does its folder exist"));

        let path = folder.path().join("finder.db");
        drop(Database::open(&path).unwrap());
        let change = |sql: &str| {
            let connection = Connection::open(&path).unwrap();
            connection.execute_batch(sql).unwrap();
        };
        change("PRAGMA user_version = 9");
        assert!(refusal(&path).contains("newer dispers (version 9, this one knows 1)"));
        change("PRAGMA user_version = 1");
        change("INSERT INTO certificate VALUES (x'01', 0, x'02', 3)");
        assert!(refusal(&path).contains("finder.db is damaged"));
        change("DELETE FROM certificate");
        assert!(Database::open(&path).is_ok());
    }

    #[test]
    fn what_cannot_be_written_is_not_certified() {
        let database = Database::in_memory().unwrap();
        let pragma = |name: &str, value: &str| {
            let connection = database.connection.lock().unwrap();
            connection.pragma_update(None, name, value).unwrap();
        };
        let certify = || database.certify(&certified(1, 0, 1), 10, NOW);
        pragma("query_only", "ON");
        assert!(certify().unwrap_err().to_string().contains("is read-only"));
        pragma("query_only", "OFF");
        pragma("max_page_count", "4");
        let mut full = (2..=255).filter_map(|query| {
            let certified = certified(query, 0, 1);
            database.certify(&certified, 1000, NOW).err()
        });
        let words = full.next().expect("there is an end").to_string();
        assert!(words.contains("no space is left"), "{words}");
    }
}
