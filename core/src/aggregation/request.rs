//! What the Conductor sends an aggregator.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Quorum;
use crate::{
    ask::GroupsStatement,
    find::SealedGrant,
    id::{MemberNumber, QueryId, Work},
    keys::Signature,
    manifest::SignedManifest,
    peer::PeerMessage,
    release::{Certificate, Proposal, SignedAcknowledgement},
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
    },
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
