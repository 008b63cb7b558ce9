//! Documents of a home as rows of numbers.

use std::collections::BTreeSet;

use super::{Feature, Label, Training};
use dispers_query::local::LocalQuery;

/// Measured value of one document. It cannot be printed, because it is a home's secret.
#[derive(Clone, PartialEq)]
pub enum Cell {
    /// Number. One that is not finite counts as missing.
    Number(f64),
    /// Text.
    Text(String),
    /// Missing value, or a value of another type.
    Null,
}

/// Measured values of one document, in the order of the query's measures.
pub type Document = Vec<Cell>;

/// Returns the buckets of a text's words, each bucket once.
///
/// A word is a run of at least two letters or digits, in lower case. Its bucket is the word's FNV-1a hash of 64 bits
/// modulo the number of buckets.
pub fn hash_words(text: &str, buckets: u16) -> BTreeSet<u16> {
    let text = text.to_lowercase();
    let words = text.split(|sign: char| !sign.is_alphanumeric());
    words
        .filter(|word| word.chars().nth(1).is_some())
        .map(|word| bucket_of(word, buckets))
        .collect()
}

/// Returns the bucket of a word.
fn bucket_of(word: &str, buckets: u16) -> u16 {
    let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // A manifest has at least two buckets, but callers of the public function may pass 0.
    (hash % u64::from(buckets.max(1))) as u16
}

/// Feature with the columns that it becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    /// One column, (value − lo) / (hi − lo).
    Number { measure: usize, lo: f64, hi: f64 },
    /// One column for each value but the first: 1 if the document has this value.
    ///
    /// A column of the first value would follow from the others, so that coefficients would not be unique.
    Category { measure: usize, values: usize },
    /// One column for each bucket: 1 if a word of the text is in this bucket.
    Words { measure: usize, buckets: u16 },
}

impl Source {
    /// Makes the source of a feature, with the ranges that the query's measures have.
    fn of(feature: Feature, local: &LocalQuery) -> Self {
        match feature {
            Feature::Number(number) => {
                let (lo, hi) = range_of(local, number);
                Self::Number {
                    measure: number.into(),
                    lo,
                    hi,
                }
            }
            // The measure numbers the values from 0.
            Feature::Category(number) => Self::Category {
                measure: number.into(),
                values: range_of(local, number).1 as usize + 1,
            },
            Feature::Words { measure, buckets } => Self::Words {
                measure: measure.into(),
                buckets,
            },
        }
    }

    /// Returns the number of columns.
    pub(crate) fn columns(&self) -> usize {
        match *self {
            Self::Number { .. } => 1,
            Self::Category { values, .. } => values - 1,
            Self::Words { buckets, .. } => buckets.into(),
        }
    }

    /// Returns the number of buckets of a text; 0 for other features.
    fn buckets(&self) -> usize {
        match *self {
            Self::Words { buckets, .. } => buckets.into(),
            Self::Number { .. } | Self::Category { .. } => 0,
        }
    }
}

/// Mapping of documents to rows, in which each column is in 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    pub(crate) sources: Vec<Source>,
    label: Option<(Label, f64, f64)>,
    columns: usize,
}

/// Document as numbers.
pub(crate) struct Row {
    /// Values in 0 to 1, one per column.
    pub(crate) columns: Vec<f64>,
    /// Label: a number in 0 to 1, or the class; 0 without a label.
    pub(crate) label: f64,
}

/// Number of columns that the words of a text count as, in the default length of an update.
pub(crate) const WORDS: f64 = 16.0;

impl Design {
    /// Makes the design of a session over the local query.
    pub fn of(training: &Training, local: &LocalQuery) -> Self {
        let features = training.features.iter();
        let sources: Vec<Source> = features
            .map(|feature| Source::of(*feature, local))
            .collect();
        let label = training.label.map(|label| {
            let (lo, hi) = range_of(local, label.measure);
            (label, lo, hi)
        });
        Self {
            columns: sources.iter().map(Source::columns).sum(),
            sources,
            label,
        }
    }

