//! A querier's budget, as aggregators keep it (protocol.md §9).

use borsh::{BorshDeserialize, BorshSerialize};

use super::Population;
use super::Rho;
use dispers_base::{
    encoding::{self, DecodeError},
    id::{KeyEpoch, Name, QueryId, Timestamp},
    keys::{Signature, SigningKey},
    labels,
};

/// Largest encoded statement of a budget, in bytes.
pub const MAX_BUDGET: usize = 4 << 20;

/// What one query costs one population.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Expense {
    /// Whose homes are told about.
    pub population: Population,
    /// The query.
    pub query: QueryId,
    /// Its cost.
    pub rho: Rho,
    /// Time until which the cost is reserved, unless it counts for the whole key epoch.
    pub expires: Timestamp,
    /// True if it counts until the key epoch ends: the query was released, or may have been.
    pub released: bool,
}

/// A querier's expenses, as one aggregator knows them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Budget {
    /// Budget of one population in a key epoch at this aggregator: its part of the directory's budget.
    pub most: Rho,
    /// The key epoch.
    pub key_epoch: KeyEpoch,
    /// What was spent.
    pub expenses: Vec<Expense>,
}

/// A querier's question for its budget.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BudgetRequest {
    /// Who asks.
    pub querier: Name,
    /// When it was signed.
    pub issued: Timestamp,
}

/// A request with the signature over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedBudgetRequest {
    /// Encoding of a [`BudgetRequest`].
    pub body: Vec<u8>,
    /// The querier's signature.
    pub signature: Signature,
}

impl BudgetRequest {
    /// Encodes and signs.
    pub fn sign(&self, key: &SigningKey) -> SignedBudgetRequest {
        let body = encoding::to_bytes(self);
        let signature = key.sign(labels::SIGN_BUDGET_REQUEST, &body);
        SignedBudgetRequest { body, signature }
    }
}

impl SignedBudgetRequest {
    /// What is asked for, not yet checked.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is malformed.
    pub fn decode(&self) -> Result<BudgetRequest, DecodeError> {
        encoding::from_bytes(&self.body, 4096, "budget request")
    }
}
