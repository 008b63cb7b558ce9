//! Erasure of a home. Afterwards the file holds nothing that names the home.

use std::collections::BTreeSet;

use dispers_core::subscription::HomeId;
use rusqlite::params;

use super::Store;
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
    /// everything else of the home. The handles stay until the Conductor was told: they name nobody.
    pub(crate) fn erase(&self, home: &HomeId) -> Result<Erased, Error> {
        let subscriptions = self.leave(home, None)? as u64;
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        let mut counts = [0; TABLES.len()];
        for (table, count) in TABLES.iter().zip(&mut counts) {
            *count = rows.execute(
                &format!("DELETE FROM {table} WHERE home = ?1"),
                params![home.0],
            )? as u64;
        }
        rows.commit()?;
        // The checkpoint brings the overwritten pages into the file. It also empties the write-ahead log, which still
        // has the deleted rows.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        // The order of `TABLES`.
        let [documents, history, rules, ..] = counts;
        Ok(Erased {
            documents,
            subscriptions,
            history,
            rules,
        })
    }

    /// Returns every home with documents, secrets, subscriptions, rules or a history in the file.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn known(&self) -> Result<BTreeSet<HomeId>, Error> {
        let connection = self.connection()?;
        let mut select = connection.prepare(
            "SELECT home FROM document UNION SELECT home FROM secret UNION SELECT home FROM subscription
             UNION SELECT home FROM home_rules UNION SELECT home FROM decision",
        )?;
        let homes = select.query_map([], |row| row.get(0).map(HomeId))?;
        Ok(homes.collect::<Result<_, _>>()?)
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
}
