//! Subscriptions of the homes, and handles of entries that the Conductor may hold but should not.

use std::collections::{BTreeMap, HashMap};

use dispers_base::id::{KeyEpoch, Timestamp};
use dispers_core::subscription::{Handle, HomeId};
use dispers_node::now;
use rusqlite::{Connection, Transaction, params};

use super::{Store, columns};
use crate::Error;

/// Longest time that a subscription may be on its way, in milliseconds. A process that takes longer is taken for dead.
const ON_ITS_WAY: u64 = 600_000;

impl Store {
    /// Returns the concepts that a home is subscribed to in a key epoch, in order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn subscriptions(&self, home: &HomeId, epoch: KeyEpoch) -> Result<Vec<String>, Error> {
        self.read(|rows| {
            let mut select = rows.prepare_cached(
                "SELECT concept FROM subscription WHERE home = ?1 AND key_epoch = ?2 ORDER BY concept",
            )?;
            let concepts = select.query_map(params![home.0, epoch.0], |row| row.get(0))?;
            Ok(concepts.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Returns every subscription of a key epoch, by home.
    pub(crate) fn subscriptions_of(
        &self,
        epoch: KeyEpoch,
    ) -> Result<HashMap<HomeId, Vec<String>>, Error> {
        self.read(|rows| {
            let mut select =
                rows.prepare("SELECT home, concept FROM subscription WHERE key_epoch = ?1")?;
            let mut homes: HashMap<HomeId, Vec<String>> = HashMap::new();
            let mut found = select.query([epoch.0])?;
            while let Some(row) = found.next()? {
                let concepts = homes.entry(HomeId(row.get(0)?)).or_default();
                concepts.push(row.get(1)?);
            }
            Ok(homes)
        })
    }

    /// Returns every home that is subscribed to anything in any key epoch, with its concepts.
    pub(crate) fn subscribers(&self) -> Result<BTreeMap<HomeId, Vec<String>>, Error> {
        self.read(|rows| {
            let mut select = rows.prepare(
                "SELECT DISTINCT home, concept FROM subscription ORDER BY home, concept",
            )?;
            let mut homes: BTreeMap<HomeId, Vec<String>> = BTreeMap::new();
            let mut found = select.query([])?;
            while let Some(row) = found.next()? {
                let concepts = homes.entry(HomeId(row.get(0)?)).or_default();
                concepts.push(row.get(1)?);
            }
            Ok(homes)
        })
    }

    /// Records subscriptions that are about to be sent, so that their handles are known whatever happens on the way.
    pub(crate) fn sending(&self, subscriptions: &[(HomeId, String, Handle)]) -> Result<(), Error> {
        let since = columns::time(now());
        self.write(|rows| {
            for (_, _, handle) in subscriptions {
                rows.prepare_cached("INSERT INTO sending VALUES (?1, ?2)")?
                    .execute(params![handle.0, since])?;
            }
            Ok(())
        })
    }

    /// Records that subscriptions may or may not have arrived, so that they are withdrawn.
    pub(crate) fn lost(&self, subscriptions: &[(HomeId, String, Handle)]) -> Result<(), Error> {
        self.write(|rows| {
            for (_, _, handle) in subscriptions {
                no_longer_sending(rows, handle)?;
                withdraw(rows, handle)?;
            }
            Ok(())
        })
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
        self.write(|rows| {
            let mut count = 0;
            for (home, concept, handle) in subscriptions {
                let wanted = !again || is_subscribed(rows, home, concept)?;
                // Without a row in `sending`, another process has given up on this upload and may have withdrawn its
                // entries.
                if !no_longer_sending(rows, handle)? || !wanted {
                    withdraw(rows, handle)?;
                    continue;
                }
                replace(rows, epoch, home, concept, handle)?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// Ends a home's subscription to a concept, or all of its subscriptions, in every key epoch, and records the
    /// handles that are to be withdrawn at the Conductor. Returns the number of concepts.
    pub(crate) fn leave(&self, home: &HomeId, concept: Option<&str>) -> Result<usize, Error> {
        self.write(|rows| Ok(leave(rows, home, concept)?))
    }

    /// Returns the handles of entries that the Conductor may hold but should not.
    pub(crate) fn leaving(&self) -> Result<Vec<Handle>, Error> {
        let died = Timestamp(now().0.saturating_sub(ON_ITS_WAY));
        self.write(|rows| {
            // A process that died while it sent cannot tell whether its upload arrived.
            rows.execute(
                "INSERT OR IGNORE INTO leaving SELECT handle FROM sending WHERE since < ?1",
                [columns::time(died)],
            )?;
            rows.execute(
                "DELETE FROM sending WHERE since < ?1",
                [columns::time(died)],
            )?;
            let mut select = rows.prepare_cached("SELECT handle FROM leaving")?;
            let handles = select.query_map([], |row| row.get(0).map(Handle))?;
            Ok(handles.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Forgets handles that the Conductor was told to withdraw.
    pub(crate) fn left(&self, handles: &[Handle]) -> Result<(), Error> {
        self.write(|rows| {
            for handle in handles {
                rows.prepare_cached("DELETE FROM leaving WHERE handle = ?1")?
                    .execute(params![handle.0])?;
            }
            Ok(())
        })
    }
}

/// Ends a home's subscriptions to a concept, or to all, as [`Store::leave`] does.
pub(super) fn leave(
    rows: &Transaction<'_>,
    home: &HomeId,
    concept: Option<&str>,
) -> rusqlite::Result<usize> {
    let chosen = "home = ?1 AND (?2 IS NULL OR concept = ?2)";
    let parameters = params![home.0, concept];
    let ended: i64 = rows
        .prepare_cached(&format!(
            "SELECT COUNT(DISTINCT concept) FROM subscription WHERE {chosen}"
        ))?
        .query_row(parameters, |row| row.get(0))?;
    rows.prepare_cached(&format!(
        "INSERT INTO leaving SELECT handle FROM subscription WHERE {chosen}"
    ))?
    .execute(parameters)?;
    rows.prepare_cached(&format!("DELETE FROM subscription WHERE {chosen}"))?
        .execute(parameters)?;
    // A count is never negative.
    Ok(usize::try_from(ended).unwrap_or_default())
}

/// Returns whether a home is subscribed to a concept in any key epoch.
fn is_subscribed(rows: &Connection, home: &HomeId, concept: &str) -> rusqlite::Result<bool> {
    rows.prepare_cached("SELECT 1 FROM subscription WHERE home = ?1 AND concept = ?2")?
        .exists(params![home.0, concept])
}

/// Records that a subscription is not on its way any more. Returns whether it was.
fn no_longer_sending(rows: &Connection, handle: &Handle) -> rusqlite::Result<bool> {
    let sent = rows
        .prepare_cached("DELETE FROM sending WHERE handle = ?1")?
        .execute(params![handle.0])?;
    Ok(sent > 0)
}

/// Records that the entry with this handle is to be withdrawn.
fn withdraw(rows: &Connection, handle: &Handle) -> rusqlite::Result<()> {
    rows.prepare_cached("INSERT OR IGNORE INTO leaving VALUES (?1)")?
        .execute(params![handle.0])?;
    Ok(())
}

/// Records a subscription in place of the home's earlier one to the concept in this key epoch, which is to be
/// withdrawn.
fn replace(
    rows: &Connection,
    epoch: KeyEpoch,
    home: &HomeId,
    concept: &str,
    handle: &Handle,
) -> rusqlite::Result<()> {
    for replace in [
        "INSERT INTO leaving SELECT handle FROM subscription
         WHERE home = ?1 AND concept = ?2 AND key_epoch = ?3",
        "DELETE FROM subscription WHERE home = ?1 AND concept = ?2 AND key_epoch = ?3",
    ] {
        rows.prepare_cached(replace)?
            .execute(params![home.0, concept, epoch.0])?;
    }
    rows.prepare_cached("INSERT INTO subscription VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![home.0, epoch.0, concept, handle.0])?;
    Ok(())
}
