//! Budget of a querier, as each aggregator keeps it (protocol.md §9).

use borsh::{BorshDeserialize, BorshSerialize};

use super::Population;
use super::Rho;
use dispers_base::{
    encoding::Message,
    id::{KeyEpoch, Name, QueryId, Timestamp},
    labels,
    signed::{Signed, Statement},
};

/// Cost of one query for one population.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Expense {
    /// Population whose homes the query asks.
    pub population: Population,
    /// Query that has the cost.
    pub query: QueryId,
    /// Cost of the query.
    pub rho: Rho,
    /// Time until which the cost is reserved, unless it counts for the whole key epoch.
    pub expires: Timestamp,
    /// True if the cost counts until the key epoch ends: the query was released, or may have been.
    pub released: bool,
}

/// Expenses of a querier, as one aggregator knows them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Budget {
    /// Budget of one population in a key epoch at this aggregator: its part of the directory's budget.
    pub most: Rho,
    /// Key epoch of the expenses.
    pub key_epoch: KeyEpoch,
    /// Expenses, both reserved and spent.
    pub expenses: Vec<Expense>,
}

impl Message for Budget {
    const NAME: &'static str = "budget";
    const LIMIT: usize = 4 << 20;
}

/// Request of a querier for the state of its budget.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BudgetRequest {
    /// Querier that asks.
    pub querier: Name,
    /// Time of the signature.
    pub issued: Timestamp,
}

impl Statement for BudgetRequest {
    const LABEL: &'static str = labels::SIGN_BUDGET_REQUEST;
}

impl Message for BudgetRequest {
    const NAME: &'static str = "budget request";
    const LIMIT: usize = 4096;
}

/// Budget request as received, with the querier's signature.
pub type SignedBudgetRequest = Signed<BudgetRequest>;
