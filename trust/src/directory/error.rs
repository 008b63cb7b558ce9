//! What may be wrong with a directory, and how to mend it.

use crate::ceremony::CeremonyError;
use dispers_base::id::{InvalidId, MemberNumber, Name, Role, Timestamp};

/// Why a directory is refused. Each says what to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The bytes are no directory.
    #[error(
        "not a directory, or over 16 MiB: fetch the file again, or write it with a newer version"
    )]
    Malformed,
    /// The pinned root keys cannot be satisfied.
    #[error(
        "{needed} root signatures are needed of {roots} root keys: pin at least as many keys as are needed, and need at least 1"
    )]
    Roots {
        /// How many are needed.
        needed: usize,
        /// How many different keys are pinned.
        roots: usize,
    },
    /// Too few root keys signed.
    #[error(
        "{signed} of the pinned root keys signed this directory, {needed} are needed: have more root keys sign it, or check which keys are pinned"
    )]
    Signatures {
        /// How many are needed.
        needed: usize,
        /// How many different pinned keys signed.
        signed: usize,
    },
    /// The validity has ended.
    #[error("the directory expired on {0}: fetch the current one")]
    Expired(Timestamp),
    /// The validity has not begun.
    #[error("the directory is valid only from {0}: check this machine's clock")]
    NotYetValid(Timestamp),
    /// It ends before it begins.
    #[error("the directory expires before it is issued: exchange the two times")]
    Validity,
    /// Two entries with one name.
    #[error("two entries are named {0}: rename one")]
    RepeatedName(Name),
    /// Two entries with one TLS key.
    #[error("{0} has the TLS key of another entry: give each its own")]
    RepeatedTlsKey(Name),
    /// Two entries with one signing key.
    #[error("{0} has the signing key of another entry: give each its own")]
    RepeatedSigningKey(Name),
    /// An envelope key that two readers share.
    #[error("an envelope key of a {0} is listed twice: give each node and each pool its own")]
    RepeatedEnvelopeKey(Role),
    /// A threshold key that is listed twice.
    #[error(
        "two threshold keys are equal: make one for the Concept Indexors and one for each committee"
    )]
    RepeatedThresholdKey,
    /// An address that cannot be dialled.
    #[error("the address of {0} is malformed: write host:port, such as node.example.org:7001")]
    Address(Name),
    /// A role that is not a node's.
    #[error(
        "{0} is listed as a node with the role {1}: list stacks as hosts and queriers as queriers"
    )]
    NotANode(Name, Role),
    /// A node without an envelope key that needs one.
    #[error(
        "{0} has no envelope key: add it, as a conductor's and a Concept Indexor's node needs one"
    )]
    MissingEnvelopeKey(Name),
    /// A node with an envelope key that is not for it.
    #[error("{0} has an envelope key of its own: remove it, a {1} has none")]
    StrayEnvelopeKey(Name, Role),
    /// An envelope key of another suite.
    #[error("an envelope key of a {0} is not of the directory's suite: generate it anew")]
    Suite(Role),
    /// A group where none belongs.
    #[error("{0} has the group {1}: a {2} has group 0")]
    StrayGroup(Name, u16, Role),
    /// A member number where none belongs.
    #[error("{0} has a member number: remove it, a {1} has none")]
    StrayMember(Name, Role),
    /// A member number that the threshold key does not have.
    #[error(
        "{0} has no member number, or one that its threshold key does not have: number members from 1"
    )]
    UnknownMember(Name),
    /// A member without a node.
    #[error(
        "no node is member {member} of the {role}s' group {group}: list the one that holds this share"
    )]
    MissingMember {
        /// The role.
        role: Role,
        /// The committee.
        group: u16,
        /// The number.
        member: MemberNumber,
    },
    /// A member with two nodes.
    #[error("two nodes are member {member} of the {role}s' group {group}: remove one")]
    RepeatedMember {
        /// The role.
        role: Role,
        /// The committee.
        group: u16,
        /// The number.
        member: MemberNumber,
    },
    /// A conductor that could not open what another was sent.
    #[error(
        "{0} has another envelope key than the conductors listed before it: make its keys with --pool-of and the key file of one of them"
    )]
    ConductorKey(Name),
    /// A role that nobody has.
    #[error("no node is a {0}: list at least one")]
    MissingRole(Role),
    /// No aggregation committee.
    #[error("no committee of aggregators is listed: make its key and list it")]
    NoCommittee,
    /// An aggregator of a committee that is not listed.
    #[error("{0} belongs to committee {1}, which is not listed: committees are numbered from 0")]
    UnknownCommittee(Name, u16),
    /// A committee's threshold.
    #[error("committee {0}: {1}; make its key anew")]
    Threshold(usize, InvalidId),
    /// One Concept Indexor would be enough.
    #[error(
        "one Concept Indexor alone would hold the pseudonym key: make it with at least 2 needed"
    )]
    LoneIndexor,
    /// A threshold key that nobody shows to be made jointly.
    #[error(
        "the key of the {role}s' group {group} has no transcript, so one dealer may know it: make it with `dispers keys ceremony`, or list the network as a trial (trial = true), which protects nobody"
    )]
    MissingTranscript {
        /// The role.
        role: Role,
        /// The committee.
        group: u16,
    },
    /// A transcript that does not hold.
    #[error(
        "the transcripts of the {role}s' group {group} do not hold: {error}; list the members' nodes with the signing keys that took part, and the public file that the last finish printed"
    )]
    Transcript {
        /// The role.
        role: Role,
        /// The committee.
        group: u16,
        /// What is wrong with them.
        error: CeremonyError,
    },
    /// Transcripts of another key.
    #[error(
        "the transcripts of the {role}s' group {group} lead to another key or to other public shares: list the key that the last finish printed with them"
    )]
    OtherTranscript {
        /// The role.
        role: Role,
        /// The committee.
        group: u16,
    },
    /// A transcript of another network.
    #[error(
        "a transcript of the {role}s' group {group} is of network {network}: hold the ceremony anew for this one"
    )]
    ForeignTranscript {
        /// The role.
        role: Role,
        /// The committee.
        group: u16,
        /// The network that it is of.
        network: Name,
    },
    /// A transcript without a threshold key.
    #[error(
        "a transcript is of the {role}s' group {group}, which has no threshold key here: remove it"
    )]
    StrayTranscript {
        /// The role.
        role: Role,
        /// The committee.
        group: u16,
    },
    /// A pool that is not for that role.
    #[error("a pool is listed for a {0}: only Target Finders and the Target have pools")]
    StrayPool(Role),
    /// A pool of another key epoch.
    #[error("the {0}s' pool of partition {1} is of another key epoch: list its current key")]
    PoolEpoch(Role, u16),
    /// Two keys for one pool.
    #[error("the {0}s' pool of partition {1} is listed twice: remove one")]
    RepeatedPool(Role, u16),
    /// A partition without a pool.
    #[error("the {0}s have no pool of partition {1}: list its key; partitions are numbered from 0")]
    MissingPool(Role, u16),
    /// A pool that no node serves.
    #[error("no {0} serves partition {1}: list a node with that group")]
    UnservedPool(Role, u16),
    /// One operator holds what must not be in one hand.
    #[error("operator {operator} holds {first} and {second}: give one of them to another operator")]
    Collusion {
        /// The operator.
        operator: Name,
        /// What it holds.
        first: &'static str,
        /// What it holds, too.
        second: &'static str,
    },
    /// One operator reaches a threshold alone.
    #[error(
        "operator {operator} runs {held} {role}s of one group, where {needed} are enough: give it fewer than {needed}"
    )]
    OperatorThreshold {
        /// The operator.
        operator: Name,
        /// The role.
        role: Role,
        /// How many it runs.
        held: usize,
        /// How many are enough.
        needed: usize,
    },
    /// A key epoch before that cannot be the one before.
    #[error("the previous key epoch {0}")]
    Previous(&'static str),
    /// Witnesses that cannot be.
    #[error("the log's witnesses {0}")]
    Witnesses(&'static str),
    /// A floor out of range.
    #[error("floor {floor} {reason}")]
    Floor {
        /// Which.
        floor: &'static str,
        /// Why, as the end of a sentence.
        reason: &'static str,
    },
    /// A querier's purpose that cannot be stated.
    #[error("querier {0} has an empty, overlong or repeated purpose, or over 100: mend the list")]
    Purposes(Name),
    /// An entry of the catalogue.
    #[error("catalogue: {entry} {reason}")]
    Catalogue {
        /// Which.
        entry: String,
        /// Why, as the end of a sentence.
        reason: &'static str,
    },
}
