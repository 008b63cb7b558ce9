//! Moves of a coalition's members, as data.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::campaign::Party;

use Party::{Aggregator, Conductor, Finder, Host, Querier, Target};

/// False field of a grant that a Byzantine finder signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantField {
    /// Every batch has one home more.
    Sizes,
    /// The grant is sealed as a grant of another committee.
    Committee,
    Partition,
    Query,
    Find,
    /// The key with which tags are checked is that of another aggregator.
    Key,
    Population,
}

/// False field of a batch statement that a Byzantine finder signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchField {
    Count,
    Find,
    Number,
    Query,
}

/// False field of a groups statement that a Byzantine target signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupsField {
    Target,
    Attempt,
    Parameters,
    /// The digests of two aggregators' groups are swapped.
    Digests,
}

/// False field of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AcknowledgedField {
    Decision,
    Accepted,
    Attempt,
}

/// False field of a total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TotalField {
    Outputs,
    Accepted,
    Verified,
    Proposal,
    Find,
}

/// Fault of dealt noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FalseNoise {
    OutOfBound,
    /// Its shares are sealed for other members than those that get them.
    Malformed,
    AnotherAttempt,
    /// It has no valid signature.
    Unsigned,
}

impl FalseNoise {
    pub(super) const ALL: [Self; 4] = [
        Self::OutOfBound,
        Self::Malformed,
        Self::AnotherAttempt,
        Self::Unsigned,
    ];
}

/// One move of a member of the coalition during one query. Numbers that are too large wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Q: asks with this minimum cohort.
    Cohort(u32),
    /// Q: allows no more homes than this.
    MostHomes(u64),
    /// Q: demands this answer rate, in thousandths.
    AnswerRate(u16),
    /// Q: asks that this many aggregators verify.
    Verifying(u8),
    /// Q: does without the offer of this aggregator.
    WithoutOffer(u8),
    /// Q: leaves a concept's pseudonym out of the lists that the conductor streams.
    LeaveOutList(u8),
    /// Q: asks under the key epoch before or after.
    OtherEpoch,
    /// Q: signs two sets of parameters for each round of a session.
    ParametersTwice,
    /// Q: goes on with the last round of a session after the first.
    SkipRounds,
    /// C: finds again with another batch size.
    Cut(u32),
    /// C: finds at the other finder of the pool too.
    OtherFinder,
    /// C: finds again without an entry of the lists.
    DropEntry(u32),
    /// C: streams a list's segment twice, in the first find.
    RepeatSegment(u32),
    /// C: streams a segment of the key epoch before or after too, as if it were of this one.
    SegmentOfEpoch(u32),
    /// C: has this batch asked as another find cut it.
    BatchOf { batch: u32, find: u8 },
    /// C: has the batch of the query before asked in place of this one.
    BatchBefore { batch: u32 },
    /// C: hands this aggregator the grants of another find.
    GrantOf { member: u8, find: u8 },
    /// C: hands this aggregator its grant of the query before.
    GrantBefore { member: u8 },
    /// C: has every batch asked under another find first.
    AskBefore { find: u8 },
    /// C: has a batch asked once more, under the next attempt and in a session with other parameters, and has this
    /// aggregator open that answer too.
    AskAgain { batch: u32, member: u8 },
    /// C: has this aggregator open the answer of the batch, round or query before too.
    AnswerBefore { member: u8 },
    /// C: withholds this aggregator's messages from the others at this step (0 to 3).
    Hide { member: u8, step: u8 },
    /// C: hands this aggregator at a step (1 to 4) the messages that it was handed there for the batch, attempt, round
    /// or query before.
    Replay { member: u8, step: u8 },
    /// C: names another quorum to this aggregator.
    OtherQuorum { member: u8 },
    /// C: proposes without this batch.
    Propose { without: u32 },
    /// C: hands this aggregator the certified proposal of the round or query before.
    CertificateBefore { member: u8 },
    /// C: has homes of this batch asked with parameters that the querier signed for an earlier round.
    ParametersBefore { batch: u32 },
    /// C: has homes of this batch asked with parameters that the conductor signed.
    UnsignedParameters { batch: u32 },
    /// C and Q: have homes of this batch asked with other parameters that the querier signed for the round.
    OtherParameters { batch: u32 },
    /// T: drops the answer of a host.
    DropHost { host: u8 },
    /// T: sends this aggregator no groups, and signs that it sent them.
    OtherBytes { member: u8 },
    /// T: adds the groups of the batch, attempt, round or query that was asked before.
    AddGroups,
    /// T: signs a statement with a false field about the groups.
    FalseGroups(GroupsField),
    /// T and Q: show the smaller host other parameters that the querier signed for the round.
    ParametersOfHost,
    /// TF: has the homes of a batch asked in the next batch too, with tickets of its own.
    AskTwice { batch: u32 },
    /// TF: certifies any proposal.
    CertifyAll,
    /// TF: signs a grant with a false field for this aggregator, or for all if 0.
    FalseGrant { member: u8, field: GrantField },
    /// TF: signs a statement with a false field about a batch.
    FalseBatch { batch: u32, field: BatchField },
    /// A host: the shares of two of its homes are not on one polynomial, each because of another aggregator.
    BadShares,
    /// A host: nothing that it seals for this aggregator opens.
    Unopenable { member: u8 },
    /// A host: does not answer.
    Silent,
    /// A host: one of its homes sends no legal row.
    IllegalRow,
    /// A host: repeats its answer to the batch, attempt, round or query before.
    SameAnswer,
    /// DA: claims that it froze other groups.
    FalseRandomness,
    /// DA: its verifier messages are false from this index on.
    FalseMessages { from: u32 },
    /// DA: claims that its groups are not those that the target signed.
    ClaimsOtherBytes,
    /// DA: signs an acknowledgement with a false field.
    FalseAcknowledgement(AcknowledgedField),
    /// DA: deals false noise.
    FalseDeal(FalseNoise),
    /// DA: its guard counts are false.
    FalseGuards,
    /// DA: its total is false.
    FalseTotal(TotalField),
    /// DA: fails this step (0 to 6).
    Refuses { step: u8 },
}

