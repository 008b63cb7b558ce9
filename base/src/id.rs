//! Names and numbers of the protocol. The types with an invariant check it when a value is made or decoded.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::hex::Hex;

/// Role of a party that sends or opens sealed messages (protocol.md §1).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Role {
    /// Drives queries and relays what it cannot open.
    Conductor,
    /// Evaluates its share of the pseudonym function, blindly.
    ConceptIndexor,
    /// Evaluates the target profile on sealed lists; may be a query's notary.
    TargetFinder,
    /// The only role that talks to stacks.
    Target,
    /// Verifies and adds shares.
    DataAggregator,
    /// The agent of one host's homes.
    Stack,
    /// Writes the query, opens the result.
    Querier,
}

impl Role {
    /// All roles, in the order of the variants.
    pub const ALL: [Self; 7] = [
        Self::Conductor,
        Self::ConceptIndexor,
        Self::TargetFinder,
        Self::Target,
        Self::DataAggregator,
        Self::Stack,
        Self::Querier,
    ];

    /// Returns the name used in configuration, logs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conductor => "conductor",
            Self::ConceptIndexor => "concept-indexor",
            Self::TargetFinder => "target-finder",
            Self::Target => "target",
            Self::DataAggregator => "data-aggregator",
            Self::Stack => "stack",
            Self::Querier => "querier",
        }
    }

    /// Returns the role that has this name; `None` for any other text.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Error for a value that breaks the rule of its newtype.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {reason}")]
pub struct InvalidId {
    /// Name of the newtype, for people.
    pub what: &'static str,
    /// Broken rule, as the end of a sentence that begins with `what`.
    pub reason: &'static str,
}

/// SHA-256 of the signed manifest body. A manifest that is submitted twice is therefore one query.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct QueryId(pub [u8; 32]);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0[..16]))
    }
}

impl fmt::Debug for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryId({self})")
    }
}

/// Id of a batch of homes: its partition, its committee, and its number among their batches.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct BatchId {
    /// Partition of the target finder that made the batch.
    pub partition: u16,
    /// Committee that verifies and adds the contributions of the batch.
    pub committee: u16,
    /// Number of the batch among the batches of this partition and committee, from 0.
    pub number: u32,
}

impl BatchId {
    /// Number in place of the partition for dealt noise. No partition has this number.
    const NOISE: u16 = u16::MAX;

    /// Returns the id under which a committee deals noise. Noise is dealt, verified and committed like a batch
    /// (protocol.md §9).
    pub fn noise(committee: u16) -> Self {
        Self {
            partition: Self::NOISE,
            committee,
            number: 0,
        }
    }

    /// Returns whether this id stands for dealt noise instead of a batch of homes.
    pub fn is_noise(self) -> bool {
        self.partition == Self::NOISE
    }

    /// Returns the id as one number, for a store. No two ids have the same number.
    pub fn to_i64(self) -> i64 {
        // The three parts fill 64 bits exactly. SQL integers are signed, so the sign is reinterpreted and nothing is
        // lost.
        let high = u64::from(self.partition) << 48 | u64::from(self.committee) << 32;
        (high | u64::from(self.number)).cast_signed()
    }
}

/// Name of a unit of work: (query, round, batch, attempt). A sharing is bound to one work, and a work has one
/// verification randomness *r*, so that a sharing meets one *r* only (protocol.md §8).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Work {
    /// Query that homes answer.
    pub query: QueryId,
    /// Round of the query, from 0. SQL has round 0 only; a training session has several (protocol.md §18).
    pub round: u16,
    /// Batch of the query.
    pub batch: BatchId,
    /// Attempt at the batch, from 0.
    pub attempt: u8,
}

/// Number of an aggregator in its committee, or of a concept indexor, from 1. It is the member's Shamir point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct MemberNumber(u8);

impl MemberNumber {
    /// Makes a member number.
    ///
    /// # Errors
    /// [`InvalidId`] for 0, the point where the secret lies.
    pub fn new(number: u8) -> Result<Self, InvalidId> {
        if number == 0 {
            return Err(InvalidId {
                what: "member number",
                reason: "must be at least 1",
            });
        }
        Ok(Self(number))
    }

    /// Returns the number itself, at least 1: the point at which the member's share is evaluated.
    pub fn point(self) -> u8 {
        self.0
    }

    /// Returns the member's position in committee order, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// Name of a data aggregator: its committee and its number there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct AggregatorId {
    /// Number of the committee, from 0.
    pub committee: u16,
    /// Number of the aggregator in that committee.
    pub member: MemberNumber,
}

impl fmt::Display for AggregatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.committee {
            0 => write!(f, "{}", self.member),
            committee => write!(f, "{} of committee {committee}", self.member),
        }
    }
}

