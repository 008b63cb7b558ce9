//! Queries that homes were asked, what became of them, and the rules that decided.
//!
//! Each home decides a query once, in one transaction with the query's cost. The decision is on the disk before
//! anything of the home is read, so that neither concurrent queries nor a crash overspend a home's ε.

use std::collections::{BTreeMap, HashMap};

use dispers_base::{
    encoding::{decode, from_bytes, to_bytes},
    id::{BatchId, QueryId, Timestamp},
};
use dispers_core::{
    consent::{
        Account, Answered, Asked, Decision, Outcome, Place, Question, Rules, Spent, WordError,
        decide, word,
    },
    manifest::{Manifest, SignedManifest},
    subscription::HomeId,
};
use dispers_node::now;
use dispers_privacy::{Loss, Rho};
use rusqlite::{CachedStatement, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::{Error, rule_file};

/// Largest encoding of a place, in bytes.
const MAX_PLACE: usize = 64;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS rules (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS home_rules (home TEXT PRIMARY KEY, rules INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS request (
    id INTEGER PRIMARY KEY, query BLOB NOT NULL UNIQUE, manifest BLOB NOT NULL, querier TEXT NOT NULL,
    doctype TEXT NOT NULL, key_epoch INTEGER NOT NULL, epsilon INTEGER, answer_from INTEGER NOT NULL,
    received INTEGER NOT NULL, pure INTEGER NOT NULL, gaussian INTEGER NOT NULL, rho INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS request_exact ON request (querier, doctype, key_epoch) WHERE epsilon IS NULL;
CREATE TABLE IF NOT EXISTS decision (
    home TEXT NOT NULL, request INTEGER NOT NULL, outcome INTEGER NOT NULL, rule INTEGER,
    at INTEGER NOT NULL, batch INTEGER NOT NULL, pure INTEGER NOT NULL, gaussian INTEGER NOT NULL,
    rho INTEGER NOT NULL, place BLOB NOT NULL,
    PRIMARY KEY (home, request)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (
    request INTEGER NOT NULL, batch INTEGER NOT NULL, at INTEGER NOT NULL, homes INTEGER NOT NULL,
    groups TEXT NOT NULL, PRIMARY KEY (request, batch)
) WITHOUT ROWID;
";

/// Query for which homes are to decide.
pub(crate) struct Deciding<'a> {
    pub(crate) signed: &'a SignedManifest,
    pub(crate) manifest: &'a Manifest,
    /// Privacy loss of an answer.
    pub(crate) cost: Loss,
    /// Place at which the query reaches the homes.
    pub(crate) place: Place,
    /// True if the query is only announced, so that there is time to ask owners.
    pub(crate) announced: bool,
    pub(crate) bounds: Bounds,
}

/// Bounds of a stack and its network, independent of owners' rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Number of exact queries that a home answers per querier, doctype and key epoch.
    pub exact_queries: usize,
    /// Directory's ceiling of δ, at which owners' limits of ε are evaluated.
    pub max_delta: f64,
}

/// Decisions of homes on one query.
pub(crate) struct Decided {
    /// Outcomes in the order of the homes. `None` for a home that the query reached at another place before: it is
    /// left out.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// Homes whose owners must be notified of the query.
    pub(crate) to_notify: Vec<HomeId>,
}

/// Sealed contributions that left a stack for one aggregator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentGroup {
    /// Name of the aggregator.
    pub aggregator: String,
    /// Number of bytes, for all homes of the batch together.
    pub bytes: u64,
}

/// Query in a home's history.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Id of the query.
    pub query: QueryId,
    /// Manifest as it was received.
    pub signed: SignedManifest,
    /// Content of the manifest.
    pub manifest: Manifest,
    /// Time at which the stack first saw the query, in Unix milliseconds.
    pub received: u64,
    /// Time of the decision, in Unix milliseconds.
    pub decided: u64,
    /// Outcome of the query at this home.
    pub outcome: Outcome,
    /// Number of the rule that decided, if one did.
    pub rule: Option<u32>,
    /// Number of homes whose contributions left together, and the bytes for each aggregator. `None` while nothing has
    /// left.
    pub sent: Option<(u32, Vec<SentGroup>)>,
}

impl Store {
    /// Returns the rules of a home. If its owner gave none, they refuse every query.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn rules(&self, home: &HomeId) -> Result<Rules, Error> {
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        Ok(rules_of(&rows, home)?.unwrap_or_default())
    }

    /// Returns the number of `homes` without rules of their own, which refuse every query.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn without_rules<'a>(
        &self,
        homes: impl IntoIterator<Item = &'a HomeId>,
    ) -> Result<usize, Error> {
        let connection = self.connection()?;
        let mut has = connection.prepare_cached("SELECT 1 FROM home_rules WHERE home = ?1")?;
        let mut count = 0;
        for home in homes {
            count += usize::from(!has.exists([&home.0])?);
        }
        Ok(count)
    }

    /// Sets the rules of homes, in place of their earlier ones.
    ///
    /// # Errors
    /// [`Error::Database`]; nothing was changed then. [`Error::Rules`] if the rules are not valid.
    pub fn set_rules<'a>(
        &self,
        homes: impl IntoIterator<Item = &'a HomeId>,
        rules: Rules,
    ) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        write_rules(&rows, homes, rules)?;
        remove_unused_rules(&rows)?;
        rows.commit()?;
        Ok(())
    }

    /// Changes the rules of homes. Homes with equal rules before also have equal rules afterwards.
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
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        let mut equal: BTreeMap<String, (Rules, Vec<&HomeId>)> = BTreeMap::new();
        for home in homes {
            let rules = rules_of(&rows, home)?.unwrap_or_default();
            let group = equal.entry(rule_file::text(&rules));
            let (_, homes) = group.or_insert_with(|| (rules, Vec::new()));
            homes.push(home);
        }
        for (mut rules, homes) in equal.into_values() {
            change(&mut rules);
            write_rules(&rows, homes, rules)?;
        }
        remove_unused_rules(&rows)?;
        rows.commit()?;
        Ok(())
    }

    /// Decides a query at each of `homes`, where `true` marks a home that is subscribed to anything. An earlier
    /// decision stays, and so does the place at which the query reached the home first. Both are written before this
    /// returns.
    pub(crate) fn decide(
        &self,
        deciding: &Deciding<'_>,
        homes: &[(HomeId, bool)],
    ) -> Result<Decided, Error> {
        let (manifest, now) = (deciding.manifest, now());
        let asked = Asked::of(manifest);
        let question = Question {
            asked: &asked,
            cost: deciding.cost,
            max_delta: deciding.bounds.max_delta,
            announced: deciding.announced,
            exact_queries: deciding.bounds.exact_queries,
        };
        let mut connection = self.connection()?;
        // One transaction for all homes: a concurrent query either sees these costs or waits.
        let rows = connection.transaction()?;
        let request = note_request(&rows, deciding, &asked, now)?;
        let exact = exact_requests(&rows, request, manifest, &asked)?;
        let mut read_rules: HashMap<Option<i64>, Rules> = HashMap::new();
        let mut decided = Decided {
            outcomes: Vec::with_capacity(homes.len()),
            to_notify: Vec::new(),
        };
        let mut select = rows.prepare_cached(
            "SELECT outcome, place FROM decision WHERE home = ?1 AND request = ?2",
        )?;
        // Replaces a decision only if it waited for the owner's word until the query was asked.
        let mut insert = rows.prepare_cached(
            "INSERT OR REPLACE INTO decision VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let mut which = rows.prepare_cached("SELECT rules FROM home_rules WHERE home = ?1")?;
        for (home, subscribed) in homes {
            let before: Option<(i64, Vec<u8>)> = select
                .query_row(params![home.0, request], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            let first = before
                .as_ref()
                .map(|(_, place)| from_bytes(place, MAX_PLACE, "place"));
            let first: Option<Place> = first.transpose()?;
            // > leaves out each home that the query was announced to or asked at another place (protocol.md §6)
            if !deciding.place.takes_part(first.as_ref()) {
                decided.outcomes.push(None);
                continue;
            }
            let before = before.map(|(outcome, _)| Outcome::from_number(outcome));
            let rules = rules_for(&rows, &mut which, &mut read_rules, home)?;
            let decision = decide(&question, before, *subscribed, rules, || {
                // Only called if the decision depends on it, since it reads the whole history of the home.
                account(&rows, home, now, &exact)
            })?;
            decided.outcomes.push(Some(decision.outcome()));
            let Decision::New { verdict, cost } = decision else {
                continue;
            };
            if verdict.outcome == Outcome::Waiting {
                decided.to_notify.push(home.clone());
            }
            insert.execute(params![
                home.0,
                request,
                verdict.outcome.number(),
                verdict.rule,
                now.0 as i64,
                deciding.place.batch.to_i64(),
                cost.pure as i64,
                cost.gaussian.0 as i64,
                cost.rho.0 as i64,
                to_bytes(&deciding.place)
            ])?;
        }
        drop((select, insert, which));
        rows.commit()?;
        Ok(decided)
    }

    /// Records an owner's word on a query that waits for it, and returns the outcome.
    ///
    /// # Errors
    /// [`Error::Word`] if there is nothing to decide any more. Nothing is changed then.
    pub fn word(
        &self,
        home: &HomeId,
        query: QueryId,
        allow: bool,
        bounds: Bounds,
    ) -> Result<Outcome, Error> {
        let now = now();
        let mut connection = self.connection()?;
        // One transaction, so that two words, or a word and a concurrent query, cannot both spend the same ε.
        let rows = connection.transaction()?;
        type Found = (i64, i64, i64, Vec<u8>, Loss);
        let found: Option<Found> = rows
            .prepare_cached(
                "SELECT request, outcome, answer_from, manifest, r.pure, r.gaussian, r.rho
                 FROM decision JOIN request AS r ON r.id = request
                 WHERE home = ?1 AND query = ?2",
            )?
            .query_row(params![home.0, query.0], |row| {
                let cost = loss(row, 4)?;
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, cost))
            })
            .optional()?;
        let (request, outcome, answer_from, manifest, cost) = found.ok_or(WordError::NotAsked)?;
        let manifest = manifest_of(&signed(&manifest)?)?;
        let asked = Asked::of(&manifest);
        let question = Question {
            asked: &asked,
            cost,
            max_delta: bounds.max_delta,
            announced: true,
            exact_queries: bounds.exact_queries,
        };
        let exact = exact_requests(&rows, request, &manifest, &asked)?;
        let (outcome, cost) = word(
            &question,
            Outcome::from_number(outcome),
            allow,
            (Timestamp(answer_from as u64), now),
            &rules_of(&rows, home)?.unwrap_or_default(),
            &account(&rows, home, now, &exact)?,
        )?;
        rows.prepare_cached(
            "UPDATE decision SET outcome = ?3, at = ?4, pure = ?5, gaussian = ?6, rho = ?7
             WHERE home = ?1 AND request = ?2",
        )?
        .execute(params![
            home.0,
            request,
            outcome.number(),
            now.0 as i64,
            cost.pure as i64,
            cost.gaussian.0 as i64,
            cost.rho.0 as i64,
        ])?;
        rows.commit()?;
        Ok(outcome)
    }

    /// Records the bytes that leave for a batch, in addition to those that left in its earlier attempts and rounds.
    pub(crate) fn note_sent(
        &self,
        query: QueryId,
        batch: BatchId,
        homes: u32,
        groups: &[SentGroup],
    ) -> Result<(), Error> {
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        let before: Option<String> = rows
            .prepare_cached(
                "SELECT groups FROM sent JOIN request ON id = request
                 WHERE query = ?1 AND batch = ?2",
            )?
            .query_row(params![query.0, batch.to_i64()], |row| row.get(0))
            .optional()?;
        let mut all: Vec<SentGroup> = before
            .and_then(|groups| serde_json::from_str(&groups).ok())
            .unwrap_or_default();
        for group in groups {
            let same = all.iter_mut().find(|of| of.aggregator == group.aggregator);
            match same {
                Some(of) => of.bytes = of.bytes.saturating_add(group.bytes),
                None => all.push(group.clone()),
            }
        }
        let groups = serde_json::to_string(&all).unwrap_or_default();
        rows.prepare_cached(
            "INSERT OR REPLACE INTO sent
                 SELECT id, ?2, ?3, ?4, ?5 FROM request WHERE query = ?1",
        )?
        .execute(params![
            query.0,
            batch.to_i64(),
            now().0 as i64,
            homes,
            groups
        ])?;
        rows.commit()?;
        Ok(())
    }

    /// Returns the queries that a home was asked, the latest first: at most `limit` entries after the first `skip`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn history(&self, home: &HomeId, skip: usize, limit: usize) -> Result<Vec<Entry>, Error> {
        self.entries(home, None, skip, limit)
    }

    /// Returns the query that a home was asked under `id`: the query's id in hexadecimal, or its first 32 digits or
    /// more.
    ///
    /// # Errors
    /// [`Error::Word`] if the home was not asked such a query.
    pub fn asked_query(&self, home: &HomeId, id: &str) -> Result<QueryId, Error> {
        let connection = self.connection()?;
        let mut select = connection.prepare_cached(
            "SELECT query FROM decision JOIN request ON id = request
             WHERE home = ?1 AND substr(lower(hex(query)), 1, length(?2)) = ?2",
        )?;
        let found =
            select.query_map([&home.0, &id.to_lowercase()], |row| row.get(0).map(QueryId))?;
        let found = found.collect::<Result<Vec<QueryId>, _>>()?;
        // A shorter prefix could be that of several queries.
        match (&found[..], id.len() >= 32) {
            ([query], true) => Ok(*query),
            _ => Err(WordError::NotAsked.into()),
        }
    }

    /// Returns one query as a home was asked it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn entry(&self, home: &HomeId, query: QueryId) -> Result<Option<Entry>, Error> {
        Ok(self.entries(home, Some(query), 0, 1)?.pop())
    }

    fn entries(
        &self,
        home: &HomeId,
        query: Option<QueryId>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let connection = self.connection()?;
        let mut select = connection.prepare_cached(
            "SELECT query, manifest, received, d.at, outcome, rule, homes, groups
             FROM decision AS d JOIN request AS r ON r.id = d.request
             LEFT JOIN sent AS s ON s.request = d.request AND s.batch = d.batch
             WHERE home = ?1 AND (?2 IS NULL OR query = ?2)
             ORDER BY received DESC, r.id DESC LIMIT ?4 OFFSET ?3",
        )?;
        let limits = (skip as i64, i64::try_from(limit).unwrap_or(i64::MAX));
        let mut rows = select.query(params![home.0, query.map(|q| q.0), limits.0, limits.1])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let signed = signed(&row.get::<_, Vec<u8>>(1)?)?;
            let sent: Option<(u32, String)> = row.get::<_, Option<u32>>(6)?.zip(row.get(7)?);
            entries.push(Entry {
                query: QueryId(row.get(0)?),
                manifest: manifest_of(&signed)?,
                signed,
                received: row.get::<_, i64>(2)? as u64,
                decided: row.get::<_, i64>(3)? as u64,
                outcome: Outcome::from_number(row.get(4)?),
                rule: row.get(5)?,
                sent: sent.map(|(homes, groups)| {
                    (homes, serde_json::from_str(&groups).unwrap_or_default())
                }),
            });
        }
        Ok(entries)
    }

    /// Returns the privacy loss of a home's answers of the last year.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn spent(&self, home: &HomeId) -> Result<Spent, Error> {
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        Ok(account(&rows, home, now(), &HashMap::new())?.spent)
    }
}

