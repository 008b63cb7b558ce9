//! What became of a query at one home.

/// What a home does with a query. It is decided once, before anything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It answers: a rule allows it.
    Allowed,
    /// It answers: its owner said so.
    AllowedByOwner,
    /// Its owner is asked.
    Waiting,
    /// It refuses: no rule allows it.
    Uncovered,
    /// It refuses: a rule says so.
    Denied,
    /// It refuses: its owner said so.
    DeniedByOwner,
    /// It refuses: its owner said nothing in time.
    Late,
    /// It refuses: it is subscribed to nothing any longer.
    Withdrawn,
    /// It refuses: the ε that a rule or the owner gives for a year is spent.
    Spent,
    /// It refuses: it answered this querier too many exact queries.
    TooManyExact,
}

impl Outcome {
    /// All of them, by the number that the store keeps.
    const ALL: [Self; 10] = [
        Self::Allowed,
        Self::AllowedByOwner,
        Self::Waiting,
        Self::Uncovered,
        Self::Denied,
        Self::DeniedByOwner,
        Self::Late,
        Self::Withdrawn,
        Self::Spent,
        Self::TooManyExact,
    ];

    /// Whether the home's documents are read.
    pub fn answers(self) -> bool {
        matches!(self, Self::Allowed | Self::AllowedByOwner)
    }

    /// One word for files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::AllowedByOwner => "allowed-by-owner",
            Self::Waiting => "waiting",
            Self::Uncovered => "not-allowed",
            Self::Denied => "denied",
            Self::DeniedByOwner => "denied-by-owner",
            Self::Late => "not-answered-in-time",
            Self::Withdrawn => "withdrawn",
            Self::Spent => "epsilon-spent",
            Self::TooManyExact => "too-many-exact-queries",
        }
    }

    /// The number by which a store keeps it.
    pub fn number(self) -> i64 {
        let place = Self::ALL.iter().position(|outcome| *outcome == self);
        place.map_or(-1, |place| place as i64)
    }

    /// An outcome that the store kept; one that is not known refuses.
    pub fn from_number(number: i64) -> Self {
        let place = usize::try_from(number).ok();
        let known = place.and_then(|place| Self::ALL.get(place));
        known.copied().unwrap_or(Self::Uncovered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_outcome_is_the_same_and_an_unknown_one_refuses() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_number(outcome.number()), outcome);
        }
        for unknown in [-1, 10, i64::MAX] {
            assert!(!Outcome::from_number(unknown).answers());
        }
    }
}
