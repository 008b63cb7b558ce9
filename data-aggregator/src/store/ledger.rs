//! Ledger of the privacy budgets of queriers, in an aggregator's file (protocol.md §9).
//! [`dispers_privacy::ledger`] decides which expenses count.

use dispers_base::id::{KeyEpoch, Name, QueryId, Timestamp};
use dispers_node::{Database, DatabaseError};
use dispers_privacy::{
    Population,
    {
        Expense, Rho,
        ledger::{self, BudgetSpent, free_before},
    },
};
use rusqlite::{Row, Transaction, params};

/// The ledger in an aggregator's file.
pub(crate) struct Ledger<'a>(pub(crate) &'a Database);

/// Converts ρ to SQLite's integer. A ρ that does not fit becomes the largest integer.
fn integer(rho: Rho) -> i64 {
    i64::try_from(rho.0).unwrap_or(i64::MAX)
}

/// Reads one expense.
fn expense(row: &Row<'_>) -> rusqlite::Result<Expense> {
    Ok(Expense {
        population: Population(row.get(0)?),
        query: QueryId(row.get(1)?),
        rho: Rho(row.get::<_, i64>(2)? as u64),
        expires: Timestamp(row.get::<_, i64>(3)? as u64),
        released: row.get(4)?,
    })
}

impl Ledger<'_> {
    /// Reserves the cost of a query in each of its populations. A query that reserved before is not charged again.
    ///
    /// # Errors
    /// [`BudgetSpent`] if a population's budget does not cover the query; then nothing is reserved.
    pub(crate) fn reserve(
        &self,
        querier: &Name,
        epoch: KeyEpoch,
        expenses: &[Expense],
        most: Rho,
        now: Timestamp,
    ) -> Result<Result<(), BudgetSpent>, DatabaseError> {
        // Reading and reserving is one transaction, so that two queries cannot both reserve the last of a budget.
        self.0.write(|rows| {
            let mut held = Vec::new();
            for expense in expenses {
                held.extend(of_population(rows, querier, epoch, expense.population)?);
            }
            if let Err(spent) = ledger::reserve(&held, expenses, most, now) {
                return Ok(Err(spent));
            }
            for expense in expenses {
                rows.prepare_cached(
                    "INSERT OR IGNORE INTO expense VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
                )?
                .execute(params![
                    querier.as_str(),
                    epoch.0,
                    expense.population.0,
                    expense.query.0,
                    integer(expense.rho),
                    expense.expires.0 as i64,
                ])?;
            }
            Ok(Ok(()))
        })
    }

    /// Marks expenses of one query as released, in a transaction of their own.
    pub(crate) fn charge(
        &self,
        querier: &Name,
        epoch: KeyEpoch,
        charges: &[Expense],
        most: Rho,
        now: Timestamp,
    ) -> Result<Result<(), BudgetSpent>, DatabaseError> {
        self.0
            .write(|rows| charge(rows, querier, epoch, charges, most, now))
    }

    /// Returns the expenses of a querier in a key epoch that count at `now`: released ones, and reservations that have
    /// not expired.
    pub(crate) fn of(
        &self,
        querier: &Name,
        epoch: KeyEpoch,
        now: Timestamp,
    ) -> Result<Vec<Expense>, DatabaseError> {
        self.0.read(|rows| {
            let mut select = rows.prepare_cached(
                "SELECT population, query, rho, expires, released FROM expense
                 WHERE querier = ?1 AND key_epoch = ?2",
            )?;
            let expenses = select.query_map(params![querier.as_str(), epoch.0], expense)?;
            let counted = expenses.filter(|e| e.as_ref().map_or(true, |e| e.counts(now)));
            counted.collect()
        })
    }

    /// Erases expired reservations of queries that were never released, and the expenses of key epochs that are over.
    pub(crate) fn expire(&self, epochs: &[KeyEpoch], now: Timestamp) -> Result<(), DatabaseError> {
        let oldest = epochs.iter().map(|epoch| epoch.0).min().unwrap_or(0);
        self.0.write(|rows| {
            rows.prepare_cached(
                "DELETE FROM expense WHERE key_epoch < ?1 OR (NOT released AND expires < ?2)",
            )?
            .execute(params![oldest, free_before(now).0 as i64])
            .map(|_| ())
        })
    }
}

/// Marks expenses of one query as released, whether or not they were reserved. Writes nothing if the budget does not
/// cover them. The caller must write the step in the same transaction, and must not write it in that case.
pub(super) fn charge(
    rows: &Transaction<'_>,
    querier: &Name,
    epoch: KeyEpoch,
    charges: &[Expense],
    most: Rho,
    now: Timestamp,
) -> rusqlite::Result<Result<(), BudgetSpent>> {
    // The budget is checked again. The reservation may have expired, or may be of a query that was never reserved
    // here.
    let mut held = Vec::new();
    for expense in charges {
        held.extend(of_population(rows, querier, epoch, expense.population)?);
    }
    if let Err(spent) = ledger::reserve(&held, charges, most, now) {
        return Ok(Err(spent));
    }
    for expense in charges {
        rows.prepare_cached(
            "INSERT INTO expense VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)
             ON CONFLICT DO UPDATE SET released = 1",
        )?
        .execute(params![
            querier.as_str(),
            epoch.0,
            expense.population.0,
            expense.query.0,
            integer(expense.rho),
            expense.expires.0 as i64,
        ])?;
    }
    Ok(Ok(()))
}

