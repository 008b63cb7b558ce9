//! Linear forms over the elements of a contribution.

use dispers_base::field::{self, Dot};

/// Sparse linear form: a sum of elements, each times a coefficient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinearForm {
    terms: Vec<(usize, u64)>,
}

impl LinearForm {
    /// Returns the form that is the element at `index`.
    pub(crate) fn element(index: usize) -> Self {
        Self {
            terms: vec![(index, 1)],
        }
    }

    /// Returns the sum of elements, each times its coefficient. No index may stand twice.
    pub(crate) fn weighted(terms: impl IntoIterator<Item = (usize, u64)>) -> Self {
        Self {
            terms: terms.into_iter().collect(),
        }
    }

    /// Subtracts `other` from this form.
    pub(crate) fn minus(self, other: &Self) -> Self {
        self.plus(other, field::neg(1))
    }

    /// Adds `other` times `factor` to this form.
    pub(crate) fn plus(mut self, other: &Self, factor: u64) -> Self {
        for &(index, coefficient) in &other.terms {
            let coefficient = field::mul(coefficient, factor);
            match self.terms.iter_mut().find(|(known, _)| *known == index) {
                Some((_, sum)) => *sum = field::add(*sum, coefficient),
                None => self.terms.push((index, coefficient)),
            }
        }
        self.terms.retain(|&(_, coefficient)| coefficient != 0);
        self
    }

    /// Returns index and coefficient of each element; no index stands twice.
    pub fn terms(&self) -> &[(usize, u64)] {
        &self.terms
    }

    /// Returns the form's value for `elements`, or a share of the value for a share of the elements.
    pub fn evaluate(&self, elements: &[u64]) -> u64 {
        let mut dot = Dot::default();
        for &(index, coefficient) in &self.terms {
            dot.add(elements[index], coefficient);
        }
        dot.total()
    }
}

/// Linear form plus a constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Affine {
    pub(crate) linear: LinearForm,
    pub(crate) constant: u64,
}

impl Affine {
    /// Returns the form minus one.
    pub(crate) fn less_one(linear: LinearForm) -> Self {
        Self {
            linear,
            constant: field::neg(1),
        }
    }

    /// Returns the value for `elements`.
    pub(crate) fn evaluate(&self, elements: &[u64]) -> u64 {
        field::add(self.linear.evaluate(elements), self.constant)
    }
}

impl From<LinearForm> for Affine {
    fn from(linear: LinearForm) -> Self {
        Self {
            linear,
            constant: 0,
        }
    }
}
