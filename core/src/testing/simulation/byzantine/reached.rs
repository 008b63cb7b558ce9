//! Which moves changed what would have happened: a move that never does is none.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::moves::Move;

/// How often the moves of each kind changed something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reached(RefCell<BTreeMap<String, u64>>);

impl Reached {
    /// Notes that a move changes what happens.
    pub(super) fn note(&self, made: Move) {
        *self.0.borrow_mut().entry(made.kind()).or_default() += 1;
    }

    /// Returns how often each kind of move changed something.
    pub(super) fn kinds(self) -> BTreeMap<String, u64> {
        self.0.into_inner()
    }
}
