//! Shape of a query's circuit (protocol.md §7): groups, bounded variables, and the moments that are summed.

use borsh::{BorshDeserialize, BorshSerialize};

/// Largest number of constraints of a circuit: with the wires' seed they fill a domain of 1,024 points.
pub const MAX_CONSTRAINTS: usize = 1023;
/// Largest number of base-16 digits of dealt noise.
pub const MAX_NOISE_DIGITS: usize = 1 << 19;
/// Largest number of moments of a shape.
pub const MAX_MOMENTS: usize = 512;
/// Largest number of outputs of a circuit.
pub const MAX_OUTPUTS: usize = 4096;
/// Largest number of levels of a one-hot variable.
pub const MAX_BINS: u64 = 512;
/// Largest number of variables of a shape.
pub const MAX_VARIABLES: usize = 64;
/// Largest number of levels of a variable: `0..2^32`.
pub const MAX_LEVELS: u64 = 1 << 32;
/// Largest number of coordinates of a vector.
pub const MAX_COORDINATES: usize = 1 << 16;

/// Error for a shape that has no circuit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CircuitError {
    /// More variables than [`MAX_VARIABLES`].
    #[error("{variables} variables, at most {MAX_VARIABLES} are possible: ask for fewer at once")]
    TooManyVariables {
        /// Number of variables.
        variables: usize,
    },
    /// A variable has more levels than [`MAX_LEVELS`], or is one-hot with more than [`MAX_BINS`].
    #[error(
        "variable {variable} has 2^32 levels or more, or {MAX_BINS} or more that are counted: choose a \
         coarser step or closer bounds"
    )]
    TooManyLevels {
        /// Position of the variable.
        variable: usize,
    },
    /// More constraints than [`MAX_CONSTRAINTS`].
    #[error(
        "the query needs {constraints} multiplications, at most {MAX_CONSTRAINTS} are possible: \
         ask for fewer groups, fewer aggregates or a coarser step"
    )]
    TooManyConstraints {
        /// Number of constraints that the circuit would have.
        constraints: u64,
    },
    /// More outputs than [`MAX_OUTPUTS`].
    #[error(
        "the query has {outputs} sums, at most {MAX_OUTPUTS} are possible: ask for fewer groups, fewer \
         aggregates or a coarser step"
    )]
    TooManyOutputs {
        /// Number of outputs that the circuit would have.
        outputs: usize,
    },
    /// The noise is for too many sums, or has too many digits.
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
    /// A vector has no coordinates, too many, or coordinates of an unsupported number of bits.
    #[error(
        "a vector has 1 to {MAX_COORDINATES} coordinates of 4, 8, 12, 16, 20 or 24 bits: train a smaller \
         model"
    )]
    Vector,
    /// Moments are repeated, do not fit their variables, or lack the count that guards them.
    #[error("what is summed does not fit the variables")]
    Moments,
    /// The constraints do not have full rank over the input: inconsistent shares of an element would pass unnoticed
    /// (protocol.md §7).
    #[error("internal error: the circuit checks {checked} of {elements} elements")]
    Unchecked {
        /// Rank of the constraints.
        checked: usize,
        /// Number of elements.
        elements: usize,
    },
}

/// Public description of a circuit, which follows from a manifest's local query. Every party compiles the same
/// `Circuit` from it.
///
/// The outputs of the circuit are, in order, for each group (or once without GROUP BY): the number of rows, then the
/// outputs of each moment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Shape {
    /// Number of groups; 0 without GROUP BY.
    pub groups: u16,
    /// Variables to which a row assigns levels.
    pub variables: Vec<Variable>,
    /// Moments that are summed over rows.
    pub moments: Vec<Moment>,
}

/// Bounded integer variable. Its value is a level in `0..=max`, or NULL.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Variable {
    /// Largest level, below 2^32; 0 for a variable of which only the presence is counted.
    pub max: u64,
    /// True if the variable may be NULL in a row.
    pub nullable: bool,
    /// True if the variable is encoded with one bit per level, so that levels can be counted.
    pub one_hot: bool,
}