/// Decodes a stored manifest with its signature.
fn signed(bytes: &[u8]) -> Result<SignedManifest, Error> {
    Ok(decode(bytes)?)
}

/// Decodes the manifest in a signed one. The signature was verified when the manifest was received.
fn manifest_of(signed: &SignedManifest) -> Result<Manifest, Error> {
    Ok(signed.unverified()?)
}

/// Returns the rules that the owner of a home gave, if any.
/// Sets the rules of homes. Homes with equal rules share one row, so that a host can set rules for very many homes.
fn write_rules<'a>(
    rows: &Transaction<'_>,
    homes: impl IntoIterator<Item = &'a HomeId>,
    rules: Rules,
) -> Result<(), Error> {
    let body = rule_file::text(&rules.checked()?);
    rows.execute("INSERT OR IGNORE INTO rules (body) VALUES (?1)", [&body])?;
    let id: i64 = rows.query_row("SELECT id FROM rules WHERE body = ?1", [&body], |row| {
        row.get(0)
    })?;
    for home in homes {
        rows.prepare_cached("INSERT OR REPLACE INTO home_rules VALUES (?1, ?2)")?
            .execute(params![home.0, id])?;
    }
    Ok(())
}

fn remove_unused_rules(rows: &Transaction<'_>) -> Result<(), Error> {
    rows.execute(
        "DELETE FROM rules WHERE id NOT IN (SELECT rules FROM home_rules)",
        [],
    )?;
    Ok(())
}

