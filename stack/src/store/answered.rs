//! Which work was answered: none is a second time, also after a restart (protocol.md §6).
//!
//! Of each batch of a query the last round and attempt are kept: none before them is answered any more. So a
//! session of many rounds takes one row a batch.

use dispers_base::{
    encoding::to_bytes,
    id::{Timestamp, Work},
};
use rusqlite::params;

use super::Store;
use crate::Error;

/// Most batches that are remembered: a Target that invents some fills no more.
const MAX_ANSWERED: i64 = 1 << 20;

impl Store {
    /// Returns whether this work, or a later attempt at its batch, was answered.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(crate) fn has_answered(&self, work: &Work) -> Result<bool, Error> {
        let rows = self.connection()?;
        let noted = rows
            .prepare_cached(
                "SELECT 1 FROM answered_last WHERE query = ?1 AND batch = ?2 AND last >= ?3",
            )?
            .exists(params![
                work.query.0,
                work.batch.to_i64(),
                round_and_attempt(work)
            ])?;
        Ok(noted)
    }

    /// Notes that `work` is answered, until its query expires. One row for all its homes, and on the
    /// disk when this returns.
    ///
    /// # Errors
    /// [`Error::Repeated`] when it was answered before, or a later attempt or round of its batch;
    /// [`Error::Busy`] when too much is noted.
    pub(crate) fn answer_once(
        &self,
        work: &Work,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        let over = now.0.saturating_sub(Timestamp::SKEW) as i64;
        for table in ["answered", "answered_last"] {
            rows.prepare_cached(&format!("DELETE FROM {table} WHERE expires < ?1"))?
                .execute([over])?;
        }
        let last = round_and_attempt(work);
        let noted = rows
            .prepare_cached(
                "INSERT INTO answered_last SELECT ?1, ?2, ?3, ?4
                 WHERE (SELECT COUNT(*) FROM answered_last) < ?5
                    OR EXISTS (SELECT 1 FROM answered_last WHERE query = ?1 AND batch = ?2)
                 ON CONFLICT DO UPDATE SET last = excluded.last WHERE last < excluded.last",
            )?
            .execute(params![
                work.query.0,
                work.batch.to_i64(),
                last,
                expires.0 as i64,
                MAX_ANSWERED
            ])?;
        // What was noted before batches were has a row for each work.
        let before = rows
            .prepare_cached("SELECT 1 FROM answered WHERE work = ?1")?
            .exists([to_bytes(work)])?;
        let repeated = before
            || rows
                .prepare_cached("SELECT 1 FROM answered_last WHERE query = ?1 AND batch = ?2")?
                .exists(params![work.query.0, work.batch.to_i64()])?;
        rows.commit()?;
        match (noted > 0 && !before, repeated) {
            (true, _) => Ok(()),
            (false, true) => Err(Error::Repeated),
            (false, false) => Err(Error::Busy),
        }
    }
}

/// Returns a number that rises with round and attempt.
fn round_and_attempt(work: &Work) -> i64 {
    i64::from(work.round) << 8 | i64::from(work.attempt)
}
