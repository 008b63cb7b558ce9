//! What a stack keeps, in one SQLite file: documents; per home and key epoch its tag, its ticket
//! key and its subscriptions; and the handles of entries that the Conductor may hold and should not.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dispers_core::{
    id::KeyEpoch,
    local::FieldValue,
    subscription::{Handle, HomeId, HomeTag},
    ticket::HomeKey,
};
use dispers_node::rng;
use rand::Rng;
use rusqlite::{Connection, OptionalExtension, params, types::ValueRef};
use serde_json::{Map, Value};

use crate::{Connector, Document, Error, Sheet};

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
PRAGMA user_version = 1;
";

/// A home's secrets in one key epoch.
#[derive(Clone)]
pub(crate) struct HomeSecrets {
    pub(crate) tag: HomeTag,
    pub(crate) key: HomeKey,
}

/// The store.
pub struct Store(Mutex<Connection>);

impl Store {
    /// Opens the file, and makes it where there is none.
    ///
    /// # Errors
    /// [`Error::Database`] when it is no such file or cannot be written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        Self::prepare(connection)
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    /// [`Error::Database`] when SQLite does not start.
    pub fn in_memory() -> Result<Self, Error> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(connection: Connection) -> Result<Self, Error> {
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the documents of `sheet` to `doctype`; `homes` names the home of each row. A home's
    /// earlier documents stay.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was added.
    pub fn import<'a>(
        &self,
        doctype: &str,
        sheet: &Sheet,
        rows: impl IntoIterator<Item = (&'a HomeId, usize)>,
    ) -> Result<usize, Error> {
        let mut connection = self.connection();
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

    /// Every home that holds a document.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn homes(&self) -> Result<Vec<HomeId>, Error> {
        let connection = self.connection();
        let mut select = connection.prepare("SELECT DISTINCT home FROM document ORDER BY home")?;
        let homes = select.query_map([], |row| row.get(0).map(HomeId))?;
        Ok(homes.collect::<Result<_, _>>()?)
    }

    /// A home's secrets of a key epoch, made on first use.
    pub(crate) fn secrets(&self, home: &HomeId, epoch: KeyEpoch) -> Result<HomeSecrets, Error> {
        let (mut tag, mut key) = ([0u8; 16], [0u8; 32]);
        rng().fill_bytes(&mut tag);
        rng().fill_bytes(&mut key);
        let connection = self.connection();
        connection
            .prepare_cached("INSERT OR IGNORE INTO secret VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![home.0, epoch.0, tag, key])?;
        Ok(connection
            .prepare_cached("SELECT tag, key FROM secret WHERE home = ?1 AND key_epoch = ?2")?
            .query_row(params![home.0, epoch.0], secrets)?)
    }

    /// The ticket key of a home that has one in this epoch, and whether it is subscribed to
    /// anything: one that is not refuses every query.
    pub(crate) fn asked(
        &self,
        home: &HomeId,
        epoch: KeyEpoch,
    ) -> Result<Option<(HomeKey, bool)>, Error> {
        Ok(self
            .connection()
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

    /// The concepts that a home is subscribed to.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn subscriptions(&self, home: &HomeId, epoch: KeyEpoch) -> Result<Vec<String>, Error> {
        let connection = self.connection();
        let mut select = connection.prepare_cached(
            "SELECT concept FROM subscription WHERE home = ?1 AND key_epoch = ?2 ORDER BY concept",
        )?;
        let concepts = select.query_map(params![home.0, epoch.0], |row| row.get(0))?;
        Ok(concepts.collect::<Result<_, _>>()?)
    }

    /// Notes subscriptions that are about to be sent, as leaving until the Conductor has taken them:
    /// whatever happens on the way, their handles are known.
    pub(crate) fn sending(&self, subscriptions: &[(HomeId, String, Handle)]) -> Result<(), Error> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for (_, _, handle) in subscriptions {
            transaction
                .prepare_cached("INSERT INTO leaving VALUES (?1)")?
                .execute(params![handle.0])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Ends a home's subscription to a concept, or all of its subscriptions, in every key epoch, and
    /// notes what is to be withdrawn at the Conductor. Returns how many ended.
    pub(crate) fn leave(&self, home: &HomeId, concept: Option<&str>) -> Result<usize, Error> {
        let mut connection = self.connection();
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

    /// Every home that is subscribed to anything, in any key epoch, with its concepts.
    pub(crate) fn subscribers(&self) -> Result<BTreeMap<HomeId, Vec<String>>, Error> {
        let connection = self.connection();
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

    /// Forgets the secrets of the key epochs before `epoch`: nobody asks under them any longer.
    pub(crate) fn forget_before(&self, epoch: KeyEpoch) -> Result<(), Error> {
        self.connection()
            .execute("DELETE FROM secret WHERE key_epoch < ?1", [epoch.0])?;
        Ok(())
    }

    /// The handles of entries that the Conductor may hold and should not.
    pub(crate) fn leaving(&self) -> Result<Vec<Handle>, Error> {
        let connection = self.connection();
        let mut select = connection.prepare_cached("SELECT handle FROM leaving")?;
        let handles = select.query_map([], |row| row.get(0).map(Handle))?;
        Ok(handles.collect::<Result<_, _>>()?)
    }

    /// Forgets handles that the Conductor was told.
    pub(crate) fn left(&self, handles: &[Handle]) -> Result<(), Error> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for handle in handles {
            transaction
                .prepare_cached("DELETE FROM leaving WHERE handle = ?1")?
                .execute(params![handle.0])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Notes subscriptions that the Conductor has taken, all or none. What they replace, in this key
    /// epoch or an earlier one, is to be withdrawn there.
    pub(crate) fn subscribed(
        &self,
        epoch: KeyEpoch,
        subscriptions: &[(HomeId, String, Handle)],
    ) -> Result<(), Error> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for (home, concept, handle) in subscriptions {
            for replace in [
                "INSERT INTO leaving SELECT handle FROM subscription WHERE home = ?1 AND concept = ?2",
                "DELETE FROM subscription WHERE home = ?1 AND concept = ?2",
            ] {
                transaction
                    .prepare_cached(replace)?
                    .execute(params![home.0, concept])?;
            }
            transaction
                .prepare_cached("INSERT INTO subscription VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![home.0, epoch.0, concept, handle.0])?;
            transaction
                .prepare_cached("DELETE FROM leaving WHERE handle = ?1")?
                .execute(params![handle.0])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Whether a home holds any document.
    pub(crate) fn holds(&self, home: &HomeId) -> Result<bool, Error> {
        Ok(self
            .connection()
            .prepare_cached("SELECT 1 FROM document WHERE home = ?1 LIMIT 1")?
            .exists(params![home.0])?)
    }
}

fn secrets(row: &rusqlite::Row<'_>) -> rusqlite::Result<HomeSecrets> {
    Ok(HomeSecrets {
        tag: HomeTag(row.get(0)?),
        key: HomeKey::from_bytes(row.get(1)?),
    })
}

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
    ) -> Result<Vec<Document>, Error> {
        let connection = self.connection();
        // Field names travel as parameters too: nothing from a manifest is spliced into SQL.
        let columns: String = (0..fields.len())
            .map(|i| format!(", json_extract(body, ?{})", i + 3))
            .collect();
        let mut select = connection.prepare_cached(&format!(
            "SELECT rowid{columns} FROM document WHERE doctype = ?1 AND home = ?2"
        ))?;
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
}

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
mod tests {
    use super::*;

    const PEOPLE: &str = "id,Age,name\na,40,Ann\nb,,Bob\na,41,Ann\nc,50,Cy\n";

    fn id(home: &str) -> HomeId {
        HomeId(home.into())
    }

    fn filled() -> Store {
        let store = Store::in_memory().unwrap();
        let sheet = Sheet::parse("people.csv", PEOPLE.as_bytes()).unwrap();
        let homes = sheet.homes(Some("ID")).unwrap();
        assert_eq!(
            store
                .import("People", &sheet, homes.iter().zip(0..))
                .unwrap(),
            4
        );
        store
    }

    #[test]
    fn the_named_fields_of_the_named_homes_are_read_and_nothing_else() {
        let store = filled();
        let homes = [id("c"), id("a"), id("nobody")];
        let mut read = store.documents("PEOPLE", &["AGE"], &homes).unwrap();
        read.sort_by_key(|(place, _)| *place);
        let ages: Vec<(u32, Vec<FieldValue>)> = [(0, 50), (1, 40), (1, 41)]
            .map(|(place, age)| (place, vec![FieldValue::Integer(age)]))
            .into();
        assert!(read == ages);
        let missing = store
            .documents("people", &["age", "height"], &[id("b")])
            .unwrap();
        assert!(missing == [(0, vec![FieldValue::Null, FieldValue::Null])]);
    }

    #[test]
    fn a_field_name_is_never_taken_for_sql_or_a_path() {
        let store = filled();
        for name in ["age\", '$.name", "') FROM secret --", "$", ""] {
            let read = store.documents("people", &[name], &[id("a")]).unwrap();
            assert!(read.iter().all(|(_, values)| *values == [FieldValue::Null]));
        }
    }

    #[test]
    fn a_home_keeps_its_secrets_within_an_epoch_and_changes_them_with_it() {
        let store = filled();
        let tag = |home: &str, epoch| store.secrets(&id(home), KeyEpoch(epoch)).unwrap().tag;
        assert_eq!(tag("a", 1), tag("a", 1));
        assert_ne!(tag("a", 1), tag("a", 2));
        assert_ne!(tag("a", 1), tag("b", 1));
    }

    #[test]
    fn a_home_consents_once_it_is_subscribed() {
        let store = filled();
        let (a, epoch) = (id("a"), KeyEpoch(1));
        assert!(store.asked(&a, epoch).unwrap().is_none());
        store.secrets(&a, epoch).unwrap();
        assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, false))));
        let subscription = (a.clone(), "city>lyon".to_owned(), Handle([1; 16]));
        store.subscribed(epoch, &[subscription]).unwrap();
        assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, true))));
        assert_eq!(store.subscriptions(&a, epoch).unwrap(), ["city>lyon"]);
        assert!(store.subscriptions(&a, KeyEpoch(2)).unwrap().is_empty());
    }

