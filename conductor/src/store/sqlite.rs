//! Store in one SQLite file, for a Conductor that is the only one of its network.

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use dispers_base::{
    encoding::{decode, from_bytes, to_bytes},
    id::{BatchId, KeyEpoch, Name, QueryId, Timestamp},
};
use dispers_core::{
    find::{ListSegment, ListedEntry},
    log::Leaf,
    subscription::{Upload, UploadEnvelopes},
};
use dispers_crypto::oprf::Pseudonym;
use dispers_node::{Database, DatabaseError, GivesWay, Room, Schema, now};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Lease, NewQuery, Seen, State, Store, TakenUp, name_of};
use crate::Error;

static SCHEMA: Schema = Schema {
    role: "conductor",
    application: 0x4453_434f,
    migrations: &[
        "
CREATE TABLE upload (
    number INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, key_epoch INTEGER NOT NULL,
    envelopes BLOB NOT NULL, entries INTEGER NOT NULL
);
CREATE TABLE entry (
    pseudonym BLOB NOT NULL, upload INTEGER NOT NULL, place INTEGER NOT NULL,
    ciphertext BLOB NOT NULL, PRIMARY KEY (pseudonym, upload, place)
) WITHOUT ROWID;
CREATE TABLE withdrawal (
    hash BLOB PRIMARY KEY, pseudonym BLOB NOT NULL, upload INTEGER NOT NULL, place INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE query (
    id BLOB PRIMARY KEY, querier TEXT NOT NULL, expires INTEGER NOT NULL, manifest BLOB NOT NULL,
    profile BLOB NOT NULL, pseudonyms BLOB NOT NULL, record BLOB NOT NULL, status BLOB NOT NULL,
    totals BLOB, ended INTEGER NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0, holder TEXT, held_until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE batch (
    query BLOB NOT NULL, number INTEGER NOT NULL, message BLOB NOT NULL,
    PRIMARY KEY (query, number)
);
",
        "
ALTER TABLE upload ADD COLUMN partition INTEGER NOT NULL DEFAULT 0;
",
        "
CREATE TABLE log (
    number INTEGER NOT NULL, place INTEGER NOT NULL, query BLOB NOT NULL, leaf BLOB NOT NULL,
    manifest BLOB NOT NULL, PRIMARY KEY (number, place), UNIQUE (number, query)
);
CREATE TABLE head (number INTEGER PRIMARY KEY, size INTEGER NOT NULL, head BLOB NOT NULL);
",
    ],
    damaged: "move the file away; stacks subscribe again, and queries are submitted again",
};

/// Size of SQLite's page cache, in KiB. Withdrawal hashes are random, so their index is written in random places.
const CACHE: i64 = 64 * 1024;

/// Store in a SQLite file. Only one process may have the file open.
pub struct Sqlite(Arc<Database>);

impl Sqlite {
    /// Opens the file, or creates it if it does not exist.
    ///
    /// # Errors
    /// [`DatabaseError`], with what the operator has to do.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::with(Database::open(path, &SCHEMA)?)
    }

    /// Creates a store that ends with the process.
    ///
    /// # Errors
    /// [`DatabaseError`] if SQLite does not start.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        Self::with(Database::in_memory(&SCHEMA)?)
    }

    /// Sets up a connection to the database.
    fn with(database: Database) -> Result<Self, DatabaseError> {
        // SQLite reads a negative size as KiB.
        database.read(|file| file.pragma_update(None, "cache_size", -CACHE))?;
        Ok(Self(Arc::new(database)))
    }

    /// Runs `work` on the database outside a write transaction.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.0.clone();
        run(move || database.read(work)).await
    }

    /// Runs `work` in a write transaction.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.0.clone();
        run(move || database.write(work)).await
    }
}

/// Runs blocking database work outside the executor's threads.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| Error::Storage("a computation failed".into()))?;
    done.map_err(|error| Error::Storage(error.to_string()))
}

/// Returns the time at which a lease ends that is taken now. Only one process has the file, so its clock decides.
fn until(lease: &Lease) -> i64 {
    now().plus(lease.length.as_millis() as u64).0 as i64
}

