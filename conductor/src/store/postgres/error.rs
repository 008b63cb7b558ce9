//! Why a PostgreSQL database cannot be used, and what to do.

use std::{error::Error as _, fmt, io, path::PathBuf};

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::Error;

/// Which database: never with a password.
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

/// Why a PostgreSQL database cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// No URL of a database.
    #[error(
        "`database` is not the URL of a PostgreSQL database: write postgres://USER@HOST:PORT/NAME, with special characters of a password as %XX"
    )]
    Url,
    /// The connection would not be encrypted.
    #[error(
        "the connection to {0} would not be encrypted: write database-ca = \"FILE.pem\", the certificate of the authority that signed the server's, or sslmode=disable in the URL where the way there is safe by itself"
    )]
    Plain(String),
    /// TLS with nothing to check the server by.
    #[error(
        "sslmode={0} needs database-ca = \"FILE.pem\", the certificate of the authority that signed the server's"
    )]
    MissingCa(String),
    /// Both at once.
    #[error("sslmode=disable contradicts database-ca: remove one of them")]
    Contradiction,
    /// The authority's certificate.
    #[error("database-ca {path}: {reason}; give a file with certificates in PEM")]
    Ca {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// Nobody answers.
    #[error("cannot reach {server}: {reason}; start it, or mend `database`")]
    Unreachable {
        /// Which database.
        server: Server,
        /// Why.
        reason: String,
    },
    /// The user is refused.
    #[error(
        "{0} refuses the user or its password: mend `database`, database-password-file or PGPASSWORD, or the server's pg_hba.conf"
    )]
    Refused(Server),
    /// It is not there.
    #[error("{0} is not there: make it with `createdb --owner USER NAME`")]
    Missing(Server),
    /// It is not a conductor's.
    #[error("{server} has a table {table} that is not a conductor's: give conductors their own")]
    Other {
        /// Which database.
        server: Server,
        /// Which table.
        table: &'static str,
    },
    /// It has a version that this one does not know.
    #[error(
        "{server} was written by a newer dispers (version {found}, this one knows {known}): run that one"
    )]
    Newer {
        /// Which database.
        server: Server,
        /// Its version.
        found: usize,
        /// The newest that is known.
        known: usize,
    },
    /// The user may not write.
    #[error(
        "this user may not write {0}: have it own the database (`createdb --owner USER NAME`), or grant it all on every table"
    )]
    MayNotWrite(Server),
    /// Nobody may write.
    #[error("{0} is read-only, as that of a standby: give the address of the primary")]
    ReadOnly(Server),
    /// Anything else.
    #[error("{server}: {reason}")]
    Failed {
        /// Which database.
        server: Server,
        /// What PostgreSQL says.
        reason: String,
    },
}

impl PostgresError {
    /// Whether it may go away by itself.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Server {
    /// No connection.
    pub(super) fn not_open(&self, error: PoolError) -> PostgresError {
        match error {
            PoolError::Backend(error) => self.failed(error),
            other => PostgresError::Unreachable {
                server: self.clone(),
                reason: waited(&other),
            },
        }
    }

    /// What PostgreSQL said at the start.
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

/// The server asked for a password, and none is configured.
fn is_missing_password(error: &tokio_postgres::Error) -> bool {
    let source = error.source().map(ToString::to_string);
    source.is_some_and(|source| source.contains("password missing"))
}

/// Whether the connection is at fault, and not what was asked.
fn is_away(error: &tokio_postgres::Error) -> bool {
    match error.code().map(SqlState::code) {
        // Connections that break, a server that stops or starts, and one that has too many.
        Some(code) => code.starts_with("08") || code.starts_with("57P") || code == "53300",
        None => {
            let source = error.source();
            error.is_closed() || source.is_some_and(|source| source.is::<io::Error>())
        }
    }
}

/// What PostgreSQL says, without its details: these quote what is stored.
fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn waited(error: &PoolError) -> String {
    match error {
        PoolError::Timeout(_) => "no connection in time".into(),
        _ => "no connection".into(),
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
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
