//! Result of a query: a table, its missing cells with the reasons, and how the table was made.

use std::time::Duration;

use dispers_base::id::QueryId;
use dispers_core::{
    conduct::{Phase, Status},
    release::Released,
};
use dispers_sql::decode::Table;

/// Number of homes at each step of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Homes {
    /// Homes that match the target profile.
    pub targeted: u64,
    /// Homes that were asked.
    pub asked: u64,
    /// Homes that answered, with data or with zeros.
    pub answered: u64,
    /// Contributions that are counted. They are not people: a home without data counts too.
    pub accepted: u64,
    /// Answers whose contribution is not counted.
    pub rejected: u64,
    /// True if the numbers of homes are noisy.
    pub about: bool,
}

/// Aggregators that the result depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Aggregators {
    /// Number of aggregators that must collude to learn a home's value.
    pub needed: usize,
    /// Fewest aggregators of a committee that verified a batch.
    pub verified: usize,
}

/// Duration of each phase, as measured by the querier.
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
#[non_exhaustive]
pub struct QueryResult {
    /// Id of the query.
    pub query: QueryId,
    /// Released groups, suppressed groups and withheld cells.
    pub table: Table,
    /// Number of homes at each step.
    pub homes: Homes,
    /// Aggregators that verified the contributions.
    pub aggregators: Aggregators,
    /// Name and milliseconds of each phase, in order.
    pub phases_ms: Vec<(&'static str, u64)>,
}

impl QueryResult {
    /// Creates a result that has a table and no numbers of homes, for tests of programs that read results.
    pub fn of_table(query: QueryId, table: Table) -> Self {
        Self {
            query,
            table,
            homes: Homes::default(),
            aggregators: Aggregators::default(),
            phases_ms: Vec::new(),
        }
    }

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
            // The Conductor rounds its numbers down to steps of the cohort. The aggregators report exact numbers where
            // these reveal no small group. The larger number is therefore the more precise one.
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
