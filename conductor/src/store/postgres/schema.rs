//! Tables of the database, and the migrations from each version to the next.

use deadpool_postgres::Pool;
use tokio_postgres::Transaction;

use super::error::{PostgresError, Server};

/// Table with one row: the number of [`MIGRATIONS`] that were applied. A database that has this table belongs to
/// Conductors.
const MARKER: &str = "dispers_conductor";
/// Names of all tables of a Conductor.
const TABLES: [&str; 7] = [
    "upload",
    "entry",
    "withdrawal",
    "query",
    "batch",
    "log",
    "head",
];
/// Advisory lock for migrations, so that Conductors that start at the same time migrate one after the other.
const MIGRATION: i64 = 0x4453_434f_0000_0000;

/// Migrations in order. Ciphertexts and batches are stored without compression, which would not make sealed bytes
/// shorter.
const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE upload (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name BYTEA NOT NULL UNIQUE,
    key_epoch BIGINT NOT NULL, part INTEGER NOT NULL, envelopes BYTEA NOT NULL,
    entries BIGINT NOT NULL
);
CREATE TABLE entry (
    pseudonym BYTEA NOT NULL, upload BIGINT NOT NULL, place BIGINT NOT NULL,
    ciphertext BYTEA NOT NULL, PRIMARY KEY (pseudonym, upload, place)
);
CREATE TABLE withdrawal (
    hash BYTEA PRIMARY KEY, pseudonym BYTEA NOT NULL, upload BIGINT NOT NULL, place BIGINT NOT NULL
);
CREATE TABLE query (
    id BYTEA PRIMARY KEY, querier TEXT NOT NULL, expires BIGINT NOT NULL, manifest BYTEA NOT NULL,
    profiles BYTEA NOT NULL, pseudonyms BYTEA NOT NULL, record BYTEA NOT NULL,
    status BYTEA NOT NULL, totals BYTEA, ended BOOLEAN NOT NULL,
    cancelled BOOLEAN NOT NULL DEFAULT FALSE, version BIGINT NOT NULL DEFAULT 0, holder TEXT,
    held_until TIMESTAMPTZ NOT NULL
);
CREATE TABLE batch (
    query BYTEA NOT NULL REFERENCES query ON DELETE CASCADE, number BIGINT NOT NULL,
    message BYTEA NOT NULL, PRIMARY KEY (query, number)
);
ALTER TABLE entry ALTER ciphertext SET STORAGE EXTERNAL;
ALTER TABLE batch ALTER message SET STORAGE EXTERNAL;
",
    "
CREATE TABLE log (
    number BIGINT NOT NULL, place BIGINT NOT NULL, query BYTEA NOT NULL, leaf BYTEA NOT NULL,
    manifest BYTEA NOT NULL, PRIMARY KEY (number, place), UNIQUE (number, query)
);
CREATE TABLE head (number BIGINT PRIMARY KEY, size BIGINT NOT NULL, head BYTEA NOT NULL);
",
];

/// Brings the database to the newest version that this program knows.
///
/// # Errors
/// [`PostgresError`]; then nothing was changed.
pub(super) async fn migrate(pool: &Pool, server: &Server) -> Result<(), PostgresError> {
    let mut client = pool.get().await.map_err(|error| server.not_open(error))?;
    let failed = |error| server.failed(error);
    let change = client.transaction().await.map_err(failed)?;
    change
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION])
        .await
        .map_err(failed)?;
    // A database of a newer version is refused: this program does not know what its tables mean.
    let found = version(&change, server).await?;
    let missing = MIGRATIONS.get(found..).ok_or(PostgresError::Newer {
        server: server.clone(),
        found,
        known: MIGRATIONS.len(),
    })?;
    for migration in missing {
        change.batch_execute(migration).await.map_err(failed)?;
    }
    if found == 0 {
        let marker = format!(
            "CREATE TABLE {MARKER} (version INTEGER NOT NULL);
             INSERT INTO {MARKER} VALUES (0)"
        );
        change.batch_execute(&marker).await.map_err(failed)?;
    }
    // The version is written even if no migration is missing, so that a database that cannot be written is noticed at
    // the start.
    let known = MIGRATIONS.len() as i32;
    let marker = format!("UPDATE {MARKER} SET version = $1");
    change.execute(&marker, &[&known]).await.map_err(failed)?;
    if !may_write(&change).await.map_err(failed)? {
        return Err(PostgresError::MayNotWrite(server.clone()));
    }
    change.commit().await.map_err(failed)
}

/// Returns the number of migrations that were applied to the database, or 0 if it is empty.
///
/// # Errors
/// [`PostgresError::Other`] if the database has tables of a Conductor's names without a valid [`MARKER`].
async fn version(change: &Transaction<'_>, server: &Server) -> Result<usize, PostgresError> {
    let failed = |error| server.failed(error);
    let names = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()";
    let mut ours = false;
    let mut taken = None;
    for row in change.query(names, &[]).await.map_err(failed)? {
        let name: String = row.try_get(0).map_err(failed)?;
        ours |= name == MARKER;
        taken = TABLES.into_iter().find(|table| *table == name).or(taken);
    }
    // Tables of other names may be there. Those of the same names would be mistaken for a Conductor's.
    if !ours {
        return match taken {
            None => Ok(0),
            Some(table) => Err(PostgresError::Other {
                server: server.clone(),
                table,
            }),
        };
    }
    let version = format!("SELECT version FROM {MARKER}");
    let version = change.query_opt(&version, &[]).await.map_err(failed)?;
    let version: Option<i32> = match version {
        Some(row) => row.try_get(0).map_err(failed)?,
        None => None,
    };
    let version = version.and_then(|version| usize::try_from(version).ok());
    version
        .filter(|version| *version > 0)
        .ok_or(PostgresError::Other {
            server: server.clone(),
            table: MARKER,
        })
}

/// Returns whether the user may read and write all tables.
async fn may_write(change: &Transaction<'_>) -> Result<bool, tokio_postgres::Error> {
    let may =
        "SELECT bool_and(has_table_privilege(name, privilege)) FROM unnest($1::text[]) AS name,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege";
    let row = change.query_one(may, &[&&TABLES[..]]).await?;
    row.try_get(0)
}
