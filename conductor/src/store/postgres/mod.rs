//! Store in one PostgreSQL database, which several Conductors share.

mod connect;
mod error;
mod schema;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use deadpool_postgres::{Client, Pool};
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
use dispers_node::{GivesWay, Room};
use tokio::time::timeout;
use tokio_postgres::{Row, types::ToSql};

pub use connect::Settings;
pub use error::PostgresError;

use super::{Lease, NewQuery, Seen, State, Store, TakenUp, name_of};
use crate::Error;

/// Longest time that one call may take.
const CALL: Duration = Duration::from_secs(60);
/// Advisory lock for changes of the lists. It makes the count of entries exact, and keeps two changes from waiting for
/// each other's rows in a circle.
const LISTS: i64 = 0x4453_434f_0000_0001;
/// Advisory lock for beginning a query, which makes the count of queries exact.
const QUERIES: i64 = 0x4453_434f_0000_0002;
/// Advisory lock for appending to the log.
const LOG: i64 = 0x4453_434f_0000_0003;

/// Store that Conductors share. Leases end by the database's clock.
pub struct Postgres(Pool);

impl Postgres {
    /// Connects, and brings the database to the newest version that this program knows.
    ///
    /// # Errors
    /// [`PostgresError`], with what the operator has to do.
    pub async fn open(settings: &Settings) -> Result<Self, PostgresError> {
        let (pool, server) = settings.pool()?;
        schema::migrate(&pool, &server).await?;
        Ok(Self(pool))
    }

    /// Returns a connection from the pool.
    async fn client(&self) -> Result<Client, Error> {
        Ok(self.0.get().await?)
    }
}

/// Limits a call to [`CALL`]. A transaction that is cut short is rolled back.
async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = timeout(CALL, call).await;
    done.unwrap_or_else(|_| Err(Error::Away("it did not answer in time".into())))
}

/// Runs one statement. Returns the number of rows that it changed.
async fn execute(client: &Client, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, values).await?)
}

/// Runs one statement. Returns its rows.
async fn rows(
    client: &Client,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, values).await?)
}

