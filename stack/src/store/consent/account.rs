//! Cost of a home's earlier decisions.

use std::collections::HashMap;

use dispers_base::id::Timestamp;
use dispers_core::{
    consent::{Account, Answered, Outcome, Spent},
    subscription::HomeId,
};
use dispers_node::now;
use rusqlite::Connection;

use super::super::{
    Store,
    columns::{read_loss, read_time},
};
use crate::Error;

impl Store {
    /// Returns the privacy loss of a home's answers of the last year.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn spent(&self, home: &HomeId) -> Result<Spent, Error> {
        self.read(|rows| Ok(account(rows, home, now(), &HashMap::new())?.spent))
    }
}

/// Sums up a home's earlier decisions for the decision on one more query. The requests in `exact` count as exact
/// queries.
pub(super) fn account(
    rows: &Connection,
    home: &HomeId,
    now: Timestamp,
    exact: &HashMap<i64, usize>,
) -> rusqlite::Result<Account> {
    let mut select = rows.prepare_cached(
        "SELECT request, outcome, rule, at, pure, gaussian, rho FROM decision WHERE home = ?1",
    )?;
    let mut decisions = select.query([&home.0])?;
    let mut account = Account::default();
    while let Some(row) = decisions.next()? {
        let answered = Answered {
            outcome: Outcome::from_number(row.get(1)?),
            rule: row.get(2)?,
            cost: read_loss(row, 4)?,
            at: read_time(row, 3)?,
            exact: exact.get(&row.get(0)?).copied().unwrap_or(0),
        };
        account.add(&answered, now);
    }
    Ok(account)
}
