//! History of a home: the queries that it was asked, and what left for them.

use dispers_base::id::{BatchId, QueryId, Timestamp};
use dispers_core::{
    consent::{Outcome, WordError},
    manifest::{Manifest, SignedManifest},
    subscription::HomeId,
};
use dispers_node::now;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Store, Transacted,
        columns::{read_time, time},
    },
    requests::decode_signed,
};
use crate::Error;

/// Sealed contributions that left a stack for one aggregator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentGroup {
    /// Name of the aggregator.
    pub aggregator: String,
    /// Number of bytes, for all homes of the batch together.
    pub bytes: u64,
}

/// Query in a home's history.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Id of the query.
    pub query: QueryId,
    /// Manifest as it was received.
    pub signed: SignedManifest,
    /// Content of the manifest.
    pub manifest: Manifest,
    /// Time at which the stack first saw the query.
    pub received: Timestamp,
    /// Time of the decision.
    pub decided: Timestamp,
    /// Outcome of the query at this home.
    pub outcome: Outcome,
    /// Number of the rule that decided, if one did.
    pub rule: Option<u32>,
    /// Number of homes whose contributions left together, and the bytes for each aggregator. `None` while nothing has
    /// left.
    pub sent: Option<(u32, Vec<SentGroup>)>,
}

impl Store {
    /// Records the bytes that leave for a batch, in addition to those that left in its earlier attempts and rounds.
    pub(crate) fn note_sent(
        &self,
        query: QueryId,
        batch: BatchId,
        homes: u32,
        groups: &[SentGroup],
    ) -> Result<(), Error> {
        let now = time(now());
        self.write(|rows| {
            let before: Option<String> = rows
                .prepare_cached(
                    "SELECT groups FROM sent JOIN request ON id = request
                     WHERE query = ?1 AND batch = ?2",
                )?
                .query_row(params![query.0, batch.to_i64()], |row| row.get(0))
                .optional()?;
            let before = before.map(|groups| groups_of(&groups)).unwrap_or_default();
            let groups = serde_json::to_string(&added(before, groups)).unwrap_or_default();
            rows.prepare_cached(
                "INSERT OR REPLACE INTO sent
                 SELECT id, ?2, ?3, ?4, ?5 FROM request WHERE query = ?1",
            )?
            .execute(params![query.0, batch.to_i64(), now, homes, groups])?;
            Ok(())
        })
    }

    /// Returns the queries that a home was asked, the latest first: at most `limit` entries after the first `skip`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn history(&self, home: &HomeId, skip: usize, limit: usize) -> Result<Vec<Entry>, Error> {
        self.entries(home, None, skip, limit)
    }

    /// Returns the query that a home was asked under `id`: the query's id in hexadecimal, or its first 32 digits or
    /// more.
    ///
    /// # Errors
    /// [`Error::Word`] if the home was not asked such a query.
    pub fn asked_query(&self, home: &HomeId, id: &str) -> Result<QueryId, Error> {
        let found: Vec<QueryId> = self.read(|rows| {
            let mut select = rows.prepare_cached(
                "SELECT query FROM decision JOIN request ON id = request
                 WHERE home = ?1 AND substr(lower(hex(query)), 1, length(?2)) = ?2",
            )?;
            let found =
                select.query_map([&home.0, &id.to_lowercase()], |row| row.get(0).map(QueryId))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })?;
        // A shorter prefix could be that of several queries.
        match (&found[..], id.len() >= 32) {
            ([query], true) => Ok(*query),
            _ => Err(WordError::NotAsked.into()),
        }
    }

    /// Returns one query as a home was asked it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn entry(&self, home: &HomeId, query: QueryId) -> Result<Option<Entry>, Error> {
        Ok(self.entries(home, Some(query), 0, 1)?.pop())
    }

    fn entries(
        &self,
        home: &HomeId,
        query: Option<QueryId>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        // SQL integers are signed, and `usize::MAX` stands for all entries.
        let [skip, limit] = [skip, limit].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        self.read(|rows| {
            let mut select = rows.prepare_cached(
                "SELECT query, manifest, received, d.at, outcome, rule, homes, groups
                 FROM decision AS d JOIN request AS r ON r.id = d.request
                 LEFT JOIN sent AS s ON s.request = d.request AND s.batch = d.batch
                 WHERE home = ?1 AND (?2 IS NULL OR query = ?2)
                 ORDER BY received DESC, r.id DESC LIMIT ?4 OFFSET ?3",
            )?;
            let query = query.map(|query| query.0);
            let mut found = select.query(params![home.0, query, skip, limit])?;
            let mut entries = Vec::new();
            while let Some(row) = found.next()? {
                entries.push(read_entry(row)?);
            }
            Ok(entries)
        })
    }
}

fn read_entry(row: &Row<'_>) -> Transacted<Entry> {
    let signed = decode_signed(&row.get::<_, Vec<u8>>(1)?)?;
    let sent: Option<(u32, String)> = row.get::<_, Option<u32>>(6)?.zip(row.get(7)?);
    Ok(Entry {
        query: QueryId(row.get(0)?),
        manifest: signed.unverified().map_err(Error::from)?,
        signed,
        received: read_time(row, 2)?,
        decided: read_time(row, 3)?,
        outcome: Outcome::from_number(row.get(4)?),
        rule: row.get(5)?,
        sent: sent.map(|(homes, groups)| (homes, groups_of(&groups))),
    })
}

/// Reads the column `groups` of a row.
fn groups_of(text: &str) -> Vec<SentGroup> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Returns `groups` with the bytes of `more` added.
fn added(mut groups: Vec<SentGroup>, more: &[SentGroup]) -> Vec<SentGroup> {
    for group in more {
        let mut before = groups.iter_mut();
        match before.find(|before| before.aggregator == group.aggregator) {
            Some(before) => before.bytes = before.bytes.saturating_add(group.bytes),
            None => groups.push(group.clone()),
        }
    }
    groups
}
