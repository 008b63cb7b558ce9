//! Linear forms over a contribution's elements, and the constraints made of them.

use dispers_base::field::{self, Dot};

/// A sparse linear form: a sum of elements, each times a coefficient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinearForm {
    terms: Vec<(usize, u64)>,
}

impl LinearForm {
    /// The element at `index`.
    pub(super) fn element(index: usize) -> Self {
        Self {
            terms: vec![(index, 1)],
        }
    }

    /// Σ coefficient · element.
    pub(super) fn weighted(terms: impl IntoIterator<Item = (usize, u64)>) -> Self {
        Self {
            terms: terms.into_iter().collect(),
        }
    }

    /// This form minus `other`.
    pub(super) fn minus(self, other: &Self) -> Self {
        self.plus(other, field::neg(1))
    }

    /// This form plus `other` times `factor`.
    pub(super) fn plus(mut self, other: &Self, factor: u64) -> Self {
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

    /// Index and coefficient of each element; no index twice.
    pub fn terms(&self) -> &[(usize, u64)] {
        &self.terms
    }

    /// The form's value for `elements`, or its share for a share of them.
    pub fn evaluate(&self, elements: &[u64]) -> u64 {
        let mut dot = Dot::default();
        for &(index, coefficient) in &self.terms {
            dot.add(elements[index], coefficient);
        }
        dot.total()
    }
}

/// A linear form plus a constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Affine {
    pub(super) linear: LinearForm,
    pub(super) constant: u64,
}

impl Affine {
    /// The form minus one.
    pub(super) fn less_one(linear: LinearForm) -> Self {
        Self {
            linear,
            constant: field::neg(1),
        }
    }

    pub(super) fn evaluate(&self, elements: &[u64]) -> u64 {
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

/// left · right = product, where the product is a committed element, or zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Constraint {
    pub(super) left: Affine,
    pub(super) right: Affine,
    pub(super) product: Option<usize>,
}
