//! Moves of a coalition that use messages of another partition or committee, as data.

use rand::RngExt;
use rand::rngs::StdRng;

use super::super::campaign::Party;
use super::ground::EACH;
use super::homes::{HOMES, is_meant};
use dispers_base::id::BatchId;

/// Border that a replay crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Partition,
    Committee,
}

impl Axis {
    /// Returns the batch of the same number on the other side.
    pub(super) fn other(self, batch: BatchId) -> BatchId {
        match self {
            Self::Partition => BatchId {
                partition: (batch.partition + 1) % EACH,
                ..batch
            },
            Self::Committee => BatchId {
                committee: (batch.committee + 1) % EACH,
                ..batch
            },
        }
    }

    /// Returns the side of a batch.
    pub(super) fn side(self, batch: BatchId) -> u16 {
        match self {
            Self::Partition => batch.partition,
            Self::Committee => batch.committee,
        }
    }
}

/// Step at which aggregators are handed messages of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Handing {
    Verify,
    Decide,
    Release,
}

/// One move of a member of the coalition during the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cross {
    /// C: streams each finder the lists of the other partition too.
    Stream,
    /// C: hands the aggregators of this number a partition's grant as the other's, or the grant of the other
    /// committee's member of their number.
    Grant { member: u8, axis: Axis },
    /// C: hands an aggregator no grant of this partition.
    WithoutGrant {
        committee: u16,
        member: u8,
        partition: u16,
    },
    /// C: conducts the query as if there were one partition.
    OnePartition,
    /// C: hands this committee the grants and batches of a find with another batch size.
    OtherFind { committee: u16 },
    /// C: has a batch asked under the name of the batch with the same number on the other side.
    AskAs(Axis),
    /// C: hands aggregators the answer to the other committee's batch of the same number.
    AnswerOf,
    /// C: hands aggregators, before their own messages, those of the other side's batch of the same number.
    Messages { axis: Axis, step: Handing },
    /// C: hands aggregators the acknowledgements of the other side's batch of the same number.
    Acknowledgements(Axis),
    /// C: proposes without the batches of one side.
    LeaveOut { axis: Axis, side: u16 },
    /// C: hands this committee another proposal than the notary certified, without the batches of one side.
    OtherProposal { axis: Axis, committee: u16 },
    /// C: gives the querier the totals of this committee only.
    TotalsOf { committee: u16 },
    /// C: gives the querier the totals of this committee as those of the other too.
    TotalsTwice { committee: u16 },
    /// C and TF: have a batch of partition 0 asked that the finder of partition 1 signed.
    BatchByOtherFinder,
    /// C and TF: hand aggregators a grant of partition 0 that the finder of partition 1 signed.
    GrantByOtherFinder,
    /// TF: the finder of partition 1 puts homes of the other side into its first batch, with valid tickets.
    HomesOf { axis: Axis, homes: u8 },
    /// T: answers the first attempt at a batch with the groups of the other side's batch of the same number.
    GroupsOf(Axis),
    /// T: loses all answers of this committee's homes.
    LosesHomes { committee: u16 },
    /// A host: lists this home in both partitions, and answers for it wherever it is asked.
    ListedTwice { home: usize },
}

impl Cross {
    /// Returns the name of the move without the numbers in it.
    pub(super) fn kind(self) -> String {
        let name = format!("{self:?}");
        name.chars().filter(|c| !c.is_ascii_digit()).collect()
    }

    /// Returns the parties that must be in the coalition for this move.
    pub(super) fn parties(self) -> &'static [Party] {
        match self {
            Self::BatchByOtherFinder | Self::GrantByOtherFinder => {
                &[Party::Conductor, Party::Finder]
            }
            Self::HomesOf { .. } => &[Party::Finder],
            Self::GroupsOf(_) | Self::LosesHomes { .. } => &[Party::Target],
            Self::ListedTwice { .. } => &[Party::Host],
            _ => &[Party::Conductor],
        }
    }

    /// Draws a move of any party.
    pub(super) fn draw(rng: &mut StdRng) -> Self {
        let axis = match rng.random() {
            true => Axis::Partition,
            false => Axis::Committee,
        };
        let (member, side) = (rng.random_range(1..=3), rng.random_range(0..EACH));
        let steps = [Handing::Verify, Handing::Decide, Handing::Release];
        match rng.random_range(0..19) {
            0 => Self::Stream,
            1 => Self::Grant { member, axis },
            2 => Self::WithoutGrant {
                committee: side,
                member,
                partition: rng.random_range(0..EACH),
            },
            3 => Self::OnePartition,
            4 => Self::OtherFind { committee: side },
            5 => Self::AskAs(axis),
            6 => Self::AnswerOf,
            7 => match steps[rng.random_range(0..steps.len())] {
                // Guard counts cover all partitions.
                Handing::Release => Self::Messages {
                    axis: Axis::Committee,
                    step: Handing::Release,
                },
                step => Self::Messages { axis, step },
            },
            8 => Self::Acknowledgements(axis),
            9 => Self::LeaveOut { axis, side },
            10 => Self::OtherProposal {
                axis,
                committee: side,
            },
            11 => Self::TotalsOf { committee: side },
            12 => Self::TotalsTwice { committee: side },
            13 => Self::BatchByOtherFinder,
            14 => Self::GrantByOtherFinder,
            15 => Self::HomesOf {
                axis,
                homes: rng.random_range(1..=4),
            },
            16 => Self::GroupsOf(axis),
            17 => Self::LosesHomes { committee: side },
            _ => Self::ListedTwice {
                // A home of the second host that the query is for.
                home: loop {
                    let home = 2 * rng.random_range(0..HOMES / 2) + 1;
                    if is_meant(home) {
                        break home;
                    }
                },
            },
        }
    }
}
