//! Products that a query sums, as committed elements (protocol.md §7).

use std::collections::HashMap;
use std::ops::Range;

use super::wires::{Builder, Wires};
use crate::LinearForm;

/// Forms that are summed. Each product is committed once, however many sums need it.
pub(super) struct Sums<'a> {
    builder: &'a mut Builder,
    variables: &'a [Wires],
    groups: Range<usize>,
    /// Joint presence of some variables, or a level where all of them are present.
    masked: HashMap<(Option<u16>, Vec<u16>), LinearForm>,
}

impl<'a> Sums<'a> {
    /// Starts without any product.
    pub(super) fn new(
        builder: &'a mut Builder,
        variables: &'a [Wires],
        groups: Range<usize>,
    ) -> Self {
        Self {
            builder,
            variables,
            groups,
            masked: HashMap::new(),
        }
    }

    /// Returns the group bits.
    pub(super) fn groups(&self) -> Range<usize> {
        self.groups.clone()
    }

    /// Returns the product of the levels of `factors` where all of `present` are present.
    pub(super) fn product(&mut self, present: &[u16], factors: &[u16]) -> LinearForm {
        match *factors {
            [] => self.present(present),
            [factor] => self.level(factor, present),
            [one, other, ..] => {
                let others = present.iter().filter(|p| **p != one && **p != other);
                let left = match others.count() {
                    // A level is 0 where its variable is NULL, so that no presence is multiplied.
                    0 => self.level(one, &[one]),
                    _ => self.level(one, present),
                };
                let wires = &self.variables[usize::from(other)];
                match one == other && wires.max == 1 {
                    // A bit is its own square, which saves a constraint.
                    true => left,
                    false => self.builder.product(left, wires.level.clone()),
                }
            }
        }
    }

    /// Returns the form that is 1 where none of `present`, at least one variable, is NULL.
    fn present(&mut self, present: &[u16]) -> LinearForm {
        let (last, before) = match present {
            [] => return LinearForm::default(),
            [before @ .., last] => (*last, before),
        };
        let bit = self.variables[usize::from(last)].presence.clone();
        let bit = bit.unwrap_or_default();
        if before.is_empty() {
            return bit;
        }
        let key = (None, present.to_vec());
        if let Some(known) = self.masked.get(&key) {
            return known.clone();
        }
        let rest = self.present(before);
        let form = self.builder.product(rest, bit);
        self.masked.insert(key, form.clone());
        form
    }

    /// Returns the level of `factor` where none of `present` is NULL.
    fn level(&mut self, factor: u16, present: &[u16]) -> LinearForm {
        let level = self.variables[usize::from(factor)].level.clone();
        if present.iter().all(|other| *other == factor) {
            return level;
        }
        let key = (Some(factor), present.to_vec());
        if let Some(known) = self.masked.get(&key) {
            return known.clone();
        }
        let all = self.present(present);
        let form = self.builder.product(all, level);
        self.masked.insert(key, form.clone());
        form
    }

    /// Splits `total` into the parts of the groups: group bit · total.
    ///
    /// The last part needs no product: it is the total minus the other parts. Without a row `total` is zero, and with a
    /// row the group bits add up to 1.
    pub(super) fn split(&mut self, total: &LinearForm) -> Vec<LinearForm> {
        let mut last = total.clone();
        let mut parts = Vec::with_capacity(self.groups.len());
        for bit in self.groups.start..self.groups.end - 1 {
            let part = self
                .builder
                .product(LinearForm::element(bit), total.clone());
            last = last.minus(&part);
            parts.push(part);
        }
        parts.push(last);
        parts
    }
}
