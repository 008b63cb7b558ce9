//! The heads of the log that this stack saw.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use dispers_core::{
    encoding::{from_bytes, to_bytes},
    log::{MAX_HEAD, Root, SignedHead},
};
use dispers_node::now;
use rusqlite::{OptionalExtension, params};

use super::Store;
use crate::Error;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS log_head (
    log INTEGER PRIMARY KEY, size INTEGER NOT NULL, hash BLOB NOT NULL, head BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS log_fork (
    number INTEGER PRIMARY KEY, seen BLOB NOT NULL, shown BLOB NOT NULL, at INTEGER NOT NULL
);
";

/// Most heads that are known without asking again.
const MAX_KNOWN: usize = 4096;
/// Most pairs of contradicting heads that are kept.
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
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(root);
    }
}

impl Store {
    /// The largest head of a log that was seen, with what was signed.
    pub(crate) fn last_head(&self, log: u32) -> Result<Option<(Root, SignedHead)>, Error> {
        let kept: Option<(i64, [u8; 32], Vec<u8>)> = self
            .connection()
            .prepare_cached("SELECT size, hash, head FROM log_head WHERE log = ?1")?
            .query_row([log], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        kept.map(|(size, hash, head)| {
            let size = size as u64;
            Ok((
                Root { size, hash },
                from_bytes(&head, MAX_HEAD, "log head")?,
            ))
        })
        .transpose()
    }

    /// Keeps a head, unless a larger one was seen meanwhile.
    pub(crate) fn keep_head(&self, log: u32, root: &Root, head: &SignedHead) -> Result<(), Error> {
        self.connection()
            .prepare_cached(
                "INSERT INTO log_head VALUES (?4, ?1, ?2, ?3) ON CONFLICT (log) DO UPDATE
                 SET size = excluded.size, hash = excluded.hash, head = excluded.head
                 WHERE size < excluded.size",
            )?
            .execute(params![root.size as i64, root.hash, to_bytes(head), log])?;
        Ok(())
    }

    /// Keeps two heads that contradict each other.
    pub(crate) fn keep_fork(&self, seen: &SignedHead, shown: &SignedHead) -> Result<(), Error> {
        self.connection().execute(
            "INSERT INTO log_fork (seen, shown, at) SELECT ?1, ?2, ?3
             WHERE (SELECT COUNT(*) FROM log_fork) < ?4",
            params![to_bytes(seen), to_bytes(shown), now().0 as i64, MAX_FORKS],
        )?;
        Ok(())
    }

    /// The pairs of heads that contradict each other: what was seen before, and what was shown later.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn forks(&self) -> Result<Vec<(SignedHead, SignedHead)>, Error> {
        let connection = self.connection();
        let mut select = connection.prepare("SELECT seen, shown FROM log_fork ORDER BY number")?;
        let pairs = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let pairs = pairs.collect::<Result<Vec<(Vec<u8>, Vec<u8>)>, _>>()?;
        let decode = |bytes: &[u8]| from_bytes(bytes, MAX_HEAD, "log head");
        pairs
            .iter()
            .map(|(seen, shown)| Ok((decode(seen)?, decode(shown)?)))
            .collect()
    }
}
