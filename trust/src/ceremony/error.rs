//! What may be wrong in a ceremony, whose fault it is, and how to go on.

use std::fmt;

use dispers_base::id::{MemberNumber, Role};

/// Why a ceremony does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// A role without a threshold key.
    #[error("a {0} has no threshold key: make one for concept indexors or data aggregators")]
    Role(Role),
    /// One member would hold the key.
    #[error("with a threshold of 1 every member would know the key: need at least 2 members")]
    Lone,
    /// Another number of signing keys than of members.
    #[error("{members} members have {signers} signing keys: give one for each, in order")]
    Signers {
        /// Members of the threshold.
        members: usize,
        /// Signing keys.
        signers: usize,
    },
    /// Two members with one signing key.
    #[error("member {0} has the signing key of an earlier member: list each node once")]
    RepeatedSigner(MemberNumber),
    /// Somebody without a seat in the ceremony.
    #[error("this signing key is not that of member {0}: use the key file of the node that is")]
    NotAMember(MemberNumber),
    /// Enrolments that are wrong, all of them.
    #[error("the enrolments do not hold: {}; get these from the members named", List(.culprits))]
    Enrolments {
        /// Who is at fault.
        culprits: Vec<Culprit>,
    },
    /// Dealings that are wrong, all of them.
    #[error(
        "the dealings do not hold: {}; get these from the members named, or begin a new ceremony without them",
        List(.culprits)
    )]
    Dealings {
        /// Who is at fault.
        culprits: Vec<Culprit>,
    },
    /// The ceremony secret is that of another enrolment.
    #[error(
        "this ceremony secret does not belong to the enrolment of member {0}: use the secret that was made with it"
    )]
    OtherSecret(MemberNumber),
    /// The key or share to refresh is missing, another, or given where a fresh key is made.
    #[error(
        "{0}: give the public file and the share that the ceremony before this one made, and none where a fresh key is made"
    )]
    Previous(&'static str),
    /// Dealings that add up to nothing.
    #[error("the dealings add up to a key or share of zero: deal again")]
    Cancelled,
}

/// A member that did something wrong, or in whose name somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("member {member} {fault}")]
pub struct Culprit {
    /// Its number.
    pub member: MemberNumber,
    /// What it did.
    pub fault: Fault,
}

/// What is wrong with a member's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is none.
    #[error("sent none")]
    Missing,
    /// There are two.
    #[error("sent more than one: keep one")]
    Repeated,
    /// The ceremony has no such member.
    #[error("does not exist: leave its message out")]
    Unknown,
    /// Its node did not sign this.
    #[error("did not sign what bears its number")]
    Signature,
    /// The message belongs elsewhere.
    #[error("answered for another ceremony")]
    OtherCeremony,
    /// An envelope key of another suite.
    #[error("enrolled with another suite than the ceremony's")]
    Suite,
    /// It dealt to others than those who enrolled, or to other keys.
    #[error("dealt for other enrolments than these")]
    OtherEnrolments,
    /// A polynomial of another degree.
    #[error("dealt {found} commitments in place of {expected}")]
    Commitments {
        /// How many there must be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// It does not know what it dealt, or has copied it.
    #[error("did not prove that it knows its constant term")]
    Knowledge,
    /// The sealed shares are not those that it signed.
    #[error("signed other sealed shares than these")]
    SealedShares,
    /// The share for whoever checks does not open, or is not the one committed to.
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

/// Culprits in a sentence.
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
