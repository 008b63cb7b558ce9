//! Which work was answered: none is a second time, also after a restart (protocol.md §6).

use dispers_core::{
    encoding::to_bytes,
    id::{Timestamp, Work},
};
use rusqlite::params;

use super::Store;
use crate::Error;

/// Most asks that are remembered: a Target that invents batches fills no more.
const MAX_ANSWERED: i64 = 1 << 20;

impl Store {
    /// Notes that `work` is answered, until its query expires. One row for all its homes, and on the
    /// disk when this returns.
    ///
    /// # Errors
    /// [`Error::Repeated`] when it was answered before, [`Error::Busy`] when too much is noted.
    pub(crate) fn answer_once(
        &self,
        work: &Work,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut connection = self.connection();
        let rows = connection.transaction()?;
        let work = to_bytes(work);
        rows.prepare_cached("DELETE FROM answered WHERE expires < ?1")?
            .execute([now.0.saturating_sub(Timestamp::SKEW) as i64])?;
        let noted = rows
            .prepare_cached(
                "INSERT OR IGNORE INTO answered SELECT ?1, ?2
                 WHERE (SELECT COUNT(*) FROM answered) < ?3",
            )?
            .execute(params![work, expires.0 as i64, MAX_ANSWERED])?;
        let repeated = noted == 0
            && rows
                .prepare_cached("SELECT 1 FROM answered WHERE work = ?1")?
                .exists([work])?;
        rows.commit()?;
        match (noted, repeated) {
            (0, true) => Err(Error::Repeated),
            (0, false) => Err(Error::Busy),
            _ => Ok(()),
        }
    }
}
