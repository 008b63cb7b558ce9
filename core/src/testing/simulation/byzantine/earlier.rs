//! Messages of earlier batches, attempts, rounds and queries of a campaign, which moves use again.

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

/// Messages that the coalition keeps.
#[derive(Default)]
pub(super) struct Earlier {
    /// Last answers of the stacks.
    pub(super) answers: Vec<Answer>,
    /// Last answer of the smaller host.
    pub(super) of_host: Option<Answer>,
    /// Last answer that aggregators were to open, and the one before it.
    pub(super) opened: [Option<BatchAnswer>; 2],
    /// Messages that each aggregator was last handed at each step.
    pub(super) messages: BTreeMap<(u8, MemberNumber), Vec<PeerMessage>>,
    pub(super) acknowledgements: BTreeMap<MemberNumber, Vec<SignedAcknowledgement>>,
    /// Certified proposals of the rounds so far, in order.
    pub(super) certified: Vec<(Proposal, Certificate)>,
    /// First find of the query before.
    pub(super) found: Option<Found>,
    /// Parameters of the session's rounds so far.
    pub(super) parameters: Vec<SignedParameters>,
}

/// Copies the result of a find.
pub(super) fn copy_of_found(found: &Found) -> Found {
    Found {
        summary: copy_of(&found.summary),
        batches: found.batches.iter().map(copy_of::<BatchMessage>).collect(),
    }
}
