//! Commands of a query to the rest of the network, and the events that answer them.

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

/// A task for the Conductor. Payloads are shared, not copied.
#[derive(Clone)]
pub enum Command {
    /// Stream a partition's lists to its Target Finder.
    Find {
        /// Number of the partition.
        partition: u16,
    },
    /// Hand an aggregator the manifest and its grants.
    Begin {
        /// Aggregator to begin with.
        aggregator: AggregatorId,
        /// Grants for the aggregator, each with its partition.
        grants: Arc<Vec<(u16, SealedGrant)>>,
    },
    /// Have the Target ask a batch.
    Ask {
        /// Work that is asked.
        work: Work,
        /// Parameters of the round, where a model is trained.
        parameters: Option<Arc<SignedParameters>>,
    },
    /// Have an aggregator deal noise.
    Deal {
        /// Aggregator that is to deal.
        aggregator: AggregatorId,
        /// Work, and the dealers.
        request: Arc<DealRequest>,
    },
    /// Hand an aggregator its shares of the noise that all dealers dealt.
    OpenDeals {
        /// Aggregator that is to open the deals.
        aggregator: AggregatorId,
        /// Position of the aggregator's shares in the deals.
        position: usize,
        /// Request that the dealers answered.
        request: Arc<DealRequest>,
        /// All deals, in order of the dealers.
        deals: Arc<Vec<Deal>>,
    },
    /// Hand an aggregator its groups.
    Open {
        /// Aggregator that is to open its groups.
        aggregator: AggregatorId,
        /// Position of the aggregator's groups in the answer.
        position: usize,
        /// All groups of the batch.
        answer: Arc<BatchAnswer>,
    },
    /// Hand an aggregator the others' randomness.
    Verify {
        /// Aggregator that is to verify.
        aggregator: AggregatorId,
        /// Work to verify.
        work: Work,
        /// Messages to the aggregator.
        messages: Vec<PeerMessage>,
    },
    /// Hand an aggregator the quorum and its verifier messages.
    Decide {
        /// Aggregator that is to decide.
        aggregator: AggregatorId,
        /// Work to decide.
        work: Work,
        /// Aggregators that verify the batch together.
        quorum: Quorum,
        /// Messages to the aggregator.
        messages: Vec<PeerMessage>,
    },
    /// Hand an aggregator the quorum's acknowledgements.
    Commit {
        /// Aggregator that is to commit.
        aggregator: AggregatorId,
        /// Work to commit.
        work: Work,
        /// Acknowledgements, one of each aggregator of the quorum.
        acknowledgements: Arc<Vec<SignedAcknowledgement>>,
    },
    /// Have the notary sign the release.
    Notarise {
        /// Batches to release.
        proposal: Arc<Proposal>,
    },
    /// Hand an aggregator the certificate.
    Guards {
        /// Aggregator that is to open its guard counts.
        aggregator: AggregatorId,
        /// Batches to release.
        proposal: Arc<Proposal>,
        /// Signature of the notary.
        certificate: Arc<Certificate>,
    },
    /// Hand an aggregator the others' guard counts.
    Release {
        /// Aggregator that is to release.
        aggregator: AggregatorId,
        /// Round to release.
        round: u16,
        /// Messages to the aggregator.
        messages: Vec<PeerMessage>,
    },
}

impl Command {
    /// Returns the step that the command asks for, and the aggregator that is to take it.
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

/// Reason why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum StepError {
    /// The node could not be reached or did not answer in time.
    Unreachable,
    /// The node refused, with its reason.
    Refused(String),
    /// Too many contributions are inconsistent: the batch may be asked again.
    Inconsistent {
        /// Aggregator without which the others agree, if there is exactly one.
        suspect: Option<MemberNumber>,
    },
    /// Dealt noise is refused.
    BadDeals {
        /// Dealers of this noise.
        dealers: Vec<MemberNumber>,
        /// Dealers whose noise would be right without some members of the quorum, each with one of these members.
        disputes: Vec<(MemberNumber, MemberNumber)>,
    },
    /// Most others say that the aggregator's messages contradict theirs.
    Contradicted,
    /// The aggregator dealt other noise than was asked, or most others say that its noise is malformed or out of its
    /// bound.
    BadNoise,
    /// The aggregator did not sign what it acknowledged.
    BadAcknowledgement,
    /// An aggregator cannot read messages of others. Either their sender is at fault, or the aggregator lies.
    Unread {
        /// Senders of the messages; empty if the messages contradict each other.
        members: Vec<MemberNumber>,
    },
    /// The aggregator sent other messages than one to each other aggregator, or one that is too large.
    BadMessages,
    /// The aggregator is in dispute with most of its committee.
    Disputed,
    /// The aggregator said of others what no honest aggregator says, such as that it could not read messages that it
    /// did not need.
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

/// Result of a command.
pub enum Event {
    /// A partition's find ended, with its summary or error.
    Found(u16, Result<FindSummary, StepError>),
    /// An aggregator took the manifest and its grants, or refused them.
    Begun(AggregatorId, Result<(), StepError>),
    /// The Target answered a batch, or failed.
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
    /// The notary signed, or refused.
    Notarised(Result<Certificate, StepError>),
    /// An aggregator opened its guard counts.
    Guarded(AggregatorId, Result<Vec<PeerMessage>, StepError>),
    /// An aggregator released.
    Released(AggregatorId, Result<SealedTotal, StepError>),
}
