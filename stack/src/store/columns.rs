//! Values that several tables have as columns.

use dispers_base::id::Timestamp;
use dispers_privacy::{Loss, Rho};
use rusqlite::Row;

/// Returns a number for a column. SQL integers are signed, so the sign is reinterpreted and nothing is lost.
pub(super) fn number(value: u64) -> i64 {
    value.cast_signed()
}

/// Reads what [`number`] wrote.
pub(super) fn read_number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

/// Returns a time for a column.
pub(super) fn time(at: Timestamp) -> i64 {
    number(at.0)
}

/// Reads what [`time`] wrote.
pub(super) fn read_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    read_number(row, column).map(Timestamp)
}

/// Returns the columns `pure`, `gaussian` and `rho` of a privacy loss.
pub(super) fn loss(loss: Loss) -> [i64; 3] {
    [loss.pure, loss.gaussian.0, loss.rho.0].map(number)
}

/// Reads what [`loss`] wrote, from the column `from` on.
pub(super) fn read_loss(row: &Row<'_>, from: usize) -> rusqlite::Result<Loss> {
    Ok(Loss {
        pure: read_number(row, from)?,
        gaussian: Rho(read_number(row, from + 1)?),
        rho: Rho(read_number(row, from + 2)?),
    })
}

/// Returns a number of rows as a count of fixed size.
pub(super) fn count(rows: usize) -> u64 {
    // No computer has more rows than 64 bits count.
    u64::try_from(rows).unwrap_or(u64::MAX)
}