/// Inserts an upload with its entries. Does nothing if the upload is stored already.
fn insert(rows: &Transaction<'_>, upload: &Upload) -> rusqlite::Result<()> {
    let envelopes = to_bytes(&upload.envelopes);
    let name = name_of(&envelopes);
    let new = rows.execute(
        "INSERT OR IGNORE INTO upload (name, key_epoch, partition, envelopes, entries)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            name,
            upload.key_epoch.0,
            upload.partition,
            envelopes,
            upload.entries.len() as i64
        ],
    )?;
    // > C takes an upload once, and refuses the same bytes again: that would bring back what was withdrawn (§5).
    if new == 0 {
        return Ok(());
    }
    let number = rows.last_insert_rowid();
    let mut entry = rows.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4)")?;
    // A hash that is stored keeps its entry, so that no other upload can redirect a withdrawal.
    let mut withdrawal =
        rows.prepare_cached("INSERT OR IGNORE INTO withdrawal VALUES (?1, ?2, ?3, ?4)")?;
    for one in &upload.entries {
        entry.execute(params![one.pseudonym.0, number, one.index, one.ciphertext])?;
        withdrawal.execute(params![one.withdrawal, one.pseudonym.0, number, one.index])?;
    }
    Ok(())
}

/// Key epoch, encoded envelopes, and entries of one upload.
type Listed = (u32, Vec<u8>, Vec<ListedEntry>);

