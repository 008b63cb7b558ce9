//! Encoding of a row as the elements of a contribution.

use zeroize::Zeroizing;

use super::Rows;
use crate::Row;
use crate::levels::write_bits;

/// Error for a row that the circuit's shape does not admit. It names the place, never the home's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The row does not have one level per variable.
    #[error("the row has {levels} levels for {variables} variables")]
    WrongNumberOfLevels {
        /// Number of levels of the row.
        levels: usize,
        /// Number of variables of the shape.
        variables: usize,
    },
    /// The shape does not have the group.
    #[error("the row's group is none of {groups}")]
    NoSuchGroup {
        /// Number of groups.
        groups: usize,
    },
    /// A level is above the variable's maximum.
    #[error("the level of variable {variable} is above its maximum")]
    LevelTooHigh {
        /// Position of the variable.
        variable: usize,
    },
    /// A variable is NULL that is never NULL.
    #[error("variable {variable} is NULL but not nullable")]
    UnexpectedNull {
        /// Position of the variable.
        variable: usize,
    },
}

impl Rows {
    /// Encodes a row as the elements of a contribution; all zeros without a row.
    ///
    /// # Errors
    /// [`EncodeError`] for a row that the shape does not admit.
    pub fn encode(&self, row: Option<&Row>) -> Result<Zeroizing<Vec<u64>>, EncodeError> {
        let mut elements = Zeroizing::new(vec![0; self.constraints.elements()]);
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
            let Some(level) = *level else {
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
            if bounds.one_hot {
                // The last level of a variable that is never NULL has no element: all its bits are 0.
                let place = layout.bits.start + level as usize;
                if layout.bits.contains(&place) {
                    elements[place] = 1;
                }
                continue;
            }
            write_bits(level, bounds.max, &mut elements[layout.bits.clone()]);
        }
        self.constraints.commit_products(&mut elements);
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::soundness::{constraints_hold, defined, outputs};
    use super::*;
    use crate::{Moment, Shape, Variable};
    use dispers_base::field;

    fn shapes() -> impl Strategy<Value = Shape> {
        let max = prop_oneof![
            Just(0),
            Just(1),
            2u64..40,
            Just((1 << 32) - 1),
            0..1u64 << 32
        ];
        let variable = (max, any::<bool>(), any::<bool>(), any::<bool>());
        let variable = variable.prop_map(|(max, nullable, squared, one_hot)| {
            let one_hot = one_hot && max > 0 && max < 40;
            let variable = Variable {
                max,
                nullable,
                one_hot,
            };
            (variable, squared)
        });
        let variables = prop::collection::vec(variable, 0..4);
        (0u16..6, variables, any::<bool>()).prop_map(|(groups, variables, merged)| {
            let mut shape = Shape::summing(groups, variables);
            for (number, variable) in (0u16..).zip(&shape.variables) {
                if variable.one_hot {
                    let variable = number;
                    shape.moments.push(Moment::Levels { variable, merged });
                }
            }
            // The product of each two neighbours, where both are present.
            for number in 1..shape.variables.len() as u16 {
                let pair = [number - 1, number];
                let variables = shape.variables.clone();
                if pair.iter().all(|of| variables[usize::from(*of)].max > 0) {
                    let present = pair
                        .into_iter()
                        .filter(|of| variables[usize::from(*of)].nullable);
                    let present: Vec<u16> = present.collect();
                    if present.len() == 2 {
                        shape.moments.push(Moment::count(present.clone()));
                    }
                    let mut factors = vec![pair.to_vec()];
                    // The number of homes with a bit guards the products with this bit.
                    let bits = pair
                        .into_iter()
                        .filter(|factor| variables[usize::from(*factor)].max == 1);
                    factors.extend(bits.map(|bit| vec![bit]));
                    for factors in factors {
                        let present = present.clone();
                        let moment = Moment::Product { present, factors };
                        if !shape.moments.contains(&moment) {
                            shape.moments.push(moment);
                        }
                    }
                }
            }
            shape
        })
    }

    /// Draws a row, or none, by a few numbers.
    fn row(shape: &Shape, draws: &[u64]) -> Option<Row> {
        let group = draws[0] as usize % (usize::from(shape.groups.max(1)) + 1);
        let levels = shape.variables.iter().zip(&draws[1..]);
        let levels = levels.map(|(variable, draw)| match draw % 4 {
            0 if variable.nullable => None,
            1 => Some(variable.max),
            _ => Some(draw % (variable.max + 1)),
        });
        (group < usize::from(shape.groups.max(1))).then(|| Row {
            group,
            levels: levels.collect(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn summed_outputs_are_the_plain_computation(
            shape in shapes(),
            draws in prop::collection::vec(prop::collection::vec(any::<u64>(), 4), 1..12),
        ) {
            let circuit = Rows::compile(&shape).unwrap();
            let rows: Vec<Option<Row>> = draws.iter().map(|draws| row(&shape, draws)).collect();
            let mut sums = vec![0; circuit.outputs().len()];
            for row in &rows {
                let input = circuit.encode(row.as_ref()).unwrap();
                prop_assert!(constraints_hold(&circuit, &input));
                for (sum, output) in sums.iter_mut().zip(outputs(&circuit, &input)) {
                    *sum = field::add(*sum, output);
                }
            }

            let mut expected = vec![0; sums.len()];
            for row in rows.iter().flatten() {
                for (sum, output) in expected.iter_mut().zip(defined(&shape, row)) {
                    *sum = field::add(*sum, output);
                }
            }
            prop_assert_eq!(sums, expected);
        }
    }

    fn refusal(circuit: &Rows, group: usize, levels: &[Option<u64>]) -> Option<EncodeError> {
        let levels = levels.to_vec();
        circuit.encode(Some(&Row { group, levels })).err()
    }

    #[test]
    fn rows_that_the_shape_does_not_admit_are_refused() {
        let variables = [true, false].map(|nullable| {
            let variable = Variable {
                max: 5,
                nullable,
                one_hot: false,
            };
            (variable, false)
        });
        let circuit = Rows::compile(&Shape::summing(2, variables)).unwrap();
        assert_eq!(refusal(&circuit, 1, &[None, Some(5)]), None);
        assert_eq!(
            refusal(&circuit, 2, &[None, Some(5)]),
            Some(EncodeError::NoSuchGroup { groups: 2 })
        );
        assert_eq!(
            refusal(&circuit, 0, &[Some(6), Some(5)]),
            Some(EncodeError::LevelTooHigh { variable: 0 })
        );
        assert_eq!(
            refusal(&circuit, 0, &[None, None]),
            Some(EncodeError::UnexpectedNull { variable: 1 })
        );
        assert_eq!(
            refusal(&circuit, 0, &[None]),
            Some(EncodeError::WrongNumberOfLevels {
                levels: 1,
                variables: 2
            })
        );
    }

    #[test]
    fn without_a_row_every_element_and_output_is_zero() {
        let circuit = Rows::compile(&Shape::summing(3, [])).unwrap();
        let input = circuit.encode(None).unwrap();
        assert!(input.iter().all(|&element| element == 0));
        assert!(constraints_hold(&circuit, &input));
    }
}
