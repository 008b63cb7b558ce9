//! Limits of what a querier spends of its privacy budgets (protocol.md §9).
//!
//! The cost of a query is reserved when the query begins, before any home is asked. Once its noise is acknowledged, a
//! guard count can be opened, so from then on the cost counts until the key epoch ends. A reservation that never came
//! to count is free again when the query expires. An aggregator calls these functions in the transaction that writes
//! their results, so that a crash cannot separate a step from its cost.

use super::{Expense, Rho};
use dispers_base::{
    id::{Threshold, Timestamp},
    weakness::{self, Weakness},
};

/// Error for a query that its population's budget does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the privacy budget for this target profile does not cover the query: {spent} of {most} (zCDP rho) are spent, and \
     it costs {cost}; ask with a smaller epsilon, ask another population, or wait for the next key epoch"
)]
pub struct BudgetSpent {
    /// Sum of the spent and reserved costs.
    pub spent: Rho,
    /// Limit of the population.
    pub most: Rho,
    /// Cost of the query.
    pub cost: Rho,
}

/// Returns the most that each aggregator of a committee lets a querier spend on a population. With this limit no more
/// than `budget` is spent in all, whichever aggregators take part in each query, even if t − 1 colluding aggregators
/// charge nothing.
///
/// At least `min_verified` aggregators, the directory's floor, charge every query, and t − 1 of them may lie. So the n
/// − t + 1 honest aggregators together charge at least `min_verified` − t + 1 times the total that is spent. The
/// manifest's own `min_verified` does not count, since the querier chooses it for each query.
pub fn limit(budget: Rho, min_verified: u8, committee: Threshold) -> Rho {
    if weakness::off(Weakness::BudgetOfTheAggregatorsThatOffer) {
        return budget;
    }
    let colluding = committee.needed() - 1;
    let charging = usize::from(min_verified).saturating_sub(colluding) as u128;
    let honest = (committee.members() - colluding) as u128;
    let limit = u128::from(budget.0) * charging / honest;
    // The division rounds down: rounded up, the honest limits could add up to more than the budget.
    Rho(u64::try_from(limit).unwrap_or(u64::MAX))
}

impl Expense {
    /// Returns whether the expense counts against its budget at `now`: it is marked as released, or it has not expired.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.released || self.expires >= free_before(now)
    }
}

/// Returns the time before which a query has expired at every node, whatever the tolerated difference of their clocks.
/// A reservation that expired earlier is free, unless it is marked as released.
pub fn free_before(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(Timestamp::SKEW))
}

/// Checks that the `expenses` of one query fit in the budgets of their populations. `held` are all expenses of the same
/// querier and key epoch on these populations, and `most` is the limit of each population. An expense of the same
/// query in `held` is not counted twice, so that a repeated request changes nothing.
///
/// # Errors
/// [`BudgetSpent`] for the first population whose budget does not cover the query; then nothing may be reserved.
pub fn reserve(
    held: &[Expense],
    expenses: &[Expense],
    most: Rho,
    now: Timestamp,
) -> Result<(), BudgetSpent> {
    for expense in expenses {
        // The expense fitted in the budget when it was reserved. Refusing it now would only fail a query that is
        // already charged.
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
        // Saturating sums: an overflow must never make a spent budget look free.
        if spent.saturating_add(expense.rho.0) > most.0 {
            let (spent, cost) = (Rho(spent), expense.rho);
            return Err(BudgetSpent { spent, most, cost });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
