//! Progress of a query: counts and names only, never a value.

use borsh::{BorshDeserialize, BorshSerialize};

use super::StepError;
use crate::find::NoisySize;
use dispers_base::{
    encoding::Message,
    id::{AggregatorId, MemberNumber, Name, Timestamp},
};

/// Phase of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Phase {
    /// The Target Finder chooses homes.
    Find,
    /// Homes are asked and aggregators verify what they answer.
    Ask,
    /// Aggregators agree on the one release.
    Release,
    /// The sealed totals of a round of training can be fetched; the querier's next parameters are awaited.
    Between,
    /// The sealed totals can be fetched.
    Done,
    /// The query failed; see [`Status::failure`].
    Failed,
}

/// Number of homes that are left at each step.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Funnel {
    /// Number of homes that match the target profile.
    pub targeted: u64,
    /// Number of homes in batches that were asked.
    pub asked: u64,
    /// Number of homes that answered, with data or with zeros.
    pub answered: u64,
    /// Number of counted contributions.
    pub accepted: u64,
}

impl Funnel {
    /// Returns the funnel in steps of the minimum cohort, as a querier learns it.
    #[must_use]
    pub fn coarse(&self, cohort: u32) -> Self {
        Self {
            targeted: coarse(self.targeted, cohort),
            asked: coarse(self.asked, cohort),
            answered: coarse(self.answered, cohort),
            accepted: coarse(self.accepted, cohort),
        }
    }

    /// Returns the funnel with noisy numbers of homes. The numbers of a phase that is not `over` are 0: the number of
    /// batches follows from the exact number of homes, and so their progress would reveal it.
    pub(super) fn with_noise(&self, finds: &[NoisySize], over: bool) -> Self {
        let asked = match self.asked {
            0 => 0,
            _ => NoisySize::asked(finds, 0, 1),
        };
        let [answered, accepted] = [self.answered, self.accepted].map(|homes| match over {
            true => NoisySize::answered(finds, 0, 1, self.targeted.saturating_sub(homes)),
            false => 0,
        });
        Self {
            targeted: NoisySize::asked(finds, 0, 1),
            asked,
            answered,
            accepted,
        }
    }
}

/// Rounds a number of homes down to a multiple of the cohort.
pub fn coarse(homes: u64, cohort: u32) -> u64 {
    let cohort = u64::from(cohort).max(1);
    homes / cohort * cohort
}

/// A query's progress.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Status {
    /// Phase of the query.
    pub phase: Phase,
    /// Round that the numbers are about; 0 unless a model is trained.
    pub round: u16,
    /// Number of homes that are left at each step.
    pub homes: Funnel,
    /// True if the numbers of homes are noisy, and the numbers of batches are 0.
    pub about: bool,
    /// Number of batches.
    pub batches: u32,
    /// Number of committed batches.
    pub batches_done: u32,
    /// Smallest number of aggregators that verified a batch so far.
    pub verified: u8,
    /// Failure of the query, if it failed.
    pub failure: Option<Failure>,
    /// Aggregators that are out of the query.
    pub missing: Vec<AggregatorId>,
    /// Nodes that the query waits for.
    pub waiting: Vec<Wait>,
}

impl Message for Status {
    const NAME: &'static str = "status";
    const LIMIT: usize = 1 << 20;
}

/// A step of a query, as one node takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Step {
    /// The Target Finder chooses homes.
    Find,
    /// An aggregator takes the manifest and its grant.
    Begin,
    /// The Target asks a batch.
    Ask,
    /// An aggregator deals noise.
    Deal,
    /// An aggregator opens its groups and freezes D.
    Open,
    /// An aggregator verifies.
    Verify,
    /// An aggregator decides and acknowledges.
    Decide,
    /// An aggregator counts a batch.
    Commit,
    /// The notary certifies the release.
    Notarise,
    /// An aggregator opens its guard counts.
    Guards,
    /// An aggregator releases its total.
    Release,
}

impl Step {
    /// Returns what the node does, as the end of a sentence that begins with the node's name.
    pub fn doing(self) -> &'static str {
        match self {
            Self::Find => "chooses the homes",
            Self::Begin => "takes the query up",
            Self::Ask => "asks the homes of a batch",
            Self::Deal => "deals noise",
            Self::Open => "opens a batch",
            Self::Verify => "verifies a batch",
            Self::Decide => "decides a batch",
            Self::Commit => "counts a batch",
            Self::Notarise => "certifies the release",
            Self::Guards => "opens its guard counts",
            Self::Release => "releases its total",
        }
    }

    /// Returns what happens when the node's time is up.
    pub fn then(self) -> &'static str {
        match self {
            Self::Find | Self::Notarise => "the query fails, and may be submitted again",
            Self::Ask => "the batch is asked again",
            _ => "it is left out, and the query goes on while enough others are left",
        }
    }
}

/// A node that the query waits for.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Wait {
    /// Name of the node.
    pub node: Name,
    /// Step that the node is to take.
    pub step: Step,
    /// Time at which the wait began.
    pub since: Timestamp,
    /// Time at which the wait ends.
    pub until: Timestamp,
}

