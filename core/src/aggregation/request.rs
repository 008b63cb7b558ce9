//! What the Conductor sends an aggregator.

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

/// A manifest with the finder's grant.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct BeginRequest {
    /// The query.
    pub manifest: SignedManifest,
    /// The grant's partition.
    pub partition: u16,
    /// The grant.
    pub grant: SealedGrant,
}

/// What comes before a batch's groups, as the Target signed them.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct OpenHead {
    /// The digests.
    pub statement: GroupsStatement,
    /// The Target's signature over D.
    pub signature: Signature,
}

/// The others' shares of a batch's randomness.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct VerifyRequest {
    /// The batch.
    pub work: Work,
    /// Messages to the reader.
    pub messages: Vec<PeerMessage>,
}

/// The quorum and its verifier messages.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct DecideRequest {
    /// The batch.
    pub work: Work,
    /// Who verifies.
    pub quorum: Quorum,
    /// Messages to the reader.
    pub messages: Vec<PeerMessage>,
}

/// What an aggregator says of a batch that it was to decide.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub enum Verdict {
    /// It prepared the sum.
    Prepared(SignedAcknowledgement),
    /// Too many contributions contradict each other: the attempt is over.
    Inconsistent {
        /// The one aggregator without which the others agree, if there is one.
        suspect: Option<MemberNumber>,
    },
    /// Dealt noise is malformed or out of its bound: the attempt is over.
    BadDeals {
        /// Who dealt it.
        dealers: Vec<MemberNumber>,
        /// Dealers whose noise would be right without some members of the quorum, each with one of these members.
        disputes: Vec<(MemberNumber, MemberNumber)>,
    },
    /// Messages that it needs cannot be read: the attempt is over.
    Unread {
        /// Senders of the messages.
        members: Vec<MemberNumber>,
    },
}

/// Answer of an aggregator to a step that reads messages of the others.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub enum StepReply<T> {
    /// It took the step.
    Done(T),
    /// Messages that it needs cannot be read.
    Unread {
        /// Senders of the messages; empty if those that can be read contradict each other.
        members: Vec<MemberNumber>,
    },
}

impl<T> StepReply<T> {
    /// Makes a reply of the messages that cannot be read, and leaves every other refusal an error.
    ///
    /// # Errors
    /// [`AggregationError`], but for messages of others that cannot be read or that contradict each other.
    pub fn new(result: Result<T, AggregationError>) -> Result<Self, AggregationError> {
        match result {
            Ok(done) => Ok(Self::Done(done)),
            Err(AggregationError::Unread { members }) => Ok(Self::Unread { members }),
            Err(AggregationError::BadGuards) => Ok(Self::Unread {
                members: Vec::new(),
            }),
            Err(error) => Err(error),
        }
    }
}

/// The quorum's acknowledgements.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct CommitRequest {
    /// The batch.
    pub work: Work,
    /// One of each member of the quorum.
    pub acknowledgements: Vec<SignedAcknowledgement>,
}

/// The certified release.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct GuardsRequest {
    /// What is to be released.
    pub proposal: Proposal,
    /// The notary's word.
    pub certificate: Certificate,
}

/// The others' guard counts.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ReleaseRequest {
    /// The query.
    pub query: QueryId,
    /// The round.
    pub round: u16,
    /// Messages to the reader.
    pub messages: Vec<PeerMessage>,
}
