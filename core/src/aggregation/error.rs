//! Errors with which an aggregator refuses a step.

use dispers_base::id::MemberNumber;

/// Reason why an aggregator did not take a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregationError {
    /// The manifest does not name a key that this aggregator offered and still holds.
    #[error("the manifest names no offer of this aggregator that is still unused")]
    NoOffer,
    /// The grant is forged, for another query, or below the cohort.
    #[error("the grant is not one of the target finder for this query")]
    BadGrant,
    /// Another find was taken for the same query and partition.
    #[error("another find was taken for this query and partition")]
    SecondFind,
    /// The batch's partition has no grant yet.
    #[error("no grant for this partition yet")]
    NoGrant,
    /// The homes of the round were shown other parameters before.
    #[error("the homes of this round were shown other parameters before")]
    OtherParameters,
    /// The work is beyond the query's rounds, attempts or batches, or is another committee's.
    #[error("the work is not one of this query and committee")]
    WrongWork,
    /// The groups are not those that the Target signed.
    #[error("the groups are not those that the target signed")]
    BadGroups,
    /// The groups of several hosts do not open, though the Target signed them.
    #[error("the groups of {groups} of {of} hosts do not open: have another target ask the batch")]
    Unopened {
        /// Number of groups that do not open.
        groups: usize,
        /// Number of all groups.
        of: usize,
    },
    /// The attempt is frozen with other groups.
    #[error("this attempt is frozen with other groups: start another attempt")]
    OtherGroups,
    /// The query has too many batches in flight.
    #[error("too many batches are in flight: finish one first")]
    TooManyInFlight,
    /// The step does not follow the last one.
    #[error("the step does not follow the last one of this batch")]
    WrongStep,
    /// The attempt was frozen before a restart, which lost its contributions.
    #[error(
        "the contributions of this attempt were lost in a restart: open the same groups again, or start another attempt"
    )]
    Forgotten,
    /// The batch is committed already.
    #[error("the batch is committed already")]
    AlreadyCommitted,
    /// The quorum is too small, or does not include this aggregator.
    #[error("the quorum is too small, or does not include this aggregator")]
    BadQuorum,
    /// Messages of other aggregators that the step needs. They are missing, do not open, have no valid signature, or
    /// are about something else. Only their sender can be at fault, or this aggregator if it lies.
    #[error(
        "messages of {} do not open, are not signed, or are about another step",
        list(members)
    )]
    Unread {
        /// Senders of the messages.
        members: Vec<MemberNumber>,
    },
    /// One aggregator contradicts the others about contributions of several hosts.
    #[error("{rejected} of {count} contributions are inconsistent: ask the batch again")]
    TooManyInconsistent {
        /// Number of inconsistent or incomplete contributions.
        rejected: u32,
        /// Number of homes in the batch.
        count: u32,
        /// Aggregator without which the others agree, if there is exactly one.
        suspect: Option<MemberNumber>,
    },
    /// A deal is missing, unsigned or for another attempt.
    #[error("aggregator {dealer} did not sign its noise for this attempt")]
    FalseDeal {
        /// Dealer that the request names.
        dealer: MemberNumber,
    },
    /// Dealt noise is malformed, out of its bound or inconsistent.
    #[error("dealt noise is malformed, out of its bound or inconsistent")]
    BadDeals {
        /// Dealers of this noise.
        dealers: Vec<MemberNumber>,
        /// Dealers whose noise would be right without some members of the quorum, each with one of these members.
        disputes: Vec<(MemberNumber, MemberNumber)>,
    },
    /// The acknowledgements differ.
    #[error("the acknowledgements of the quorum are not equal")]
    Unequal,
    /// The certificate is not the notary's for this proposal.
    #[error("the certificate is not the notary's for this proposal")]
    BadCertificate,
    /// Another proposal was certified before.
    #[error("another proposal was certified for this round")]
    SecondRelease,
    /// The proposal lists a batch that this aggregator did not commit in this form.
    #[error("the proposal lists a batch that this aggregator did not commit")]
    NotCommitted,
    /// The answer rate is below what the manifest demands.
    #[error("too few homes answered for the answer rate of the manifest")]
    TooFewAnswers,
    /// The guard openings contradict each other.
    #[error("the guard counts contradict each other")]
    BadGuards,
}

fn list(members: &[MemberNumber]) -> String {
    let members: Vec<String> = members.iter().map(ToString::to_string).collect();
    format!("aggregator {}", members.join(", "))
}