/// Runs one statement. Returns its first row.
async fn row(
    client: &Client,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>, Error> {
    Ok(rows(client, sql, values).await?.into_iter().next())
}

/// Returns a lease's length in milliseconds.
fn length(lease: &Lease) -> f64 {
    lease.length.as_millis() as f64
}

/// Converts a number from the database to a narrower type.
fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T, Error> {
    let number = T::try_from(number);
    number.map_err(|_| Error::Storage("a number in the database is out of bounds".into()))
}

/// Converts a query id from the database.
fn query_id(bytes: Vec<u8>) -> Result<QueryId, Error> {
    let id = <[u8; 32]>::try_from(bytes);
    let id = id.map_err(|_| Error::Storage("an id in the database is malformed".into()));
    id.map(QueryId)
}

#[tonic::async_trait]
impl Store for Postgres {
    async fn add(&self, upload: Upload, max_entries: usize) -> Result<(), Error> {
        let envelopes = to_bytes(&upload.envelopes);
        let name = name_of(&envelopes);
        let count = upload.entries.len() as i64;
        let entries = upload.entries.iter();
        let pseudonyms: Vec<&[u8]> = entries
            .clone()
            .map(|entry| &entry.pseudonym.0[..])
            .collect();
        let places: Vec<i64> = entries.clone().map(|entry| entry.index.into()).collect();
        let ciphertexts: Vec<&[u8]> = entries.clone().map(|entry| &entry.ciphertext[..]).collect();
        let hashes: Vec<&[u8]> = entries.map(|entry| &entry.withdrawal[..]).collect();
        within(async {
            let mut client = self.client().await?;
            let change = client.transaction().await?;
            change
                .execute("SELECT pg_advisory_xact_lock($1)", &[&LISTS])
                .await?;
            let entries = "SELECT COALESCE(SUM(entries), 0)::bigint FROM upload";
            let entries: i64 = change
                .query_one(&change.prepare_cached(entries).await?, &[])
                .await?
                .try_get(0)?;
            if entries.saturating_add(count) > max_entries as i64 {
                return Err(Error::Full("subscriptions"));
            }
            let insert = "INSERT INTO upload (name, key_epoch, part, envelopes, entries)
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING RETURNING number";
            let insert = change.prepare_cached(insert).await?;
            let (epoch, part) = (i64::from(upload.key_epoch.0), i32::from(upload.partition));
            let new = change
                .query_opt(&insert, &[&&name[..], &epoch, &part, &envelopes, &count])
                .await?;
            // > C takes an upload once, and refuses the same bytes again: that would bring back what was withdrawn
            // (§5).
            let Some(new) = new else {
                return Ok(());
            };
            let number: i64 = new.try_get(0)?;
            // Three arrays make one statement of all entries, instead of one round trip for each of up to 200,000.
            let insert = "INSERT INTO entry SELECT p, $1, n, c
                FROM unnest($2::bytea[], $3::bigint[], $4::bytea[]) AS one (p, n, c)";
            let insert = change.prepare_cached(insert).await?;
            change
                .execute(&insert, &[&number, &pseudonyms, &places, &ciphertexts])
                .await?;
            // A hash that is stored keeps its entry, so that no other upload can redirect a withdrawal.
            let insert = "INSERT INTO withdrawal SELECT h, p, $1, n
                FROM unnest($2::bytea[], $3::bytea[], $4::bigint[]) AS one (h, p, n)
                ON CONFLICT DO NOTHING";
            let insert = change.prepare_cached(insert).await?;
            change
                .execute(&insert, &[&number, &hashes, &pseudonyms, &places])
                .await?;
            Ok(change.commit().await?)
        })
        .await
    }

    async fn withdraw(&self, hashes: Vec<[u8; 32]>) -> Result<u32, Error> {
        let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
        within(async {
            let mut client = self.client().await?;
            let change = client.transaction().await?;
            change
                .execute("SELECT pg_advisory_xact_lock($1)", &[&LISTS])
                .await?;
            // One statement removes the hashes, the entries and their number, so that a repeated withdrawal counts
            // nothing twice.
            let withdraw = "WITH gone AS (
                    DELETE FROM withdrawal WHERE hash = ANY($1)
                    RETURNING pseudonym, upload, place
                ), entries AS (
                    DELETE FROM entry USING gone WHERE entry.pseudonym = gone.pseudonym
                    AND entry.upload = gone.upload AND entry.place = gone.place
                ), counted AS (
                    UPDATE upload SET entries = upload.entries - each.lost FROM
                    (SELECT upload, COUNT(*) AS lost FROM gone GROUP BY upload) AS each
                    WHERE upload.number = each.upload
                ) SELECT COUNT(*) FROM gone";
            let withdraw = change.prepare_cached(withdraw).await?;
            let withdrawn = change.query_one(&withdraw, &[&hashes]).await?.try_get(0)?;
            change.commit().await?;
            narrow(withdrawn)
        })
        .await
    }

    async fn uploads(&self, epoch: KeyEpoch, partition: u16) -> Result<Vec<i64>, Error> {
        let (epoch, part) = (i64::from(epoch.0), i32::from(partition));
        let sql = "SELECT number FROM upload WHERE key_epoch = $1 AND part = $2 ORDER BY number";
        within(async {
            let found = rows(&self.client().await?, sql, &[&epoch, &part]).await?;
            let numbers = found.iter().map(|row| row.try_get(0));
            Ok(numbers.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn segment(&self, upload: i64, pseudonyms: &[Pseudonym]) -> Result<Vec<u8>, Error> {
        let wanted: Vec<&[u8]> = pseudonyms.iter().map(|one| &one.0[..]).collect();
        let sql = "SELECT pseudonym, place, ciphertext FROM entry
            WHERE pseudonym = ANY($1) AND upload = $2";
        let of = "SELECT key_epoch, envelopes FROM upload WHERE number = $1";
        within(async {
            let client = self.client().await?;
            let found = rows(&client, sql, &[&wanted, &upload]).await?;
            if found.is_empty() {
                return Ok(Vec::new());
            }
            // The rows come in any order. Segments have the same order in every store: by list, then by place.
            let order: HashMap<&[u8], usize> = wanted.iter().copied().zip(0..).collect();
            let mut entries = Vec::with_capacity(found.len());
            for row in found {
                let pseudonym: &[u8] = row.try_get(0)?;
                let Some(&order) = order.get(pseudonym) else {
                    continue;
                };
                let entry = ListedEntry {
                    pseudonym: pseudonyms[order],
                    index: narrow(row.try_get(1)?)?,
                    ciphertext: row.try_get(2)?,
                };
                entries.push((order, entry));
            }
            entries.sort_by_key(|(order, entry)| (*order, entry.index));
            let Some(of) = row(&client, of, &[&upload]).await? else {
                return Ok(Vec::new());
            };
            let envelopes: UploadEnvelopes = decode(of.try_get(1)?)?;
            Ok(to_bytes(&ListSegment {
                key_epoch: KeyEpoch(narrow(of.try_get(0)?)?),
                envelopes,
                entries: entries.into_iter().map(|(_, entry)| entry).collect(),
            }))
        })
        .await
    }

    async fn begin(
        &self,
        query: NewQuery,
        lease: &Lease,
        max_queries: usize,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.expire(now).await?;
        let (id, expires) = (&query.id.0[..], query.expires.0 as i64);
        let (state, pseudonyms) = (&query.state, to_bytes(&query.pseudonyms));
        within(async {
            let mut client = self.client().await?;
            let change = client.transaction().await?;
            change
                .execute("SELECT pg_advisory_xact_lock($1)", &[&QUERIES])
                .await?;
            let querier = query.querier.as_str();
            // The query itself is counted in the same statement, since a submission may be repeated after a lost
            // answer.
            let counts = "SELECT COUNT(*) FILTER (WHERE id = $1),
                COUNT(*) FILTER (WHERE NOT ended), COUNT(*) FILTER (WHERE ended),
                COUNT(*) FILTER (WHERE NOT ended AND querier = $2),
                COUNT(*) FILTER (WHERE ended AND querier = $2) FROM query";
            let counts = change.prepare_cached(counts).await?;
            let counts = change.query_one(&counts, &[&id, &querier]).await?;
            if count(&counts, 0)? > 0 {
                return Ok(false);
            }
            let room = Room {
                running: count(&counts, 1)?,
                over: count(&counts, 2)?,
                own_running: count(&counts, 3)?,
                own_over: count(&counts, 4)?,
            };
            let gives_way = room.admit(max_queries).map_err(Error::from)?;
            if gives_way != GivesWay::Nobody {
                // NULL stands for all queriers.
                let owner = (gives_way == GivesWay::Own).then_some(querier);
                let forget = "DELETE FROM query WHERE id = (SELECT id FROM query
                    WHERE ended AND querier = COALESCE($1, querier) ORDER BY expires LIMIT 1)";
                let forget = change.prepare_cached(forget).await?;
                change.execute(&forget, &[&owner]).await?;
            }
            let insert = "INSERT INTO query (id, querier, expires, manifest, profiles, pseudonyms,
                record, status, totals, ended, holder, held_until)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                    clock_timestamp() + $12 * interval '1 millisecond')";
            let insert = change.prepare_cached(insert).await?;
            change
                .execute(
                    &insert,
                    &[
                        &id,
                        &query.querier.as_str(),
                        &expires,
                        &query.manifest,
                        &query.profiles,
                        &pseudonyms,
                        &state.record,
                        &state.status,
                        &state.totals,
                        &state.ended,
                        &lease.holder,
                        &length(lease),
                    ],
                )
                .await?;
            change.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn save(
        &self,
        query: QueryId,
        holder: &str,
        version: u64,
        state: State,
    ) -> Result<(), Error> {
        let (id, version) = (&query.0[..], version as i64);
        let State {
            record,
            status,
            totals,
            ended,
        } = state;
        within(async {
            let mut client = self.client().await?;
            let change = client.transaction().await?;
            // The condition on holder and version makes a process fail here that lost its lease without noticing (§8).
            let save = "UPDATE query SET record = $4, status = $5, totals = $6, ended = $7,
                version = version + 1 WHERE id = $1 AND holder = $2 AND version = $3";
            let save = change.prepare_cached(save).await?;
            let saved = change
                .execute(
                    &save,
                    &[&id, &holder, &version, &record, &status, &totals, &ended],
                )
                .await?;
            if saved == 1 && ended {
                // An ended query asks nobody, and its batches take the most space.
                let batches = change
                    .prepare_cached("DELETE FROM batch WHERE query = $1")
                    .await?;
                change.execute(&batches, &[&id]).await?;
            }
            change.commit().await?;
            if saved == 1 {
                return Ok(());
            }
            // If the connection broke after an earlier call had saved this state, the caller repeats that call. Then
            // this state is stored already, under the next version.
            let saved = "SELECT 1 FROM query
                WHERE id = $1 AND holder = $2 AND version = $3::bigint + 1 AND record = $4";
            match row(&client, saved, &[&id, &holder, &version, &record]).await? {
                Some(_) => Ok(()),
                None => Err(Error::TakenOver),
            }
        })
        .await
    }

    async fn keep(
        &self,
        query: QueryId,
        holder: &str,
        batch: BatchId,
        message: Vec<u8>,
    ) -> Result<(), Error> {
        // The holder is checked in the statement that inserts, so that no process writes after it lost the lease.
        let sql = "INSERT INTO batch SELECT id, $3, $4 FROM query WHERE id = $1 AND holder = $2
            ON CONFLICT (query, number) DO UPDATE SET message = excluded.message";
        let values: [&(dyn ToSql + Sync); 4] = [&&query.0[..], &holder, &batch.to_i64(), &message];
        match within(async { execute(&self.client().await?, sql, &values).await }).await? {
            1 => Ok(()),
            _ => Err(Error::TakenOver),
        }
    }

    async fn batch(&self, query: QueryId, batch: BatchId) -> Result<Vec<u8>, Error> {
        let sql = "SELECT message FROM batch WHERE query = $1 AND number = $2";
        let values: [&(dyn ToSql + Sync); 2] = [&&query.0[..], &batch.to_i64()];
        let found = within(async { row(&self.client().await?, sql, &values).await }).await?;
        Ok(found.ok_or(Error::UnknownQuery)?.try_get(0)?)
    }

    async fn take_up(&self, lease: &Lease) -> Result<Option<TakenUp>, Error> {
        // A query that another Conductor is taking up at this moment is skipped, so that neither waits for the other.
        let sql = "UPDATE query
            SET holder = $1, held_until = clock_timestamp() + $2 * interval '1 millisecond'
            WHERE id = (
                SELECT id FROM query
                WHERE NOT ended AND (held_until <= clock_timestamp() OR holder IS NULL)
                LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING manifest, profiles, pseudonyms, record, version";
        let values: [&(dyn ToSql + Sync); 2] = [&lease.holder, &length(lease)];
        let taken = within(async { row(&self.client().await?, sql, &values).await }).await?;
        let Some(taken) = taken else {
            return Ok(None);
        };
        Ok(Some(TakenUp {
            manifest: taken.try_get(0)?,
            profiles: taken.try_get(1)?,
            pseudonyms: from_bytes(taken.try_get(2)?, 1 << 20, "pseudonyms")?,
            record: taken.try_get(3)?,
            version: narrow(taken.try_get(4)?)?,
        }))
    }

    async fn renew(&self, lease: &Lease, driven: &[QueryId]) -> Result<Vec<QueryId>, Error> {
        let driven: Vec<&[u8]> = driven.iter().map(|query| &query.0[..]).collect();
        // Only the given queries are renewed. A query that this holder has but does not drive is taken up again.
        let sql = "UPDATE query SET held_until = clock_timestamp() + $2 * interval '1 millisecond'
            WHERE id = ANY($3) AND holder = $1 AND NOT ended RETURNING id, cancelled";
        let values: [&(dyn ToSql + Sync); 3] = [&lease.holder, &length(lease), &driven];
        let renewed = within(async { rows(&self.client().await?, sql, &values).await }).await?;
        let mut cancelled = Vec::new();
        for row in renewed {
            if row.try_get(1)? {
                cancelled.push(query_id(row.try_get(0)?)?);
            }
        }
        Ok(cancelled)
    }

    async fn give_up(&self, holder: &str) -> Result<(), Error> {
        let sql = "UPDATE query SET holder = NULL WHERE holder = $1";
        within(async { execute(&self.client().await?, sql, &[&holder]).await }).await?;
        Ok(())
    }

    async fn cancel(&self, query: QueryId) -> Result<(), Error> {
        let sql = "UPDATE query SET cancelled = TRUE WHERE id = $1";
        let id = &query.0[..];
        within(async { execute(&self.client().await?, sql, &[&id]).await }).await?;
        Ok(())
    }

    async fn see(&self, query: QueryId) -> Result<Seen, Error> {
        let sql = "SELECT querier, status, totals, ended FROM query WHERE id = $1";
        let id = &query.0[..];
        let seen = within(async { row(&self.client().await?, sql, &[&id]).await }).await?;
        let seen = seen.ok_or(Error::UnknownQuery)?;
        let querier = Name::new(seen.try_get(0)?);
        Ok(Seen {
            querier: querier.map_err(|error| Error::Storage(error.to_string()))?,
            status: seen.try_get(1)?,
            totals: seen.try_get(2)?,
            ended: seen.try_get(3)?,
        })
    }

    async fn append(
        &self,
        log: u32,
        query: QueryId,
        leaf: Leaf,
        manifest: Vec<u8>,
    ) -> Result<u64, Error> {
        let (id, leaf, number) = (&query.0[..], &leaf[..], i64::from(log));
        within(async {
            let mut client = self.client().await?;
            let change = client.transaction().await?;
            // Appends happen one after the other, so that places have no gaps.
            change
                .execute("SELECT pg_advisory_xact_lock($1)", &[&LOG])
                .await?;
            // A manifest has one place: submitting again, or going on after a restart, returns the place that it has.
            let append = "INSERT INTO log
                SELECT $4, COALESCE(MAX(place) + 1, 0), $1, $2, $3 FROM log WHERE number = $4
                ON CONFLICT (number, query) DO NOTHING";
            let append = change.prepare_cached(append).await?;
            change
                .execute(&append, &[&id, &leaf, &manifest, &number])
                .await?;
            let place = "SELECT place FROM log WHERE number = $1 AND query = $2";
            let place = change.prepare_cached(place).await?;
            let place: i64 = change
                .query_one(&place, &[&number, &id])
                .await?
                .try_get(0)?;
            change.commit().await?;
            Ok(place as u64)
        })
        .await
    }

    async fn leaves(&self, log: u32, from: u64, count: u64) -> Result<Vec<Leaf>, Error> {
        let sql = "SELECT leaf FROM log WHERE number = $3 AND place >= $1 ORDER BY place LIMIT $2";
        within(async {
            let found = rows(
                &self.client().await?,
                sql,
                &[&(from as i64), &(count as i64), &i64::from(log)],
            )
            .await?;
            let mut leaves = Vec::with_capacity(found.len());
            for row in found {
                let leaf: &[u8] = row.try_get(0)?;
                let leaf = leaf.try_into();
                leaves.push(leaf.map_err(|_| Error::Storage("a leaf of the log is cut".into()))?);
            }
            Ok(leaves)
        })
        .await
    }

    async fn logged(&self, log: u32, from: u64, count: u64) -> Result<Vec<Vec<u8>>, Error> {
        let sql = "SELECT manifest FROM log WHERE number = $3 AND place >= $1
            ORDER BY place LIMIT $2";
        within(async {
            let found = rows(
                &self.client().await?,
                sql,
                &[&(from as i64), &(count as i64), &i64::from(log)],
            )
            .await?;
            let manifests = found.iter().map(|row| row.try_get(0));
            Ok(manifests.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn keep_head(&self, log: u32, size: u64, head: Vec<u8>) -> Result<(), Error> {
        // A head of the same size replaces the stored one: it was signed later, and auditors refuse old heads (§16).
        let sql = "INSERT INTO head VALUES ($3, $1, $2) ON CONFLICT (number) DO UPDATE
            SET size = excluded.size, head = excluded.head WHERE head.size <= excluded.size";
        within(async {
            let client = self.client().await?;
            let sql = client.prepare_cached(sql).await?;
            client
                .execute(&sql, &[&(size as i64), &head, &i64::from(log)])
                .await?;
            Ok(())
        })
        .await
    }

    async fn head(&self, log: u32) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT head FROM head WHERE number = $1";
        within(async {
            let found = row(&self.client().await?, sql, &[&i64::from(log)]).await?;
            Ok(found.map(|row| row.try_get(0)).transpose()?)
        })
        .await
    }

    async fn expire(&self, now: Timestamp) -> Result<(), Error> {
        // Clocks differ. A query is kept until every node agrees that it has expired.
        let past = now.0.saturating_sub(Timestamp::SKEW) as i64;
        let sql = "DELETE FROM query WHERE expires < $1";
        within(async { execute(&self.client().await?, sql, &[&past]).await }).await?;
        Ok(())
    }
}

fn count(counts: &Row, place: usize) -> Result<usize, tokio_postgres::Error> {
    counts.try_get::<_, i64>(place).map(|count| count as usize)
}