fn rules_of(rows: &Transaction<'_>, home: &HomeId) -> Result<Option<Rules>, Error> {
    let body: Option<String> = rows
        .prepare_cached(
            "SELECT body FROM home_rules AS h JOIN rules AS r ON r.id = h.rules WHERE home = ?1",
        )?
        .query_row([&home.0], |row| row.get(0))
        .optional()?;
    Ok(body.map(|body| rule_file::parse(&body)).transpose()?)
}

/// Returns the rules of a home, which refuse every query if its owner gave none. Rules in `known` are not parsed again.
fn rules_for<'a>(
    rows: &Transaction<'_>,
    which: &mut CachedStatement<'_>,
    known: &'a mut HashMap<Option<i64>, Rules>,
    home: &HomeId,
) -> Result<&'a Rules, Error> {
    let id: Option<i64> = which.query_row([&home.0], |row| row.get(0)).optional()?;
    Ok(match known.entry(id) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => {
            if id.is_none() {
                return Ok(entry.insert(Rules::default()));
            }
            let body: String = rows
                .prepare_cached("SELECT body FROM rules WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            entry.insert(rule_file::parse(&body)?)
        }
    })
}

/// Returns the number of a query's row. Inserts the row if the query is new.
fn note_request(
    rows: &Transaction<'_>,
    deciding: &Deciding<'_>,
    asked: &Asked,
    now: Timestamp,
) -> Result<i64, Error> {
    let (manifest, query) = (deciding.manifest, deciding.signed.query());
    rows.prepare_cached(
        "INSERT OR IGNORE INTO request (query, manifest, querier, doctype, key_epoch, epsilon,
         answer_from, received, pure, gaussian, rho)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        query.0,
        to_bytes(deciding.signed),
        asked.querier,
        asked.doctype.to_lowercase(),
        manifest.key_epoch.0,
        asked.epsilon.map(|epsilon| epsilon as i64),
        manifest.answer_from.0 as i64,
        now.0 as i64,
        deciding.cost.pure as i64,
        deciding.cost.gaussian.0 as i64,
        deciding.cost.rho.0 as i64,
    ])?;
    let id = rows
        .prepare_cached("SELECT id FROM request WHERE query = ?1")?
        .query_row([query.0], |row| row.get(0))?;
    Ok(id)
}

