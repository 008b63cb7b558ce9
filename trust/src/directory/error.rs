//! Errors of a directory, each with its remedy.

use crate::ceremony::CeremonyError;
use dispers_base::id::{InvalidId, MemberNumber, Name, Role, Timestamp};

/// Reasons to refuse a directory. Each message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The bytes do not decode as a directory.
    #[error(
        "not a directory, or over 16 MiB: fetch the file again, or write it with a newer version"
    )]
    Malformed,
    /// The number of needed signatures is 0, or above the number of pinned root keys.
    #[error(
        "{needed} root signatures are needed of {roots} root keys: pin at least as many keys as are needed, and need at least 1"
    )]
    Roots {
        /// Number of signatures needed.
        needed: usize,
        /// Number of different keys pinned.
        roots: usize,
    },
    /// Too few of the pinned root keys signed.
    #[error(
        "{signed} of the pinned root keys signed this directory, {needed} are needed: have more root keys sign it, or check which keys are pinned"
    )]
    Signatures {
        /// Number of signatures needed.
        needed: usize,
        /// Number of different pinned keys that signed.
        signed: usize,
    },
    /// The validity has ended.
    #[error("the directory expired on {0}: fetch the current one")]
    Expired(Timestamp),
    /// The validity has not begun.
    #[error("the directory is valid only from {0}: check this machine's clock")]
    NotYetValid(Timestamp),
    /// The validity ends before it begins.
    #[error("the directory expires before it is issued: exchange the two times")]
    Validity,
    /// Two entries have the same name.
    #[error("two entries are named {0}: rename one")]
    RepeatedName(Name),
    /// Two entries have the same TLS key.
    #[error("{0} has the TLS key of another entry: give each its own")]
    RepeatedTlsKey(Name),
    /// Two entries have the same signing key.
    #[error("{0} has the signing key of another entry: give each its own")]
    RepeatedSigningKey(Name),
    /// Two readers share an envelope key.
    #[error("an envelope key of a {0} is listed twice: give each node and each pool its own")]
    RepeatedEnvelopeKey(Role),
    /// A threshold key is listed twice.
    #[error(
        "two threshold keys are equal: make one for the Concept Indexors and one for each committee"
    )]
    RepeatedThresholdKey,
    /// An address cannot be dialled.
    #[error("the address of {0} is malformed: write host:port, such as node.example.org:7001")]
    Address(Name),
    /// A node has a role that no node may have.
    #[error(
        "{0} is listed as a node with the role {1}: list stacks as hosts and queriers as queriers"
    )]
    NotANode(Name, Role),
    /// A node of a role with an envelope key has none.
    #[error(
        "{0} has no envelope key: add it, as a conductor's and a Concept Indexor's node needs one"
    )]
    MissingEnvelopeKey(Name),
    /// A node of a role without an envelope key has one.
    #[error("{0} has an envelope key of its own: remove it, a {1} has none")]
    StrayEnvelopeKey(Name, Role),
    /// An envelope key is of another suite than the directory's.
    #[error("an envelope key of a {0} is not of the directory's suite: generate it again")]
    Suite(Role),
    /// A node of a role without groups has one.
    #[error("{0} has the group {1}: a {2} has group 0")]
    StrayGroup(Name, u16, Role),
    /// A node of a role without member numbers has one.
    #[error("{0} has a member number: remove it, a {1} has none")]
    StrayMember(Name, Role),
    /// A node has no member number, or one that its threshold key does not have.
    #[error(
        "{0} has no member number, or one that its threshold key does not have: number members from 1"
    )]
    UnknownMember(Name),
    /// A member of a threshold key has no node.
    #[error(
        "no node is member {member} of the {role}s' group {group}: list the one that holds this share"
    )]
    MissingMember {
        /// Role of the member.
        role: Role,
        /// Committee of the member; 0 for concept indexors.
        group: u16,
        /// Number of the member.
        member: MemberNumber,
    },
    /// A member of a threshold key has two nodes.
    #[error("two nodes are member {member} of the {role}s' group {group}: remove one")]
    RepeatedMember {
        /// Role of the member.
        role: Role,
        /// Committee of the member; 0 for concept indexors.
        group: u16,
        /// Number of the member.
        member: MemberNumber,
    },
    /// A conductor could not open what was sealed for another one.
    #[error(
        "{0} has another envelope key than the conductors listed before it: make its keys with --pool-of and the key file of one of them"
    )]
    ConductorKey(Name),
    /// No node has a role that the network needs.
    #[error("no node is a {0}: list at least one")]
    MissingRole(Role),
    /// No committee of aggregators is listed.
    #[error("no committee of aggregators is listed: make its key and list it")]
    NoCommittee,
    /// An aggregator belongs to a committee that is not listed.
    #[error("{0} belongs to committee {1}, which is not listed: committees are numbered from 0")]
    UnknownCommittee(Name, u16),
    /// The threshold of a committee breaks a rule.
    #[error("committee {0}: {1}; make its key again")]
    Threshold(usize, InvalidId),
    /// One concept indexor would hold the whole pseudonym key.
    #[error(
        "one Concept Indexor alone would hold the pseudonym key: make it with at least 2 needed"
    )]
    LoneIndexor,
    /// A threshold key has no transcript that shows that it was made jointly.
    #[error(
        "the key of the {role}s' group {group} has no transcript, so one dealer may know it: make it with `dispers keys ceremony`, or list the network as a trial (trial = true), which protects nobody"
    )]
    MissingTranscript {
        /// Role of the members.
        role: Role,
        /// Committee of the members; 0 for concept indexors.
        group: u16,
    },
    /// The transcripts of a key do not verify.
    #[error(
        "the transcripts of the {role}s' group {group} do not hold: {error}; list the members' nodes with the signing keys that took part, and the public file that the last finish printed"
    )]
    Transcript {
        /// Role of the members.
        role: Role,
        /// Committee of the members; 0 for concept indexors.
        group: u16,
        /// Reason of the first transcript that does not verify.
        error: CeremonyError,
    },
    /// The transcripts of a key lead to another key.
    #[error(
        "the transcripts of the {role}s' group {group} lead to another key or to other public shares: list the key that the last finish printed with them"
    )]
    OtherTranscript {
        /// Role of the members.
        role: Role,
        /// Committee of the members; 0 for concept indexors.
        group: u16,
    },
    /// A transcript is of another network.
    #[error(
        "a transcript of the {role}s' group {group} is of network {network}: hold the ceremony again for this one"
    )]
    ForeignTranscript {
        /// Role of the members.
        role: Role,
        /// Committee of the members; 0 for concept indexors.
        group: u16,
        /// Network of the transcript.
        network: Name,
    },
    /// A transcript has no threshold key in the directory.
    #[error(
        "a transcript is of the {role}s' group {group}, which has no threshold key here: remove it"
    )]
    StrayTranscript {
        /// Role of the members.
        role: Role,
        /// Committee of the members; 0 for concept indexors.
        group: u16,
    },
    /// A pool is listed for a role without pools.
    #[error("a pool is listed for a {0}: only Target Finders and the Target have pools")]
    StrayPool(Role),
    /// A pool is of another key epoch than the directory.
    #[error("the {0}s' pool of partition {1} is of another key epoch: list its current key")]
    PoolEpoch(Role, u16),
    /// A pool is listed twice.
    #[error("the {0}s' pool of partition {1} is listed twice: remove one")]
    RepeatedPool(Role, u16),
    /// A partition has no pool.
    #[error("the {0}s have no pool of partition {1}: list its key; partitions are numbered from 0")]
    MissingPool(Role, u16),
    /// No node serves a pool.
    #[error("no {0} serves partition {1}: list a node with that group")]
    UnservedPool(Role, u16),
    /// One operator holds two roles that must not be in one hand.
    #[error("operator {operator} holds {first} and {second}: give one of them to another operator")]
    Collusion {
        /// Name of the operator.
        operator: Name,
        /// First role that it holds.
        first: &'static str,
        /// Second role that it holds.
        second: &'static str,
    },
    /// One operator reaches a threshold alone.
    #[error(
        "operator {operator} runs {held} {role}s of one group, where {needed} are enough: give it fewer than {needed}"
    )]
    OperatorThreshold {
        /// Name of the operator.
        operator: Name,
        /// Role of the members.
        role: Role,
        /// Number of members of one group that the operator runs.
        held: usize,
        /// Number of members that are enough to use the group's key.
        needed: usize,
    },
    /// The previous key epoch does not fit the directory.
    #[error("the previous key epoch {0}")]
    Previous(&'static str),
    /// The witnesses of the log break a rule.
    #[error("the log's witnesses {0}")]
    Witnesses(&'static str),
    /// A floor is out of its range.
    #[error("floor {floor} {reason}")]
    Floor {
        /// Name of the floor.
        floor: &'static str,
        /// Reason, as the end of a sentence.
        reason: &'static str,
    },
    /// A purpose of the querier cannot be stated in a manifest.
    #[error("querier {0} has an empty, overlong or repeated purpose, or over 100: mend the list")]
    Purposes(Name),
    /// An entry of the catalogue breaks a rule.
    #[error("catalogue: {entry} {reason}")]
    Catalogue {
        /// The entry.
        entry: String,
        /// Reason, as the end of a sentence.
        reason: &'static str,
    },
}
