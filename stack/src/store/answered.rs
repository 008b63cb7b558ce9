//! Record of answered work. No work is answered a second time, also after a restart (protocol.md §6).
//!
//! For each batch of a query, the last round and attempt are recorded, and earlier ones are not answered any more. So a
//! session of many rounds takes one row per batch.

use dispers_base::id::{Timestamp, Work};
use rusqlite::params;

use super::{Store, columns::time};
use crate::Error;

/// Most batches that are recorded, so that a Target that invents batches cannot fill the disk.
const MAX_ANSWERED: i64 = 1 << 20;

impl Store {
    /// Returns whether this work, or a later attempt at its batch, was answered.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) fn has_answered(&self, work: &Work) -> Result<bool, Error> {
        self.read(|rows| {
            Ok(rows
                .prepare_cached(
                    "SELECT 1 FROM answered_last WHERE query = ?1 AND batch = ?2 AND last >= ?3",
                )?
                .exists(params![
                    work.query.0,
                    work.batch.to_i64(),
                    round_and_attempt(work)
                ])?)
        })
    }

    /// Records that `work` is answered, until its query expires. One row stands for all homes of the batch, and is on
    /// the disk when this returns.
    ///
    /// # Errors
    /// [`Error::Repeated`] if the work, or a later attempt or round of its batch, was answered before; [`Error::Busy`]
    /// if too many batches are recorded.
    pub(crate) fn answer_once(
        &self,
        work: &Work,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        // Until the clocks' largest difference has passed, an expired manifest may still be accepted.
        let over = Timestamp(now.0.saturating_sub(Timestamp::SKEW));
        let (query, batch) = (work.query.0, work.batch.to_i64());
        self.write(|rows| {
            rows.prepare_cached("DELETE FROM answered_last WHERE expires < ?1")?
                .execute([time(over)])?;
            // At the bound, no new batch is recorded, but batches with a row go on.
            let noted = rows
                .prepare_cached(
                    "INSERT INTO answered_last SELECT ?1, ?2, ?3, ?4
                     WHERE (SELECT COUNT(*) FROM answered_last) < ?5
                        OR EXISTS (SELECT 1 FROM answered_last WHERE query = ?1 AND batch = ?2)
                     ON CONFLICT DO UPDATE SET last = excluded.last WHERE last < excluded.last",
                )?
                .execute(params![
                    query,
                    batch,
                    round_and_attempt(work),
                    time(expires),
                    MAX_ANSWERED
                ])?;
            if noted > 0 {
                return Ok(());
            }
            let repeated = rows
                .prepare_cached("SELECT 1 FROM answered_last WHERE query = ?1 AND batch = ?2")?
                .exists(params![query, batch])?;
            let refusal = if repeated {
                Error::Repeated
            } else {
                Error::Busy
            };
            Err(refusal.into())
        })
    }
}

/// Returns a number that rises with round and attempt.
fn round_and_attempt(work: &Work) -> i64 {
    i64::from(work.round) << 8 | i64::from(work.attempt)
}