/// Returns the rows of the querier's other exact queries, of the same doctype and key epoch, with the number of queries
/// that each counts as. Returns none for a noisy query.
fn exact_requests(
    rows: &Transaction<'_>,
    request: i64,
    manifest: &Manifest,
    asked: &Asked,
) -> Result<HashMap<i64, usize>, Error> {
    if asked.epsilon.is_some() {
        return Ok(HashMap::new());
    }
    // The query itself is left out: asking it again in another attempt costs nothing.
    let mut select = rows.prepare_cached(
        "SELECT id, manifest FROM request WHERE epsilon IS NULL AND querier = ?1 AND doctype = ?2
         AND key_epoch = ?3 AND id <> ?4",
    )?;
    let of = params![
        asked.querier,
        asked.doctype.to_lowercase(),
        manifest.key_epoch.0,
        request
    ];
    let mut found = select.query(of)?;
    let mut costs = HashMap::new();
    while let Some(row) = found.next()? {
        // A stored manifest that does not decode any more counts as one query.
        let manifest = signed(&row.get::<_, Vec<u8>>(1)?).and_then(|signed| manifest_of(&signed));
        costs.insert(
            row.get(0)?,
            manifest.map_or(1, |manifest| Asked::of(&manifest).exact_cost()),
        );
    }
    Ok(costs)
}

