//! From a row to the elements of a contribution.

use zeroize::Zeroizing;

use super::compile::weights;
use super::form::Constraint;
use super::{Circuit, Row};
use crate::field;

/// A row that the circuit's shape does not admit. Says where, never which value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Not one level per variable.
    #[error("the row has {levels} levels for {variables} variables")]
    WrongNumberOfLevels {
        /// Levels of the row.
        levels: usize,
        /// Variables of the shape.
        variables: usize,
    },
    /// A group that the shape does not have.
    #[error("the row's group is none of {groups}")]
    NoSuchGroup {
        /// Number of groups.
        groups: usize,
    },
    /// A level above the variable's maximum.
    #[error("the level of variable {variable} is above its maximum")]
    LevelTooHigh {
        /// Its position.
        variable: usize,
    },
    /// NULL where the shape does not admit it.
    #[error("variable {variable} is NULL but not nullable")]
    UnexpectedNull {
        /// Its position.
        variable: usize,
    },
}

impl Circuit {
    /// The elements of `row`'s contribution; all zeros without a row.
    ///
    /// # Errors
    /// [`EncodeError`] for a row that the shape does not admit.
    pub fn encode(&self, row: Option<&Row>) -> Result<Zeroizing<Vec<u64>>, EncodeError> {
        let mut elements = Zeroizing::new(vec![0; self.elements]);
        let Some(row) = row else {
            return Ok(elements);
        };
        if row.levels.len() != self.variables.len() {
            return Err(EncodeError::WrongNumberOfLevels {
                levels: row.levels.len(),
                variables: self.variables.len(),
            });
        }
        if row.group >= self.groups() {
            return Err(EncodeError::NoSuchGroup {
                groups: self.groups(),
            });
        }
        // The group bits are the first elements.
        elements[row.group] = 1;

        let variables = self.variables.iter().zip(&self.shape.variables);
        for (variable, ((layout, bounds), level)) in variables.zip(&row.levels).enumerate() {
            let Some(mut level) = *level else {
                if bounds.nullable {
                    continue;
                }
                return Err(EncodeError::UnexpectedNull { variable });
            };
            if level > bounds.max {
                return Err(EncodeError::LevelTooHigh { variable });
            }
            if let Some(presence) = layout.presence {
                elements[presence] = 1;
            }
            // The highest bit is the only one whose weight is not a power of two. Taking it
            // whenever the lower ones cannot reach the level leaves a rest that they can.
            let weights: Vec<u64> = weights(bounds.max).collect();
            for (place, weight) in weights.into_iter().enumerate().rev() {
                let reach = (1 << place) - 1;
                if level > reach {
                    elements[layout.bits.start + place] = 1;
                    level -= weight;
                }
            }
        }
        self.commit_products(&mut elements);
        Ok(elements)
    }

    /// Sets every committed product from the elements before it.
    fn commit_products(&self, elements: &mut [u64]) {
        for constraint in &self.constraints {
            if let Constraint {
                left,
                right,
                product: Some(product),
            } = constraint
            {
                elements[*product] = field::mul(left.evaluate(elements), right.evaluate(elements));
            }
        }
    }
}
