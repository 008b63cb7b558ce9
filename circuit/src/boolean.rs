//! Boolean functions of degree two: conditions on a few variables that a few counts decide together.
//!
//! The numbers of homes that meet x, that meet y and that meet both determine the number that meet neither: the number
//! of homes where a polynomial is 1 follows from the counts of its monomials. A Boolean function of degree two depends
//! on at most four variables (Nisan and Szegedy, *On the degree of Boolean functions as real polynomials*, 1994), so
//! that all of them can be listed.

use std::sync::LazyLock;

/// Most variables of a function.
pub(crate) const VARIABLES: usize = 4;

/// Polynomial of degree two that is 0 or 1 on all inputs.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// Number of variables.
    pub(crate) variables: usize,
    /// Monomials, each a set of variables as bits, with their factors.
    pub(crate) terms: Vec<(usize, i128)>,
}

/// Functions of two to four variables that are not the sum of two others over the same monomials. The others need no
/// check: if no function in this list counts a few homes, neither does a sum of such functions.
pub(crate) static FUNCTIONS: LazyLock<Vec<Function>> =
    LazyLock::new(|| (2..=VARIABLES).flat_map(minimal).collect());

/// Returns the terms of the function with these values. Returns `None` if its degree is above two.
fn terms(truth: u32, variables: usize) -> Option<Vec<(usize, i128)>> {
    let mut terms: Vec<i128> = (0..1 << variables)
        .map(|input| i128::from(truth >> input & 1))
        .collect();
    // Möbius inversion: values on all inputs become the factors of the monomials.
    for variable in 0..variables {
        for input in 0..terms.len() {
            if input >> variable & 1 == 1 {
                terms[input] -= terms[input ^ 1 << variable];
            }
        }
    }
    let terms = terms
        .into_iter()
        .enumerate()
        .filter(|(_, factor)| *factor != 0);
    let terms: Vec<(usize, i128)> = terms.collect();
    let quadratic = terms.iter().all(|(monomial, _)| monomial.count_ones() <= 2);
    quadratic.then_some(terms)
}

impl Function {
    /// Returns the factor of a monomial, if the polynomial has it.
    pub(crate) fn factor(&self, wanted: usize) -> Option<i128> {
        let mut terms = self.terms.iter();
        let term = terms.find(|(monomial, _)| *monomial == wanted);
        term.map(|(_, factor)| *factor)
    }
}

/// Returns the monomials of terms, as a set of bits.
fn monomials(terms: &[(usize, i128)]) -> u32 {
    terms
        .iter()
        .fold(0u32, |all, (monomial, _)| all | 1 << monomial)
}

/// Returns whether a function is the sum of two of `all`, each given by values and monomials, over no other monomials.
fn is_sum(truth: u32, made_of: u32, all: &[(u32, u32)]) -> bool {
    let parts: Vec<u32> = all
        .iter()
        .filter(|(part, made)| part & !truth == 0 && *part != truth && made & !made_of == 0)
        .map(|(part, _)| *part)
        .collect();
    parts.iter().any(|part| parts.contains(&(part ^ truth)))
}

/// Returns the functions that depend on all of so many variables and are not the sum of two others.
fn minimal(variables: usize) -> Vec<Function> {
    let inputs = 1u32 << variables;
    let all: Vec<(u32, Vec<(usize, i128)>)> = (1..1u32 << inputs)
        .filter_map(|truth| Some((truth, terms(truth, variables)?)))
        .collect();
    let with_monomials: Vec<(u32, u32)> = all
        .iter()
        .map(|(truth, terms)| (*truth, monomials(terms)))
        .collect();
    all.iter()
        .filter(|(truth, terms)| {
            let used = terms.iter().fold(0, |used, (monomial, _)| used | monomial);
            let is_whole = terms.len() > 1 && used == (1 << variables) - 1;
            is_whole && !is_sum(*truth, monomials(terms), &with_monomials)
        })
        .map(|(_, terms)| Function {
            variables,
            terms: terms.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_bits_on_every_input_and_few() {
        let counts = [2, 3, 4].map(|variables| {
            let functions = FUNCTIONS.iter();
            functions.filter(|f| f.variables == variables).count()
        });
        assert_eq!(counts, [4, 10, 24]);
        for function in FUNCTIONS.iter() {
            for input in 0..1usize << function.variables {
                let terms = function.terms.iter();
                let value: i128 = terms
                    .filter(|(monomial, _)| monomial & input == *monomial)
                    .map(|(_, factor)| factor)
                    .sum();
                assert!(value == 0 || value == 1);
            }
        }
    }
}
