//! Tags and ticket keys of the homes.

use dispers_base::id::KeyEpoch;
use dispers_core::{
    subscription::{HomeId, HomeTag},
    ticket::HomeKey,
};
use dispers_node::rng;
use rand::Rng;
use rusqlite::{OptionalExtension, Row, params};

use super::Store;
use crate::Error;

/// Secrets of a home in one key epoch.
#[derive(Clone)]
pub(crate) struct HomeSecrets {
    pub(crate) tag: HomeTag,
    pub(crate) key: HomeKey,
}

impl Store {
    /// Returns a home's secrets of a key epoch, which are made on first use.
    pub(crate) fn secrets(&self, home: &HomeId, epoch: KeyEpoch) -> Result<HomeSecrets, Error> {
        let (mut tag, mut key) = ([0u8; 16], [0u8; 32]);
        rng().fill_bytes(&mut tag);
        rng().fill_bytes(&mut key);
        self.write(|rows| {
            // If another process made the secrets first, its values stay and are the ones that are read.
            rows.prepare_cached("INSERT OR IGNORE INTO secret VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![home.0, epoch.0, tag, key])?;
            Ok(rows
                .prepare_cached("SELECT tag, key FROM secret WHERE home = ?1 AND key_epoch = ?2")?
                .query_row(params![home.0, epoch.0], read_secrets)?)
        })
    }

    /// Returns the ticket key of a home in this key epoch, if it has one, and true if the home is subscribed to
    /// anything. A home without a subscription refuses every query.
    pub(crate) fn asked(
        &self,
        home: &HomeId,
        epoch: KeyEpoch,
    ) -> Result<Option<(HomeKey, bool)>, Error> {
        self.read(|rows| {
            Ok(rows
                .prepare_cached(
                    "SELECT tag, key, EXISTS
                     (SELECT 1 FROM subscription AS s WHERE s.home = ?1 AND s.key_epoch = ?2)
                     FROM secret WHERE home = ?1 AND key_epoch = ?2",
                )?
                .query_row(params![home.0, epoch.0], |row| {
                    Ok((read_secrets(row)?.key, row.get(2)?))
                })
                .optional()?)
        })
    }

    /// Forgets the secrets of the key epochs before `epoch`, under which nobody asks any longer. Also forgets
    /// subscriptions of these epochs that the home has in a later one.
    pub(crate) fn forget_before(&self, epoch: KeyEpoch) -> Result<(), Error> {
        self.write(|rows| {
            rows.execute("DELETE FROM secret WHERE key_epoch < ?1", [epoch.0])?;
            // A subscription without a later one stays: it tells what the home is to be subscribed to under the
            // listed epochs.
            rows.execute(
                "DELETE FROM subscription AS old WHERE key_epoch < ?1 AND EXISTS
                 (SELECT 1 FROM subscription AS new WHERE new.home = old.home
                  AND new.concept = old.concept AND new.key_epoch >= ?1)",
                [epoch.0],
            )?;
            Ok(())
        })
    }
}

/// Reads the columns `tag` and `key` of a row.
fn read_secrets(row: &Row<'_>) -> rusqlite::Result<HomeSecrets> {
    Ok(HomeSecrets {
        tag: HomeTag(row.get(0)?),
        key: HomeKey::from_bytes(row.get(1)?),
    })
}
