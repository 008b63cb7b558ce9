//! Check that constraints depend on every element (protocol.md §7).
//!
//! Verifier messages are linear in the shares, and aggregators see only whether messages lie on one polynomial. A
//! direction of the input that no wire and no committed product depends on never reaches a message. Shares could be
//! inconsistent along that direction, and different quorums would read different values. So wires and products together
//! must have full rank.

use super::Constraint;
use crate::CircuitError;
use crate::form::LinearForm;
use dispers_base::field;

/// Checks that the constraints have full rank over inputs of `elements` elements.
///
/// # Errors
/// [`CircuitError::Unchecked`] if the rank is below the number of elements.
pub(super) fn check(constraints: &[Constraint], elements: usize) -> Result<(), CircuitError> {
    let checked = rank(constraints, elements);
    if checked < elements {
        return Err(CircuitError::Unchecked { checked, elements });
    }
    Ok(())
}

/// Returns the rank of the linear parts of all left wires, right wires and products.
fn rank(constraints: &[Constraint], elements: usize) -> usize {
    let products = constraints.iter().filter_map(|constraint| {
        let product = constraint.product?;
        Some(LinearForm::element(product))
    });
    let wires = constraints
        .iter()
        .flat_map(|c| [c.left.linear.clone(), c.right.linear.clone()]);
    let mut forms: Vec<LinearForm> = products.chain(wires).collect();
    // An element that is a form by itself is in the basis already. In most circuits every element is, which saves the
    // elimination, whose cost grows with the cube of the number of elements.
    let mut alone = vec![false; elements];
    for form in &forms {
        if let [(index, coefficient)] = form.terms()
            && *coefficient != 0
        {
            alone[*index] = true;
        }
    }
    let mut rank = alone.iter().filter(|alone| **alone).count();
    if rank == elements {
        return rank;
    }
    forms.retain(|form| form.terms().len() > 1);

    // For each pivot, the row of the basis that starts there with 1.
    let mut basis: Vec<Option<Vec<u64>>> = vec![None; elements];
    for form in forms {
        if rank == elements {
            break;
        }
        let mut row = vec![0; elements];
        for &(index, coefficient) in form.terms() {
            if !alone[index] {
                row[index] = field::add(row[index], coefficient);
            }
        }
        for pivot in 0..elements {
            if row[pivot] == 0 {
                continue;
            }
            match &basis[pivot] {
                Some(known) => subtract(&mut row, known, pivot),
                None => {
                    let scale = field::inverse(row[pivot]);
                    for value in &mut row[pivot..] {
                        *value = field::mul(*value, scale);
                    }
                    basis[pivot] = Some(row);
                    rank += 1;
                    break;
                }
            }
        }
    }
    rank
}

/// Clears `row` at `pivot` with the basis row that starts there.
fn subtract(row: &mut [u64], known: &[u64], pivot: usize) {
    let factor = row[pivot];
    for (value, &known) in row[pivot..].iter_mut().zip(&known[pivot..]) {
        *value = field::sub(*value, field::mul(factor, known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Affine;

    fn form(terms: &[(usize, u64)]) -> LinearForm {
        LinearForm::weighted(terms.iter().copied())
    }

    fn constraint(left: LinearForm, right: LinearForm, product: Option<usize>) -> Constraint {
        Constraint {
            left: left.into(),
            right: Affine::less_one(right),
            product,
        }
    }

    #[test]
    fn an_element_that_no_constraint_reads_is_refused() {
        let bit = form(&[(0, 1)]);
        let constraints = [constraint(bit.clone(), bit, None)];
        assert_eq!(check(&constraints, 1), Ok(()));
        assert_eq!(
            check(&constraints, 2),
            Err(CircuitError::Unchecked {
                checked: 1,
                elements: 2
            })
        );
    }

    #[test]
    fn elements_read_only_as_a_sum_are_refused() {
        let sum = form(&[(0, 1), (1, 1)]);
        let (triple, difference) = (form(&[(0, 3), (1, 3)]), form(&[(0, 2), (1, field::neg(2))]));
        assert!(check(&[constraint(sum.clone(), sum.clone(), None)], 2).is_err());
        assert!(check(&[constraint(sum.clone(), triple, None)], 2).is_err());
        assert!(check(&[constraint(sum, difference, None)], 2).is_ok());
    }

    #[test]
    fn a_product_is_read_by_the_output_of_its_constraint() {
        let bit = form(&[(0, 1)]);
        assert!(check(&[constraint(bit.clone(), bit, Some(1))], 2).is_ok());
    }

    #[test]
    fn dependent_forms_count_once() {
        let forms = [
            constraint(form(&[(0, 1), (1, 1)]), form(&[(1, 1), (2, 1)]), None),
            constraint(
                form(&[(0, 1), (2, field::neg(1))]),
                form(&[(0, 2), (1, 2)]),
                None,
            ),
        ];
        assert_eq!(rank(&forms, 3), 2);
    }
}
