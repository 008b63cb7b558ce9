//! Exact queries, of which each home answers a querier only so many (protocol.md §9): without noise,
//! enough answers tell about one home by their differences, whatever each of them hides.

use std::collections::{HashMap, HashSet};

use dispers_core::{
    id::{KeyEpoch, Name, QueryId},
    subscription::HomeId,
};
use rusqlite::params;
use sha2::{Digest, Sha256};

use super::Store;
use crate::Error;

/// An exact query that is about to be answered.
pub(crate) struct Exact<'a> {
    pub(crate) querier: &'a Name,
    pub(crate) doctype: &'a str,
    pub(crate) key_epoch: KeyEpoch,
    pub(crate) query: QueryId,
    /// Key epochs before this one are over.
    pub(crate) oldest: KeyEpoch,
    /// How many a home answers one querier, of a doctype and in a key epoch.
    pub(crate) most: usize,
}

/// What a home is noted as: short, since a host may have ten thousand.
fn mark(home: &HomeId) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(home.0.as_bytes()).into();
    let mut mark = [0; 8];
    mark.copy_from_slice(&hash[..8]);
    mark
}

impl Store {
    /// Which of `homes` may answer an exact query, in order; it is on the disk that they do when this
    /// returns. The same query is counted once.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) fn answer_exact(
        &self,
        exact: &Exact<'_>,
        homes: &[HomeId],
    ) -> Result<Vec<bool>, Error> {
        let (querier, epoch) = (exact.querier.as_str(), exact.key_epoch.0);
        let doctype = exact.doctype.to_lowercase();
        let marks: Vec<[u8; 8]> = homes.iter().map(mark).collect();
        let mut connection = self.connection();
        let rows = connection.transaction()?;
        rows.prepare_cached("DELETE FROM exact WHERE key_epoch < ?1")?
            .execute([exact.oldest.0])?;
        let others: i64 = rows
            .prepare_cached(
                "SELECT COUNT(DISTINCT query) FROM exact
                 WHERE querier = ?1 AND doctype = ?2 AND key_epoch = ?3 AND query <> ?4",
            )?
            .query_row(params![querier, doctype, epoch, exact.query.0], |row| {
                row.get(0)
            })?;
        let mut counts: HashMap<[u8; 8], usize> = HashMap::new();
        // As long as the whole host was asked less often, no home was asked too often.
        if usize::try_from(others).is_ok_and(|others| others >= exact.most) {
            let mut select = rows.prepare_cached(
                "SELECT query, homes FROM exact
                 WHERE querier = ?1 AND doctype = ?2 AND key_epoch = ?3 AND query <> ?4
                 ORDER BY query",
            )?;
            let mut answered = select.query(params![querier, doctype, epoch, exact.query.0])?;
            let mut seen: (Vec<u8>, HashSet<[u8; 8]>) = Default::default();
            while let Some(row) = answered.next()? {
                let query: Vec<u8> = row.get(0)?;
                if seen.0 != query {
                    seen = (query, HashSet::new());
                }
                for mark in row.get_ref(1)?.as_blob().unwrap_or_default().as_chunks().0 {
                    if seen.1.insert(*mark) {
                        *counts.entry(*mark).or_default() += 1;
                    }
                }
            }
        }
        let may = |mark| counts.get(mark).is_none_or(|count| *count < exact.most);
        let allowed: Vec<bool> = marks.iter().map(may).collect();
        let answering = marks.iter().zip(&allowed).filter(|(_, allowed)| **allowed);
        let answering: Vec<u8> = answering.flat_map(|(mark, _)| *mark).collect();
        if !answering.is_empty() {
            rows.prepare_cached("INSERT INTO exact VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![querier, doctype, epoch, exact.query.0, answering])?;
        }
        rows.commit()?;
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(names: &[&str]) -> Vec<HomeId> {
        names.iter().map(|name| HomeId((*name).into())).collect()
    }

    fn answer(store: &Store, query: u8, epoch: u32, names: &[&str]) -> Vec<bool> {
        let exact = Exact {
            querier: &Name::new("q").unwrap(),
            doctype: "Nhefs",
            key_epoch: KeyEpoch(epoch),
            query: QueryId([query; 32]),
            oldest: KeyEpoch(epoch),
            most: 2,
        };
        store.answer_exact(&exact, &homes(names)).unwrap()
    }

    #[test]
    fn a_home_answers_so_many_exact_queries_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.db");
        let store = Store::open(&path).unwrap();
        assert_eq!(answer(&store, 1, 1, &["a", "b"]), [true, true]);
        // The same query again, in other batches.
        for _ in 0..5 {
            assert_eq!(answer(&store, 1, 1, &["a"]), [true]);
        }
        assert_eq!(answer(&store, 2, 1, &["a", "c"]), [true, true]);
        // After a restart.
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(
            answer(&store, 3, 1, &["a", "b", "c", "d"]),
            [false, true, true, true]
        );
        assert_eq!(
            answer(&store, 4, 1, &["a", "b", "c", "d"]),
            [false, false, false, true]
        );
        assert_eq!(answer(&store, 2, 1, &["a"]), [true]);
        // In the next key epoch the count begins anew.
        assert_eq!(answer(&store, 5, 2, &["a", "b"]), [true, true]);
        let left: i64 = store
            .connection()
            .query_row("SELECT COUNT(*) FROM exact", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 1);
    }
}
