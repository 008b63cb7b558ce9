//! Elements of a row's contribution, and the constraints that make them legal (protocol.md §7).

use std::ops::Range;

use super::Place;
use crate::constraints::{Constraint, Constraints};
use crate::form::Affine;
use crate::levels::weights;
use crate::{CircuitError, LinearForm, MAX_CONSTRAINTS, Variable};

/// Elements of a variable, and forms over them.
pub(super) struct Wires {
    pub(super) place: Place,
    /// Largest level.
    pub(super) max: u64,
    /// Form that is 1 in a row where the variable is not NULL; `None` for a variable that is never NULL.
    pub(super) presence: Option<LinearForm>,
    /// Level of the variable, 0 where the variable is NULL.
    pub(super) level: LinearForm,
    /// Bits of the levels of a one-hot variable, one per level.
    pub(super) levels: Vec<LinearForm>,
}

/// Elements and constraints that were allocated so far.
#[derive(Default)]
pub(super) struct Builder {
    elements: usize,
    constraints: Vec<Constraint>,
    /// Number of constraints. It goes on where the constraints end at the bound, so that a refusal can state it and
    /// memory stays bounded.
    count: u64,
}

impl Builder {
    /// Allocates the group bits, of which at most one is set. Returns them, and their sum, which is 1 if there is a
    /// row.
    pub(super) fn groups(&mut self, groups: u16) -> (Range<usize>, LinearForm) {
        let bits = self.allocate(usize::from(groups));
        let row = LinearForm::weighted(bits.clone().map(|bit| (bit, 1)));
        for bit in bits.clone() {
            let bit = LinearForm::element(bit);
            self.zero(bit.clone(), Affine::less_one(bit));
        }
        // With one group, the sum is the bit itself.
        if groups > 1 {
            self.zero(row.clone(), Affine::less_one(row.clone()));
        }
        (bits, row)
    }

    /// Allocates a variable.
    pub(super) fn variable(&mut self, variable: &Variable, row: &LinearForm) -> Wires {
        match variable.one_hot {
            true => self.one_hot(variable, row),
            false => self.binary(variable, row),
        }
    }

    /// Allocates a presence bit where NULL is possible, and the bits of the level.
    fn binary(&mut self, variable: &Variable, row: &LinearForm) -> Wires {
        let presence = variable.nullable.then(|| self.allocate(1).start);
        if let Some(bit) = presence {
            self.masked_bit(&LinearForm::element(bit), row);
        }
        let mask = presence.map_or(row.clone(), LinearForm::element);
        let bits = self.allocate(weights(variable.max).count());
        for bit in bits.clone() {
            self.masked_bit(&LinearForm::element(bit), &mask);
        }
        Wires {
            max: variable.max,
            presence: presence.map(LinearForm::element),
            level: LinearForm::weighted(bits.clone().zip(weights(variable.max))),
            levels: Vec::new(),
            place: Place { presence, bits },
        }
    }

    /// Allocates one bit per level. Where NULL is impossible, exactly one bit is set in a row, so that the last level
    /// has no element: it is the row bit minus the others. Where NULL is possible, at most one is set.
    fn one_hot(&mut self, variable: &Variable, row: &LinearForm) -> Wires {
        let levels = variable.max as usize + 1;
        let bits = self.allocate(levels - usize::from(!variable.nullable));
        let mut forms: Vec<LinearForm> = bits.clone().map(LinearForm::element).collect();
        let sum = LinearForm::weighted(bits.clone().map(|bit| (bit, 1)));
        if !variable.nullable {
            forms.push(row.clone().minus(&sum));
        }
        for form in &forms {
            self.masked_bit(form, row);
        }
        if variable.nullable {
            self.masked_bit(&sum, row);
        }
        let zero = LinearForm::default();
        let level = (0u64..).zip(&forms);
        Wires {
            max: variable.max,
            presence: variable.nullable.then_some(sum),
            level: level.fold(zero, |level, (weight, form)| level.plus(form, weight)),
            levels: forms,
            place: Place {
                presence: None,
                bits,
            },
        }
    }

    /// Adds the constraint bit · (bit − mask) = 0: the form is a bit if the mask is 1, and 0 if the mask is 0.
    fn masked_bit(&mut self, bit: &LinearForm, mask: &LinearForm) {
        self.zero(bit.clone(), bit.clone().minus(mask).into());
    }

    /// Adds the constraint left · right = 0.
    fn zero(&mut self, left: LinearForm, right: Affine) {
        self.constrain(left, right, None);
    }

    /// Commits the product of two forms as an element.
    pub(super) fn product(&mut self, left: LinearForm, right: LinearForm) -> LinearForm {
        let product = self.allocate(1).start;
        self.constrain(left, right.into(), Some(product));
        LinearForm::element(product)
    }

    fn constrain(&mut self, left: LinearForm, right: Affine, product: Option<usize>) {
        self.count += 1;
        // Beyond the bound only the count goes on.
        if self.constraints.len() < MAX_CONSTRAINTS {
            self.constraints.push(Constraint {
                left: left.into(),
                right,
                product,
            });
        }
    }

    /// Returns the constraints.
    ///
    /// # Errors
    /// [`CircuitError`] if there are too many, or if they leave an element unchecked.
    pub(super) fn finish(self) -> Result<Constraints, CircuitError> {
        if self.count > MAX_CONSTRAINTS as u64 {
            return Err(CircuitError::TooManyConstraints {
                constraints: self.count,
            });
        }
        Constraints::new(self.elements, self.constraints)
    }

    fn allocate(&mut self, count: usize) -> Range<usize> {
        let start = self.elements;
        self.elements += count;
        start..self.elements
    }
}
