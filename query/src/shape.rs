//! What a query's circuit is made from: groups, bounded variables, and what is summed of them.

use borsh::{BorshDeserialize, BorshSerialize};

/// Most constraints of a circuit: with the wires' seed they fill a domain of 1,024 points.
pub const MAX_CONSTRAINTS: usize = 1023;
/// Most digits of dealt noise.
pub const MAX_NOISE_DIGITS: usize = 1 << 19;
/// Most moments of a shape.
pub const MAX_MOMENTS: usize = 512;
/// Most outputs of a circuit.
pub const MAX_OUTPUTS: usize = 4096;
/// Most levels of a one-hot variable.
pub const MAX_BINS: u64 = 512;
/// Most variables of a shape.
pub const MAX_VARIABLES: usize = 64;
/// Most levels of a variable: `0..2^32`.
pub const MAX_LEVELS: u64 = 1 << 32;
/// Most coordinates of a vector.
pub const MAX_COORDINATES: usize = 1 << 16;

/// A shape that has no circuit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CircuitError {
    /// More variables than [`MAX_VARIABLES`].
    #[error("{variables} variables, at most {MAX_VARIABLES} are possible: ask for fewer at once")]
    TooManyVariables {
        /// How many there are.
        variables: usize,
    },
    /// A variable with more levels than [`MAX_LEVELS`].
    #[error(
        "variable {variable} has 2^32 levels or more, or {MAX_BINS} or more that are counted: choose a \
         coarser step or closer bounds"
    )]
    TooManyLevels {
        /// Its position.
        variable: usize,
    },
    /// More constraints than [`MAX_CONSTRAINTS`].
    #[error(
        "the query needs {constraints} multiplications, at most {MAX_CONSTRAINTS} are possible: \
         ask for fewer groups, fewer aggregates or a coarser step"
    )]
    TooManyConstraints {
        /// How many there would be.
        constraints: u64,
    },
    /// More outputs than [`MAX_OUTPUTS`].
    #[error(
        "the query has {outputs} sums, at most {MAX_OUTPUTS} are possible: ask for fewer groups, fewer \
         aggregates or a coarser step"
    )]
    TooManyOutputs {
        /// How many there would be.
        outputs: usize,
    },
    /// Noise for too many sums, or of too many digits.
    #[error(
        "noise for {outputs} sums takes {digits} digits, at most {MAX_NOISE_DIGITS} are possible: ask for \
         fewer groups or fewer aggregates, or train a smaller model"
    )]
    TooMuchNoise {
        /// Number of sums.
        outputs: usize,
        /// Number of digits in base 16.
        digits: usize,
    },
    /// A vector of no coordinates, or of too many or too fine ones.
    #[error(
        "a vector has 1 to {MAX_COORDINATES} coordinates of 4, 8, 12, 16, 20 or 24 bits: train a smaller \
         model"
    )]
    Vector,
    /// Moments that are repeated, of variables that they cannot be of, or without their guard.
    #[error("what is summed does not fit the variables")]
    Moments,
    /// An element that no constraint reads alone; inconsistent shares of it would pass.
    #[error("internal error: the circuit checks {checked} of {elements} elements")]
    Unchecked {
        /// Rank of the constraints.
        checked: usize,
        /// Number of elements.
        elements: usize,
    },
}

/// The public description of a circuit, small enough for a manifest; every party compiles the
/// same `Circuit` from it.
///
/// Outputs, in order: for each group (or once without GROUP BY) the number of rows, then those of
/// each moment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Shape {
    /// Number of groups; 0 without GROUP BY.
    pub groups: u16,
    /// The variables that a row assigns.
    pub variables: Vec<Variable>,
    /// What is summed.
    pub moments: Vec<Moment>,
}

/// One bounded integer variable: a level in `0..=max`, or NULL.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Variable {
    /// Largest level, below 2^32; 0 for a variable of which only the presence counts.
    pub max: u64,
    /// Whether a row may leave it NULL.
    pub nullable: bool,
    /// Whether there is one bit per level, so that levels can be counted.
    pub one_hot: bool,
}

/// What is summed over rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Moment {
    /// The product of the levels of `factors`, of which there are at most two, over the rows in which
    /// none of `present` is NULL. Without factors it counts those rows. One output, guarded by the
    /// count with the same `present`, which must be a moment too; by the rows where that is empty.
    Product {
        /// Nullable variables in increasing order, at least those among the factors.
        present: Vec<u16>,
        /// Variables in increasing order; the same twice for its square.
        factors: Vec<u16>,
    },
    /// The number of rows at each level of a one-hot variable. One output for each level.
    Levels {
        /// The variable.
        variable: u16,
        /// How they are released where some are few: neighbours are added up until they are enough;
        /// otherwise each is withheld alone.
        merged: bool,
    },
}