impl Move {
    /// Returns the party that makes the move.
    pub(super) fn party(self) -> Party {
        use Move::*;
        match self {
            Cohort(_) | MostHomes(_) | AnswerRate(_) | Verifying(_) | WithoutOffer(_)
            | LeaveOutList(_) | OtherEpoch | ParametersTwice | SkipRounds => Querier,
            Cut(_)
            | OtherFinder
            | DropEntry(_)
            | RepeatSegment(_)
            | SegmentOfEpoch(_)
            | BatchOf { .. }
            | BatchBefore { .. }
            | GrantOf { .. }
            | GrantBefore { .. }
            | AskBefore { .. }
            | AskAgain { .. }
            | AnswerBefore { .. }
            | Hide { .. }
            | Replay { .. }
            | OtherQuorum { .. }
            | Propose { .. }
            | CertificateBefore { .. }
            | ParametersBefore { .. }
            | UnsignedParameters { .. }
            | OtherParameters { .. } => Conductor,
            DropHost { .. } | OtherBytes { .. } | AddGroups | FalseGroups(_) | ParametersOfHost => {
                Target
            }
            AskTwice { .. } | CertifyAll | FalseGrant { .. } | FalseBatch { .. } => Finder,
            BadShares | Unopenable { .. } | Silent | IllegalRow | SameAnswer => Host,
            FalseRandomness
            | FalseMessages { .. }
            | ClaimsOtherBytes
            | FalseAcknowledgement(_)
            | FalseDeal(_)
            | FalseGuards
            | FalseTotal(_)
            | Refuses { .. } => Aggregator,
        }
    }

    /// Returns the name of the move without the numbers in it.
    pub(super) fn kind(self) -> String {
        let name = format!("{self:?}");
        name.chars().filter(|c| !c.is_ascii_digit()).collect()
    }

    /// Draws a move of a party in a query, which may be a session.
    pub(super) fn draw(party: Party, session: bool, rng: &mut StdRng) -> Self {
        match party {
            Querier => Self::of_querier(session, rng),
            Conductor => Self::of_conductor(session, rng),
            Target => Self::of_target(session, rng),
            Finder => Self::of_finder(rng),
            Host => Self::of_host(rng),
            Aggregator => Self::of_aggregator(rng),
        }
    }

    fn of_querier(session: bool, rng: &mut StdRng) -> Self {
        match rng.random_range(0..if session { 9 } else { 7 }) {
            6 => Self::OtherEpoch,
            0 => Self::Cohort(rng.random_range(1..20)),
            1 => Self::MostHomes(rng.random_range(4..20)),
            2 => Self::AnswerRate(rng.random_range(300..=1001)),
            3 => Self::Verifying(rng.random_range(1..=4)),
            4 => Self::WithoutOffer(rng.random_range(1..=3)),
            5 => Self::LeaveOutList(rng.random_range(0..3)),
            7 => Self::ParametersTwice,
            _ => Self::SkipRounds,
        }
    }

