//! What a querier gets: a table, what is missing from it and why, and how it was made.

use std::time::Duration;

use dispers_base::id::QueryId;
use dispers_core::{
    conduct::{Phase, Status},
    release::Released,
};
use dispers_sql::decode::Table;

/// How many homes were left at each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Homes {
    /// Matched the target profile.
    pub targeted: u64,
    /// Were asked.
    pub asked: u64,
    /// Answered, with data or with zeros.
    pub answered: u64,
    /// Gave a contribution that counts. Never a count of people: a home without data counts too.
    pub accepted: u64,
    /// Gave one that does not.
    pub rejected: u64,
    /// True if the numbers of homes are noisy.
    pub about: bool,
}

/// Who stands behind the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregators {
    /// How many must collude to learn a value.
    pub needed: usize,
    /// Fewest that verified a batch.
    pub verified: usize,
}

/// How long each phase took, as the querier saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PhaseTimes {
    pub(crate) prepare: Duration,
    pub(crate) find: Duration,
    pub(crate) ask: Duration,
    pub(crate) release: Duration,
    pub(crate) open: Duration,
}

impl PhaseTimes {
    pub(crate) fn add(&mut self, phase: Phase, time: Duration) {
        match phase {
            Phase::Find => self.find += time,
            Phase::Ask => self.ask += time,
            Phase::Release => self.release += time,
            Phase::Between | Phase::Done | Phase::Failed => {}
        }
    }
}

/// The answer to a question.
#[derive(Debug, Clone)]
pub struct QueryResult {
    /// The query.
    pub query: QueryId,
    /// Released groups, suppressed groups and withheld cells.
    pub table: Table,
    /// The funnel.
    pub homes: Homes,
    /// Who verified.
    pub aggregators: Aggregators,
    /// Milliseconds per phase, in order.
    pub phases_ms: Vec<(&'static str, u64)>,
}

impl QueryResult {
    pub(crate) fn new(
        query: QueryId,
        table: Table,
        status: &Status,
        released: &Released,
        needed: usize,
        times: &PhaseTimes,
    ) -> Self {
        let homes = &status.homes;
        let ms = |time: Duration| time.as_millis() as u64;
        Self {
            query,
            table,
            // The conductor reports steps of the cohort; the aggregators report exact numbers where these reveal no
            // small group.
            homes: Homes {
                targeted: homes.targeted.max(released.asked),
                asked: homes.asked.max(released.asked),
                answered: homes.answered.max(released.accepted),
                accepted: released.accepted,
                rejected: homes.answered.saturating_sub(released.accepted),
                about: status.about,
            },
            aggregators: Aggregators {
                needed,
                verified: usize::from(released.verified),
            },
            phases_ms: vec![
                ("prepare", ms(times.prepare)),
                ("find", ms(times.find)),
                ("ask", ms(times.ask)),
                ("release", ms(times.release)),
                ("open", ms(times.open)),
            ],
        }
    }
}