impl Moment {
    /// The number of rows in which none of `present`, in increasing order, is NULL.
    pub fn count(present: Vec<u16>) -> Self {
        Self::Product {
            present,
            factors: Vec::new(),
        }
    }
}

/// What one home's row assigns. A home without a row contributes all zeros.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The group, below [`Shape::groups`]; 0 without GROUP BY.
    pub group: usize,
    /// One level per variable; `None` is NULL.
    pub levels: Vec<Option<u64>>,
}

impl Shape {
    /// The shape that sums each variable by itself: the number of its values where it may be NULL, the
    /// sum of its levels unless there is only one, and with `true` the sum of their squares.
    pub fn summing(groups: u16, variables: impl IntoIterator<Item = (Variable, bool)>) -> Self {
        let mut shape = Self {
            groups,
            variables: Vec::new(),
            moments: Vec::new(),
        };
        for (number, (variable, squared)) in (0u16..).zip(variables) {
            let present = Vec::from_iter(variable.nullable.then_some(number));
            let degrees = match (variable.max, squared) {
                (0, _) => 0,
                (_, false) => 1,
                (_, true) => 2,
            };
            for degree in usize::from(!variable.nullable)..=degrees {
                shape.moments.push(Moment::Product {
                    present: present.clone(),
                    factors: vec![number; degree],
                });
            }
            shape.variables.push(variable);
        }
        shape
    }

    /// Largest contribution of one row to any output of a moment.
    pub fn largest(&self, moment: &Moment) -> u64 {
        match moment {
            Moment::Levels { .. } => 1,
            Moment::Product { factors, .. } => factors
                .iter()
                .map(|factor| {
                    self.variables
                        .get(usize::from(*factor))
                        .map_or(0, |v| v.max)
                })
                .fold(1, u64::saturating_mul),
        }
    }

    /// Number of outputs of a moment in each group.
    pub fn outputs_of(&self, moment: &Moment) -> usize {
        match moment {
            Moment::Product { .. } => 1,
            Moment::Levels { variable, .. } => {
                let variable = self.variables.get(usize::from(*variable));
                variable.map_or(0, |v| v.max as usize + 1)
            }
        }
    }

    /// Refuses what is out of bounds, before anything is allocated for it.
    pub fn check(&self) -> Result<(), CircuitError> {
        if self.variables.len() > MAX_VARIABLES {
            return Err(CircuitError::TooManyVariables {
                variables: self.variables.len(),
            });
        }
        for (variable, bounds) in self.variables.iter().enumerate() {
            if bounds.max >= MAX_LEVELS || bounds.one_hot && bounds.max >= MAX_BINS {
                return Err(CircuitError::TooManyLevels { variable });
            }
            if bounds.one_hot && bounds.max == 0 {
                return Err(CircuitError::Moments);
            }
        }
        if self.moments.len() > MAX_MOMENTS {
            return Err(CircuitError::Moments);
        }
        let mut sorted: Vec<&Moment> = self.moments.iter().collect();
        sorted.sort();
        let distinct = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        let meaningful = self.moments.iter().all(|moment| self.is_meaningful(moment));
        if !distinct || !meaningful {
            return Err(CircuitError::Moments);
        }
        Ok(())
    }

    fn is_meaningful(&self, moment: &Moment) -> bool {
        let variable = |number: &u16| self.variables.get(usize::from(*number));
        match moment {
            Moment::Levels { variable: of, .. } => variable(of).is_some_and(|v| v.one_hot),
            Moment::Product { present, factors } => {
                let increasing = present.windows(2).all(|pair| pair[0] < pair[1]);
                let ordered = factors.windows(2).all(|pair| pair[0] <= pair[1]);
                let nullable = |number| variable(number).is_some_and(|v| v.nullable);
                let masked = |factor| {
                    variable(factor)
                        .is_some_and(|v| v.max > 0 && (!v.nullable || present.contains(factor)))
                };
                let guarded = factors.is_empty()
                    || present.is_empty()
                    || self.moments.contains(&Moment::count(present.clone()));
                // A product with a bit sums over the homes that have the bit: their count guards it in exact results.
                let bits = factors
                    .iter()
                    .filter(|factor| variable(factor).is_some_and(|v| v.max == 1));
                let counted = |bit: &u16| {
                    self.moments.contains(&Moment::Product {
                        present: present.clone(),
                        factors: vec![*bit],
                    })
                };
                let counted = factors.len() < 2 || bits.into_iter().all(counted);
                increasing
                    && ordered
                    && guarded
                    && counted
                    && factors.len() <= 2
                    && (present.len(), factors.len()) != (0, 0)
                    && present.iter().all(nullable)
                    && factors.iter().all(masked)
            }
        }
    }
}