    #[test]
    fn a_handle_is_known_from_before_it_is_sent_until_its_withdrawal_arrived() {
        let store = filled();
        let (a, epoch) = (id("a"), KeyEpoch(1));
        store.secrets(&a, epoch).unwrap();
        let of = |concept: &str, byte| (a.clone(), concept.to_owned(), Handle([byte; 16]));
        let both = [of("home>all", 1), of("city>lyon", 2)];
        store.sending(&both).unwrap();
        assert_eq!(store.leaving().unwrap().len(), 2);
        store.subscribed(epoch, &both).unwrap();
        assert!(store.leaving().unwrap().is_empty());

        assert_eq!(store.leave(&a, Some("city>paris")).unwrap(), 0);
        assert_eq!(store.leave(&a, Some("city>lyon")).unwrap(), 1);
        assert_eq!(store.leaving().unwrap(), [Handle([2; 16])]);
        assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, true))));
        assert_eq!(store.leave(&a, None).unwrap(), 1);
        assert!(matches!(store.asked(&a, epoch).unwrap(), Some((_, false))));
        store.left(&[Handle([2; 16])]).unwrap();
        assert_eq!(store.leaving().unwrap(), [Handle([1; 16])]);
    }
    #[test]
    fn a_subscription_is_replaced_by_one_sent_again_and_ends_in_every_epoch() {
        let store = filled();
        let a = id("a");
        let of = |byte| [(a.clone(), "home>all".to_owned(), Handle([byte; 16]))];
        let mut secrets = Vec::new();
        for (epoch, handle) in [(1, 1), (1, 2), (2, 3)] {
            secrets.push(store.secrets(&a, KeyEpoch(epoch)).unwrap().tag);
            store.sending(&of(handle)).unwrap();
            store.subscribed(KeyEpoch(epoch), &of(handle)).unwrap();
        }
        assert_eq!(store.leaving().unwrap(), [Handle([1; 16]), Handle([2; 16])]);
        assert!(store.subscriptions(&a, KeyEpoch(1)).unwrap().is_empty());
        let subscribers = store.subscribers().unwrap();
        assert_eq!(subscribers[&a], ["home>all"]);
        assert_eq!(subscribers.len(), 1);

        store.forget_before(KeyEpoch(2)).unwrap();
        assert!(store.asked(&a, KeyEpoch(1)).unwrap().is_none());
        assert_eq!(store.secrets(&a, KeyEpoch(2)).unwrap().tag, secrets[2]);

        // One of before that was never sent again ends too.
        store.subscribed(KeyEpoch(1), &of(4)).unwrap();
        assert_eq!(store.leave(&a, None).unwrap(), 1);
        assert!(store.subscribers().unwrap().is_empty());
    }
}
