//! Storage of the sets of homes that queriers asked, which [`Judging`] compares a find with, and of refused queries.

use dispers_base::id::{KeyEpoch, Name, Timestamp};
use dispers_core::find::{
    Asking, FindError, Fingerprint, Judging, KeptSet, Limits, Members, Outcome, Queries, Sizes,
    Verdict,
};
use rusqlite::{OptionalExtension, Transaction, params, types::Type};

use super::Certificates;
use crate::Error;

/// Request of a querier to ask a set of homes, with all that the decision depends on.
pub(crate) struct Asked<'a> {
    pub(crate) querier: &'a Name,
    pub(crate) key_epoch: KeyEpoch,
    pub(crate) asking: Asking<'a>,
    pub(crate) sizes: &'a Sizes,
    pub(crate) limits: Limits,
    /// Oldest key epoch that is not over.
    pub(crate) oldest: KeyEpoch,
    /// Time when the query expires.
    pub(crate) expires: Timestamp,
    pub(crate) now: Timestamp,
}

impl Certificates {
    /// Decides whether a querier may ask these homes. Writes what the decision must remember before it returns.
    ///
    /// # Errors
    /// [`Error::Find`] if the homes may not be asked.
    pub(crate) fn ask(&self, asked: &Asked<'_>) -> Result<(), Error> {
        let decided = self.0.write(|rows| decide(rows, asked))?;
        Ok(decided?)
    }
}

