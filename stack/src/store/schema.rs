//! Tables of a stack's file, and files of release 0.1.0.

use std::path::Path;

use dispers_node::{Database, DatabaseError, Schema};
use rusqlite::{Connection, TransactionBehavior};

static SCHEMA: Schema = Schema {
    role: "stack",
    application: 0x4453_534b,
    migrations: &[RELEASE_0_1_0, RULE_NUMBERS],
    damaged: "stop the stack and put a backup in its place (docs/hosts.md, What to keep). Without one, move the file \
              away, import the documents and subscribe the homes again; rules and the ε that was spent are lost",
};

/// Tables of release 0.1.0.
const RELEASE_0_1_0: &str = "
CREATE TABLE document (
    doctype TEXT NOT NULL, home TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX document_home ON document (doctype, home);
CREATE TABLE secret (
    home TEXT NOT NULL, key_epoch INTEGER NOT NULL, tag BLOB NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (home, key_epoch)
);
CREATE TABLE subscription (
    home TEXT NOT NULL, key_epoch INTEGER NOT NULL, concept TEXT NOT NULL, handle BLOB NOT NULL,
    PRIMARY KEY (home, key_epoch, concept)
);
CREATE TABLE leaving (handle BLOB PRIMARY KEY);
CREATE TABLE sending (handle BLOB PRIMARY KEY, since INTEGER NOT NULL);
CREATE TABLE answered (work BLOB PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX answered_expires ON answered (expires);
CREATE TABLE answered_last (
    query BLOB NOT NULL, batch INTEGER NOT NULL, last INTEGER NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (query, batch)
) WITHOUT ROWID;
CREATE INDEX answered_last_expires ON answered_last (expires);
CREATE TABLE rules (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
CREATE TABLE home_rules (home TEXT PRIMARY KEY, rules INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE request (
    id INTEGER PRIMARY KEY, query BLOB NOT NULL UNIQUE, manifest BLOB NOT NULL, querier TEXT NOT NULL,
    doctype TEXT NOT NULL, key_epoch INTEGER NOT NULL, epsilon INTEGER, answer_from INTEGER NOT NULL,
    received INTEGER NOT NULL, pure INTEGER NOT NULL, gaussian INTEGER NOT NULL, rho INTEGER NOT NULL
);
CREATE INDEX request_exact ON request (querier, doctype, key_epoch) WHERE epsilon IS NULL;
CREATE TABLE decision (
    home TEXT NOT NULL, request INTEGER NOT NULL, outcome INTEGER NOT NULL, rule INTEGER,
    at INTEGER NOT NULL, batch INTEGER NOT NULL, pure INTEGER NOT NULL, gaussian INTEGER NOT NULL,
    rho INTEGER NOT NULL, place BLOB NOT NULL,
    PRIMARY KEY (home, request)
) WITHOUT ROWID;
CREATE TABLE sent (
    request INTEGER NOT NULL, batch INTEGER NOT NULL, at INTEGER NOT NULL, homes INTEGER NOT NULL,
    groups TEXT NOT NULL, PRIMARY KEY (request, batch)
) WITHOUT ROWID;
CREATE TABLE login (token BLOB PRIMARY KEY, home TEXT NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE session (token BLOB PRIMARY KEY, home TEXT NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE log_head (
    log INTEGER PRIMARY KEY, size INTEGER NOT NULL, hash BLOB NOT NULL, head BLOB NOT NULL
);
CREATE TABLE log_fork (
    number INTEGER PRIMARY KEY, seen BLOB NOT NULL, shown BLOB NOT NULL, at INTEGER NOT NULL
);
";

/// The largest number that a rule of a home ever had. What is not in the decisions has spent nothing, so that their
/// numbers suffice for a home of release 0.1.0. That release wrote nothing into `answered`.
const RULE_NUMBERS: &str = "
ALTER TABLE home_rules ADD COLUMN last_number INTEGER NOT NULL DEFAULT 0;
UPDATE home_rules SET last_number =
    (SELECT COALESCE(MAX(rule), 0) FROM decision WHERE decision.home = home_rules.home);
DROP TABLE answered;
";

/// `user_version` of a file of release 0.1.0, which wrote no `application_id`.
const VERSION_OF_0_1_0: i64 = 4;

/// Names of the tables of a file of release 0.1.0, in order.
const TABLES_OF_0_1_0: [&str; 16] = [
    "answered",
    "answered_last",
    "decision",
    "document",
    "home_rules",
    "leaving",
    "log_fork",
    "log_head",
    "login",
    "request",
    "rules",
    "secret",
    "sending",
    "sent",
    "session",
    "subscription",
];

/// Opens the file of a stack, or creates a missing one.
pub(super) fn open(path: &Path) -> Result<Database, DatabaseError> {
    Database::open_shared(path, &SCHEMA, adopt)
}

/// Creates a database in memory.
pub(super) fn in_memory() -> Result<Database, DatabaseError> {
    Database::in_memory(&SCHEMA)
}

/// Marks a file of release 0.1.0 as a stack's, of the first version. Leaves any other file as it is.
fn adopt(connection: &mut Connection) -> rusqlite::Result<()> {
    // Most files are marked, and need no lock for writing here.
    if !is_of_0_1_0(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have marked the file meanwhile.
    if is_of_0_1_0(&transaction)? {
        transaction.pragma_update(None, "application_id", SCHEMA.application)?;
        transaction.pragma_update(None, "user_version", 1)?;
    }
    transaction.commit()
}

/// Returns whether release 0.1.0 wrote the file.
fn is_of_0_1_0(connection: &Connection) -> rusqlite::Result<bool> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if (pragma("application_id")?, pragma("user_version")?) != (0, VERSION_OF_0_1_0) {
        return Ok(false);
    }
    // Another program may have the same version and no mark either.
    let mut select = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
    )?;
    let tables = select.query_map([], |row| row.get(0))?;
    let tables = tables.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(tables == TABLES_OF_0_1_0)
}

#[cfg(test)]
mod tests;
