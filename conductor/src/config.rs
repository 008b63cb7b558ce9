//! The Conductor's table of the configuration file.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(feature = "postgres")]
use dispers_node::keyfile::{KeyFileError, read_secret};
use dispers_node::{DatabaseError, LeftOut};
use serde::Deserialize;

#[cfg(feature = "postgres")]
use crate::{Postgres, PostgresError, Settings};
use crate::{Sqlite, Store};

/// The `[conductor]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Database of subscriptions and queries.
    pub database: Option<Database>,
    /// File with the password for PostgreSQL. It takes precedence over the URL and over `PGPASSWORD`.
    pub database_password_file: Option<PathBuf>,
    /// PEM file with the certificates of the authorities that sign the PostgreSQL server's. With it, the connection is
    /// encrypted.
    pub database_ca: Option<PathBuf>,
    /// Length of the lease of a query, in milliseconds. If the Conductor that drives the query does not renew the
    /// lease in this time, another one takes the query up.
    pub lease_ms: u64,
    /// Homes per batch.
    pub batch_size: u32,
    /// Batches that each committee aggregates at the same time, 1 to 4.
    pub batches_in_flight: usize,
    /// Longest wait for one step of one node, in milliseconds.
    pub step_timeout_ms: u64,
    /// Longest wait for the Target to ask one batch, in milliseconds.
    pub ask_timeout_ms: u64,
    /// Most queries that run at the same time, and most a quarter of them per querier. Four times as many ended
    /// queries are kept until they expire.
    pub max_queries: usize,
    /// Most subscription entries that are kept.
    pub max_entries: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: None,
            database_password_file: None,
            database_ca: None,
            lease_ms: 10_000,
            batch_size: 50_000,
            batches_in_flight: 2,
            step_timeout_ms: 60_000,
            ask_timeout_ms: 120_000,
            max_queries: 1024,
            max_entries: 50_000_000,
        }
    }
}

/// Location of a Conductor's database.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Database {
    /// A SQLite file, for one Conductor.
    File(PathBuf),
    /// URL of a PostgreSQL database, which several Conductors can share: `postgres://…` or `postgresql://…`, possibly
    /// with a password.
    Postgres(String),
}

impl From<String> for Database {
    fn from(text: String) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(text);
        }
        Self::File(text.into())
    }
}

impl Database {
    /// Returns whether the URL holds a password, so that other users must not read the configuration.
    pub fn holds_password(&self) -> bool {
        match self {
            Self::File(_) => false,
            // A build without PostgreSQL refuses the URL, whatever it holds.
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => false,
            // A URL that does not parse is refused later, but may hold a password.
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => url
                .parse::<tokio_postgres::Config>()
                .map_or(true, |config| config.get_password().is_some()),
        }
    }
}

impl fmt::Debug for Database {
    // The URL may hold a password, so it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Postgres(_) => f.debug_tuple("Postgres").finish_non_exhaustive(),
        }
    }
}

/// Errors of opening the database. Each message tells the operator what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration names no database.
    #[error("[conductor] lacks database = \"FILE\", or the URL of a PostgreSQL database")]
    Missing,
    /// The SQLite file cannot be opened.
    #[error(transparent)]
    File(#[from] DatabaseError),
    /// The PostgreSQL database cannot be opened.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The file with the password cannot be read.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Password(#[from] KeyFileError),
    /// The program was built without PostgreSQL.
    #[error(transparent)]
    LeftOut(#[from] LeftOut),
}

impl OpenError {
    /// Returns whether the same call may succeed later without a change by the operator.
    pub fn is_temporary(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(error) => error.is_temporary(),
            _ => false,
        }
    }
}

impl Config {
    /// Opens the configured database. `resolve` makes the configuration's paths absolute, and `password` is that of
    /// the environment.
    ///
    /// # Errors
    /// [`OpenError`], with what the operator has to do.
    pub async fn open(
        &self,
        resolve: impl Fn(&Path) -> PathBuf,
        password: Option<String>,
    ) -> Result<Arc<dyn Store>, OpenError> {
        match self.database.as_ref().ok_or(OpenError::Missing)? {
            Database::File(path) => Ok(Arc::new(Sqlite::open(&resolve(path))?)),
            Database::Postgres(url) => self.open_postgres(url, resolve, password).await,
        }
    }

    #[cfg(feature = "postgres")]
    async fn open_postgres(
        &self,
        url: &str,
        resolve: impl Fn(&Path) -> PathBuf,
        password: Option<String>,
    ) -> Result<Arc<dyn Store>, OpenError> {
        let file = self.database_password_file.as_deref();
        let file = file.map(|path| read_secret(&resolve(path))).transpose()?;
        let file = file.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        let settings = Settings {
            url: url.to_owned(),
            password: file,
            fallback: password,
            ca: self.database_ca.as_deref().map(resolve),
        };
        Ok(Arc::new(Postgres::open(&settings).await?))
    }

    #[cfg(not(feature = "postgres"))]
    async fn open_postgres(
        &self,
        _: &str,
        _: impl Fn(&Path) -> PathBuf,
        _: Option<String>,
    ) -> Result<Arc<dyn Store>, OpenError> {
        Err(LeftOut("PostgreSQL").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_postgresql_and_anything_else_a_file_and_no_password_is_shown() {
        let database = |text: &str| Database::from(text.to_owned());
        for url in [
            "postgres://c:hush@db/dispers",
            "postgresql://c:hush@/dispers",
        ] {
            let read = database(url);
            assert!(matches!(read, Database::Postgres(_)), "{url}");
            assert!(read.holds_password());
            let config = Config {
                database: Some(read),
                ..Config::default()
            };
            assert!(!format!("{config:?}").contains("hush"));
        }
        assert!(!database("postgres://c@db/dispers").holds_password());
        for path in [
            "conductor.db",
            "/var/lib/dispers/postgres.db",
            "postgres.db",
        ] {
            assert_eq!(database(path), Database::File(path.into()));
        }
    }
}
