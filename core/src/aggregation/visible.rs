//! State of an aggregator that tests may see, for comparison with the model (`testing/model`).

use std::collections::BTreeMap;

use super::{Aggregation, Attempt, Quorum};
use dispers_base::id::BatchId;

/// Step that an attempt has reached, and its public content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VisibleStep {
    Frozen([u8; 32]),
    Verifying([u8; 32]),
    Forgotten([u8; 32]),
    /// Quorum, decision and number of counted contributions.
    Prepared(Quorum, [u8; 32], u32),
    Withdrawn,
}

/// Attempt, decision and number of counted contributions of a committed batch.
pub(crate) type VisibleCommit = (u8, [u8; 32], u32);

/// State of an aggregator without contributions, sums and secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visible {
    /// Attempts by round, batch and number.
    pub(crate) attempts: BTreeMap<(u16, BatchId, u8), VisibleStep>,
    pub(crate) committed: BTreeMap<(u16, BatchId), VisibleCommit>,
    /// Hash of the proposal, and whether the total is sealed, by round.
    pub(crate) releases: BTreeMap<u16, ([u8; 32], bool)>,
}

impl Aggregation {
    /// Returns the state that a test may see.
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
            if let Some(commit) = &batch.committed {
                let commit = (commit.work.attempt, commit.decision, commit.accepted);
                visible.committed.insert((*round, *id), commit);
            }
        }
        for (round, releasing) in &self.releases {
            visible.releases.insert(*round, releasing.visible());
        }
        visible
    }
}