/// Reason why a query failed. Nothing was released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
#[non_exhaustive]
pub enum Failure {
    /// The find failed.
    #[error("the target finder {0}{remedy}", remedy = remedy(.0))]
    Find(StepError),
    /// The Target failed at the last attempt of a batch.
    #[error("the target {0}{remedy}", remedy = remedy(.0))]
    Ask(StepError),
    /// A Target sent other groups than it signed, or groups that do not open, at the last attempt of a batch.
    #[error(
        "target {target} {}: ask its operator to look into it, then submit the query again",
        describe_bytes(accusers)
    )]
    OtherBytes {
        /// Target that sent the groups.
        target: Name,
        /// Aggregators that refused the groups; empty if the conductor found the mismatch itself.
        accusers: Vec<AggregatorId>,
    },
    /// The partitions together have too many homes.
    #[error("more homes match than the {0} that are allowed: narrow the target profile")]
    TooManyHomes(u64),
    /// Too few aggregators are left.
    #[error(
        "{needed} data aggregators of a committee are needed, but {}",
        describe(out)
    )]
    TooFewAggregators {
        /// Number of aggregators that are needed.
        needed: u8,
        /// Aggregators that are out, each with the reason.
        out: Vec<(AggregatorId, StepError)>,
    },
    /// Too few contributions were accepted.
    #[error(
        "only about {accepted} of about {asked} homes gave an accepted answer, and the query demands {rate} in 1000 of each committee's homes: submit it again when more hosts are up, or with a lower answer rate"
    )]
    TooFewAnswers {
        /// Number of accepted contributions, with noise and in steps of the cohort.
        accepted: u64,
        /// Number of chosen homes, with noise and in steps of the cohort.
        asked: u64,
        /// Required answer rate, in thousandths.
        rate: u16,
    },
    /// A batch found no agreement within its attempts.
    #[error("the aggregators did not agree on a batch within its attempts: submit the query again")]
    NoAgreement,
    /// Aggregators did not agree, and some contradicted each other about what one sent the other.
    #[error(
        "{}: have their operators look into it, then submit the query again",
        describe_disputes(disputes)
    )]
    Disputes {
        /// All disputes of the query: each aggregator with the others. An aggregator without others found guard counts
        /// that contradict each other.
        disputes: Vec<(AggregatorId, Vec<MemberNumber>)>,
    },
    /// The notary did not sign.
    #[error("the notary {0}{remedy}", remedy = remedy(.0))]
    Notary(StepError),
    /// A batch was interrupted at its last attempt.
    #[error("the conductor was interrupted too often: submit the query again")]
    Interrupted,
    /// The querier cancelled the query.
    #[error("it was cancelled")]
    Cancelled,
    /// The conductor could not keep the query.
    #[error("the conductor ended the query: {0}")]
    Ended(String),
}

/// Returns what the querier can do about the error, if the error does not say so itself.
fn remedy(error: &StepError) -> &'static str {
    match error {
        StepError::Unreachable => ": submit the query again once its node is up",
        _ => "",
    }
}

fn describe_bytes(accusers: &[AggregatorId]) -> String {
    let names: Vec<String> = accusers.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => "sent other groups than it signed".into(),
        [one] => {
            format!("sent groups that aggregator {one} could not open or that it had not signed")
        }
        many => format!(
            "sent groups that aggregators {} could not open or that it had not signed",
            many.join(", ")
        ),
    }
}

fn describe_disputes(disputes: &[(AggregatorId, Vec<MemberNumber>)]) -> String {
    let parts = disputes.iter().map(|(reader, senders)| {
        let AggregatorId { committee, .. } = *reader;
        let senders = senders.iter().map(|&member| AggregatorId { committee, member });
        let senders: Vec<String> = senders.map(|sender| sender.to_string()).collect();
        match senders.as_slice() {
            [] => format!("aggregator {reader} says that the guard counts contradict each other"),
            senders => format!(
                "aggregator {reader} and aggregator {} contradict each other about what one sent the other",
                senders.join(", ")
            ),
        }
    });
    parts.collect::<Vec<String>>().join("; ")
}

fn describe(out: &[(AggregatorId, StepError)]) -> String {
    // Aggregators with the same reason are named together.
    let mut by_reason: Vec<(String, Vec<String>)> = Vec::new();
    for (aggregator, error) in out {
        let error = error.to_string();
        match by_reason.iter_mut().find(|(reason, _)| *reason == error) {
            Some((_, names)) => names.push(aggregator.to_string()),
            None => by_reason.push((error, vec![aggregator.to_string()])),
        }
    }
    let parts: Vec<String> = by_reason
        .into_iter()
        .map(|(error, names)| match names.as_slice() {
            [one] => format!("aggregator {one} {error}"),
            many => format!("aggregators {} {error}", many.join(", ")),
        })
        .collect();
    if parts.is_empty() {
        return "fewer offered a key".into();
    }
    parts.join(", ")
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => f.write_str("could not be reached or did not answer in time"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Inconsistent { .. } => f.write_str("found too many inconsistent contributions"),
            Self::Forgotten => f.write_str("lost its part of a batch in a restart"),
            Self::BadDeals { .. } => f.write_str("refused dealt noise"),
            Self::BadNoise => f.write_str("dealt noise that is malformed or out of its bound"),
            Self::BadAcknowledgement => {
                f.write_str("sent an acknowledgement without a valid signature")
            }
            Self::OtherBytes { .. } => {
                f.write_str("got groups that the target had not signed or that do not open")
            }
            Self::Unread { .. } => f.write_str("could not read messages of others"),
            Self::BadMessages => {
                f.write_str("sent messages that are too large, or not one to each other aggregator")
            }
            Self::Disputed => f.write_str("contradicted most others about what one sent the other"),
            Self::FalseClaim => f.write_str("made a claim about others that is false"),
            Self::AccusedTargets => f.write_str("alone refused the groups of two targets"),
            Self::Contradicted => f.write_str("sent messages that contradict those of the others"),
        }
    }
}
