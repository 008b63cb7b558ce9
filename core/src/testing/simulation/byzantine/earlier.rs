//! What passed in earlier batches, attempts, rounds and queries of a campaign, for whoever uses it again.

use std::collections::BTreeMap;

use crate::{
    ask::{Answer, BatchAnswer},
    find::BatchMessage,
    peer::PeerMessage,
    release::{Certificate, Proposal, SignedAcknowledgement},
    session::SignedParameters,
    testing::{Found, copy_of},
};
use dispers_base::id::MemberNumber;

/// What the coalition keeps.
#[derive(Default)]
pub(super) struct Earlier {
    /// What stacks answered last.
    pub(super) answers: Vec<Answer>,
    /// What the smaller host answered last.
    pub(super) of_host: Option<Answer>,
    /// What aggregators were to open last, and before.
    pub(super) opened: [Option<BatchAnswer>; 2],
    /// What each aggregator was handed last at each step.
    pub(super) messages: BTreeMap<(u8, MemberNumber), Vec<PeerMessage>>,
    pub(super) acknowledgements: BTreeMap<MemberNumber, Vec<SignedAcknowledgement>>,
    /// What was certified in the rounds so far, the last one last.
    pub(super) certified: Vec<(Proposal, Certificate)>,
    /// What the first find of the query before found.
    pub(super) found: Option<Found>,
    /// Parameters of the session's rounds so far.
    pub(super) parameters: Vec<SignedParameters>,
}

/// Returns a copy of what was found.
pub(super) fn copy_of_found(found: &Found) -> Found {
    Found {
        summary: copy_of(&found.summary),
        batches: found.batches.iter().map(copy_of::<BatchMessage>).collect(),
    }
}
