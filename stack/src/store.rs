//! Store of a stack, in one SQLite file. It holds documents; a tag, a ticket key and subscriptions per home and key
//! epoch; handles of entries that the Conductor may hold but should not; a record of answered work; and the queries
//! that homes were asked, with their decisions and rules.

mod answered;
mod consent;
mod erase;
mod heads;
mod sessions;

pub(crate) use consent::Deciding;
pub use consent::{Bounds, Entry, SentGroup};
pub(crate) use heads::KnownHeads;
pub(crate) use sessions::SESSION_LIFE;
pub use sessions::Token;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dispers_base::id::KeyEpoch;
use dispers_core::{
    subscription::{Handle, HomeId, HomeTag},
    ticket::HomeKey,
};
use dispers_node::{DatabaseError, InPlace, connect, now, rng};
use dispers_query::local::FieldValue;
use rand::Rng;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, types::ValueRef};
use serde_json::{Map, Value};

use crate::{Connector, Document, Error, Line, Selector, Sheet};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS document (
    doctype TEXT NOT NULL, home TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS document_home ON document (doctype, home);
CREATE TABLE IF NOT EXISTS secret (
    home TEXT NOT NULL, key_epoch INTEGER NOT NULL, tag BLOB NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (home, key_epoch)
);
CREATE TABLE IF NOT EXISTS subscription (
    home TEXT NOT NULL, key_epoch INTEGER NOT NULL, concept TEXT NOT NULL, handle BLOB NOT NULL,
    PRIMARY KEY (home, key_epoch, concept)
);
CREATE TABLE IF NOT EXISTS leaving (handle BLOB PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sending (handle BLOB PRIMARY KEY, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS answered (work BLOB PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answered_expires ON answered (expires);
CREATE TABLE IF NOT EXISTS answered_last (
    query BLOB NOT NULL, batch INTEGER NOT NULL, last INTEGER NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (query, batch)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answered_last_expires ON answered_last (expires);
PRAGMA user_version = 4;
";

/// Longest time that a subscription may be on its way, in milliseconds. A process that takes longer is taken for dead.
const ON_ITS_WAY: u64 = 600_000;

/// Secrets of a home in one key epoch.
#[derive(Clone)]
pub(crate) struct HomeSecrets {
    pub(crate) tag: HomeTag,
    pub(crate) key: HomeKey,
}

/// Store of a stack.
pub struct Store {
    connection: Mutex<Connection>,
    files: InPlace,
    /// Source of the homes' documents, if they are not in the file.
    elsewhere: Option<Arc<dyn Connector>>,
}

impl Store {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// [`Error::File`] if other users may use the file; [`Error::Database`] if it is not a stack's file or cannot be
    /// written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = connect(path).map_err(DatabaseError::from)??;
        // With a write-ahead log, the command line can read while the stack writes.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let mut store = Self::prepare(connection)?;
        store.files = InPlace::of(path, "stack");
        Ok(store)
    }

    /// Creates a store in memory, which ends with the process.
    ///
    /// # Errors
    /// [`Error::Database`] when SQLite does not start.
    pub fn in_memory() -> Result<Self, Error> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, Error> {
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        // SQLite overwrites what it deletes, so that an erased home leaves no trace in free pages.
        connection.pragma_update(None, "secure_delete", "ON")?;
        // Every transaction takes the lock for writing when it begins. One that reads first would fail at once, instead
        // of waiting, if another process writes before it does.
        connection.set_transaction_behavior(TransactionBehavior::Immediate);
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(consent::SCHEMA)?;
        connection.execute_batch(sessions::SCHEMA)?;
        connection.execute_batch(heads::SCHEMA)?;
        Ok(Self {
            connection: Mutex::new(connection),
            files: InPlace::default(),
            elsewhere: None,
        })
    }

    /// Reads the homes' documents from `connector` instead of the file.
    #[must_use]
    pub fn with_documents(mut self, connector: Arc<dyn Connector>) -> Self {
        self.elsewhere = Some(connector);
        self
    }

    /// Locks the connection, after checking that it leads to the file at the path. The command line and other
    /// processes would not see a decision in another file.
    fn connection(&self) -> Result<MutexGuard<'_, Connection>, Error> {
        let connection = self.connection.lock();
        self.files.check()?;
        Ok(connection.unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds documents to `doctype`: for each pair in `rows`, the row of `sheet` with that number, as a document of that
    /// home. Returns their number. A home's earlier documents stay.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was added.
    pub fn import<'a>(
        &self,
        doctype: &str,
        sheet: &Sheet,
        rows: impl IntoIterator<Item = (&'a HomeId, usize)>,
    ) -> Result<usize, Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let mut count = 0;
        {
            let mut insert = transaction
                .prepare("INSERT INTO document (doctype, home, body) VALUES (?1, ?2, ?3)")?;
            for (home, row) in rows {
                let body: Map<String, Value> = sheet
                    .columns()
                    .iter()
                    .zip(sheet.row(row))
                    .map(|(column, value)| (column.name.to_lowercase(), json(value)))
                    .collect();
                insert.execute(params![
                    doctype.to_lowercase(),
                    home.0,
                    Value::Object(body).to_string()
                ])?;
                count += 1;
            }
        }
        transaction.commit()?;
        Ok(count)
    }

    /// Adds documents to `doctype` and returns their number. The names of their fields must be in lower case. A home's
    /// earlier documents stay.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was added.
    pub fn import_documents(&self, doctype: &str, documents: Vec<Line>) -> Result<usize, Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let count = documents.len();
        for (home, document) in documents {
            let body = Value::Object(document).to_string();
            transaction
                .prepare_cached("INSERT INTO document (doctype, home, body) VALUES (?1, ?2, ?3)")?
                .execute(params![doctype.to_lowercase(), home.0, body])?;
        }
        transaction.commit()?;
        Ok(count)
    }

    /// Returns every home that holds a document.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn homes(&self) -> Result<Vec<HomeId>, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.homes();
        }
        let connection = self.connection()?;
        let mut select = connection.prepare("SELECT DISTINCT home FROM document ORDER BY home")?;
        let homes = select.query_map([], |row| row.get(0).map(HomeId))?;
        Ok(homes.collect::<Result<_, _>>()?)
    }

    /// Returns a home's secrets of a key epoch, which are made on first use.
    pub(crate) fn secrets(&self, home: &HomeId, epoch: KeyEpoch) -> Result<HomeSecrets, Error> {
        let (mut tag, mut key) = ([0u8; 16], [0u8; 32]);
        rng().fill_bytes(&mut tag);
        rng().fill_bytes(&mut key);
        let connection = self.connection()?;
        // If another process made the secrets first, its values stay and are the ones that are read.
        connection
            .prepare_cached("INSERT OR IGNORE INTO secret VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![home.0, epoch.0, tag, key])?;
        Ok(connection
            .prepare_cached("SELECT tag, key FROM secret WHERE home = ?1 AND key_epoch = ?2")?
            .query_row(params![home.0, epoch.0], secrets)?)
    }

    /// Returns the ticket key of a home in this key epoch, if it has one, and true if the home is subscribed to
    /// anything. A home without a subscription refuses every query.
    pub(crate) fn asked(
        &self,
        home: &HomeId,
        epoch: KeyEpoch,
    ) -> Result<Option<(HomeKey, bool)>, Error> {
        Ok(self
            .connection()?
            .prepare_cached(
                "SELECT tag, key, EXISTS
                 (SELECT 1 FROM subscription AS s WHERE s.home = ?1 AND s.key_epoch = ?2)
                 FROM secret WHERE home = ?1 AND key_epoch = ?2",
            )?
            .query_row(params![home.0, epoch.0], |row| {
                Ok((secrets(row)?.key, row.get(2)?))
            })
            .optional()?)
    }

    /// Returns the concepts that a home is subscribed to in a key epoch, in order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn subscriptions(&self, home: &HomeId, epoch: KeyEpoch) -> Result<Vec<String>, Error> {
        let connection = self.connection()?;
        let mut select = connection.prepare_cached(
            "SELECT concept FROM subscription WHERE home = ?1 AND key_epoch = ?2 ORDER BY concept",
        )?;
        let concepts = select.query_map(params![home.0, epoch.0], |row| row.get(0))?;
        Ok(concepts.collect::<Result<_, _>>()?)
    }

    /// Returns every subscription of a key epoch, by home.
    pub(crate) fn subscriptions_of(
        &self,
        epoch: KeyEpoch,
    ) -> Result<HashMap<HomeId, Vec<String>>, Error> {
        let connection = self.connection()?;
        let mut select =
            connection.prepare("SELECT home, concept FROM subscription WHERE key_epoch = ?1")?;
        let mut homes: HashMap<HomeId, Vec<String>> = HashMap::new();
        let mut rows = select.query([epoch.0])?;
        while let Some(row) = rows.next()? {
            homes
                .entry(HomeId(row.get(0)?))
                .or_default()
                .push(row.get(1)?);
        }
        Ok(homes)
    }

    /// Records subscriptions that are about to be sent, so that their handles are known whatever happens on the way.
    pub(crate) fn sending(&self, subscriptions: &[(HomeId, String, Handle)]) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        for (_, _, handle) in subscriptions {
            transaction
                .prepare_cached("INSERT INTO sending VALUES (?1, ?2)")?
                .execute(params![handle.0, now().0 as i64])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Records that subscriptions may or may not have arrived, so that they are withdrawn.
    pub(crate) fn lost(&self, subscriptions: &[(HomeId, String, Handle)]) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        for (_, _, handle) in subscriptions {
            transaction
                .prepare_cached("DELETE FROM sending WHERE handle = ?1")?
                .execute(params![handle.0])?;
            transaction
                .prepare_cached("INSERT OR IGNORE INTO leaving VALUES (?1)")?
                .execute(params![handle.0])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Ends a home's subscription to a concept, or all of its subscriptions, in every key epoch, and records the
    /// handles that are to be withdrawn at the Conductor. Returns the number of concepts.
    pub(crate) fn leave(&self, home: &HomeId, concept: Option<&str>) -> Result<usize, Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let chosen = "home = ?1 AND (?2 IS NULL OR concept = ?2)";
        let parameters = params![home.0, concept];
        let ended: i64 = transaction
            .prepare_cached(&format!(
                "SELECT COUNT(DISTINCT concept) FROM subscription WHERE {chosen}"
            ))?
            .query_row(parameters, |row| row.get(0))?;
        transaction
            .prepare_cached(&format!(
                "INSERT INTO leaving SELECT handle FROM subscription WHERE {chosen}"
            ))?
            .execute(parameters)?;
        transaction
            .prepare_cached(&format!("DELETE FROM subscription WHERE {chosen}"))?
            .execute(parameters)?;
        transaction.commit()?;
        Ok(usize::try_from(ended).unwrap_or_default())
    }

    /// Returns every home that is subscribed to anything in any key epoch, with its concepts.
    pub(crate) fn subscribers(&self) -> Result<BTreeMap<HomeId, Vec<String>>, Error> {
        let connection = self.connection()?;
        let mut select = connection
            .prepare("SELECT DISTINCT home, concept FROM subscription ORDER BY home, concept")?;
        let mut homes: BTreeMap<HomeId, Vec<String>> = BTreeMap::new();
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let concepts = homes.entry(HomeId(row.get(0)?)).or_default();
            concepts.push(row.get(1)?);
        }
        Ok(homes)
    }

    /// Forgets the secrets of the key epochs before `epoch`, under which nobody asks any longer. Also forgets
    /// subscriptions of these epochs that the home has in a later one.
    pub(crate) fn forget_before(&self, epoch: KeyEpoch) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM secret WHERE key_epoch < ?1", [epoch.0])?;
        // A subscription without a later one stays: it tells what the home is to be subscribed to under the listed
        // epochs.
        transaction.execute(
            "DELETE FROM subscription AS old WHERE key_epoch < ?1 AND EXISTS
             (SELECT 1 FROM subscription AS new WHERE new.home = old.home
              AND new.concept = old.concept AND new.key_epoch >= ?1)",
            [epoch.0],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Returns the handles of entries that the Conductor may hold but should not.
    pub(crate) fn leaving(&self) -> Result<Vec<Handle>, Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let died = now().0.saturating_sub(ON_ITS_WAY) as i64;
        // A process that died while it sent cannot tell whether its upload arrived.
        transaction.execute(
            "INSERT OR IGNORE INTO leaving SELECT handle FROM sending WHERE since < ?1",
            [died],
        )?;
        transaction.execute("DELETE FROM sending WHERE since < ?1", [died])?;
        transaction.commit()?;
        let mut select = connection.prepare_cached("SELECT handle FROM leaving")?;
        let handles = select.query_map([], |row| row.get(0).map(Handle))?;
        Ok(handles.collect::<Result<_, _>>()?)
    }

    /// Forgets handles that the Conductor was told to withdraw.
    pub(crate) fn left(&self, handles: &[Handle]) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        for handle in handles {
            transaction
                .prepare_cached("DELETE FROM leaving WHERE handle = ?1")?
                .execute(params![handle.0])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Records subscriptions that the Conductor has taken. The subscriptions that they replace are to be withdrawn
    /// there. A subscription that was withdrawn while it was sent is to be withdrawn too, and so is one that was sent
    /// `again` if the home has ended it meanwhile. Returns the number of recorded subscriptions.
    pub(crate) fn subscribed(
        &self,
        epoch: KeyEpoch,
        subscriptions: &[(HomeId, String, Handle)],
        again: bool,
    ) -> Result<usize, Error> {
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let mut count = 0;
        for (home, concept, handle) in subscriptions {
            let sent = transaction
                .prepare_cached("DELETE FROM sending WHERE handle = ?1")?
                .execute(params![handle.0])?;
            let wanted = !again
                || transaction
                    .prepare_cached("SELECT 1 FROM subscription WHERE home = ?1 AND concept = ?2")?
                    .exists(params![home.0, concept])?;
            // Without a row in `sending`, another process has given up on this upload and may have withdrawn its
            // entries.
            if sent == 0 || !wanted {
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO leaving VALUES (?1)")?
                    .execute(params![handle.0])?;
                continue;
            }
            for replace in [
                "INSERT INTO leaving SELECT handle FROM subscription
                 WHERE home = ?1 AND concept = ?2 AND key_epoch = ?3",
                "DELETE FROM subscription WHERE home = ?1 AND concept = ?2 AND key_epoch = ?3",
            ] {
                transaction
                    .prepare_cached(replace)?
                    .execute(params![home.0, concept, epoch.0])?;
            }
            transaction
                .prepare_cached("INSERT INTO subscription VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![home.0, epoch.0, concept, handle.0])?;
            count += 1;
        }
        transaction.commit()?;
        Ok(count)
    }
}

/// Reads the columns `tag` and `key` of a row.
fn secrets(row: &rusqlite::Row<'_>) -> rusqlite::Result<HomeSecrets> {
    Ok(HomeSecrets {
        tag: HomeTag(row.get(0)?),
        key: HomeKey::from_bytes(row.get(1)?),
    })
}

/// Converts a value to JSON.
fn json(value: &FieldValue) -> Value {
    match value {
        FieldValue::Null => Value::Null,
        FieldValue::Integer(integer) => (*integer).into(),
        FieldValue::Real(real) => (*real).into(),
        FieldValue::Text(text) => text.as_str().into(),
    }
}

impl Connector for Store {
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        selector: &Selector,
    ) -> Result<Vec<Document>, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.documents(doctype, fields, homes, selector);
        }
        // The selector is not used: the local query filters again, and here it would save no transfer.
        let connection = self.connection()?;
        // Names of fields are parameters too, so that nothing from a manifest becomes a part of the SQL.
        let columns: String = (0..fields.len())
            .map(|i| format!(", json_extract(body, ?{})", i + 3))
            .collect();
        let mut select = connection.prepare_cached(&format!(
            "SELECT rowid{columns} FROM document WHERE doctype = ?1 AND home = ?2"
        ))?;
        // A quotation mark would end the name inside the JSON path.
        let paths: Vec<String> = fields
            .iter()
            .map(|field| format!("$.\"{}\"", field.to_lowercase().replace('"', "")))
            .collect();
        let doctype = doctype.to_lowercase();
        let mut documents = Vec::new();
        for (place, home) in (0u32..).zip(homes) {
            let parameters: Vec<&str> = [doctype.as_str(), home.0.as_str()]
                .into_iter()
                .chain(paths.iter().map(String::as_str))
                .collect();
            let mut rows = select.query(rusqlite::params_from_iter(parameters))?;
            while let Some(row) = rows.next()? {
                let values = (1..=fields.len())
                    .map(|column| Ok(value(row.get_ref(column)?)))
                    .collect::<rusqlite::Result<_>>()?;
                documents.push((place, values));
            }
        }
        Ok(documents)
    }

    fn homes(&self) -> Result<Vec<HomeId>, Error> {
        Self::homes(self)
    }

    fn check(&self, home: &HomeId, doctype: &str) -> Result<usize, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.check(home, doctype);
        }
        let selector = Selector::default();
        Ok(self
            .documents(doctype, &[], std::slice::from_ref(home), &selector)?
            .len())
    }

    fn holds(&self, home: &HomeId) -> Result<bool, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.holds(home);
        }
        Ok(self
            .connection()?
            .prepare_cached("SELECT 1 FROM document WHERE home = ?1 LIMIT 1")?
            .exists(params![home.0])?)
    }
}

/// Converts a value of SQLite. Bytes, and text that is not UTF-8, become NULL.
fn value(value: ValueRef<'_>) -> FieldValue {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => FieldValue::Null,
        ValueRef::Integer(integer) => FieldValue::Integer(integer),
        ValueRef::Real(real) => FieldValue::Real(real),
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map_or(FieldValue::Null, |text| FieldValue::Text(text.into()))
        }
    }
}

#[cfg(test)]
mod tests;
