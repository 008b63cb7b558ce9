//! Validation of local queries that a stranger wrote.

use std::collections::BTreeSet;

use super::typing::{Kind, Mismatch, Typed};
use super::{Aggregate, AggregateFunction, Expr, Inner, Key, LocalQuery, MAX_NODES, MAX_TEXT};
use super::{Category, Measure};
use crate::catalogue::{Cardinality, Catalogue, Doctype};

/// Largest number of groups.
pub const MAX_GROUPS: usize = 256;
/// Largest number of fields that a query reads.
pub const MAX_FIELDS: usize = 64;
/// Largest number of columns that an inner SELECT computes.
pub const MAX_AGGREGATES: usize = 64;
/// Largest number of GROUP BY columns.
pub const MAX_KEYS: usize = 8;
/// Largest number of measured values.
pub const MAX_MEASURES: usize = 64;
/// Largest length of a name, in bytes.
pub const MAX_NAME: usize = 128;

/// Error for a local query that no home should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidQuery {
    /// The doctype, or a field with this name and type, is not in the catalogue, or a field is listed twice.
    #[error("the catalogue has no such doctype or field")]
    Unknown,
    /// A home may have several documents, and the query does not aggregate them.
    #[error("the doctype has several documents per home and they are not aggregated")]
    SeveralDocuments,
    /// The number of groups, keys, measures, columns or nodes, or the length of a name, exceeds its bound.
    #[error("a bound is exceeded")]
    Bound,
    /// An expression is ill-typed.
    #[error(transparent)]
    Type(#[from] Mismatch),
    /// Categories are missing, repeated, too long, or of another type than their expression.
    #[error("the categories of a group column do not fit it")]
    Categories,
    /// A measure has nothing to measure or count.
    #[error("a measure has neither a grid nor a NULL to count")]
    Measure,
}

impl Aggregate {
    /// Returns the type of the aggregate over at least one document. `documents` are the types of a document's fields.
    ///
    /// # Errors
    /// [`Mismatch`] if the function does not take an argument of this type.
    pub fn typed(&self, documents: &[Typed]) -> Result<Typed, Mismatch> {
        let argument = self
            .argument
            .as_ref()
            .map(|a| a.typed(documents))
            .transpose()?;
        match (self.function, argument) {
            (AggregateFunction::Count, _) => Ok(Typed::new(Kind::Integer, false)),
            (AggregateFunction::Average, Some(a)) if a.kind.is_numeric() => {
                Ok(Typed::new(Kind::Real, a.nullable))
            }
            (AggregateFunction::Sum, Some(a)) if a.kind.is_numeric() => {
                Ok(Typed::new(a.kind, a.nullable))
            }
            (AggregateFunction::Minimum | AggregateFunction::Maximum, Some(a))
                if a.kind != Kind::Boolean =>
            {
                Ok(Typed::new(a.kind, a.nullable))
            }
            _ => Err(Mismatch(
                "AVG and SUM take a number, MIN and MAX a number or a text",
            )),
        }
    }
}

impl LocalQuery {
    /// Validates a query from a manifest, before a home runs it or an aggregator adds its answers.
    ///
    /// # Errors
    /// [`InvalidQuery`] if it reads what the catalogue does not list, exceeds a bound or is
    /// ill-typed.
    pub fn validate(&self, catalogue: &Catalogue) -> Result<(), InvalidQuery> {
        let doctype = self.validate_as(catalogue, check_measure)?;
        if doctype.cardinality == Cardinality::Many && self.inner.is_none() {
            return Err(InvalidQuery::SeveralDocuments);
        }
        Ok(())
    }

    /// Validates a query of a training session. It measures each document of a home, of which there may be several, and
    /// its measures may be text.
    ///
    /// # Errors
    /// [`InvalidQuery`], as [`validate`](Self::validate).
    pub fn validate_documents(&self, catalogue: &Catalogue) -> Result<(), InvalidQuery> {
        self.validate_as(catalogue, |measure, columns| {
            let kind = measure.expr.typed(columns)?.kind;
            match measure.quantiser {
                None if kind == Kind::Text => Ok(()),
                _ => check_measure(measure, columns),
            }
        })?;
        Ok(())
    }

