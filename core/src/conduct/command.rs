//! What a query asks of the world, and what comes back.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::Step;
use crate::{
    aggregation::Quorum,
    ask::BatchAnswer,
    find::{FindSummary, SealedGrant},
    id::{MemberNumber, Work},
    peer::PeerMessage,
    release::{Certificate, Proposal, SealedTotal, SignedAcknowledgement},
};

/// What the Conductor is to do. Payloads are shared, not copied.
#[derive(Clone)]
pub enum Command {
    /// Stream the lists to the Target Finder.
    Find,
    /// Hand an aggregator the manifest and its grant.
    Begin {
        /// Which aggregator.
        member: MemberNumber,
        /// Its grant, with the partition that it is for.
        grant: Arc<SealedGrant>,
    },
    /// Have the Target ask a batch.
    Ask {
        /// What is asked.
        work: Work,
    },
    /// Hand an aggregator its groups.
    Open {
        /// Which aggregator.
        member: MemberNumber,
        /// Place of its groups in the answer.
        position: usize,
        /// All groups of the batch.
        answer: Arc<BatchAnswer>,
    },
    /// Hand an aggregator the others' randomness.
    Verify {
        /// Which aggregator.
        member: MemberNumber,
        /// The batch.
        work: Work,
        /// Messages to it.
        messages: Vec<PeerMessage>,
    },
    /// Hand an aggregator the quorum and its verifier messages.
    Decide {
        /// Which aggregator.
        member: MemberNumber,
        /// The batch.
        work: Work,
        /// Who verifies.
        quorum: Quorum,
        /// Messages to it.
        messages: Vec<PeerMessage>,
    },
    /// Hand an aggregator the quorum's acknowledgements.
    Commit {
        /// Which aggregator.
        member: MemberNumber,
        /// The batch.
        work: Work,
        /// One of each member of the quorum.
        acknowledgements: Arc<Vec<SignedAcknowledgement>>,
    },
    /// Have the notary sign the release.
    Notarise {
        /// What is to be released.
        proposal: Arc<Proposal>,
    },
    /// Hand an aggregator the certificate.
    Guards {
        /// Which aggregator.
        member: MemberNumber,
        /// What is to be released.
        proposal: Arc<Proposal>,
        /// The notary's word.
        certificate: Arc<Certificate>,
    },
    /// Hand an aggregator the others' guard counts.
    Release {
        /// Which aggregator.
        member: MemberNumber,
        /// The round.
        round: u16,
        /// Messages to it.
        messages: Vec<PeerMessage>,
    },
}

impl Command {
    /// Which step it is, and which aggregator is to take it.
    pub fn step(&self) -> (Step, Option<MemberNumber>) {
        match self {
            Self::Find => (Step::Find, None),
            Self::Begin { member, .. } => (Step::Begin, Some(*member)),
            Self::Ask { .. } => (Step::Ask, None),
            Self::Open { member, .. } => (Step::Open, Some(*member)),
            Self::Verify { member, .. } => (Step::Verify, Some(*member)),
            Self::Decide { member, .. } => (Step::Decide, Some(*member)),
            Self::Commit { member, .. } => (Step::Commit, Some(*member)),
            Self::Notarise { .. } => (Step::Notarise, None),
            Self::Guards { member, .. } => (Step::Guards, Some(*member)),
            Self::Release { member, .. } => (Step::Release, Some(*member)),
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum StepError {
    /// The node could not be reached or did not answer in time.
    Unreachable,
    /// The node refused, with its reason.
    Refused(String),
    /// Too many contributions are inconsistent: the batch may be asked again.
    Inconsistent {
        /// The one aggregator without which the others agree, if there is one.
        suspect: Option<MemberNumber>,
    },
    /// Most others say that its messages contradict theirs.
    Contradicted,
    /// An aggregator lost the attempt's contributions in a restart.
    Forgotten,
}

/// What came back.
pub enum Event {
    /// The find ended: what it found, and the number of homes of each batch.
    Found(Result<(FindSummary, Vec<u32>), StepError>),
    /// An aggregator took the manifest and its grant, or not.
    Begun(MemberNumber, Result<(), StepError>),
    /// The Target's answer to a batch.
    Asked(Work, Result<BatchAnswer, StepError>),
    /// An aggregator froze D.
    Opened(MemberNumber, Work, Result<Vec<PeerMessage>, StepError>),
    /// An aggregator verified.
    Verified(MemberNumber, Work, Result<Vec<PeerMessage>, StepError>),
    /// An aggregator prepared.
    Decided(MemberNumber, Work, Result<SignedAcknowledgement, StepError>),
    /// An aggregator committed.
    Committed(MemberNumber, Work, Result<(), StepError>),
    /// The notary signed, or not.
    Notarised(Result<Certificate, StepError>),
    /// An aggregator opened its guard counts.
    Guarded(MemberNumber, Result<Vec<PeerMessage>, StepError>),
    /// An aggregator released.
    Released(MemberNumber, Result<SealedTotal, StepError>),
}