/// Reads the entries of an upload under `pseudonyms`, in their order. Returns `None` if there are none.
fn segment(
    rows: &Connection,
    upload: i64,
    pseudonyms: &[Pseudonym],
) -> rusqlite::Result<Option<Listed>> {
    let mut select = rows.prepare_cached(
        "SELECT place, ciphertext FROM entry WHERE pseudonym = ?1 AND upload = ?2 ORDER BY place",
    )?;
    let mut entries = Vec::new();
    // Entries are read by list, in the order of `pseudonyms`: the primary key begins with the pseudonym.
    for pseudonym in pseudonyms {
        let found = select.query_map(params![pseudonym.0, upload], |row| {
            Ok(ListedEntry {
                pseudonym: *pseudonym,
                index: row.get(0)?,
                ciphertext: row.get(1)?,
            })
        })?;
        for entry in found {
            entries.push(entry?);
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let (epoch, envelopes) = rows
        .prepare_cached("SELECT key_epoch, envelopes FROM upload WHERE number = ?1")?
        .query_row([upload], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some((epoch, envelopes, entries)))
}

/// Counts the stored queries, all and those of `querier`.
fn room(rows: &Transaction<'_>, querier: &str) -> rusqlite::Result<Room> {
    let count = "SELECT COUNT(*) FILTER (WHERE NOT ended), COUNT(*) FILTER (WHERE ended),
        COUNT(*) FILTER (WHERE NOT ended AND querier = ?1),
        COUNT(*) FILTER (WHERE ended AND querier = ?1) FROM query";
    rows.prepare_cached(count)?.query_row([querier], |row| {
        Ok(Room {
            running: number(row, 0)?,
            over: number(row, 1)?,
            own_running: number(row, 2)?,
            own_over: number(row, 3)?,
        })
    })
}

fn number(row: &Row<'_>, place: usize) -> rusqlite::Result<usize> {
    row.get::<_, i64>(place).map(|count| count as usize)
}

/// Forgets the ended query that expires first, of `querier` or of all queriers.
fn forget(rows: &Transaction<'_>, querier: Option<&str>) -> rusqlite::Result<()> {
    let delete = "DELETE FROM query WHERE id = (SELECT id FROM query
        WHERE ended AND querier = COALESCE(?1, querier) ORDER BY expires LIMIT 1)";
    rows.prepare_cached(delete)?.execute([querier])?;
    Ok(())
}

/// Reads a query that is taken up, with its encoded pseudonyms.
fn taken_up(row: &Row<'_>) -> rusqlite::Result<(Vec<u8>, TakenUp)> {
    Ok((
        row.get(3)?,
        TakenUp {
            manifest: row.get(1)?,
            profiles: row.get(2)?,
            pseudonyms: Vec::new(),
            record: row.get(4)?,
            version: row.get::<_, i64>(5)? as u64,
        },
    ))
}

#[tonic::async_trait]
impl Store for Sqlite {
    async fn add(&self, upload: Upload, max_entries: usize) -> Result<(), Error> {
        let full = self
            .write(move |rows| {
                // Withdrawn entries are subtracted, so that withdrawals make room.
                let kept: i64 =
                    rows.query_one("SELECT COALESCE(SUM(entries), 0) FROM upload", [], |row| {
                        row.get(0)
                    })?;
                if kept as usize + upload.entries.len() > max_entries {
                    return Ok(true);
                }
                insert(rows, &upload).map(|()| false)
            })
            .await?;
        if full {
            return Err(Error::Full("subscriptions"));
        }
        Ok(())
    }

    async fn withdraw(&self, hashes: Vec<[u8; 32]>) -> Result<u32, Error> {
        self.write(move |rows| {
            let mut withdrawn = 0;
            for hash in hashes {
                // The row of the hash is removed with the entry. A repeated withdrawal finds no row, and counts
                // nothing twice.
                let place: Option<([u8; 32], i64, u32)> = rows
                    .prepare_cached(
                        "DELETE FROM withdrawal WHERE hash = ?1 RETURNING pseudonym, upload, place",
                    )?
                    .query_row([hash], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .optional()?;
                let Some((pseudonym, upload, place)) = place else {
                    continue;
                };
                rows.prepare_cached(
                    "DELETE FROM entry WHERE pseudonym = ?1 AND upload = ?2 AND place = ?3",
                )?
                .execute(params![pseudonym, upload, place])?;
                rows.prepare_cached("UPDATE upload SET entries = entries - 1 WHERE number = ?1")?
                    .execute([upload])?;
                withdrawn += 1;
            }
            Ok(withdrawn)
        })
        .await
    }

    async fn uploads(&self, epoch: KeyEpoch, partition: u16) -> Result<Vec<i64>, Error> {
        self.read(move |rows| {
            rows.prepare_cached(
                "SELECT number FROM upload WHERE key_epoch = ?1 AND partition = ?2 ORDER BY number",
            )?
            .query_map(params![epoch.0, partition], |row| row.get(0))?
            .collect()
        })
        .await
    }

    async fn segment(&self, upload: i64, pseudonyms: &[Pseudonym]) -> Result<Vec<u8>, Error> {
        let pseudonyms = pseudonyms.to_vec();
        let found = self
            .read(move |rows| segment(rows, upload, &pseudonyms))
            .await?;
        let Some((epoch, envelopes, entries)) = found else {
            return Ok(Vec::new());
        };
        let envelopes: UploadEnvelopes = decode(&envelopes)?;
        Ok(to_bytes(&ListSegment {
            key_epoch: KeyEpoch(epoch),
            envelopes,
            entries,
        }))
    }

    async fn begin(
        &self,
        query: NewQuery,
        lease: &Lease,
        max_queries: usize,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.expire(now).await?;
        let lease = lease.clone();
        self.write(move |rows| {
            let is_stored = rows
                .prepare_cached("SELECT 1 FROM query WHERE id = ?1")?
                .exists([query.id.0])?;
            if is_stored {
                return Ok(Ok(false));
            }
            match room(rows, query.querier.as_str())?.admit(max_queries) {
                Ok(GivesWay::Nobody) => {}
                Ok(gives_way) => {
                    let own = gives_way == GivesWay::Own;
                    let querier = own.then(|| query.querier.as_str());
                    forget(rows, querier)?;
                }
                Err(none) => return Ok(Err(none.into())),
            }
            rows.execute(
                "INSERT INTO query (id, querier, expires, manifest, profile, pseudonyms,
                     record, status, totals, ended, holder, held_until)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                params![
                    query.id.0,
                    query.querier.as_str(),
                    query.expires.0 as i64,
                    query.manifest,
                    query.profiles,
                    to_bytes(&query.pseudonyms),
                    query.state.record,
                    query.state.status,
                    query.state.totals,
                    query.state.ended,
                    lease.holder,
                    until(&lease),
                ],
            )?;
            Ok(Ok(true))
        })
        .await?
    }

    async fn save(
        &self,
        query: QueryId,
        holder: &str,
        version: u64,
        state: State,
    ) -> Result<(), Error> {
        let holder = holder.to_owned();
        let saved = self
            .write(move |rows| {
                // The condition on holder and version makes a process fail here that lost its lease without noticing
                // (§8).
                let saved = rows
                    .prepare_cached(
                        "UPDATE query SET record = ?4, status = ?5, totals = ?6, ended = ?7,
                         version = version + 1 WHERE id = ?1 AND holder = ?2 AND version = ?3",
                    )?
                    .execute(params![
                        query.0,
                        holder,
                        version as i64,
                        state.record,
                        state.status,
                        state.totals,
                        state.ended,
                    ])?;
                // An ended query asks nobody, and its batches take the most space.
                if saved == 1 && state.ended {
                    rows.execute("DELETE FROM batch WHERE query = ?1", [query.0])?;
                }
                Ok(saved)
            })
            .await?;
        if saved == 1 {
            return Ok(());
        }
        Err(Error::TakenOver)
    }

    async fn keep(
        &self,
        query: QueryId,
        holder: &str,
        batch: BatchId,
        message: Vec<u8>,
    ) -> Result<(), Error> {
        let holder = holder.to_owned();
        let kept = self
            .write(move |rows| {
                // The holder is checked in the statement that inserts, so that no process writes after it lost the
                // lease.
                rows.prepare_cached(
                    "INSERT OR REPLACE INTO batch
                     SELECT id, ?3, ?4 FROM query WHERE id = ?1 AND holder = ?2",
                )?
                .execute(params![query.0, holder, batch.to_i64(), message])
            })
            .await?;
        if kept == 1 {
            return Ok(());
        }
        Err(Error::TakenOver)
    }

    async fn batch(&self, query: QueryId, batch: BatchId) -> Result<Vec<u8>, Error> {
        let message: Option<Vec<u8>> = self
            .read(move |rows| {
                rows.prepare_cached("SELECT message FROM batch WHERE query = ?1 AND number = ?2")?
                    .query_row(params![query.0, batch.to_i64()], |row| row.get(0))
                    .optional()
            })
            .await?;
        message.ok_or(Error::UnknownQuery)
    }

    async fn take_up(&self, lease: &Lease) -> Result<Option<TakenUp>, Error> {
        let lease = lease.clone();
        let taken = self
            .write(move |rows| {
                let taken = rows
                    .prepare_cached(
                        "SELECT id, manifest, profile, pseudonyms, record, version FROM query
                         WHERE ended = 0 AND (held_until <= ?1 OR holder IS NULL) LIMIT 1",
                    )?
                    .query_row([now().0 as i64], |row| {
                        Ok((row.get::<_, [u8; 32]>(0)?, taken_up(row)?))
                    })
                    .optional()?;
                if let Some((id, _)) = &taken {
                    rows.execute(
                        "UPDATE query SET holder = ?2, held_until = ?3 WHERE id = ?1",
                        params![id, lease.holder, until(&lease)],
                    )?;
                }
                Ok(taken.map(|(_, taken)| taken))
            })
            .await?;
        let Some((pseudonyms, mut taken)) = taken else {
            return Ok(None);
        };
        taken.pseudonyms = from_bytes(&pseudonyms, 1 << 20, "pseudonyms")?;
        Ok(Some(taken))
    }

    async fn renew(&self, lease: &Lease, driven: &[QueryId]) -> Result<Vec<QueryId>, Error> {
        let (lease, driven) = (lease.clone(), driven.to_vec());
        self.write(move |rows| {
            // Only the given queries are renewed. A query that this holder has but does not drive is taken up again.
            let mut renew = rows.prepare_cached(
                "UPDATE query SET held_until = ?3 WHERE id = ?1 AND holder = ?2 AND ended = 0
                 RETURNING cancelled",
            )?;
            let mut cancelled = Vec::new();
            for query in driven {
                let renewed = renew
                    .query_row(params![query.0, lease.holder, until(&lease)], |row| {
                        row.get(0)
                    })
                    .optional()?;
                cancelled.extend((renewed == Some(true)).then_some(query));
            }
            Ok(cancelled)
        })
        .await
    }

    async fn give_up(&self, holder: &str) -> Result<(), Error> {
        let holder = holder.to_owned();
        self.write(move |rows| {
            rows.execute("UPDATE query SET holder = NULL WHERE holder = ?1", [holder])?;
            Ok(())
        })
        .await
    }

    async fn cancel(&self, query: QueryId) -> Result<(), Error> {
        self.write(move |rows| {
            rows.execute("UPDATE query SET cancelled = 1 WHERE id = ?1", [query.0])?;
            Ok(())
        })
        .await
    }

    async fn see(&self, query: QueryId) -> Result<Seen, Error> {
        let seen: Option<(String, Vec<u8>, Option<Vec<u8>>, bool)> = self
            .read(move |rows| {
                rows.prepare_cached(
                    "SELECT querier, status, totals, ended FROM query WHERE id = ?1",
                )?
                .query_row([query.0], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()
            })
            .await?;
        let (querier, status, totals, ended) = seen.ok_or(Error::UnknownQuery)?;
        Ok(Seen {
            querier: Name::new(&querier).map_err(|error| Error::Storage(error.to_string()))?,
            status,
            totals,
            ended,
        })
    }

    async fn append(
        &self,
        log: u32,
        query: QueryId,
        leaf: Leaf,
        manifest: Vec<u8>,
    ) -> Result<u64, Error> {
        // A manifest has one place: submitting again, or going on after a restart, returns the place that it has.
        self.write(move |rows| {
            rows.prepare_cached(
                "INSERT OR IGNORE INTO log
                 SELECT ?1, COALESCE(MAX(place) + 1, 0), ?2, ?3, ?4 FROM log WHERE number = ?1",
            )?
            .execute(params![log, query.0, leaf, manifest])?;
            rows.prepare_cached("SELECT place FROM log WHERE number = ?1 AND query = ?2")?
                .query_row(params![log, query.0], |row| row.get::<_, i64>(0))
        })
        .await
        .map(|place| place as u64)
    }

    async fn leaves(&self, log: u32, from: u64, count: u64) -> Result<Vec<Leaf>, Error> {
        self.read(move |rows| {
            rows.prepare_cached(
                "SELECT leaf FROM log WHERE number = ?3 AND place >= ?1 ORDER BY place LIMIT ?2",
            )?
            .query_map([from as i64, count as i64, log.into()], |row| row.get(0))?
            .collect()
        })
        .await
    }

    async fn logged(&self, log: u32, from: u64, count: u64) -> Result<Vec<Vec<u8>>, Error> {
        self.read(move |rows| {
            rows.prepare_cached(
                "SELECT manifest FROM log WHERE number = ?3 AND place >= ?1 ORDER BY place LIMIT ?2",
            )?
            .query_map([from as i64, count as i64, log.into()], |row| row.get(0))?
            .collect()
        })
        .await
    }

    async fn keep_head(&self, log: u32, size: u64, head: Vec<u8>) -> Result<(), Error> {
        // A head of the same size replaces the stored one: it was signed later, and auditors refuse old heads (§16).
        self.write(move |rows| {
            rows.execute(
                "INSERT INTO head VALUES (?3, ?1, ?2) ON CONFLICT (number) DO UPDATE
                 SET size = excluded.size, head = excluded.head WHERE size <= excluded.size",
                params![size as i64, head, log],
            )
        })
        .await
        .map(|_| ())
    }

    async fn head(&self, log: u32) -> Result<Option<Vec<u8>>, Error> {
        self.read(move |rows| {
            rows.query_row("SELECT head FROM head WHERE number = ?1", [log], |row| {
                row.get(0)
            })
            .optional()
        })
        .await
    }

    async fn expire(&self, now: Timestamp) -> Result<(), Error> {
        // Clocks differ. A query is kept until every node agrees that it has expired.
        self.write(move |rows| {
            let past = now.0.saturating_sub(Timestamp::SKEW) as i64;
            rows.prepare_cached(
                "DELETE FROM batch WHERE query IN (SELECT id FROM query WHERE expires < ?1)",
            )?
            .execute([past])?;
            rows.prepare_cached("DELETE FROM query WHERE expires < ?1")?
                .execute([past])?;
            Ok(())
        })
        .await
    }
}