    fn validate_as<'a>(
        &self,
        catalogue: &'a Catalogue,
        check: impl Fn(&Measure, &[Typed]) -> Result<(), InvalidQuery>,
    ) -> Result<&'a Doctype, InvalidQuery> {
        // Bounds first: everything after them takes time and memory in proportion to these numbers.
        self.check_bounds()?;
        let doctype = catalogue
            .doctypes
            .iter()
            // Exactly as in the catalogue: a manifest has one spelling of each name.
            .find(|d| d.name == self.doctype)
            .ok_or(InvalidQuery::Unknown)?;
        let mut names = BTreeSet::new();
        for column in &self.fields {
            let known = doctype
                .fields
                .iter()
                .any(|f| f.name == column.name && f.kind == column.kind);
            if !known || !names.insert(&column.name) {
                return Err(InvalidQuery::Unknown);
            }
        }
        let columns = self.row_types()?;
        check_condition(self.filter.as_ref(), &columns)?;
        self.keys
            .iter()
            .try_for_each(|key| check_key(key, &columns))?;
        self.measures
            .iter()
            .try_for_each(|measure| check(measure, &columns))?;
        Ok(doctype)
    }

    /// Returns the types of the columns that filter, keys and measures read. Every field is treated as nullable,
    /// whatever the catalogue states.
    ///
    /// # Errors
    /// [`InvalidQuery::Type`] if an inner aggregate does not type.
    pub fn row_types(&self) -> Result<Vec<Typed>, InvalidQuery> {
        let fields: Vec<Typed> = self
            .fields
            .iter()
            .map(|column| Typed::new(column.kind.into(), true))
            .collect();
        let Some(Inner { filter, aggregates }) = &self.inner else {
            return Ok(fields);
        };
        check_condition(filter.as_ref(), &fields)?;
        let types = aggregates.iter().map(|a| Ok(a.typed(&fields)?));
        types.collect()
    }

    /// Returns every expression of the query.
    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let inner = self.inner.iter().flat_map(|inner| {
            let arguments = inner.aggregates.iter().filter_map(|a| a.argument.as_ref());
            inner.filter.iter().chain(arguments)
        });
        inner
            .chain(&self.filter)
            .chain(self.keys.iter().map(|key| &key.expr))
            .chain(self.measures.iter().map(|measure| &measure.expr))
    }

    fn check_bounds(&self) -> Result<(), InvalidQuery> {
        let aggregates = self.inner.as_ref().map_or(1, |i| i.aggregates.len());
        let nodes: usize = self.expressions().map(|e| e.nodes().len()).sum();
        // One bound for all expressions together: each of many expressions could otherwise be as large as the bound.
        let names = self.fields().chain([self.doctype.as_str()]);
        let within = self.fields.len() <= MAX_FIELDS
            && (1..=MAX_AGGREGATES).contains(&aggregates)
            && self.keys.len() <= MAX_KEYS
            && self.measures.len() <= MAX_MEASURES
            && self.groups() <= MAX_GROUPS
            && nodes <= MAX_NODES
            && names.into_iter().all(|name| name.len() <= MAX_NAME);
        within.then_some(()).ok_or(InvalidQuery::Bound)
    }
}

fn check_condition(filter: Option<&Expr>, columns: &[Typed]) -> Result<(), InvalidQuery> {
    match filter.map(|f| f.typed(columns)).transpose()? {
        Some(typed) if typed.kind != Kind::Boolean => {
            Err(Mismatch("WHERE takes a condition").into())
        }
        _ => Ok(()),
    }
}

fn check_key(key: &Key, columns: &[Typed]) -> Result<(), InvalidQuery> {
    let kind = key.expr.typed(columns)?.kind;
    let fit = key.categories.iter().all(|category| {
        category.kind() == kind
            && !matches!(category, Category::Text(text) if text.len() > MAX_TEXT)
    });
    let distinct = key.categories.iter().collect::<BTreeSet<_>>().len() == key.categories.len();
    (fit && distinct && !key.categories.is_empty())
        .then_some(())
        .ok_or(InvalidQuery::Categories)
}

fn check_measure(measure: &Measure, columns: &[Typed]) -> Result<(), InvalidQuery> {
    let kind = measure.expr.typed(columns)?.kind;
    match measure.quantiser {
        Some(_) if kind.is_numeric() => Ok(()),
        Some(_) => Err(Mismatch("clamp takes a number").into()),
        // Without a grid only presence is counted, which a measure that is never NULL does not need.
        None if measure.nullable && !measure.one_hot => Ok(()),
        None => Err(InvalidQuery::Measure),
    }
}
