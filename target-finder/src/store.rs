//! The notary's certificates, and the sets of homes that queriers asked, in one SQLite file.

mod asked;

use dispers_base::id::{QueryId, Timestamp};
use dispers_node::{Database, DatabaseError, Schema, Storage};
use rusqlite::{OptionalExtension, Transaction, params};

pub(crate) use asked::Asked;

use crate::Error;

static SCHEMA: Schema = Schema {
    role: "target finder",
    application: 0x4453_5446,
    migrations: &[
        "
CREATE TABLE certificate (
    query BLOB NOT NULL, round INTEGER NOT NULL, proposal BLOB NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (query, round)
) WITHOUT ROWID;
CREATE INDEX certificate_expires ON certificate (expires);
",
        "
CREATE TABLE asked (
    number INTEGER PRIMARY KEY, querier TEXT NOT NULL, key_epoch INTEGER NOT NULL, whole INTEGER NOT NULL,
    profile BLOB NOT NULL, fingerprint BLOB NOT NULL, cohort INTEGER NOT NULL, homes BLOB NOT NULL
);
CREATE INDEX asked_order ON asked (querier, key_epoch, whole, number);
CREATE TABLE found (
    querier TEXT NOT NULL, key_epoch INTEGER NOT NULL, query BLOB NOT NULL, fingerprint BLOB,
    expires INTEGER NOT NULL, PRIMARY KEY (querier, key_epoch, query)
) WITHOUT ROWID;
",
    ],
    damaged: "the file is damaged: move it away; rounds that were certified are then certified a \
              second time, of which aggregators take only the first; and whom queriers asked is forgotten, \
              so that their exact queries of this key epoch can be subtracted from later ones: end the \
              key epoch first where queries without noise are allowed",
};

/// The one release of a round that the notary certified, kept until its query expires.
pub(crate) struct Certified {
    pub(crate) query: QueryId,
    pub(crate) round: u16,
    pub(crate) proposal: [u8; 32],
    pub(crate) expires: Timestamp,
}

/// Database of a Target Finder. Only one process may have the file open.
pub struct Certificates(Database);

impl Certificates {
    /// Opens the database, or creates it if it does not exist.
    ///
    /// # Errors
    /// [`DatabaseError`], with what the operator has to do.
    pub fn open(storage: &Storage) -> Result<Self, DatabaseError> {
        Self::checked(storage.open(&SCHEMA)?)
    }

