//! What a query asks of the world, and what comes back.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::Step;
use crate::{
    aggregation::{Deal, DealRequest, Quorum},
    ask::BatchAnswer,
    find::{FindSummary, SealedGrant},
    peer::PeerMessage,
    release::{Certificate, Proposal, SealedTotal, SignedAcknowledgement},
    session::SignedParameters,
};
use dispers_base::id::{AggregatorId, MemberNumber, Name, Work};

/// What the Conductor is to do. Payloads are shared, not copied.
#[derive(Clone)]
pub enum Command {
    /// Stream a partition's lists to its Target Finder.
    Find {
        /// Which partition.
        partition: u16,
    },
    /// Hand an aggregator the manifest and its grants.
    Begin {
        /// Which aggregator.
        aggregator: AggregatorId,
        /// Its grants, each with the partition that it is for.
        grants: Arc<Vec<(u16, SealedGrant)>>,
    },
    /// Have the Target ask a batch.
    Ask {
        /// What is asked.
        work: Work,
        /// What the round is computed with, where a model is trained.
        parameters: Option<Arc<SignedParameters>>,
    },
    /// Have an aggregator deal noise.
    Deal {
        /// Which aggregator.
        aggregator: AggregatorId,
        /// What for.
        request: Arc<DealRequest>,
    },
    /// Hand an aggregator its shares of the noise that all dealers dealt.
    OpenDeals {
        /// Which aggregator.
        aggregator: AggregatorId,
        /// Place of its shares in the deals.
        position: usize,
        /// What was asked of the dealers.
        request: Arc<DealRequest>,
        /// All deals, in order of the dealers.
        deals: Arc<Vec<Deal>>,
    },
    /// Hand an aggregator its groups.
    Open {
        /// Which aggregator.
        aggregator: AggregatorId,
        /// Place of its groups in the answer.
        position: usize,
        /// All groups of the batch.
        answer: Arc<BatchAnswer>,
    },
    /// Hand an aggregator the others' randomness.
    Verify {
        /// Which aggregator.
        aggregator: AggregatorId,
        /// The batch.
        work: Work,
        /// Messages to it.
        messages: Vec<PeerMessage>,
    },
    /// Hand an aggregator the quorum and its verifier messages.
    Decide {
        /// Which aggregator.
        aggregator: AggregatorId,
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
        aggregator: AggregatorId,
        /// The batch.
        work: Work,
        /// One of each aggregator of the quorum.
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
        aggregator: AggregatorId,
        /// What is to be released.
        proposal: Arc<Proposal>,
        /// The notary's word.
        certificate: Arc<Certificate>,
    },
    /// Hand an aggregator the others' guard counts.
    Release {
        /// Which aggregator.
        aggregator: AggregatorId,
        /// The round.
        round: u16,
        /// Messages to it.
        messages: Vec<PeerMessage>,
    },
}

impl Command {
    /// Which step it is, and which aggregator is to take it.
    pub fn step(&self) -> (Step, Option<AggregatorId>) {
        match self {
            Self::Find { .. } => (Step::Find, None),
            Self::Begin { aggregator, .. } => (Step::Begin, Some(*aggregator)),
            Self::Ask { .. } => (Step::Ask, None),
            Self::Deal { aggregator, .. } => (Step::Deal, Some(*aggregator)),
            Self::OpenDeals { aggregator, .. } => (Step::Open, Some(*aggregator)),
            Self::Open { aggregator, .. } => (Step::Open, Some(*aggregator)),
            Self::Verify { aggregator, .. } => (Step::Verify, Some(*aggregator)),
            Self::Decide { aggregator, .. } => (Step::Decide, Some(*aggregator)),
            Self::Commit { aggregator, .. } => (Step::Commit, Some(*aggregator)),
            Self::Notarise { .. } => (Step::Notarise, None),
            Self::Guards { aggregator, .. } => (Step::Guards, Some(*aggregator)),
            Self::Release { aggregator, .. } => (Step::Release, Some(*aggregator)),
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
    /// Dealt noise is refused.
    BadDeals {
        /// Who dealt it.
        dealers: Vec<MemberNumber>,
        /// Dealers whose noise would be right without some members of the quorum, each with one of these members.
        disputes: Vec<(MemberNumber, MemberNumber)>,
    },
    /// Most others say that its messages contradict theirs.
    Contradicted,
    /// It dealt other noise than was asked, or most others say that it is malformed or out of its bound.
    BadNoise,
    /// It did not sign what it acknowledged.
    BadAcknowledgement,
    /// An aggregator cannot read messages of others. Either their sender is at fault, or the aggregator lies.
    Unread {
        /// Senders of the messages; empty if the messages contradict each other.
        members: Vec<MemberNumber>,
    },
    /// It sent other messages than one to each other aggregator, or one that is too large.
    BadMessages,
    /// It is in dispute with most of its committee.
    Disputed,
    /// It said of others what no honest aggregator says, such as that it could not read messages that it did not need.
    FalseClaim,
    /// An aggregator lost the attempt's contributions in a restart.
    Forgotten,
    /// The target did not sign the groups, or an aggregator cannot open them. It counts as the target's fault, since
    /// one answer does not show that the aggregator lies.
    OtherBytes {
        /// Target that signed the groups.
        target: Name,
    },
    /// The aggregator alone refused the groups of two different targets.
    AccusedTargets,
}

/// What came back.
pub enum Event {
    /// A partition's find ended, with its summary or error.
    Found(u16, Result<FindSummary, StepError>),
    /// An aggregator took the manifest and its grants, or not.
    Begun(AggregatorId, Result<(), StepError>),
    /// The Target's answer to a batch.
    Asked(Work, Result<BatchAnswer, StepError>),
    /// An aggregator dealt noise.
    Dealt(AggregatorId, Work, Result<Deal, StepError>),
    /// An aggregator froze D.
    Opened(AggregatorId, Work, Result<Vec<PeerMessage>, StepError>),
    /// An aggregator verified.
    Verified(AggregatorId, Work, Result<Vec<PeerMessage>, StepError>),
    /// An aggregator prepared.
    Decided(AggregatorId, Work, Result<SignedAcknowledgement, StepError>),
    /// An aggregator committed.
    Committed(AggregatorId, Work, Result<(), StepError>),
    /// The notary signed, or not.
    Notarised(Result<Certificate, StepError>),
    /// An aggregator opened its guard counts.
    Guarded(AggregatorId, Result<Vec<PeerMessage>, StepError>),
    /// An aggregator released.
    Released(AggregatorId, Result<SealedTotal, StepError>),
}
