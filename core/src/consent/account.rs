//! Sum of what the earlier answers of a home cost it.

use std::collections::BTreeMap;

use super::Outcome;
use dispers_base::id::Timestamp;
use dispers_privacy::Loss;

/// A year, in milliseconds: the time that an answer counts against limits "per year".
pub const YEAR: u64 = 365 * 24 * 3_600_000;

/// Recorded decision of a home on an earlier query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Outcome of the decision.
    pub outcome: Outcome,
    /// Number of the rule that decided.
    pub rule: Option<u32>,
    /// Privacy loss that was charged.
    pub cost: Loss,
    /// Time of the decision.
    pub at: Timestamp,
    /// [`Asked::exact_cost`](super::Asked::exact_cost) of an exact query with the querier, doctype and key epoch of the
    /// query that is decided now; 0 for any other query.
    pub exact: usize,
}

/// Privacy loss of the answers of the last year.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// Loss of all answers.
    pub all: Loss,
    /// Loss of the answers that each rule allowed, by the rule's number.
    pub by_rule: BTreeMap<u32, Loss>,
}

/// Summary of a home's earlier decisions, for the decision on one more query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Loss in the last year.
    pub spent: Spent,
    /// Number of exact queries of the same querier, doctype and key epoch that were answered.
    pub exact: usize,
}

impl Account {
    /// Adds an earlier decision.
    pub fn add(&mut self, answered: &Answered, now: Timestamp) {
        if !answered.outcome.answers() {
            return;
        }
        // An exact query counts until its key epoch ends, even where that takes longer than a year.
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
