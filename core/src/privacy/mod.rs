//! Differential privacy of a query (protocol.md §9): what its manifest promises, and what that
//! costs a querier's budget. The unit is one home, added or removed.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// An amount of zero-concentrated differential privacy ρ, in billionths (Bun and Steinke 2016).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Rho(pub u64);

impl Rho {
    /// ρ as a number.
    pub fn value(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Rho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

/// The distribution of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Mechanism {
    /// Discrete Laplace: pure ε.
    Laplace,
    /// Discrete Gaussian: ρ, of which (ε, δ) follows.
    Gaussian {
        /// What the whole query costs.
        rho: Rho,
    },
}

/// What a manifest promises of a noisy query, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Privacy {
    /// ε in millionths.
    pub epsilon: u64,
    /// δ; 0 for pure ε.
    pub delta: f64,
    /// How it is reached.
    pub mechanism: Mechanism,
}
