//! Standing rules of the homes. Homes with equal rules share one row, so that a host can set rules for very many homes.

use std::collections::{BTreeMap, HashMap, hash_map};

use dispers_core::{consent::Rules, subscription::HomeId};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::super::{Store, Transacted};
use crate::{Error, rule_file};

impl Store {
    /// Returns the rules of a home. If its owner gave none, they refuse every query.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn rules(&self, home: &HomeId) -> Result<Rules, Error> {
        self.read(|rows| rules_of(rows, home))
    }

    /// Returns the number of `homes` without rules of their own, which refuse every query.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn without_rules<'a>(
        &self,
        homes: impl IntoIterator<Item = &'a HomeId>,
    ) -> Result<usize, Error> {
        self.read(|rows| {
            let mut has = rows.prepare_cached("SELECT 1 FROM home_rules WHERE home = ?1")?;
            let mut count = 0;
            for home in homes {
                count += usize::from(!has.exists([&home.0])?);
            }
            Ok(count)
        })
    }

    /// Sets the rules of homes, in place of their earlier ones. A rule without a number that a home has already keeps
    /// its number there.
    ///
    /// # Errors
    /// [`Error::Database`]; nothing was changed then. [`Error::Rules`] if the rules are not valid.
    pub fn set_rules<'a>(
        &self,
        homes: impl IntoIterator<Item = &'a HomeId>,
        rules: Rules,
    ) -> Result<(), Error> {
        rules.check()?;
        self.write(|rows| replace(rows, homes, |_| rules.clone()))
    }

    /// Changes the rules of homes. Homes with equal rules before also have equal rules afterwards, except for the
    /// numbers of new rules, which are above those of rules that a home had.
    ///
    /// # Errors
    /// [`Error::Database`], or [`Error::Rules`] for rules that are not valid; then no home's rules have changed.
    pub fn change_rules<'a>(
        &self,
        homes: impl IntoIterator<Item = &'a HomeId>,
        change: impl Fn(&mut Rules),
    ) -> Result<(), Error> {
        // One transaction reads and writes: of two changes at the same time, neither may undo the other, which could
        // be a deny.
        self.write(|rows| {
            replace(rows, homes, |before| {
                let mut after = before.clone();
                change(&mut after);
                after
            })
        })
    }
}

/// Rules that homes share.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Shared {
    /// Number of the row with the rules, or `None` if the owners gave none.
    row: Option<i64>,
    /// Largest number that a rule of these homes ever had.
    last_number: u32,
}

impl Shared {
    /// Reads which rules a home has.
    fn of(rows: &Connection, home: &HomeId) -> rusqlite::Result<Self> {
        let shared = rows
            .prepare_cached("SELECT rules, last_number FROM home_rules WHERE home = ?1")?
            .query_row([&home.0], |row| {
                Ok(Self {
                    row: row.get(0)?,
                    last_number: row.get(1)?,
                })
            });
        Ok(shared.optional()?.unwrap_or_default())
    }
}

/// Replaces the rules of homes by those that `change` makes of them.
fn replace<'a>(
    rows: &Transaction<'_>,
    homes: impl IntoIterator<Item = &'a HomeId>,
    change: impl Fn(&Rules) -> Rules,
) -> Transacted<()> {
    let mut groups: BTreeMap<Shared, Vec<&HomeId>> = BTreeMap::new();
    for home in homes {
        let homes = groups.entry(Shared::of(rows, home)?).or_default();
        homes.push(home);
    }
    for (shared, homes) in groups {
        let before = read_rules(rows, shared.row)?;
        let after = change(&before).numbered(&before, shared.last_number);
        let after = after.map_err(Error::from)?;
        let numbers = [
            shared.last_number,
            before.last_number(),
            after.last_number(),
        ];
        let last_number = numbers.into_iter().fold(0, u32::max);
        write(rows, homes, &after, last_number)?;
    }
    // Only after all groups, since a later one may still have the rules of a row.
    rows.execute(
        "DELETE FROM rules WHERE id NOT IN (SELECT rules FROM home_rules)",
        [],
    )?;
    Ok(())
}

/// Gives homes the same rules.
fn write(
    rows: &Transaction<'_>,
    homes: Vec<&HomeId>,
    rules: &Rules,
    last_number: u32,
) -> rusqlite::Result<()> {
    let body = rule_file::text(rules);
    rows.execute("INSERT OR IGNORE INTO rules (body) VALUES (?1)", [&body])?;
    let id: i64 = rows.query_row("SELECT id FROM rules WHERE body = ?1", [&body], |row| {
        row.get(0)
    })?;
    for home in homes {
        rows.prepare_cached("INSERT OR REPLACE INTO home_rules VALUES (?1, ?2, ?3)")?
            .execute(params![home.0, id, last_number])?;
    }
    Ok(())
}

/// Reads the rules of a home, which refuse every query if its owner gave none.
pub(super) fn rules_of(rows: &Connection, home: &HomeId) -> Transacted<Rules> {
    let body: Option<String> = rows
        .prepare_cached(
            "SELECT body FROM home_rules AS h JOIN rules AS r ON r.id = h.rules WHERE home = ?1",
        )?
        .query_row([&home.0], |row| row.get(0))
        .optional()?;
    parse(body.as_deref())
}

/// Reads the rules in a row, or those of a home without a row.
fn read_rules(rows: &Connection, row: Option<i64>) -> Transacted<Rules> {
    let Some(row) = row else {
        return parse(None);
    };
    let body: String = rows
        .prepare_cached("SELECT body FROM rules WHERE id = ?1")?
        .query_row([row], |row| row.get(0))?;
    parse(Some(&body))
}

fn parse(body: Option<&str>) -> Transacted<Rules> {
    let rules = body.map(rule_file::parse).transpose();
    Ok(rules.map_err(Error::from)?.unwrap_or_default())
}

/// Rules of many homes. Rules that homes share are parsed once.
pub(super) struct RulesOfHomes<'a> {
    rows: &'a Connection,
    parsed: HashMap<Option<i64>, Rules>,
}

impl<'a> RulesOfHomes<'a> {
    pub(super) fn new(rows: &'a Connection) -> Self {
        Self {
            rows,
            parsed: HashMap::new(),
        }
    }

    /// Returns the rules of a home, which refuse every query if its owner gave none.
    pub(super) fn read(&mut self, home: &HomeId) -> Transacted<&Rules> {
        let row = Shared::of(self.rows, home)?.row;
        Ok(match self.parsed.entry(row) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => entry.insert(read_rules(self.rows, row)?),
        })
    }
}
