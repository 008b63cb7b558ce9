//! A run of real aggregators that is followed in the model.

use super::conformance::{Call, Conformance};
use crate::{
    aggregation::{Aggregation, AggregationError, visible::Visible},
    release::SignedAcknowledgement,
};
use dispers_base::id::MemberNumber;

/// Model beside a query, and the first step that it does not allow.
pub(crate) struct Follower {
    model: Conformance,
    differs: Option<String>,
}

impl Follower {
    /// Follows a query in which nothing has happened yet.
    pub(crate) fn new(min_verified: u8) -> Self {
        Self {
            model: Conformance::new(min_verified),
            differs: None,
        }
    }

    /// Returns the first step that the model does not allow.
    pub(crate) fn differs(&self) -> Option<&str> {
        self.differs.as_deref()
    }

    /// Records that an aggregator wrote its state.
    pub(crate) fn written(&mut self, member: MemberNumber) {
        self.model.written(member);
    }

    /// Compares an aggregator after it restarted from its last written state.
    pub(crate) fn restarted(&mut self, member: MemberNumber, restored: &Aggregation) {
        let same = self.model.restarted(member, &restored.visible());
        self.differs = self.differs.take().or(same.err());
    }

    /// Compares one step, and the state after it. `outcome` holds the acknowledgement if the step was a decision.
    pub(crate) fn step(
        &mut self,
        member: MemberNumber,
        call: Call<'_>,
        outcome: Result<Option<&SignedAcknowledgement>, &AggregationError>,
        visible: &Visible,
    ) {
        let same = self.model.step(member, call, outcome, visible);
        self.differs = self.differs.take().or(same.err());
    }
}
