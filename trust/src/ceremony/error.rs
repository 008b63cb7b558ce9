//! Errors of a ceremony: the cause, the members at fault, and what to do next.

use std::fmt;

use dispers_base::id::{MemberNumber, Role};

/// Reasons to stop a ceremony.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// The role has no threshold key.
    #[error("a {0} has no threshold key: make one for concept indexors or data aggregators")]
    Role(Role),
    /// The threshold is 1, so that one member would hold the whole key.
    #[error("with a threshold of 1 every member would know the key: need at least 2 members")]
    Lone,
    /// The number of signing keys differs from the number of members.
    #[error("{members} members have {signers} signing keys: give one for each, in order")]
    Signers {
        /// Number of members in the threshold.
        members: usize,
        /// Number of signing keys given.
        signers: usize,
    },
    /// Two members have the same signing key.
    #[error("member {0} has the signing key of an earlier member: list each node once")]
    RepeatedSigner(MemberNumber),
    /// The signing key is not that of the member it should act for.
    #[error("this signing key is not that of member {0}: use the key file of the node that is")]
    NotAMember(MemberNumber),
    /// Some enrolments are wrong; the error lists all of them.
    #[error("the enrolments do not hold: {}; get these from the members named", List(.culprits))]
    Enrolments {
        /// Members at fault, each with its fault.
        culprits: Vec<Culprit>,
    },
    /// Some dealings are wrong; the error lists all of them.
    #[error(
        "the dealings do not hold: {}; get these from the members named, or begin a new ceremony without them",
        List(.culprits)
    )]
    Dealings {
        /// Members at fault, each with its fault.
        culprits: Vec<Culprit>,
    },
    /// The ceremony secret belongs to another enrolment.
    #[error(
        "this ceremony secret does not belong to the enrolment of member {0}: use the secret that was made with it"
    )]
    OtherSecret(MemberNumber),
    /// The key or share to refresh is missing, is another one, or was given where a fresh key is made.
    #[error(
        "{0}: give the public file and the share that the ceremony before this one made, and none where a fresh key is made"
    )]
    Previous(&'static str),
    /// The dealings add up to a key or a share of zero, which nobody may use.
    #[error("the dealings add up to a key or share of zero: deal again")]
    Cancelled,
}

/// Member that did something wrong, or in whose name somebody else did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("member {member} {fault}")]
pub struct Culprit {
    /// Number of the member.
    pub member: MemberNumber,
    /// Fault of the member's message.
    pub fault: Fault,
}

/// Fault of one member's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The member sent no message.
    #[error("sent none")]
    Missing,
    /// The member sent more than one message.
    #[error("sent more than one: keep one")]
    Repeated,
    /// The ceremony has no member of this number.
    #[error("does not exist: leave its message out")]
    Unknown,
    /// The member's node did not sign this message.
    #[error("did not sign what bears its number")]
    Signature,
    /// The message belongs to another ceremony.
    #[error("answered for another ceremony")]
    OtherCeremony,
    /// The envelope key is of another suite than the ceremony's.
    #[error("enrolled with another suite than the ceremony's")]
    Suite,
    /// The member dealt for other enrolments: other members, or other keys of the same members.
    #[error("dealt for other enrolments than these")]
    OtherEnrolments,
    /// The number of commitments, and with it the degree of the polynomial, is wrong.
    #[error("dealt {found} commitments in place of {expected}")]
    Commitments {
        /// Number of commitments that the ceremony requires.
        expected: usize,
        /// Number of commitments in the dealing.
        found: usize,
    },
    /// The member did not prove that it knows its constant term; it may have copied another's dealing.
    #[error("did not prove that it knows its constant term")]
    Knowledge,
    /// The sealed shares do not match the digest that the member signed.
    #[error("signed other sealed shares than these")]
    SealedShares,
    /// The share for the member that checks does not open, or does not fit the commitments.
    #[error("sealed a share that does not open or does not fit its commitments")]
    Share,
}

impl Fault {
    pub(super) fn of(self, member: MemberNumber) -> Culprit {
        Culprit {
            member,
            fault: self,
        }
    }
}

/// Culprits as part of a sentence, separated by commas.
struct List<'a>(&'a [Culprit]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, culprit) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{culprit}")?;
        }
        Ok(())
    }
}
