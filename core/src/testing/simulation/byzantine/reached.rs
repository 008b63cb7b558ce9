//! Counts of the moves that changed something. A move that never changes anything tests nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::moves::Move;

/// Number of times that moves of each kind changed something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reached(RefCell<BTreeMap<String, u64>>);

impl Reached {
    /// Records that a move changes what happens.
    pub(super) fn note(&self, made: Move) {
        *self.0.borrow_mut().entry(made.kind()).or_default() += 1;
    }

    /// Returns the number of times that moves of each kind changed something.
    pub(super) fn kinds(self) -> BTreeMap<String, u64> {
        self.0.into_inner()
    }
}