/// Reads the columns `pure`, `gaussian` and `rho` of a row, from the column `from` on.
fn loss(row: &Row<'_>, from: usize) -> rusqlite::Result<Loss> {
    Ok(Loss {
        pure: row.get::<_, i64>(from)? as u64,
        gaussian: Rho(row.get::<_, i64>(from + 1)? as u64),
        rho: Rho(row.get::<_, i64>(from + 2)? as u64),
    })
}

/// Sums up a home's earlier decisions for the decision on one more query. The requests in `exact` count as exact
/// queries.
fn account(
    rows: &Transaction<'_>,
    home: &HomeId,
    now: Timestamp,
    exact: &HashMap<i64, usize>,
) -> Result<Account, Error> {
    let mut select = rows.prepare_cached(
        "SELECT request, outcome, rule, at, pure, gaussian, rho FROM decision WHERE home = ?1",
    )?;
    let mut decisions = select.query([&home.0])?;
    let mut account = Account::default();
    while let Some(row) = decisions.next()? {
        let answered = Answered {
            outcome: Outcome::from_number(row.get(1)?),
            rule: row.get(2)?,
            cost: loss(row, 4)?,
            at: Timestamp(row.get::<_, i64>(3)? as u64),
            exact: exact.get(&row.get(0)?).copied().unwrap_or(0),
        };
        account.add(&answered, now);
    }
    Ok(account)
}

#[cfg(test)]
mod tests;
