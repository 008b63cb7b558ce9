//! What a querier may spend of its privacy budgets (protocol.md §9).
//!
//! A query's cost is reserved when it begins, before any home is asked, and counts until its key epoch is over once
//! its noise is acknowledged, before which no guard count can be opened. What was reserved and never counted for good
//! is free again when the query expires. An aggregator calls these functions in the transaction that writes what
//! they return.

use super::{Expense, Rho};
use crate::{
    id::{Threshold, Timestamp},
    weakness::{self, Weakness},
};

/// A budget that is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the privacy budget for this target profile is spent: {spent} of {most} (zCDP rho), and the query \
     costs {cost}; ask with a smaller epsilon, ask another population, or wait for the next key epoch"
)]
pub struct BudgetSpent {
    /// What was spent or is reserved.
    pub spent: Rho,
    /// What may be spent.
    pub most: Rho,
    /// What the query costs.
    pub cost: Rho,
}

/// Returns what each aggregator of a committee lets a querier spend on a population, so that no more than `budget` is
/// spent whichever aggregators take part in each query, and also where as many of them as may collude charge nothing.
///
/// Every query is charged by at least `min_verified` aggregators, the directory's floor, of which t − 1 may lie. The
/// honest ones, of n − t + 1, so charge at least `min_verified` − t + 1 times what was spent in all. (The manifest's own
/// `min_verified` does not count: its querier chooses it for each query.)
pub fn limit(budget: Rho, min_verified: u8, committee: Threshold) -> Rho {
    if weakness::off(Weakness::BudgetOfTheAggregatorsThatOffer) {
        return budget;
    }
    let colluding = committee.needed() - 1;
    let charging = usize::from(min_verified).saturating_sub(colluding) as u128;
    let honest = (committee.members() - colluding) as u128;
    let limit = u128::from(budget.0) * charging / honest;
    Rho(u64::try_from(limit).unwrap_or(u64::MAX))
}

impl Expense {
    /// Returns whether the expense counts against its budget at `now`: it was released, or may still be.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.released || self.expires >= free_before(now)
    }
}

/// Returns the time before which a query has expired for everybody, whose clocks may differ: what was reserved for
/// it and not released is free.
pub fn free_before(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(Timestamp::SKEW))
}

/// Checks that `expenses`, those of one query, fit in the budgets of their populations beside what one querier
/// spent in the same key epoch, of which `held` is all that is about these populations. What is held already of the
/// same query is not counted twice, so that a repetition changes nothing.
///
/// # Errors
/// [`BudgetSpent`] for the first population whose budget is spent; then nothing may be reserved.
pub fn reserve(
    held: &[Expense],
    expenses: &[Expense],
    most: Rho,
    now: Timestamp,
) -> Result<(), BudgetSpent> {
    for expense in expenses {
        // What counts for good already is within the budget of then.
        let mut own = held
            .iter()
            .filter(|other| other.population == expense.population && other.query == expense.query);
        if own.any(|own| own.released) {
            continue;
        }
        let others = held.iter().filter(|other| {
            other.population == expense.population
                && other.query != expense.query
                && other.counts(now)
        });
        let spent = others.fold(0u64, |sum, other| sum.saturating_add(other.rho.0));
        if spent.saturating_add(expense.rho.0) > most.0 {
            let (spent, cost) = (Rho(spent), expense.rho);
            return Err(BudgetSpent { spent, most, cost });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