/// Returns the expenses of a querier on a population in a key epoch, including reservations that have expired.
fn of_population(
    rows: &Transaction<'_>,
    querier: &Name,
    epoch: KeyEpoch,
    population: Population,
) -> rusqlite::Result<Vec<Expense>> {
    let mut select = rows.prepare_cached(
        "SELECT population, query, rho, expires, released FROM expense
         WHERE querier = ?1 AND key_epoch = ?2 AND population = ?3",
    )?;
    select
        .query_map(params![querier.as_str(), epoch.0, population.0], expense)?
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::SCHEMA;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);
    pub(in crate::store) const EPOCH: KeyEpoch = KeyEpoch(3);

    pub(in crate::store) fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// Returns a reservation of a query on a population.
    pub(in crate::store) fn expense(population: u8, query: u8, rho: u64) -> Expense {
        Expense {
            population: Population([population; 32]),
            query: QueryId([query; 32]),
            rho: Rho(rho),
            expires: NOW.plus(1_000_000),
            released: false,
        }
    }

    fn reserve(
        ledger: &Ledger<'_>,
        expenses: &[Expense],
        now: Timestamp,
    ) -> Result<(), BudgetSpent> {
        let most = Rho(100);
        let reserved = ledger.reserve(&name("q"), EPOCH, expenses, most, now);
        reserved.unwrap()
    }

    #[test]
    fn no_more_is_reserved_than_the_budget_and_a_query_pays_once() {
        let database = Database::in_memory(&SCHEMA).unwrap();
        let ledger = Ledger(&database);
        assert_eq!(reserve(&ledger, &[expense(1, 1, 60)], NOW), Ok(()));
        assert_eq!(reserve(&ledger, &[expense(1, 1, 60)], NOW), Ok(()));
        let (spent, most, cost) = (Rho(60), Rho(100), Rho(41));
        let refused = Err(BudgetSpent { spent, most, cost });
        assert_eq!(reserve(&ledger, &[expense(1, 2, 41)], NOW), refused);
        // Either all populations of a query are reserved, or none.
        let both = [expense(2, 2, 41), expense(1, 2, 41)];
        assert_eq!(reserve(&ledger, &both, NOW), refused);
        assert_eq!(reserve(&ledger, &[expense(1, 2, 40)], NOW), Ok(()));
        assert_eq!(reserve(&ledger, &[expense(2, 3, 100)], NOW), Ok(()));
        assert_eq!(ledger.of(&name("q"), EPOCH, NOW).unwrap().len(), 3);
        // Other queriers and other key epochs have budgets of their own.
        let one = [expense(1, 9, 100)];
        let other = |querier, epoch| ledger.reserve(&name(querier), epoch, &one, Rho(100), NOW);
        assert_eq!(other("r", EPOCH).unwrap(), Ok(()));
        assert_eq!(other("q", KeyEpoch(4)).unwrap(), Ok(()));
        let huge = [expense(1, 8, u64::MAX)];
        assert!(
            ledger
                .reserve(&name("q"), EPOCH, &huge, Rho(u64::MAX - 1), NOW)
                .unwrap()
                .is_err()
        );
    }

    #[test]
    fn what_was_released_counts_until_its_key_epoch_is_over_and_the_rest_until_it_expires() {
        let database = Database::in_memory(&SCHEMA).unwrap();
        let ledger = Ledger(&database);
        assert_eq!(reserve(&ledger, &[expense(1, 1, 60)], NOW), Ok(()));
        assert_eq!(reserve(&ledger, &[expense(1, 2, 40)], NOW), Ok(()));
        let charged = [expense(1, 1, 60)];
        let charge = |most, now| ledger.charge(&name("q"), EPOCH, &charged, Rho(most), now);
        assert_eq!(charge(100, NOW).unwrap(), Ok(()));
        // A repetition changes nothing, even if the budget was lowered since.
        assert_eq!(charge(50, NOW).unwrap(), Ok(()));
        let later = NOW.plus(1_000_000 + Timestamp::SKEW + 1);
        assert!(reserve(&ledger, &[expense(1, 3, 40)], NOW).is_err());
        assert!(reserve(&ledger, &[expense(1, 3, 41)], later).is_err());
        ledger.expire(&[EPOCH], later).unwrap();
        let left = ledger.of(&name("q"), EPOCH, later).unwrap();
        assert_eq!(left.len(), 1);
        assert!(left[0].released);
        ledger.expire(&[KeyEpoch(4), KeyEpoch(5)], later).unwrap();
        assert_eq!(ledger.of(&name("q"), EPOCH, later).unwrap(), []);
    }

    #[test]
    fn what_was_never_reserved_is_charged_where_the_budget_allows_it_and_else_nothing_is_written() {
        let database = Database::in_memory(&SCHEMA).unwrap();
        let ledger = Ledger(&database);
        assert_eq!(reserve(&ledger, &[expense(1, 1, 60)], NOW), Ok(()));
        let charge = |charges: &[Expense]| {
            let charged = ledger.charge(&name("q"), EPOCH, charges, Rho(100), NOW);
            charged.unwrap()
        };
        // Either all populations of a query are charged, or none.
        assert!(charge(&[expense(2, 2, 41), expense(1, 2, 41)]).is_err());
        assert_eq!(ledger.of(&name("q"), EPOCH, NOW).unwrap().len(), 1);
        assert_eq!(charge(&[expense(2, 2, 40), expense(1, 2, 40)]), Ok(()));
        let later = NOW.plus(1_000_000 + Timestamp::SKEW + 1);
        let held = ledger.of(&name("q"), EPOCH, later).unwrap();
        assert_eq!(held.len(), 2);
        assert!(held.iter().all(|expense| expense.released));
    }
}