/// Decides about the set, and writes what the decision must remember in the same transaction.
///
/// # Errors
/// [`rusqlite::Error`] if the database fails or is damaged; then nothing is written.
fn decide(rows: &Transaction<'_>, asked: &Asked<'_>) -> rusqlite::Result<Result<(), FindError>> {
    forget(rows, asked)?;
    let (querier, epoch) = (asked.querier.as_str(), asked.key_epoch.0);
    let queries = queries(rows, asked)?;
    let mut judging = Judging::new(&asked.asking, asked.sizes, asked.limits, queries);
    // The decision also needs the number of sets, their homes, and the nearest set, so the comparison does not end at
    // the first set that is too near.
    for number in numbers(rows, asked)? {
        let set = stored_set(rows, number)?;
        if !judging.compare(number as u64, set) {
            return Err(damaged("whole"));
        }
    }
    let outcome = match judging.decide() {
        Verdict::Repeated => return Ok(Ok(())),
        Verdict::Refuse(error) => return Ok(Err(error)),
        // The set of homes is the same, but a later find under another profile must keep to the larger cohort.
        Verdict::Stored(number) => {
            rows.prepare_cached("UPDATE asked SET cohort = MAX(cohort, ?2) WHERE number = ?1")?
                .execute(params![number as i64, asked.asking.cohort])?;
            Ok(())
        }
        Verdict::Keep(set) => {
            keep(rows, asked, &set)?;
            Ok(())
        }
        Verdict::Count(error) => Err(error),
    };
    // Only a query that found homes has a fingerprint. A refused query is recorded too, since its refusals are
    // limited.
    let found = outcome.is_ok().then(|| asked.asking.fingerprint.as_bytes());
    let (query, expires) = (asked.asking.query.0, asked.expires.0 as i64);
    rows.prepare_cached("INSERT INTO found VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![querier, epoch, query, found, expires])?;
    Ok(outcome)
}

/// Forgets key epochs that are over, and expired queries that found homes. Refused queries count until their key epoch
/// is over.
fn forget(rows: &Transaction<'_>, asked: &Asked<'_>) -> rusqlite::Result<()> {
    for over in [
        "DELETE FROM asked WHERE key_epoch < ?1",
        "DELETE FROM found WHERE key_epoch < ?1",
    ] {
        rows.prepare_cached(over)?.execute([asked.oldest.0])?;
    }
    // Clocks differ. A query stays until no verifier accepts its manifest any longer, since a repeated find must get
    // the same decision.
    let expired = asked.now.0.saturating_sub(Timestamp::SKEW) as i64;
    rows.prepare_cached("DELETE FROM found WHERE fingerprint IS NOT NULL AND expires < ?1")?
        .execute([expired])?;
    Ok(())
}

/// Counts the querier's remembered queries, and looks up this one.
fn queries(rows: &Transaction<'_>, asked: &Asked<'_>) -> rusqlite::Result<Queries> {
    let (querier, epoch) = (asked.querier.as_str(), asked.key_epoch.0);
    let (refused, found): (i64, i64) = rows
        .prepare_cached(
            "SELECT COUNT(*) - COUNT(fingerprint), COUNT(fingerprint) FROM found
             WHERE querier = ?1 AND key_epoch = ?2",
        )?
        .query_row(params![querier, epoch], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let this: Option<Option<[u8; 32]>> = rows
        .prepare_cached(
            "SELECT fingerprint FROM found WHERE querier = ?1 AND key_epoch = ?2 AND query = ?3",
        )?
        .query_row(params![querier, epoch, asked.asking.query.0], |row| {
            row.get(0)
        })
        .optional()?;
    let [refused, found] =
        [refused, found].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    Ok(Queries {
        refused,
        found,
        this: this.map(|found| match found {
            Some(homes) => Outcome::Found(Fingerprint::from_bytes(homes)),
            None => Outcome::Refused,
        }),
    })
}

/// Returns the numbers of the stored sets, each whole set before the differences to it. The caller reads the sets one
/// by one, since all of them may not fit in memory.
fn numbers(rows: &Transaction<'_>, asked: &Asked<'_>) -> rusqlite::Result<Vec<i64>> {
    let mut select = rows.prepare_cached(
        "SELECT number FROM asked WHERE querier = ?1 AND key_epoch = ?2 ORDER BY whole, number",
    )?;
    select
        .query_map(params![asked.querier.as_str(), asked.key_epoch.0], |row| {
            row.get(0)
        })?
        .collect()
}

/// Reads one stored set.
fn stored_set(rows: &Transaction<'_>, number: i64) -> rusqlite::Result<KeptSet> {
    rows.prepare_cached(
        "SELECT profile, fingerprint, whole, homes, cohort FROM asked WHERE number = ?1",
    )?
    .query_row([number], |row| {
        let whole: i64 = row.get(2)?;
        let homes = Members::from_bytes(row.get_ref(3)?.as_blob()?);
        Ok(KeptSet {
            profile: row.get(0)?,
            fingerprint: Fingerprint::from_bytes(row.get(1)?),
            cohort: row.get(4)?,
            whole: (whole != number).then_some(whole as u64),
            homes: homes.ok_or_else(|| damaged("homes"))?,
        })
    })
}

/// Error of a column that holds something else than this program writes.
fn damaged(column: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(0, column.into(), Type::Blob)
}

/// Stores a set of homes, or its difference to a stored whole set.
fn keep(rows: &Transaction<'_>, asked: &Asked<'_>, set: &KeptSet) -> rusqlite::Result<()> {
    let last: Option<i64> = rows
        .prepare_cached("SELECT MAX(number) FROM asked")?
        .query_row([], |row| row.get(0))
        .optional()?
        .flatten();
    let number = last.unwrap_or_default() + 1;
    // A whole set refers to itself, so that ordering by (whole, number) yields it before its differences.
    let whole = set.whole.map_or(number, |whole| whole as i64);
    rows.prepare_cached("INSERT INTO asked VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            number,
            asked.querier.as_str(),
            asked.key_epoch.0,
            whole,
            set.profile,
            set.fingerprint.as_bytes(),
            set.cohort,
            set.homes.to_bytes(),
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dispers_base::id::QueryId;
    use dispers_core::{subscription::HomeTag, ticket::PoolSecret};
    use dispers_node::Storage;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    /// A querier that asks a finder with this database file.
    struct Querier<'p> {
        path: &'p Path,
        epoch: KeyEpoch,
        oldest: KeyEpoch,
    }

    impl Querier<'_> {
        /// Asks a range of homes under a profile, at a finder that was just started.
        fn ask(&self, query: u8, profile: u8, homes: std::ops::Range<u8>) -> Option<FindError> {
            let database = Certificates::open(&Storage::File(self.path.to_owned())).unwrap();
            let secret = PoolSecret::from_bytes([7; 32]);
            let sizes = Sizes::new(&secret, self.epoch, 0);
            let name = Name::new("querier").unwrap();
            let tags: Vec<HomeTag> = homes.map(|home| HomeTag([home; 16])).collect();
            let asked = Asked {
                querier: &name,
                key_epoch: self.epoch,
                asking: Asking {
                    query: QueryId([query; 32]),
                    profile: [profile; 32],
                    homes: &Members::new(&secret.member_key(&name, self.epoch), &tags),
                    fingerprint: sizes.fingerprint(&tags),
                    cohort: 20,
                    most: 1000,
                    smallest: tags.len() as u64,
                },
                sizes: &sizes,
                limits: Limits {
                    profiles: 10,
                    sets: 10,
                    homes: 1000,
                    refused: 2,
                    queries: 10,
                },
                oldest: self.oldest,
                expires: NOW,
                now: NOW,
            };
            match database.ask(&asked) {
                Ok(()) => None,
                Err(Error::Find(error)) => Some(error),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn what_was_asked_and_what_was_refused_counts_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("finder.db");
        let querier = Querier {
            path: &path,
            epoch: KeyEpoch(1),
            oldest: KeyEpoch(1),
        };
        let refused = Some(FindError::Sizes(20));
        assert_eq!(querier.ask(1, 1, 0..100), None);
        // A set of the same profile that differs by few homes is stored as a difference.
        assert_eq!(querier.ask(2, 1, 0..102), None);
        assert_eq!(querier.ask(3, 2, 0..101), refused);
        assert_eq!(querier.ask(3, 2, 0..50), refused);
        assert_eq!(querier.ask(4, 2, 0..50), None);
        assert_eq!(querier.ask(4, 2, 0..51), Some(FindError::OtherLists));
        assert_eq!(querier.ask(5, 2, 0..103), refused);
        assert_eq!(querier.ask(6, 2, 0..50), Some(FindError::TooManyRefused(2)));
        assert_eq!(querier.ask(4, 2, 0..50), None);
        // The sets of a key epoch that is over are forgotten.
        let next = Querier {
            epoch: KeyEpoch(2),
            oldest: KeyEpoch(2),
            ..querier
        };
        assert_eq!(next.ask(7, 2, 0..101), None);
    }
}
