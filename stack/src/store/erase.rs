//! Erasure of a home. Afterwards the file holds nothing that names the home.

use std::collections::BTreeSet;

use dispers_core::subscription::HomeId;
use rusqlite::params;

use super::{Store, columns::count, subscriptions::leave};
use crate::{Erased, Error};

/// Tables with rows of homes, except subscriptions.
const TABLES: [&str; 6] = [
    "document",
    "decision",
    "home_rules",
    "secret",
    "login",
    "session",
];

impl Store {
    /// Ends a home's subscriptions, records the handles that are to be withdrawn at the Conductor, and erases
    /// everything else of the home, also from the write-ahead log. The handles stay until the Conductor was told: they
    /// name nobody.
    pub(crate) fn erase(&self, home: &HomeId) -> Result<Erased, Error> {
        let erased = self.database.erase(|rows| {
            let subscriptions = leave(rows, home, None)?;
            let mut counts = [0; TABLES.len()];
            for (table, count) in TABLES.iter().zip(&mut counts) {
                let delete = format!("DELETE FROM {table} WHERE home = ?1");
                *count = rows.execute(&delete, params![home.0])?;
            }
            // The order of `TABLES`.
            let [documents, history, rules, ..] = counts;
            Ok(Erased {
                documents: count(documents),
                subscriptions: count(subscriptions),
                history: count(history),
                rules: count(rules),
            })
        })?;
        Ok(erased)
    }

    /// Returns every home with documents, secrets, subscriptions, rules or a history in the file.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn known(&self) -> Result<BTreeSet<HomeId>, Error> {
        self.read(|rows| {
            let mut select = rows.prepare(
                "SELECT home FROM document UNION SELECT home FROM secret UNION SELECT home FROM subscription
                 UNION SELECT home FROM home_rules UNION SELECT home FROM decision",
            )?;
            let homes = select.query_map([], |row| row.get(0).map(HomeId))?;
            Ok(homes.collect::<rusqlite::Result<_>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use dispers_base::id::KeyEpoch;
    use dispers_core::subscription::Handle;

    use super::*;
    use crate::{
        Connector, Rules, Sheet,
        testing::{decide, home, query},
    };

    #[test]
    fn nothing_of_an_erased_home_is_left_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("stack.db")).unwrap();
        let (gone, stays) = ("a-home-that-leaves", "a-home-that-stays");
        let sheet =
            Sheet::parse("x.csv", &b"value\nsecret-of-gone\nsecret-of-stays\n"[..]).unwrap();
        let homes = [home(gone), home(stays)];
        store.import("x", &sheet, homes.iter().zip(0..)).unwrap();
        for home in &homes {
            store.secrets(home, KeyEpoch(1)).unwrap();
            store.link(home).unwrap();
        }
        store.set_rules(&homes, Rules::allow_everything()).unwrap();
        for (home, byte) in homes.iter().zip([1, 2]) {
            let subscription = [(home.clone(), "home>all".to_owned(), Handle([byte; 16]))];
            store.sending(&subscription).unwrap();
            store.subscribed(KeyEpoch(1), &subscription, false).unwrap();
        }
        let asked = query(1, Some(1_000_000), 0);
        decide(&store, &asked, false, &[gone, stays]);
        assert_eq!(store.known().unwrap().len(), 2);

        let erased = store.erase(&home(gone)).unwrap();
        let expected = Erased {
            documents: 1,
            subscriptions: 1,
            history: 1,
            rules: 1,
        };
        assert_eq!(erased, expected);
        assert_eq!(store.erase(&home(gone)).unwrap(), Erased::default());
        assert!(store.known().unwrap().iter().eq([&home(stays)]));
        assert!(!store.holds(&home(gone)).unwrap());
        assert_eq!(store.history(&home(stays), 0, 9).unwrap().len(), 1);
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        let found = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(!found(gone) && !found("secret-of-gone"));
        assert!(found(stays) && found("secret-of-stays"));
    }

    #[test]
    fn an_erasure_beside_a_command_that_reads_is_completed_when_it_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.db");
        let store = Store::open(&path).unwrap();
        let gone = home("a-home-that-leaves");
        store.secrets(&gone, KeyEpoch(1)).unwrap();
        let reader = rusqlite::Connection::open(&path).unwrap();
        reader
            .execute_batch("BEGIN; SELECT * FROM secret;")
            .unwrap();
        let refused = store.erase(&gone).unwrap_err().to_string();
        assert!(refused.contains("the erasure is on the disk"), "{refused}");
        assert!(store.known().unwrap().is_empty());
        let wal = folder.path().join("stack.db-wal");
        let in_the_log = || {
            let log = std::fs::read(&wal).unwrap();
            let mut parts = log.windows(gone.0.len());
            parts.any(|part| part == gone.0.as_bytes())
        };
        assert!(in_the_log());
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(store.erase(&gone).unwrap(), Erased::default());
        assert!(!in_the_log());
    }
}