impl fmt::Display for MemberNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl BorshDeserialize for MemberNumber {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        // Decoding makes the value with `new`, so that no received 0 bypasses its check.
        Self::new(u8::deserialize_reader(reader)?).map_err(borsh::io::Error::other)
    }
}

/// Threshold of a committee, t of n: the number of members that are needed, and the number of all members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize)]
pub struct Threshold {
    needed: u8,
    members: u8,
}

impl Threshold {
    /// Makes a threshold with 1 ≤ `needed` ≤ `members`, for any committee.
    ///
    /// # Errors
    /// [`InvalidId`] when out of that range.
    pub fn new(needed: u8, members: u8) -> Result<Self, InvalidId> {
        if needed == 0 || needed > members {
            return Err(InvalidId {
                what: "threshold",
                reason: "must be at least 1 and at most the number of members",
            });
        }
        Ok(Self { needed, members })
    }

    /// Makes the threshold of a committee of aggregators: t ≥ 2, 2t > n, n > t (protocol.md §8).
    ///
    /// # Errors
    /// [`InvalidId`] naming the broken rule.
    pub fn of_aggregators(needed: u8, members: u8) -> Result<Self, InvalidId> {
        let reason = if needed < 2 {
            "must be at least 2, or one aggregator alone would read every value"
        } else if members <= needed {
            "must be below the number of aggregators, or none may fail"
        } else if u16::from(needed) * 2 <= u16::from(members) {
            // Two sets of t then share a member. An honest member freezes one D, so that no second set of t can obtain
            // *r* for another D (protocol.md §8).
            "must be more than half of the aggregators"
        } else {
            return Self::new(needed, members);
        };
        Err(InvalidId {
            what: "aggregator threshold",
            reason,
        })
    }

    /// Returns t, the number of members that are needed.
    pub fn needed(self) -> usize {
        usize::from(self.needed)
    }

    /// Returns n, the number of all members.
    pub fn members(self) -> usize {
        usize::from(self.members)
    }

    /// Returns the numbers of all members, in ascending order.
    pub fn numbers(self) -> impl Iterator<Item = MemberNumber> + Clone {
        (1..=self.members).map(MemberNumber)
    }
}

impl BorshDeserialize for Threshold {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let (needed, members) = <(u8, u8)>::deserialize_reader(reader)?;
        Self::new(needed, members).map_err(borsh::io::Error::other)
    }
}

/// Key epoch: the epoch of the pseudonym key and of the pools' envelope keys (protocol.md §2).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct KeyEpoch(pub u32);

/// Time in milliseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Tolerated difference between the clocks of two nodes, in milliseconds.
    pub const SKEW: u64 = 120_000;

    /// Returns the time that is later by `milliseconds`, or the latest possible time.
    pub fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Returns whether this time is earlier than `now` by more than [`SKEW`](Self::SKEW).
    pub fn has_passed(self, now: Self) -> bool {
        now.0 > self.0.saturating_add(Self::SKEW)
    }

    /// Returns whether this time is later than `now` by more than [`SKEW`](Self::SKEW).
    pub fn is_ahead_of(self, now: Self) -> bool {
        self.0 > now.0.saturating_add(Self::SKEW)
    }
}

impl fmt::Display for Timestamp {
    /// Writes the time as a date to the minute, such as `2026-11-23 07:45 UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0 / 60_000;
        // A computed year begins on the first of March, so that a leap day is its last day. The calendar repeats every
        // 400 years, an era, which has 146,097 days; day 0 is the first of March of the year 0.
        let days = minutes / 1440 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute) = (minutes / 60 % 24, minutes % 60);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

/// Name of a node, host or querier in the directory: 1 to 64 characters of `a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Name(String);

impl Name {
    /// Makes a name.
    ///
    /// # Errors
    /// [`InvalidId`] for another length or character.
    pub fn new(name: &str) -> Result<Self, InvalidId> {
        let mut characters = name.chars();
        let valid =
            characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c));
        if name.is_empty() || name.len() > 64 || !valid {
            return Err(InvalidId {
                what: "name",
                reason: "must be 1 to 64 of a-z, 0-9, '.', '_' and '-'",
            });
        }
        Ok(Self(name.into()))
    }

    /// Returns the name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BorshDeserialize for Name {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        Self::new(&String::deserialize_reader(reader)?).map_err(borsh::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_a_date() {
        // Dates as `date --utc --date=@SECONDS` prints them.
        for (seconds, date) in [
            (0u64, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_800_000_000, "2027-01-15 08:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(Timestamp(seconds * 1000).to_string(), date);
        }
        let _ = Timestamp(u64::MAX).to_string();
    }
}