    /// Returns the number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns for each column the values of its feature that become 0 and 1.
    pub fn bounds(&self) -> Vec<(f64, f64)> {
        let bounds = self.sources.iter().flat_map(|source| match *source {
            Source::Number { lo, hi, .. } => vec![(lo, hi)],
            other => vec![(0.0, 1.0); other.columns()],
        });
        bounds.collect()
    }

    /// Returns the columns that are scaled to mean 0 and spread 1: those of numbers and categories.
    pub(crate) fn scaled(&self) -> Vec<usize> {
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

    /// Returns a length that few rows exceed, the constant included.
    pub(crate) fn typical_length(&self) -> f64 {
        // A scaled column is about 1. Of a text's columns only few are 1, and all others are 0.
        let buckets: usize = self.sources.iter().map(Source::buckets).sum();
        let scaled = self.columns as f64 - buckets as f64;
        (1.0 + scaled + WORDS * self.texts() as f64).sqrt()
    }

    /// Returns the number of features that are texts.
    pub(crate) fn texts(&self) -> usize {
        let sources = self.sources.iter();
        sources
            .filter(|source| matches!(source, Source::Words { .. }))
            .count()
    }

    /// Returns whether a column is that of a number, not of a category or a text.
    pub(crate) fn is_number(&self, column: usize) -> bool {
        let mut first = 0;
        let source = self.sources.iter().find(|source| {
            first += source.columns();
            column < first
        });
        matches!(source, Some(Source::Number { .. }))
    }

    /// Returns the number of classes of the label; 0 for a number, or without a label.
    pub(crate) fn classes(&self) -> usize {
        self.label.map_or(0, |(label, ..)| label.classes.into())
    }

    /// Makes the row of a document. Returns `None` if a value is missing, not finite, or not one of its category.
    pub(crate) fn row(&self, document: &[Cell]) -> Option<Row> {
        let mut columns = vec![0.0; self.columns];
        let mut first = 0;
        for source in &self.sources {
            let of = &mut columns[first..first + source.columns()];
            first += source.columns();
            match *source {
                Source::Number { measure, lo, hi } => {
                    of[0] = unit(number(document, measure)?, lo, hi)
                }
                Source::Category { measure, values } => {
                    let value = number(document, measure)?.round();
                    if value < 0.0 || value >= values as f64 {
                        return None;
                    }
                    // For the first value all columns are 0.
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
                let value = number(document, label.measure.into())?;
                match label.classes {
                    0 => unit(value, lo, hi),
                    _ => Some(value.round()).filter(|value| (lo..=hi).contains(value))?,
                }
            }
        };
        Some(Row { columns, label })
    }

    /// Makes the rows of the first `most` documents that have all values.
    pub(crate) fn rows(&self, documents: &[Document], most: usize) -> Vec<Row> {
        // Rows are made one by one: those beyond the bound are never made.
        let rows = documents.iter().filter_map(|one| self.row(one));
        rows.take(most).collect()
    }
}

/// Returns the range of a measure's grid; 0 to 1 for a measure without a grid.
fn range_of(local: &LocalQuery, measure: u16) -> (f64, f64) {
    let measure = local.measures.get(usize::from(measure));
    let grid = measure.and_then(|measure| measure.quantiser);
    grid.map_or((0.0, 1.0), |grid| (grid.lo(), grid.hi()))
}

/// Returns the value of a measure in a document; `None` if it is missing, or not a finite number.
fn number(document: &[Cell], measure: usize) -> Option<f64> {
    match document.get(measure) {
        Some(Cell::Number(value)) if value.is_finite() => Some(*value),
        _ => None,
    }
}

/// Maps the range from `lo` to `hi` to 0 to 1. Values outside are moved to its ends.
fn unit(value: f64, lo: f64, hi: f64) -> f64 {
    ((value - lo) / (hi - lo)).clamp(0.0, 1.0)
}
