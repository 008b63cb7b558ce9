//! Reasons why a database cannot be used, and the remedies.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::Schema;
use crate::private::Exposed;

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
    /// Content of the file was lost or changed.
    #[error("{path} cannot be read ({source}): {advice}")]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
        /// Advice for the operator.
        advice: &'static str,
    },
    /// Another process keeps reading the log that holds erased content.
    #[error(
        "the erasure is on the disk, but the log beside {0} still holds the erased content, because another process \
         is reading it. The log is emptied when the file is opened the next time, or when the erasure is repeated"
    )]
    LogInUse(PathBuf),
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
    /// Describes an error of SQLite for the operator of the file at `path`.
    pub(super) fn new(path: &Path, schema: &Schema, source: rusqlite::Error) -> Self {
        let (path, role) = (path.to_owned(), schema.role);
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Other { path, role },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::CannotOpen(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse(path),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(path),
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged {
                path,
                source,
                advice: schema.damaged,
            },
            _ => Self::Failed { path, source },
        }
    }

    /// Returns whether the operator has to name or provide another file. Otherwise the file is the right one, and the
    /// machine, its disk or another process is in the way.
    pub fn is_wrong_file(&self) -> bool {
        match self {
            Self::CannotOpen(_) | Self::Exposed(_) | Self::Other { .. } => true,
            Self::Newer { .. } | Self::Replaced { .. } => true,
            Self::InUse(_) | Self::ReadOnly(_) | Self::Full(_) | Self::LogInUse(_) => false,
            Self::Damaged { .. } | Self::Unreadable { .. } | Self::Failed { .. } => false,
        }
    }
}

/// Reason why work in a database ended without a result.
#[derive(Debug)]
pub enum TransactionError<E> {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The work itself ended with an error. A transaction is rolled back then.
    Refused(E),
}

impl<E> From<rusqlite::Error> for TransactionError<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl<E: From<DatabaseError>> TransactionError<E> {
    /// Returns the error for the caller. `describe` adds the file to an error of SQLite.
    pub(super) fn described(self, describe: impl FnOnce(rusqlite::Error) -> DatabaseError) -> E {
        match self {
            Self::Sqlite(error) => describe(error).into(),
            Self::Refused(error) => error,
        }
    }
}
