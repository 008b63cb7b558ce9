//! Errors of a PostgreSQL database.

use std::{error::Error as _, fmt, io, path::PathBuf};

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::Error;

/// Name of a database for messages. It never holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub(super) host: String,
    pub(super) database: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {} at {}", self.database, self.host)
    }
}

/// Errors of opening a PostgreSQL database. Each message tells the operator what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The text is not the URL of a database.
    #[error(
        "`database` is not the URL of a PostgreSQL database: write postgres://USER@HOST:PORT/NAME, with special characters of a password as %XX"
    )]
    Url,
    /// The connection would not be encrypted.
    #[error(
        "the connection to {0} would not be encrypted: write database-ca = \"FILE.pem\", the certificate of the authority that signed the server's, or sslmode=disable in the URL where the way there is safe by itself"
    )]
    Plain(String),
    /// TLS is demanded, but no certificate is configured to check the server against.
    #[error(
        "sslmode={0} needs database-ca = \"FILE.pem\", the certificate of the authority that signed the server's"
    )]
    MissingCa(String),
    /// The URL forbids TLS, and a certificate for TLS is configured.
    #[error("sslmode=disable contradicts database-ca: remove one of them")]
    Contradiction,
    /// The file with the authorities' certificates cannot be used.
    #[error("database-ca {path}: {reason}; give a file with certificates in PEM")]
    Ca {
        /// Path of the file.
        path: PathBuf,
        /// Reason why the file cannot be used.
        reason: String,
    },
    /// The server does not answer.
    #[error("cannot reach {server}: {reason}; start it, or mend `database`")]
    Unreachable {
        /// The database.
        server: Server,
        /// Reason given by the system or by PostgreSQL.
        reason: String,
    },
    /// The server refuses the user.
    #[error(
        "{0} refuses the user or its password: mend `database`, database-password-file or PGPASSWORD, or the server's pg_hba.conf"
    )]
    Refused(Server),
    /// The server has no database of this name.
    #[error("{0} is not there: make it with `createdb --owner USER NAME`")]
    Missing(Server),
    /// The database has tables that are not a Conductor's.
    #[error("{server} has a table {table} that is not a conductor's: give conductors their own")]
    Other {
        /// The database.
        server: Server,
        /// Name of such a table.
        table: &'static str,
    },
    /// A newer version of this program wrote the database.
    #[error(
        "{server} was written by a newer dispers (version {found}, this one knows {known}): run that one"
    )]
    Newer {
        /// The database.
        server: Server,
        /// Version of the database.
        found: usize,
        /// Newest version that this program knows.
        known: usize,
    },
    /// The user may not write.
    #[error(
        "this user may not write {0}: have it own the database (`createdb --owner USER NAME`), or grant it all on every table"
    )]
    MayNotWrite(Server),
    /// The database is read-only.
    #[error("{0} is read-only, as that of a standby: give the address of the primary")]
    ReadOnly(Server),
    /// The server reports another error.
    #[error("{server}: {reason}")]
    Failed {
        /// The database.
        server: Server,
        /// Message of PostgreSQL.
        reason: String,
    },
}

impl PostgresError {
    /// Returns whether the same call may succeed later without a change by the operator.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Server {
    /// Converts an error of getting a connection.
    pub(super) fn not_open(&self, error: PoolError) -> PostgresError {
        match error {
            PoolError::Backend(error) => self.failed(error),
            other => PostgresError::Unreachable {
                server: self.clone(),
                reason: waited(&other),
            },
        }
    }

    /// Converts an error of PostgreSQL while the database is opened.
    pub(super) fn failed(&self, error: tokio_postgres::Error) -> PostgresError {
        let server = self.clone();
        match error.code() {
            Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                PostgresError::Refused(server)
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => PostgresError::Missing(server),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => PostgresError::MayNotWrite(server),
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => PostgresError::ReadOnly(server),
            _ if is_missing_password(&error) => PostgresError::Refused(server),
            _ if is_away(&error) => PostgresError::Unreachable {
                server,
                reason: said(&error),
            },
            _ => PostgresError::Failed {
                server,
                reason: said(&error),
            },
        }
    }
}

/// Returns whether the server asked for a password and none is configured. The client library has no error code for
/// it.
fn is_missing_password(error: &tokio_postgres::Error) -> bool {
    let source = error.source().map(ToString::to_string);
    source.is_some_and(|source| source.contains("password missing"))
}

/// Returns whether the connection failed, rather than the statement.
fn is_away(error: &tokio_postgres::Error) -> bool {
    match error.code().map(SqlState::code) {
        // Class 08 is a connection that breaks, 57P a server that stops or starts, and 53300 one with too many
        // connections.
        Some(code) => code.starts_with("08") || code.starts_with("57P") || code == "53300",
        None => {
            let source = error.source();
            error.is_closed() || source.is_some_and(|source| source.is::<io::Error>())
        }
    }
}

/// Returns PostgreSQL's message without its details, which quote stored values.
fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Describes why the pool gave no connection.
fn waited(error: &PoolError) -> String {
    match error {
        PoolError::Timeout(_) => "no connection in time".into(),
        _ => "no connection".into(),
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        // Callers repeat a call after `Away` only. A statement that failed for another reason would fail again.
        match error.code() {
            _ if is_away(&error) => Self::Away(said(&error)),
            Some(&SqlState::DISK_FULL) => Self::Storage(
                "no space is left for PostgreSQL: free some; the same request may then come again"
                    .into(),
            ),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                Self::Storage("this user of PostgreSQL may not write: grant it all".into())
            }
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
                Self::Storage("PostgreSQL is read-only: give the address of the primary".into())
            }
            _ => Self::Storage(format!("PostgreSQL: {}", said(&error))),
        }
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            other => Self::Away(waited(&other)),
        }
    }
}