    fn of_conductor(session: bool, rng: &mut StdRng) -> Self {
        let member = rng.random_range(1..=3);
        let batch = rng.random_range(0..3);
        let find = rng.random_range(0..3);
        if session && rng.random_range(0..3) == 0 {
            return match rng.random_range(0..4) {
                0 => Self::ParametersBefore { batch },
                1 => Self::UnsignedParameters { batch },
                _ => Self::OtherParameters { batch },
            };
        }
        match rng.random_range(0..21) {
            20 => Self::SegmentOfEpoch(rng.random_range(0..4)),
            0..=2 => Self::Cut(rng.random_range(1..20)),
            3 => Self::OtherFinder,
            4 => Self::DropEntry(rng.random_range(0..32)),
            5 => Self::RepeatSegment(rng.random_range(0..4)),
            6..=7 => Self::BatchOf { batch, find },
            8 => Self::GrantOf { member, find },
            9 => Self::AskBefore { find },
            10 => Self::AskAgain { batch, member },
            11 => Self::Hide {
                member,
                step: rng.random_range(0..4),
            },
            12 => Self::OtherQuorum { member },
            13 => Self::BatchBefore { batch },
            14 => Self::GrantBefore { member },
            15 => Self::AnswerBefore { member },
            16..=17 => Self::Replay {
                member,
                step: rng.random_range(1..=4),
            },
            18 => Self::CertificateBefore { member },
            _ => Self::Propose { without: batch },
        }
    }

    fn of_target(session: bool, rng: &mut StdRng) -> Self {
        match rng.random_range(0..if session { 8 } else { 7 }) {
            0 => Self::DropHost {
                host: rng.random_range(0..2),
            },
            1 => Self::OtherBytes {
                member: rng.random_range(1..=3),
            },
            2 => Self::AddGroups,
            3 => Self::FalseGroups(GroupsField::Target),
            4 => Self::FalseGroups(GroupsField::Attempt),
            5 => Self::FalseGroups(GroupsField::Parameters),
            6 => Self::FalseGroups(GroupsField::Digests),
            _ => Self::ParametersOfHost,
        }
    }

    fn of_finder(rng: &mut StdRng) -> Self {
        let batch = rng.random_range(0..3);
        match rng.random_range(0..6) {
            0..=1 => Self::AskTwice { batch },
            2 => Self::CertifyAll,
            3 => Self::FalseBatch {
                batch,
                field: match rng.random_range(0..4) {
                    0 => BatchField::Count,
                    1 => BatchField::Find,
                    2 => BatchField::Number,
                    _ => BatchField::Query,
                },
            },
            _ => Self::FalseGrant {
                member: rng.random_range(0..=3),
                field: match rng.random_range(0..7) {
                    0 => GrantField::Sizes,
                    1 => GrantField::Committee,
                    2 => GrantField::Partition,
                    3 => GrantField::Query,
                    4 => GrantField::Find,
                    5 => GrantField::Key,
                    _ => GrantField::Population,
                },
            },
        }
    }

    fn of_host(rng: &mut StdRng) -> Self {
        match rng.random_range(0..5) {
            0 => Self::BadShares,
            1 => Self::Unopenable {
                member: rng.random_range(1..=3),
            },
            2 => Self::Silent,
            3 => Self::SameAnswer,
            _ => Self::IllegalRow,
        }
    }

    fn of_aggregator(rng: &mut StdRng) -> Self {
        match rng.random_range(0..9) {
            0 => Self::FalseMessages {
                from: rng.random_range(0..8),
            },
            1 => Self::ClaimsOtherBytes,
            2 => Self::FalseGuards,
            3 => Self::FalseTotal(match rng.random_range(0..5) {
                0 => TotalField::Outputs,
                1 => TotalField::Accepted,
                2 => TotalField::Verified,
                3 => TotalField::Proposal,
                _ => TotalField::Find,
            }),
            4 => Self::FalseRandomness,
            5 => Self::FalseAcknowledgement(match rng.random_range(0..3) {
                0 => AcknowledgedField::Decision,
                1 => AcknowledgedField::Accepted,
                _ => AcknowledgedField::Attempt,
            }),
            6..=7 => Self::FalseDeal(*FalseNoise::ALL.choose(rng).unwrap()),
            _ => Self::Refuses {
                step: rng.random_range(0..7),
            },
        }
    }
}
