//! Budget of a querier, as each aggregator keeps it (protocol.md §9).

use borsh::{BorshDeserialize, BorshSerialize};

use super::Population;
use super::Rho;
use dispers_base::{
    encoding::{self, DecodeError, Message},
    id::{KeyEpoch, Name, QueryId, Timestamp},
    keys::{Signature, SigningKey},
    labels,
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

/// Budget request with the signature over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedBudgetRequest {
    /// Encoding of a [`BudgetRequest`].
    pub body: Vec<u8>,
    /// Signature of the querier over `body`.
    pub signature: Signature,
}

impl BudgetRequest {
    /// Encodes and signs the request.
    pub fn sign(&self, key: &SigningKey) -> SignedBudgetRequest {
        let body = encoding::to_bytes(self);
        let signature = key.sign(labels::SIGN_BUDGET_REQUEST, &body);
        SignedBudgetRequest { body, signature }
    }
}

impl SignedBudgetRequest {
    /// Decodes the request. Does not verify the signature.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is malformed.
    pub fn decode(&self) -> Result<BudgetRequest, DecodeError> {
        encoding::from_bytes(&self.body, 4096, "budget request")
    }
}
