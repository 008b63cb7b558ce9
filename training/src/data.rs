//! A home's documents as rows of numbers.

use super::model::hash_words;
use super::{Feature, Label, Training};
use dispers_query::local::LocalQuery;

/// One measured value of one document. Not for printing: it is a home's.
#[derive(Clone, PartialEq)]
pub enum Cell {
    /// A number, finite.
    Number(f64),
    /// A text.
    Text(String),
    /// None, or what is not of its type.
    Null,
}

/// The measured values of one document, in the order of the query's measures.
pub type Document = Vec<Cell>;

/// One feature and the columns that it becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Source {
    /// (value − lo) / (hi − lo).
    Number { measure: usize, lo: f64, hi: f64 },
    /// One column for each value but the first: whether it is that one.
    Category { measure: usize, values: usize },
    /// One column for each bucket: whether a word is in it.
    Words { measure: usize, buckets: u16 },
}

impl Source {
    pub(super) fn columns(&self) -> usize {
        match *self {
            Self::Number { .. } => 1,
            Self::Category { values, .. } => values - 1,
            Self::Words { buckets, .. } => buckets.into(),
        }
    }
}

/// How documents become rows: each column in 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    pub(super) sources: Vec<Source>,
    label: Option<(Label, f64, f64)>,
    columns: usize,
}

/// One document as numbers.
pub(super) struct Row {
    /// One per column.
    pub(super) columns: Vec<f64>,
    /// The label in 0 to 1, or its class; 0 without a label.
    pub(super) label: f64,
}

impl Design {
    /// The design of a session over this query.
    pub fn of(training: &Training, local: &LocalQuery) -> Self {
        let range = |measure: u16| {
            let measure = local.measures.get(usize::from(measure));
            let grid = measure.and_then(|measure| measure.quantiser);
            grid.map_or((0.0, 1.0), |grid| (grid.lo(), grid.hi()))
        };
        let source = |feature: &Feature| match *feature {
            Feature::Number(number) => {
                let (lo, hi) = range(number);
                Source::Number {
                    measure: number.into(),
                    lo,
                    hi,
                }
            }
            Feature::Category(number) => Source::Category {
                measure: number.into(),
                values: range(number).1 as usize + 1,
            },
            Feature::Words { measure, buckets } => Source::Words {
                measure: measure.into(),
                buckets,
            },
        };
        let sources: Vec<Source> = training.features.iter().map(source).collect();
        let label = training.label.map(|label| {
            let (lo, hi) = range(label.measure);
            (label, lo, hi)
        });
        Self {
            columns: sources.iter().map(Source::columns).sum(),
            sources,
            label,
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The values of each column that become 0 and 1.
    pub fn bounds(&self) -> Vec<(f64, f64)> {
        let bounds = self.sources.iter().flat_map(|source| match *source {
            Source::Number { lo, hi, .. } => vec![(lo, hi)],
            other => vec![(0.0, 1.0); other.columns()],
        });
        bounds.collect()
    }

    /// Columns that are brought to mean 0 and spread 1: those of numbers and categories.
    pub(super) fn scaled(&self) -> Vec<usize> {
        let mut scaled = Vec::new();
        let mut column = 0;
        for source in &self.sources {
            let next = column + source.columns();
            if !matches!(source, Source::Words { .. }) {
                scaled.extend(column..next);
            }
            column = next;
        }
        scaled
    }

    /// Whether a column is a number's, and none of a category or text.
    pub(super) fn is_number(&self, column: usize) -> bool {
        let mut first = 0;
        let source = self.sources.iter().find(|source| {
            first += source.columns();
            column < first
        });
        matches!(source, Some(Source::Number { .. }))
    }

    /// Number of classes of the label; 0 for a number or without one.
    pub(super) fn classes(&self) -> usize {
        self.label.map_or(0, |(label, ..)| label.classes.into())
    }

    /// The row of a document; `None` where a value is missing, or no number.
    pub(super) fn row(&self, document: &[Cell]) -> Option<Row> {
        let number = |measure: usize| match document.get(measure) {
            Some(Cell::Number(value)) if value.is_finite() => Some(*value),
            _ => None,
        };
        let mut columns = vec![0.0; self.columns];
        let mut first = 0;
        for source in &self.sources {
            let of = &mut columns[first..first + source.columns()];
            first += source.columns();
            match *source {
                Source::Number { measure, lo, hi } => of[0] = unit(number(measure)?, lo, hi),
                Source::Category { measure, values } => {
                    let value = number(measure)?.round();
                    if value < 0.0 || value >= values as f64 {
                        return None;
                    }
                    if value >= 1.0 {
                        of[value as usize - 1] = 1.0;
                    }
                }
                Source::Words { measure, buckets } => match document.get(measure) {
                    Some(Cell::Text(text)) => {
                        for bucket in hash_words(text, buckets) {
                            of[usize::from(bucket)] = 1.0;
                        }
                    }
                    _ => return None,
                },
            }
        }
        let label = match self.label {
            None => 0.0,
            Some((label, lo, hi)) => {
                let value = number(label.measure.into())?;
                match label.classes {
                    0 => unit(value, lo, hi),
                    _ => Some(value.round()).filter(|value| (lo..=hi).contains(value))?,
                }
            }
        };
        Some(Row { columns, label })
    }

    /// The rows of the first `most` documents that have all values.
    pub(super) fn rows(&self, documents: &[Document], most: usize) -> Vec<Row> {
        let rows = documents.iter().filter_map(|one| self.row(one));
        rows.take(most).collect()
    }
}

fn unit(value: f64, lo: f64, hi: f64) -> f64 {
    ((value - lo) / (hi - lo)).clamp(0.0, 1.0)
}
