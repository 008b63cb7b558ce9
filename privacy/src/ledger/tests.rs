//! Tests that the total which a querier spends is bounded, whichever aggregators take part.

use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;
use crate::Population;
use dispers_base::id::QueryId;

const NOW: Timestamp = Timestamp(1_000_000_000);

/// Ledgers of a committee for one population, in the order of the aggregators. The last t − 1 aggregators collude and
/// charge nothing.
struct Committee {
    threshold: Threshold,
    min_verified: u8,
    budget: Rho,
    ledgers: Vec<Vec<Expense>>,
    queries: u64,
}

impl Committee {
    fn new((needed, members): (u8, u8), min_verified: u8, budget: u64) -> Self {
        Self {
            threshold: Threshold::new(needed, members).unwrap(),
            min_verified,
            budget: Rho(budget),
            ledgers: vec![Vec::new(); usize::from(members)],
            queries: 0,
        }
    }

    fn honest(&self) -> usize {
        self.threshold.members() - (self.threshold.needed() - 1)
    }

    /// Asks a query that the aggregators `verifying` verify. Returns whether it is released: no honest aggregator among
    /// them refused it.
    fn release(&mut self, rho: u64, verifying: &BTreeSet<usize>) -> bool {
        assert!(verifying.len() >= usize::from(self.min_verified));
        let most = limit(self.budget, self.min_verified, self.threshold);
        self.queries += 1;
        let mut query = [0; 32];
        query[..8].copy_from_slice(&self.queries.to_le_bytes());
        let expense = Expense {
            population: Population([1; 32]),
            query: QueryId(query),
            rho: Rho(rho),
            expires: NOW,
            released: true,
        };
        let honest = self.honest();
        let charging: Vec<usize> = verifying.iter().copied().filter(|a| *a < honest).collect();
        let affords = |aggregator: &usize| {
            reserve(
                &self.ledgers[*aggregator],
                std::slice::from_ref(&expense),
                most,
                NOW,
            )
            .is_ok()
        };
        if !charging.iter().all(affords) {
            return false;
        }
        for aggregator in charging {
            self.ledgers[aggregator].push(expense.clone());
        }
        true
    }
}

/// Returns all sets of `size` out of `members` aggregators.
fn sets(members: usize, size: usize) -> Vec<BTreeSet<usize>> {
    (0u32..1 << members)
        .map(|bits| {
            (0..members)
                .filter(|place| bits >> place & 1 == 1)
                .collect()
        })
        .filter(|set: &BTreeSet<usize>| set.len() == size)
        .collect()
}

/// Returns the most queries of cost 1 that any choice of aggregators releases, by trying all choices.
fn most_released(shape: (u8, u8), min_verified: u8, budget: u64) -> u64 {
    let committee = Committee::new(shape, min_verified, budget);
    let (honest, members) = (committee.honest(), committee.threshold.members());
    let choices = sets(members, min_verified.into());
    // The charges of the honest aggregators alone determine which queries may follow, so equal charges are one state.
    let mut reached: HashSet<Vec<usize>> = HashSet::from([vec![0; honest]]);
    let mut released = 0;
    loop {
        let mut next = HashSet::new();
        for charged in &reached {
            for choice in &choices {
                let mut committee = Committee::new(shape, min_verified, budget);
                for (ledger, count) in committee.ledgers.iter_mut().zip(charged) {
                    ledger.extend((0..*count).map(|number| Expense {
                        population: Population([1; 32]),
                        query: QueryId([200 + number as u8; 32]),
                        rho: Rho(1),
                        expires: NOW,
                        released: true,
                    }));
                }
                if committee.release(1, choice) {
                    let ledgers = committee.ledgers.iter().take(honest);
                    let mut charged: Vec<usize> = ledgers.map(Vec::len).collect();
                    charged.sort_unstable();
                    next.insert(charged);
                }
            }
        }
        if next.is_empty() || released > 8 * budget {
            return released;
        }
        released += 1;
        reached = next;
    }
}

#[test]
fn a_querier_that_rotates_aggregators_spends_no_more_than_the_budget() {
    for (shape, min_verified) in [
        ((2, 3), 2),
        ((2, 3), 3),
        ((3, 4), 3),
        ((3, 5), 3),
        ((3, 5), 4),
        ((3, 5), 5),
    ] {
        for budget in 0..7 {
            let released = most_released(shape, min_verified, budget);
            assert!(
                released <= budget,
                "{shape:?} {min_verified}: {released} of {budget}"
            );
        }
        // If each aggregator allows the whole budget, rotation multiplies it.
        let before =
            dispers_base::weakness::without(Weakness::BudgetOfTheAggregatorsThatOffer, || {
                most_released(shape, min_verified, 4)
            });
        let all = usize::from(min_verified) == usize::from(shape.1);
        assert!(
            before > 4 || all && before == 4,
            "{shape:?} {min_verified}: {before}"
        );
    }
}

#[test]
fn a_limit_is_the_whole_budget_only_where_every_aggregator_charges() {
    let limit = |needed, members, min_verified| {
        let threshold = Threshold::new(needed, members).unwrap();
        super::limit(Rho(1_500_000_000), min_verified, threshold).0
    };
    assert_eq!(limit(2, 3, 2), 750_000_000);
    assert_eq!(limit(2, 3, 3), 1_500_000_000);
    assert_eq!(limit(3, 5, 3), 500_000_000);
    assert_eq!(limit(3, 5, 4), 1_000_000_000);
    let threshold = Threshold::new(3, 5).unwrap();
    assert_eq!(super::limit(Rho(u64::MAX), 5, threshold), Rho(u64::MAX));
}

proptest! {
    #[test]
    fn whoever_verifies_each_query_the_total_is_within_the_budget(
        (needed, members) in proptest::sample::select(vec![(2u8, 3u8), (3, 5), (4, 7), (5, 9), (8, 15)]),
        more in 0..15u8,
        budget in 1..1_000_000_000u64,
        queries in proptest::collection::vec((1..200_000_000u64, any::<u64>()), 1..200),
    ) {
        let min_verified = (needed + more).min(members);
        let mut committee = Committee::new((needed, members), min_verified, budget);
        let mut total = 0u64;
        for (rho, seed) in queries {
            // A set of at least `size` aggregators, shuffled by the seed.
            let mut order: Vec<usize> = (0..usize::from(members)).collect();
            order.sort_by_key(|place| {
                seed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(*place as u32 * 7)
            });
            let verifying = order[..usize::from(min_verified)].iter().copied().collect();
            let rho = rho % (budget / 3 + 1) + 1;
            if committee.release(rho, &verifying) {
                total += rho;
            }
        }
        prop_assert!(total <= budget, "{} of {}", total, budget);
    }
}
