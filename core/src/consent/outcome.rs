//! Outcomes of a query at one home.

/// Outcome of a query at one home. It is decided once, before anything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The home answers: a rule allows it.
    Allowed,
    /// The home answers: its owner allowed the query.
    AllowedByOwner,
    /// The home waits for its owner's word.
    Waiting,
    /// The home refuses: no rule allows the query.
    Uncovered,
    /// The home refuses: a rule denies the query.
    Denied,
    /// The home refuses: its owner denied the query.
    DeniedByOwner,
    /// The home refuses: its owner did not decide in time.
    Late,
    /// The home refuses: it has no subscription left.
    Withdrawn,
    /// The home refuses: the ε that a rule or the owner allows for a year is spent.
    Spent,
    /// The home refuses: it reached the limit of exact queries for this querier.
    TooManyExact,
}

impl Outcome {
    /// All outcomes, in the order of their stored numbers.
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

    /// Returns whether the home's documents are read.
    pub fn answers(self) -> bool {
        matches!(self, Self::Allowed | Self::AllowedByOwner)
    }

    /// Returns the outcome as one word for files.
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

    /// Returns the number that represents the outcome in a store.
    pub fn number(self) -> i64 {
        let place = Self::ALL.iter().position(|outcome| *outcome == self);
        place.map_or(-1, |place| place as i64)
    }

    /// Decodes a stored number. An unknown number refuses, since it came from a later edition or a damaged store.
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
