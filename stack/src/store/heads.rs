//! Heads of the log that this stack saw (protocol.md §16).

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use dispers_base::encoding::{decode, to_bytes};
use dispers_core::log::{Root, SignedHead};
use dispers_node::now;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    Store,
    columns::{number, read_number, time},
};
use crate::Error;

/// Most heads that are accepted without another proof.
const MAX_KNOWN: usize = 4096;
/// Most pairs of contradicting heads that are stored.
const MAX_FORKS: i64 = 100;

/// Heads that were found consistent since the process began.
#[derive(Default)]
pub(crate) struct KnownHeads(Mutex<HashSet<Root>>);

impl KnownHeads {
    pub(crate) fn is_known(&self, root: &Root) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(root)
    }

    pub(crate) fn learn(&self, root: Root) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The set only saves proofs, so that it may be emptied at any time.
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(root);
    }
}

impl Store {
    /// Returns the largest head of a log that was seen, with its signatures.
    pub(crate) fn last_head(&self, log: u32) -> Result<Option<(Root, SignedHead)>, Error> {
        let stored: Option<(Root, Vec<u8>)> = self.read(|rows| {
            Ok(rows
                .prepare_cached("SELECT size, hash, head FROM log_head WHERE log = ?1")?
                .query_row([log], |row| Ok((read_root(row)?, row.get(2)?)))
                .optional()?)
        })?;
        stored
            .map(|(root, head)| Ok((root, decode(&head)?)))
            .transpose()
    }

    /// Stores a head in place of the head `with` that it was found consistent with, which is `None` for the first head
    /// of a log. A smaller head replaces nothing. Returns false if another head was stored meanwhile, so that this head
    /// must be compared again.
    pub(crate) fn keep_head(
        &self,
        log: u32,
        with: Option<&Root>,
        root: &Root,
        head: &SignedHead,
    ) -> Result<bool, Error> {
        self.write(|rows| {
            let stored = rows
                .prepare_cached("SELECT size, hash FROM log_head WHERE log = ?1")?
                .query_row([log], read_root)
                .optional()?;
            if stored.as_ref() != with {
                return Ok(false);
            }
            // The larger head says more: it was shown to continue the smaller one.
            if stored.is_none_or(|stored| stored.size < root.size) {
                rows.prepare_cached("INSERT OR REPLACE INTO log_head VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![log, number(root.size), root.hash, to_bytes(head)])?;
            }
            Ok(true)
        })
    }

    /// Stores two heads that contradict each other, as evidence.
    pub(crate) fn keep_fork(&self, seen: &SignedHead, shown: &SignedHead) -> Result<(), Error> {
        self.write(|rows| {
            // Bounded, so that a Conductor with many histories cannot fill the disk.
            rows.execute(
                "INSERT INTO log_fork (seen, shown, at) SELECT ?1, ?2, ?3
                 WHERE (SELECT COUNT(*) FROM log_fork) < ?4",
                params![to_bytes(seen), to_bytes(shown), time(now()), MAX_FORKS],
            )?;
            Ok(())
        })
    }

    /// Returns the pairs of heads that contradict each other: the head that was seen before, and the one that was shown
    /// later.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn forks(&self) -> Result<Vec<(SignedHead, SignedHead)>, Error> {
        let pairs: Vec<(Vec<u8>, Vec<u8>)> = self.read(|rows| {
            let mut select = rows.prepare("SELECT seen, shown FROM log_fork ORDER BY number")?;
            let pairs = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(pairs.collect::<rusqlite::Result<_>>()?)
        })?;
        pairs
            .iter()
            .map(|(seen, shown)| Ok((decode(seen)?, decode(shown)?)))
            .collect()
    }
}

/// Reads the columns `size` and `hash` of a row.
fn read_root(row: &Row<'_>) -> rusqlite::Result<Root> {
    Ok(Root {
        size: read_number(row, 0)?,
        hash: row.get(1)?,
    })
}

#[cfg(test)]
mod tests {
    use dispers_base::{
        id::{Name, Timestamp},
        keys::SigningKey,
    };
    use dispers_core::log::Head;
    use dispers_node::rng;

    use super::*;

    #[test]
    fn of_two_heads_that_continue_one_only_the_first_is_kept_unseen() {
        let store = Store::in_memory().unwrap();
        let key = SigningKey::generate(&mut rng());
        let root = |size, hash| Root {
            size,
            hash: [hash; 32],
        };
        let keep = |with: Option<Root>, root: Root| {
            let head = Head {
                network: Name::new("network").unwrap(),
                log: 1,
                root,
                time: Timestamp(0),
            };
            let head = head.sign(&Name::new("conductor").unwrap(), &key);
            store.keep_head(1, with.as_ref(), &root, &head).unwrap()
        };
        let last = || store.last_head(1).unwrap().map(|(root, _)| root);
        // Two first heads arrive at once, each compared with nothing.
        assert!(keep(None, root(5, 1)));
        assert!(!keep(None, root(5, 2)));
        // Two heads continue the first one, whether of one size or not.
        assert!(keep(Some(root(5, 1)), root(7, 1)));
        assert!(!keep(Some(root(5, 1)), root(7, 2)));
        assert!(!keep(Some(root(5, 1)), root(8, 2)));
        assert_eq!(last(), Some(root(7, 1)));
        // An older head of the same log changes nothing.
        assert!(keep(Some(root(7, 1)), root(6, 1)));
        assert_eq!(last(), Some(root(7, 1)));
        assert!(store.last_head(2).unwrap().is_none());
    }
}
