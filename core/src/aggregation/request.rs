//! Requests of the Conductor to an aggregator, and answers.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{AggregationError, Quorum};
use crate::{
    ask::GroupsStatement,
    find::SealedGrant,
    manifest::SignedManifest,
    peer::PeerMessage,
    release::{Certificate, Proposal, SignedAcknowledgement},
};
use dispers_base::{
    id::{MemberNumber, QueryId, Work},
    keys::Signature,
};

/// Request to begin a query: its manifest with the grant of one partition's finder.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct BeginRequest {
    /// Manifest of the query.
    pub manifest: SignedManifest,
    /// Partition of the grant.
    pub partition: u16,
    /// Sealed grant for this aggregator.
    pub grant: SealedGrant,
}

/// First part of a batch's groups, as the Target signed it.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct OpenHead {
    /// Statement with the digests of all aggregators' groups.
    pub statement: GroupsStatement,
    /// The Target's signature over D.
    pub signature: Signature,
}

/// Request to verify a batch, with the others' shares of the randomness.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct VerifyRequest {
    /// Work to verify.
    pub work: Work,
    /// Messages to the reader.
    pub messages: Vec<PeerMessage>,
}

/// Request to decide a batch, with the quorum and its verifier messages.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct DecideRequest {
    /// Work to decide.
    pub work: Work,
    /// Aggregators that verify the batch together.
    pub quorum: Quorum,
    /// Messages to the reader.
    pub messages: Vec<PeerMessage>,
}

/// Answer of an aggregator to the request to decide a batch.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub enum Verdict {
    /// The aggregator prepared the sum.
    Prepared(SignedAcknowledgement),
    /// Too many contributions contradict each other: the attempt is over.
    Inconsistent {
        /// Aggregator without which the others agree, if there is exactly one.
        suspect: Option<MemberNumber>,
    },
    /// Dealt noise is malformed or out of its bound: the attempt is over.
    BadDeals {
        /// Dealers of this noise.
        dealers: Vec<MemberNumber>,
        /// Dealers whose noise would be right without some members of the quorum, each with one of these members.
        disputes: Vec<(MemberNumber, MemberNumber)>,
    },
    /// Messages that the aggregator needs cannot be read: the attempt is over.
    Unread {
        /// Senders of the messages.
        members: Vec<MemberNumber>,
    },
}

/// Answer of an aggregator to a step that reads messages of the others.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub enum StepReply<T> {
    /// The aggregator took the step.
    Done(T),
    /// Messages that the aggregator needs cannot be read.
    Unread {
        /// Senders of the messages; empty if those that can be read contradict each other.
        members: Vec<MemberNumber>,
    },
}

impl<T> StepReply<T> {
    /// Turns the error of unreadable or contradicting messages into a reply, and passes on every other error.
    ///
    /// # Errors
    /// [`AggregationError`], unless messages of others cannot be read or contradict each other.
    pub fn new(result: Result<T, AggregationError>) -> Result<Self, AggregationError> {
        match result {
            Ok(done) => Ok(Self::Done(done)),
            Err(AggregationError::Unread { members }) => Ok(Self::Unread { members }),
            // The guard counts show only that one of them is wrong, and not whose: no member is named.
            Err(AggregationError::BadGuards) => Ok(Self::Unread {
                members: Vec::new(),
            }),
            Err(error) => Err(error),
        }
    }
}

/// Request to commit a batch, with the acknowledgements of its quorum.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct CommitRequest {
    /// Work to commit.
    pub work: Work,
    /// Acknowledgements, one of each member of the quorum.
    pub acknowledgements: Vec<SignedAcknowledgement>,
}

/// Request to open the guard counts of a certified release.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct GuardsRequest {
    /// Batches to release.
    pub proposal: Proposal,
    /// Signature of the notary.
    pub certificate: Certificate,
}

/// Request to release, with the others' guard counts.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ReleaseRequest {
    /// Query to release.
    pub query: QueryId,
    /// Round to release.
    pub round: u16,
    /// Messages to the reader.
    pub messages: Vec<PeerMessage>,
}