/// Kind of sum over rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Moment {
    /// Sum of the product of the levels of `factors` (at most two), over the rows in which none of `present` is NULL.
    /// Without factors it is the number of these rows.
    ///
    /// It has one output. The output is guarded by the count with the same `present`, which must be a moment too, or by
    /// the number of rows if `present` is empty.
    Product {
        /// Nullable variables in increasing order; they include the nullable variables of `factors`.
        present: Vec<u16>,
        /// Variables in increasing order. One variable twice means its square.
        factors: Vec<u16>,
    },
    /// Number of rows at each level of a one-hot variable. One output for each level.
    Levels {
        /// One-hot variable.
        variable: u16,
        /// True if neighbouring levels with few rows are added up until they reach the cohort; otherwise each level
        /// with few rows is withheld alone (protocol.md §7).
        merged: bool,
    },
}

impl Moment {
    /// Returns the moment that counts the rows in which none of `present`, in increasing order, is NULL.
    pub fn count(present: Vec<u16>) -> Self {
        Self::Product {
            present,
            factors: Vec::new(),
        }
    }
}

/// Row of one home. A home without a row contributes all zeros.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Group of the row, below [`Shape::groups`]; 0 without GROUP BY.
    pub group: usize,
    /// Levels, one per variable; `None` is NULL.
    pub levels: Vec<Option<u64>>,
}

impl Shape {
    /// Makes the shape that sums each variable by itself: the number of its values if it may be NULL, the sum of its
    /// levels if it has more than one, and the sum of their squares if its flag is `true`.
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
                // Degree 0 is the number of values. A variable that is never NULL has one value per row, and the rows
                // of each group are counted anyway.
                shape.moments.push(Moment::Product {
                    present: present.clone(),
                    factors: vec![number; degree],
                });
            }
            shape.variables.push(variable);
        }
        shape
    }

    /// Returns the largest contribution of one row to any output of a moment.
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

    /// Returns the number of outputs of a moment in each group.
    pub fn outputs_of(&self, moment: &Moment) -> usize {
        match moment {
            Moment::Product { .. } => 1,
            Moment::Levels { variable, .. } => {
                let variable = self.variables.get(usize::from(*variable));
                variable.map_or(0, |v| v.max as usize + 1)
            }
        }
    }

    /// Checks that the shape is within all bounds and that its moments fit its variables, before anything is allocated
    /// for it.
    ///
    /// # Errors
    /// [`CircuitError`] naming the broken bound or rule.
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
        // Two equal moments would be equal outputs. Sorting finds them without a comparison of all pairs.
        sorted.sort();
        let distinct = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        let meaningful = self.moments.iter().all(|moment| self.is_meaningful(moment));
        if !distinct || !meaningful {
            return Err(CircuitError::Moments);
        }
        Ok(())
    }

    fn is_meaningful(&self, moment: &Moment) -> bool {
        match moment {
            Moment::Levels { variable, .. } => self.variable(*variable).is_some_and(|v| v.one_hot),
            Moment::Product { present, factors } => {
                let increasing = present.windows(2).all(|pair| pair[0] < pair[1]);
                let ordered = factors.windows(2).all(|pair| pair[0] <= pair[1]);
                // A NULL factor is zero in the circuit, so a product is a sum over the rows in which all factors are
                // present. Its guard must count no other rows: `present` must name every nullable factor.
                let masked = factors.iter().all(|factor| {
                    self.variable(*factor)
                        .is_some_and(|v| v.max > 0 && (!v.nullable || present.contains(factor)))
                });
                // The guard of an output is looked up among the moments, so a sum without its count could not be
                // guarded.
                let guarded = factors.is_empty()
                    || present.is_empty()
                    || self.moments.contains(&Moment::count(present.clone()));
                // A product with a bit is a sum over the homes that have the bit. In exact results their number guards
                // it (protocol.md §9), so that number must be a moment too.
                let counted = factors.len() < 2
                    || factors.iter().all(|factor| {
                        let is_bit = self.variable(*factor).is_some_and(|v| v.max == 1);
                        !is_bit
                            || self.moments.contains(&Moment::Product {
                                present: present.clone(),
                                factors: vec![*factor],
                            })
                    });
                increasing
                    && ordered
                    && guarded
                    && counted
                    && factors.len() <= 2
                    && (present.len(), factors.len()) != (0, 0)
                    && present
                        .iter()
                        .all(|number| self.variable(*number).is_some_and(|v| v.nullable))
                    && masked
            }
        }
    }

    fn variable(&self, number: u16) -> Option<&Variable> {
        self.variables.get(usize::from(number))
    }
}
