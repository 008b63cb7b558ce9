//! Sealed contents of an aggregator's file: offers, and each query's manifest and records.

use dispers_base::{
    encoding::{self, from_bytes, to_bytes},
    id::{Name, QueryId, Timestamp},
    keys::SigningKey,
    labels,
};
use dispers_core::{
    aggregation::{
        Part, Record,
        sealing::{Place, StorageKey},
    },
    manifest::SignedManifest,
};
use dispers_crypto::envelope::{EnvelopePublicKey, EnvelopeSecretKey, Suite};
use dispers_node::{Database, DatabaseError, rng};
use dispers_privacy::ledger::BudgetSpent;
use rusqlite::{OptionalExtension, Transaction, params};
use zeroize::Zeroizing;

use super::OpenOffer;

/// Names of the tables, each with the version of its sealed contents. They are part of the associated data.
const OFFER: &str = "offer 1";
const QUERY: &str = "query 1";
const MANIFEST: &str = "manifest 1";
const RECORD: &str = "record 1";

/// Query as it was read from the file.
pub(super) struct KeptQuery {
    pub(super) expires: Timestamp,
    pub(super) key: StorageKey,
    pub(super) manifest: SignedManifest,
    pub(super) records: Vec<(Part, Record)>,
}

/// Result of the charge within a transaction.
pub(super) type Charged = rusqlite::Result<Result<(), BudgetSpent>>;

/// The file, and the node's key that opens it.
pub(super) struct Kept {
    database: Database,
    node: StorageKey,
}

/// Returns the id under which an offer is stored.
pub(super) fn offer_id(key: &EnvelopePublicKey) -> [u8; 32] {
    encoding::hash(labels::HASH_OFFERED_KEY, &[&to_bytes(key)])
}

/// Returns the place of a sealed value, which is its associated data: a value does not open in another place.
fn place<'a>(table: &'static str, id: &'a [u8; 32], part: &'a [u8]) -> Place<'a> {
    Place { table, id, part }
}

impl Kept {
    /// Wraps the database of a node. The key that seals it is derived from the node's signing key.
    pub(super) fn new(database: Database, signing: &SigningKey) -> Self {
        Self {
            database,
            node: StorageKey::of_node(signing),
        }
    }

    /// Returns the database, for the tables that are not sealed.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Writes an offer.
    pub(super) fn put_offer(&self, offer: &OpenOffer) -> Result<(), DatabaseError> {
        let id = offer_id(&offer.secret.public());
        let seed = offer.secret.to_seed_bytes();
        let body = Zeroizing::new(to_bytes(&(offer.secret.suite(), &*seed, &offer.querier)));
        let body = self.node.seal(&body, &place(OFFER, &id, &[]), &mut rng());
        self.database.write(|rows| {
            rows.prepare_cached("INSERT INTO offer VALUES (?1, ?2, ?3)")?
                .execute(params![id, offer.expires.0 as i64, body])
        })?;
        Ok(())
    }

