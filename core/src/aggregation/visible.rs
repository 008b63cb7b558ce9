//! What tests see of an aggregator's state, to compare it with the model (`testing/model`).

use std::collections::BTreeMap;

use super::{Aggregation, Attempt, Quorum};
use crate::id::BatchId;

/// How far an attempt is, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VisibleStep {
    Frozen([u8; 32]),
    Verifying([u8; 32]),
    Forgotten([u8; 32]),
    /// Its quorum, the decision and the number counted.
    Prepared(Quorum, [u8; 32], u32),
    Withdrawn,
}

/// What was committed of a batch: attempt, decision and number counted.
pub(crate) type VisibleCommit = (u8, [u8; 32], u32);

/// An aggregator's state without contributions, sums and secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visible {
    /// By round, batch and attempt.
    pub(crate) attempts: BTreeMap<(u16, BatchId, u8), VisibleStep>,
    pub(crate) committed: BTreeMap<(u16, BatchId), VisibleCommit>,
    /// By round: hash of the proposal, and whether the total is sealed.
    pub(crate) releases: BTreeMap<u16, ([u8; 32], bool)>,
}

impl Aggregation {
    /// Returns what a test may see.
    pub(crate) fn visible(&self) -> Visible {
        let mut visible = Visible {
            attempts: BTreeMap::new(),
            committed: BTreeMap::new(),
            releases: BTreeMap::new(),
        };
        for ((round, id), batch) in &self.batches {
            for (number, attempt) in &batch.attempts {
                let digest = attempt.frozen().map(|freeze| freeze.digest);
                let step = match (attempt, digest) {
                    (Attempt::Frozen(_), Some(digest)) => VisibleStep::Frozen(digest),
                    (Attempt::Verifying(_), Some(digest)) => VisibleStep::Verifying(digest),
                    (Attempt::Forgotten(_), Some(digest)) => VisibleStep::Forgotten(digest),
                    (Attempt::Prepared(prepared), _) => {
                        let body = &prepared.acknowledgement.body;
                        let quorum = prepared.quorum.clone();
                        VisibleStep::Prepared(quorum, body.decision, body.accepted)
                    }
                    _ => VisibleStep::Withdrawn,
                };
                visible.attempts.insert((*round, *id, *number), step);
            }
            if let Some(of) = &batch.committed {
                let commit = (of.work.attempt, of.decision, of.accepted);
                visible.committed.insert((*round, *id), commit);
            }
        }
        for (round, releasing) in &self.releases {
            visible.releases.insert(*round, releasing.visible());
        }
        visible
    }
}