    /// Reads every certificate, so that a damaged one is noticed before the node serves requests.
    fn checked(database: Database) -> Result<Self, DatabaseError> {
        database.read(|connection| {
            let mut select =
                connection.prepare("SELECT query, round, proposal, expires FROM certificate")?;
            let rows = select.query_map([], |row| {
                row.get::<_, [u8; 32]>(0)?;
                row.get::<_, u16>(1)?;
                row.get::<_, [u8; 32]>(2)?;
                row.get::<_, i64>(3)
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(Self(database))
    }

    /// Records a certificate, unless the round has another release already. The certificate is on the disk when this
    /// returns.
    ///
    /// # Errors
    /// [`Error::SecondRelease`] if the round has another release, or a later round has one. [`Error::Full`] if `most`
    /// certificates are kept.
    pub(crate) fn certify(
        &self,
        certified: &Certified,
        most: usize,
        now: Timestamp,
    ) -> Result<(), Error> {
        match self.0.write(|rows| note(rows, certified, most, now))? {
            Some(proposal) if proposal == certified.proposal => Ok(()),
            Some(_) => Err(Error::SecondRelease),
            None => Err(Error::Full),
        }
    }
}

/// Inserts `certified` if its round has no certificate. Returns the proposal that is recorded for the round, zeros if a
/// later round has a certificate, or `None` if there is no room.
fn note(
    rows: &Transaction<'_>,
    certified: &Certified,
    most: usize,
    now: Timestamp,
) -> rusqlite::Result<Option<[u8; 32]>> {
    // A query that expired longer ago than clocks may differ is refused when its manifest is verified. So a forgotten
    // certificate cannot lead to a second one.
    rows.prepare_cached("DELETE FROM certificate WHERE expires < ?1")?
        .execute([now.0.saturating_sub(Timestamp::SKEW) as i64])?;
    // The rounds of a session come in order. Only the last round's certificate is kept, and earlier rounds are
    // refused, so that a session takes one place however many rounds it has.
    let later = rows
        .prepare_cached("SELECT 1 FROM certificate WHERE query = ?1 AND round > ?2")?
        .exists(params![certified.query.0, certified.round])?;
    // Zeros are the hash of no proposal, so no request for a real one matches them.
    if later {
        return Ok(Some([0; 32]));
    }
    rows.prepare_cached("DELETE FROM certificate WHERE query = ?1 AND round < ?2")?
        .execute(params![certified.query.0, certified.round])?;
    // An existing certificate stays as it is: the insert ignores a second proposal, and the read below returns the
    // first one.
    rows.prepare_cached(
        "INSERT OR IGNORE INTO certificate SELECT ?1, ?2, ?3, ?4
         WHERE (SELECT COUNT(*) FROM certificate) < ?5",
    )?
    .execute(params![
        certified.query.0,
        certified.round,
        certified.proposal,
        certified.expires.0 as i64,
        most as i64,
    ])?;
    rows.prepare_cached("SELECT proposal FROM certificate WHERE query = ?1 AND round = ?2")?
        .query_row(params![certified.query.0, certified.round], |row| {
            row.get(0)
        })
        .optional()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn certified(query: u8, round: u16, proposal: u8) -> Certified {
        Certified {
            query: QueryId([query; 32]),
            round,
            proposal: [proposal; 32],
            expires: NOW,
        }
    }

    fn refusal(path: &Path) -> String {
        let opened = Certificates::open(&Storage::File(path.to_owned()));
        opened.err().expect("it is refused").to_string()
    }

    #[test]
    fn one_release_of_a_round_is_certified_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("finder.db");
        for _ in 0..2 {
            let database = Certificates::open(&Storage::File(path.clone())).unwrap();
            let certify = |query, round, proposal| {
                database.certify(&certified(query, round, proposal), 10, NOW)
            };
            certify(1, 0, 1).unwrap();
            certify(1, 0, 1).unwrap();
            assert!(matches!(certify(1, 0, 2), Err(Error::SecondRelease)));
            certify(2, 0, 2).unwrap();
        }
    }

    #[test]
    fn a_session_has_one_certificate_and_no_round_has_one_after_a_later_one() {
        let database = Certificates::open(&Storage::Memory).unwrap();
        for round in 0..1024 {
            database.certify(&certified(1, round, 1), 2, NOW).unwrap();
        }
        // The certificates of earlier rounds left room for another query.
        database.certify(&certified(2, 0, 1), 2, NOW).unwrap();
        for round in [0, 1022] {
            let again = database.certify(&certified(1, round, 1), 2, NOW);
            assert!(matches!(again, Err(Error::SecondRelease)), "{round}");
        }
        database.certify(&certified(1, 1023, 1), 2, NOW).unwrap();
    }

    #[test]
    fn certificates_are_bounded_and_forgotten_with_their_queries() {
        let database = Certificates::open(&Storage::Memory).unwrap();
        let certify =
            |query, now: Timestamp| database.certify(&certified(query, 0, 1), 2, now).err();
        assert!(certify(1, NOW).is_none() && certify(2, NOW).is_none());
        assert!(matches!(certify(3, NOW), Some(Error::Full)));
        assert!(certify(2, NOW).is_none());
        // The certificate is kept for as long as clocks may differ.
        let skewed = NOW.plus(Timestamp::SKEW);
        assert!(matches!(certify(3, skewed), Some(Error::Full)));
        assert!(certify(3, skewed.plus(1)).is_none());
    }

    #[test]
    fn a_file_that_cannot_be_used_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("finder.db");
        drop(Certificates::open(&Storage::File(path.clone())).unwrap());
        let change = |sql: &str| {
            let connection = Connection::open(&path).unwrap();
            connection.execute_batch(sql).unwrap();
        };
        change("INSERT INTO certificate VALUES (x'01', 0, x'02', 3)");
        assert!(refusal(&path).contains("the file is damaged: move it away"));
        change("DELETE FROM certificate");
        assert!(Certificates::open(&Storage::File(path.clone())).is_ok());
    }

    #[test]
    fn what_cannot_be_written_is_not_certified() {
        let database = Certificates::open(&Storage::Memory).unwrap();
        let pragma = |name: &str, value: &str| {
            let set = |connection: &Connection| connection.pragma_update(None, name, value);
            database.0.read(set).unwrap();
        };
        let certify = || database.certify(&certified(1, 0, 1), 10, NOW);
        pragma("query_only", "ON");
        assert!(certify().unwrap_err().to_string().contains("is read-only"));
        pragma("query_only", "OFF");
        pragma("max_page_count", "4");
        let mut full = (2..=255).filter_map(|query| {
            let certified = certified(query, 0, 1);
            database.certify(&certified, 1000, NOW).err()
        });
        let words = full.next().expect("there is an end").to_string();
        assert!(words.contains("no space is left"), "{words}");
    }
}