    /// Reads every offer.
    ///
    /// # Errors
    /// [`DatabaseError`] if one of them cannot be opened.
    pub(super) fn offers(&self) -> Result<Vec<OpenOffer>, DatabaseError> {
        let rows = self.database.write(|rows| {
            let mut select = rows.prepare("SELECT id, expires, body FROM offer")?;
            let rows = select.query_map([], |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect::<Result<Vec<(_, i64, Vec<u8>)>, _>>()
        })?;
        let opened = rows.into_iter().map(|(id, expires, body)| {
            let body = self.node.open(&body, &place(OFFER, &id, &[])).ok()?;
            let (suite, seed, querier) =
                from_bytes::<(Suite, [u8; 32], Name)>(&body, body.len(), OFFER).ok()?;
            Some(OpenOffer {
                secret: EnvelopeSecretKey::from_bytes(suite, &*Zeroizing::new(seed)).ok()?,
                querier,
                expires: Timestamp(expires as u64),
            })
        });
        let opened = opened.collect::<Option<Vec<_>>>();
        opened.ok_or_else(|| self.database.unreadable("offer"))
    }

    /// Writes a query and its charges under a fresh key. Erases the query's earlier records, and the offer that it
    /// takes. Writes nothing if `charge` reports a spent budget.
    pub(super) fn replace(
        &self,
        query: QueryId,
        expires: Timestamp,
        manifest: &SignedManifest,
        records: &[(Part, Record)],
        offer: Option<&[u8; 32]>,
        charge: impl FnOnce(&Transaction<'_>) -> Charged,
    ) -> Result<Result<StorageKey, BudgetSpent>, DatabaseError> {
        let key = StorageKey::generate(&mut rng());
        let id = &query.0;
        let wrapped = self.node.seal_key(&key, &place(QUERY, id, &[]), &mut rng());
        let manifest = key.seal(&to_bytes(manifest), &place(MANIFEST, id, &[]), &mut rng());
        let written = self.database.erase(|rows| {
            // The charge is in the transaction of the step that makes the cost count: a crash loses both or neither
            // (§9).
            if let Err(spent) = charge(rows)? {
                return Ok(Err(spent));
            }
            rows.execute("DELETE FROM offer WHERE id = ?1", [offer])?;
            rows.execute("DELETE FROM record WHERE query = ?1", [id])?;
            rows.execute(
                "INSERT OR REPLACE INTO query VALUES (?1, ?2, ?3, ?4)",
                params![id, expires.0 as i64, wrapped, manifest],
            )?;
            put_records(rows, query, &key, records).map(Ok)
        })?;
        Ok(written.map(|()| key))
    }

    /// Writes changes of a query and its charges. Returns `false` if the query is no longer stored.
    pub(super) fn update(
        &self,
        query: QueryId,
        key: &StorageKey,
        records: &[(Part, Record)],
        charge: impl FnOnce(&Transaction<'_>) -> Charged,
    ) -> Result<Result<bool, BudgetSpent>, DatabaseError> {
        self.database.write(|rows| {
            if let Err(spent) = charge(rows)? {
                return Ok(Err(spent));
            }
            let kept = rows
                .prepare_cached("SELECT 1 FROM query WHERE id = ?1")?
                .exists([query.0])?;
            if kept {
                put_records(rows, query, key, records)?;
            }
            Ok(Ok(kept))
        })
    }

    /// Reads every query.
    pub(super) fn queries(&self) -> Result<Vec<KeptQuery>, DatabaseError> {
        let mut ids = self.database.write(|rows| {
            let mut select = rows.prepare("SELECT id FROM query")?;
            let ids = select.query_map([], |row| row.get(0).map(QueryId))?;
            ids.collect::<Result<Vec<_>, _>>()
        })?;
        ids.drain(..).map(|id| self.query(id)).collect()
    }

    /// Reads one query.
    fn query(&self, query: QueryId) -> Result<KeptQuery, DatabaseError> {
        let (head, rows) = self.database.write(|rows| {
            let head = "SELECT expires, key, manifest FROM query WHERE id = ?1";
            let head = rows.query_row(head, [query.0], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            });
            let mut select = rows.prepare("SELECT part, body FROM record WHERE query = ?1")?;
            let records = select.query_map([query.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let records = records.collect::<Result<Vec<(Vec<u8>, Vec<u8>)>, _>>()?;
            Ok((head.optional()?, records))
        })?;
        let (expires, wrapped, manifest): (i64, Vec<u8>, Vec<u8>) =
            head.ok_or_else(|| self.unreadable("query"))?;
        let id = &query.0;
        let key = self
            .node
            .open_key(&wrapped, &place(QUERY, id, &[]))
            .map_err(|_| self.unreadable("query"))?;
        let manifest = key
            .open(&manifest, &place(MANIFEST, id, &[]))
            .map_err(|_| self.unreadable("query"))?;
        let manifest: SignedManifest =
            encoding::decode(&manifest).map_err(|_| self.unreadable("query"))?;
        let records = rows.into_iter().map(|(part, body)| {
            let body = key.open(&body, &place(RECORD, id, &part)).ok()?;
            Some((from_bytes(&part, 64, RECORD).ok()?, Record::new(body)))
        });
        Ok(KeptQuery {
            expires: Timestamp(expires as u64),
            manifest,
            records: records
                .collect::<Option<_>>()
                .ok_or_else(|| self.unreadable("record"))?,
            key,
        })
    }

    /// Erases a query.
    pub(super) fn remove(&self, query: QueryId) -> Result<(), DatabaseError> {
        self.database.erase(|rows| {
            rows.prepare_cached("DELETE FROM record WHERE query = ?1")?
                .execute([query.0])?;
            rows.prepare_cached("DELETE FROM query WHERE id = ?1")?
                .execute([query.0])?;
            Ok(())
        })
    }

    /// Erases offers and queries that have expired.
    pub(super) fn expire(&self, now: Timestamp) -> Result<(), DatabaseError> {
        // Clocks differ. A query is kept until every node agrees that it has expired.
        let passed = now.0.saturating_sub(Timestamp::SKEW) as i64;
        // `erase` also truncates the write-ahead log, which still has the old pages.
        self.database.erase(|rows| {
            for expired in [
                "DELETE FROM offer WHERE expires < ?1",
                "DELETE FROM record WHERE query IN (SELECT id FROM query WHERE expires < ?1)",
                "DELETE FROM query WHERE expires < ?1",
            ] {
                rows.prepare_cached(expired)?.execute([passed])?;
            }
            Ok(())
        })
    }

    /// Returns the error for a table whose contents cannot be opened.
    pub(super) fn unreadable(&self, table: &'static str) -> DatabaseError {
        self.database.unreadable(table)
    }
}

/// Seals and writes records of a query.
fn put_records(
    rows: &Transaction<'_>,
    query: QueryId,
    key: &StorageKey,
    records: &[(Part, Record)],
) -> rusqlite::Result<()> {
    let mut insert = rows.prepare_cached("INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3)")?;
    for (part, record) in records {
        let part = to_bytes(part);
        let place = place(RECORD, &query.0, &part);
        let body = key.seal(record.as_bytes(), &place, &mut rng());
        insert.execute(params![query.0, part, body])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
