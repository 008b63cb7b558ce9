//! What the answers of a home took so far.

use std::collections::BTreeMap;

use super::Outcome;
use crate::{id::Timestamp, privacy::Loss};

/// A year, in milliseconds: the time that an answer counts against limits "per year".
pub const YEAR: u64 = 365 * 24 * 3_600_000;

/// One decision of a home, as its stack keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// What the home did.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: Option<u32>,
    /// What was charged.
    pub cost: Loss,
    /// When it was decided.
    pub at: Timestamp,
    /// [`Asked::exact_cost`](super::Asked::exact_cost) where it was an exact query of the same querier, doctype
    /// and key epoch as the query that is decided now, else 0.
    pub exact: usize,
}

/// What the answers of the last year took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// Of all of them.
    pub all: Loss,
    /// Of those that each rule allowed, by its number.
    pub by_rule: BTreeMap<u32, Loss>,
}

/// What a home's earlier decisions mean for one more query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// What was spent in the last year.
    pub spent: Spent,
    /// Exact queries of the same querier, doctype and key epoch that were answered.
    pub exact: usize,
}

impl Account {
    /// Adds an earlier decision.
    pub fn add(&mut self, answered: &Answered, now: Timestamp) {
        if !answered.outcome.answers() {
            return;
        }
        // The key epoch bounds how long an exact query counts, not the year.
        self.exact = self.exact.saturating_add(answered.exact);
        if answered.at.plus(YEAR) <= now {
            return;
        }
        let spent = &mut self.spent;
        spent.all = spent.all.plus(answered.cost);
        if let Some(rule) = answered.rule {
            let of_rule = spent.by_rule.entry(rule).or_default();
            *of_rule = of_rule.plus(answered.cost);
        }
    }
}
