//! What a query's circuit is made from: groups and bounded variables.

use borsh::{BorshDeserialize, BorshSerialize};

/// The public description of a circuit, small enough for a manifest; every party compiles the
/// same [`Circuit`](super::Circuit) from it.
///
/// Outputs, in order: for each group (or once without GROUP BY) the number of rows, then for each
/// variable the number of non-NULL values (if nullable), the sum of levels (if `max` > 0) and the
/// sum of squared levels (if `squared`).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Shape {
    /// Number of groups; 0 without GROUP BY.
    pub groups: u16,
    /// The variables that a row assigns.
    pub variables: Vec<Variable>,
}

/// One bounded integer variable: a level in `0..=max`, or NULL.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Variable {
    /// Largest level, below 2^32; 0 for a variable of which only the presence counts.
    pub max: u64,
    /// Whether a row may leave it NULL.
    pub nullable: bool,
    /// Whether the sum of squared levels is an output.
    pub squared: bool,
}

/// What one home's row assigns. A home without a row contributes all zeros.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The group, below [`Shape::groups`]; 0 without GROUP BY.
    pub group: usize,
    /// One level per variable; `None` is NULL.
    pub levels: Vec<Option<u64>>,
}
