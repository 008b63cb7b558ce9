//! Decisions of homes on queries.
//!
//! Each home decides a query once, in one transaction with the query's cost. The decision is on the disk before
//! anything of the home is read, so that neither concurrent queries nor a crash overspend a home's ε.

mod account;
mod history;
mod requests;
mod rules;

use std::collections::HashMap;

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{QueryId, Timestamp},
};
use dispers_core::{
    consent::{Asked, Decision, Outcome, Place, Question, WordError, decide, word},
    manifest::{Manifest, SignedManifest},
    subscription::HomeId,
};
use dispers_node::now;
use dispers_privacy::Loss;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Store, Transacted,
    columns::{self, read_loss, read_time, time},
};
use crate::Error;
use account::account;
pub use history::{Entry, SentGroup};
use requests::{decode_signed, exact_requests, note_request};
use rules::{RulesOfHomes, rules_of};

/// Largest encoding of a place, in bytes.
const MAX_PLACE: usize = 64;

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

impl Deciding<'_> {
    fn question<'a>(&self, asked: &'a Asked) -> Question<'a> {
        Question {
            asked,
            cost: self.cost,
            max_delta: self.bounds.max_delta,
            announced: self.announced,
            exact_queries: self.bounds.exact_queries,
        }
    }
}

impl Store {
    /// Decides a query at each of `homes`, where `true` marks a home that is subscribed to anything. An earlier
    /// decision stays, and so does the place at which the query reached the home first. Both are written before this
    /// returns.
    pub(crate) fn decide(
        &self,
        deciding: &Deciding<'_>,
        homes: &[(HomeId, bool)],
    ) -> Result<Decided, Error> {
        let now = now();
        let asked = Asked::of(deciding.manifest);
        // One transaction for all homes: a concurrent query either sees these costs or waits.
        self.write(|rows| {
            let request = note_request(rows, deciding, &asked, now)?;
            let mut decisions = Decisions {
                rows,
                deciding,
                question: deciding.question(&asked),
                request,
                exact: exact_requests(rows, request, deciding.manifest, &asked)?,
                rules: RulesOfHomes::new(rows),
                now,
            };
            let mut decided = Decided {
                outcomes: Vec::with_capacity(homes.len()),
                to_notify: Vec::new(),
            };
            for (home, subscribed) in homes {
                let decision = decisions.decide(home, *subscribed)?;
                if let Some(Decision::New { verdict, .. }) = &decision
                    && verdict.outcome == Outcome::Waiting
                {
                    decided.to_notify.push(home.clone());
                }
                decided
                    .outcomes
                    .push(decision.map(|decision| decision.outcome()));
            }
            Ok(decided)
        })
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
        // One transaction, so that two words, or a word and a concurrent query, cannot both spend the same ε.
        self.write(|rows| {
            let waiting = Waiting::read(rows, home, query)?;
            let waiting = waiting.ok_or(Error::Word(WordError::NotAsked))?;
            let manifest = waiting.signed.unverified().map_err(Error::from)?;
            let asked = Asked::of(&manifest);
            let question = Question {
                asked: &asked,
                cost: waiting.cost,
                max_delta: bounds.max_delta,
                announced: true,
                exact_queries: bounds.exact_queries,
            };
            let exact = exact_requests(rows, waiting.request, &manifest, &asked)?;
            let (outcome, cost) = word(
                &question,
                waiting.outcome,
                allow,
                (waiting.answer_from, now),
                &rules_of(rows, home)?,
                &account(rows, home, now, &exact)?,
            )
            .map_err(Error::from)?;
            let [pure, gaussian, rho] = columns::loss(cost);
            rows.prepare_cached(
                "UPDATE decision SET outcome = ?3, at = ?4, pure = ?5, gaussian = ?6, rho = ?7
                 WHERE home = ?1 AND request = ?2",
            )?
            .execute(params![
                home.0,
                waiting.request,
                outcome.number(),
                time(now),
                pure,
                gaussian,
                rho
            ])?;
            Ok(outcome)
        })
    }
}

/// Decisions of homes on one query, in one transaction.
struct Decisions<'a> {
    rows: &'a Connection,
    deciding: &'a Deciding<'a>,
    question: Question<'a>,
    /// Number of the query's row.
    request: i64,
    /// Earlier exact queries, with the number of queries that each counts as.
    exact: HashMap<i64, usize>,
    rules: RulesOfHomes<'a>,
    now: Timestamp,
}

impl Decisions<'_> {
    /// Decides at one home, and writes the decision if it is new. Returns `None` if the query reached the home at
    /// another place before.
    fn decide(&mut self, home: &HomeId, subscribed: bool) -> Transacted<Option<Decision>> {
        let (before, first) = self.before(home)?.unzip();
        // > leaves out each home that the query was announced to or asked at another place (protocol.md §6)
        if !self.deciding.place.takes_part(first.as_ref()) {
            return Ok(None);
        }
        let (rows, now, exact) = (self.rows, self.now, &self.exact);
        let rules = self.rules.read(home)?;
        let decision = decide(&self.question, before, subscribed, rules, || {
            // Only called if the decision depends on it, since it reads the whole history of the home.
            account(rows, home, now, exact)
        })?;
        if let Decision::New { verdict, cost } = &decision {
            let [pure, gaussian, rho] = columns::loss(*cost);
            // Replaces a decision only if it waited for the owner's word until the query was asked.
            rows.prepare_cached(
                "INSERT OR REPLACE INTO decision VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                home.0,
                self.request,
                verdict.outcome.number(),
                verdict.rule,
                time(now),
                self.deciding.place.batch.to_i64(),
                pure,
                gaussian,
                rho,
                to_bytes(&self.deciding.place)
            ])?;
        }
        Ok(Some(decision))
    }

    /// Returns the home's earlier decision on the query, and the place at which the query reached it then.
    fn before(&self, home: &HomeId) -> Transacted<Option<(Outcome, Place)>> {
        let before: Option<(i64, Vec<u8>)> = self
            .rows
            .prepare_cached("SELECT outcome, place FROM decision WHERE home = ?1 AND request = ?2")?
            .query_row(params![home.0, self.request], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((outcome, place)) = before else {
            return Ok(None);
        };
        let place = from_bytes(&place, MAX_PLACE, "place").map_err(Error::from)?;
        Ok(Some((Outcome::from_number(outcome), place)))
    }
}

/// Query on which a home's owner may say a word.
struct Waiting {
    request: i64,
    outcome: Outcome,
    answer_from: Timestamp,
    signed: SignedManifest,
    cost: Loss,
}

impl Waiting {
    /// Reads the query as the home was asked it, if it was.
    fn read(rows: &Connection, home: &HomeId, query: QueryId) -> Transacted<Option<Self>> {
        let mut select = rows.prepare_cached(
            "SELECT request, outcome, answer_from, manifest, r.pure, r.gaussian, r.rho
             FROM decision JOIN request AS r ON r.id = request
             WHERE home = ?1 AND query = ?2",
        )?;
        let mut found = select.query(params![home.0, query.0])?;
        let Some(row) = found.next()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            request: row.get(0)?,
            outcome: Outcome::from_number(row.get(1)?),
            answer_from: read_time(row, 2)?,
            signed: decode_signed(&row.get::<_, Vec<u8>>(3)?)?,
            cost: read_loss(row, 4)?,
        }))
    }
}

#[cfg(test)]
mod tests;
