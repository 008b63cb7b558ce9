//! Conversion of the values that a home's engine computed to the row of its contribution.

use rand::CryptoRng;

use super::LocalQuery;
use crate::shape::Row;

/// Values that an engine computed for one home that has a row. There is no `Debug`, since these are a person's values.
#[derive(Clone, PartialEq)]
pub struct RawRow {
    /// Position of the category for each key, or `None` for NULL.
    pub categories: Vec<Option<usize>>,
    /// Value of each measure, any number if only its presence is counted, or `None` for NULL.
    pub values: Vec<Option<f64>>,
}

impl LocalQuery {
    /// Returns the home's row, or `None` if a value is NULL that must not be NULL. `rng` rounds values of measures
    /// without a step.
    ///
    /// `raw` must have been computed for this query.
    pub fn row(&self, raw: &RawRow, rng: &mut impl CryptoRng) -> Option<Row> {
        let mut group = 0;
        for (key, category) in self.keys.iter().zip(&raw.categories) {
            let position = match category {
                Some(position) if *position < key.categories.len() => *position,
                _ if key.nullable => key.categories.len(),
                _ => return None,
            };
            // Groups are numbered with the first key as the most significant digit, as the decoder expects them.
            group = group * key.len() + position;
        }
        let mut levels = Vec::with_capacity(self.measures.len());
        for (measure, value) in self.measures.iter().zip(&raw.values) {
            levels.push(
                // An infinite value or NaN has no level, so it counts as NULL.
                match (value.filter(|v| v.is_finite()), &measure.quantiser) {
                    (Some(value), Some(quantiser)) => Some(quantiser.level(value, rng)),
                    (Some(_), None) => Some(0),
                    (None, _) if measure.nullable => None,
                    (None, _) => return None,
                },
            );
        }
        Some(Row { group, levels })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::{Category, Expr, Key, Measure, Node};
    use super::*;
    use crate::quantise::{Quantiser, Step};

    fn query(nullable: bool) -> LocalQuery {
        let expr = || Expr::new(vec![Node::Column(0)]).unwrap();
        let key = |texts: &[&str], nullable| Key {
            expr: expr(),
            categories: texts.iter().map(|t| Category::Text((*t).into())).collect(),
            nullable,
        };
        LocalQuery {
            doctype: "d".into(),
            fields: Vec::new(),
            inner: None,
            filter: None,
            keys: vec![key(&["a", "b"], true), key(&["x", "y"], false)],
            measures: vec![Measure {
                expr: expr(),
                quantiser: Some(Quantiser::new(10.0, 20.0, Step::Exact(5.0)).unwrap()),
                nullable,
                one_hot: false,
            }],
            moments: Vec::new(),
        }
    }

    fn row(nullable: bool, categories: [Option<usize>; 2], value: Option<f64>) -> Option<Row> {
        let raw = RawRow {
            categories: categories.into(),
            values: vec![value],
        };
        query(nullable).row(&raw, &mut StdRng::seed_from_u64(1))
    }

    #[test]
    fn keys_combine_most_significant_first_with_null_last() {
        let group = |a, b| row(true, [a, b], None).map(|r| r.group);
        assert_eq!(group(Some(0), Some(0)), Some(0));
        assert_eq!(group(Some(1), Some(0)), Some(2));
        assert_eq!(group(None, Some(1)), Some(5));
        assert_eq!(group(Some(7), Some(1)), Some(5));
        assert_eq!(group(Some(0), None), None);
        assert_eq!(query(true).groups(), 6);
    }

    #[test]
    fn a_null_without_a_place_takes_the_row_away() {
        let at = [Some(0), Some(0)];
        assert!(row(true, at, None).is_some_and(|r| r.levels == [None]));
        assert!(row(false, at, None).is_none());
        assert!(row(false, at, Some(f64::NAN)).is_none());
        assert!(row(false, at, Some(14.0)).is_some_and(|r| r.levels == [Some(1)]));
        assert!(row(false, at, Some(99.0)).is_some_and(|r| r.levels == [Some(2)]));
    }
}
