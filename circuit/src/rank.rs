//! The check that a circuit leaves no element unchecked (protocol.md §7).
//!
//! Verifier messages are linear in the shares, and aggregators see only whether messages lie on
//! one polynomial. A direction of the elements that no wire and no output of the circuit depends
//! on never reaches a message: shares could be inconsistent along it, unnoticed, and different
//! quorums would read different values. So wires and outputs together must have full rank.

use super::CircuitError;
use super::form::{Constraint, LinearForm};
use dispers_base::field;

/// # Errors
/// [`CircuitError::Unchecked`] if the rank is below the number of elements.
pub(super) fn check(constraints: &[Constraint], elements: usize) -> Result<(), CircuitError> {
    let checked = rank(constraints, elements);
    if checked < elements {
        return Err(CircuitError::Unchecked { checked, elements });
    }
    Ok(())
}

/// Rank of the linear parts of all left wires, right wires and products.
fn rank(constraints: &[Constraint], elements: usize) -> usize {
    let products = constraints.iter().filter_map(|constraint| {
        let product = constraint.product?;
        Some(LinearForm::element(product))
    });
    let wires = constraints
        .iter()
        .flat_map(|c| [c.left.linear.clone(), c.right.linear.clone()]);
    let mut forms: Vec<LinearForm> = products.chain(wires).collect();
    // An element that a form reads alone is in the basis as it is; of most circuits these are all,
    // and only what is left is eliminated.
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

    // The basis: for each pivot, a row that starts there with 1.
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
    use super::super::form::Affine;
    use super::*;

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
        let bit = || form(&[(0, 1)]);
        assert_eq!(check(&[constraint(bit(), bit(), None)], 1), Ok(()));
        assert_eq!(
            check(&[constraint(bit(), bit(), None)], 2),
            Err(CircuitError::Unchecked {
                checked: 1,
                elements: 2
            })
        );
    }

    #[test]
    fn elements_read_only_as_a_sum_are_refused() {
        let sum = || form(&[(0, 1), (1, 1)]);
        let difference = form(&[(0, 2), (1, field::neg(2))]);
        assert!(check(&[constraint(sum(), sum(), None)], 2).is_err());
        assert!(check(&[constraint(sum(), form(&[(0, 3), (1, 3)]), None)], 2).is_err());
        assert!(check(&[constraint(sum(), difference, None)], 2).is_ok());
    }

    #[test]
    fn a_product_is_read_by_the_output_of_its_constraint() {
        let bit = || form(&[(0, 1)]);
        assert!(check(&[constraint(bit(), bit(), Some(1))], 2).is_ok());
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
