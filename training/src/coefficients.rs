//! Coefficients of a linear model of one score.

use super::data::Design;
use super::scores::State;

/// One coefficient of a linear model.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficient {
    /// In the units of feature and label.
    pub value: f64,
    /// For a feature in units of its spread; none of the constant.
    pub standardised: Option<f64>,
    /// Standard error in the same units as the value, where it is known.
    pub error: Option<f64>,
}

/// Numbers from which coefficients follow.
pub(crate) struct Numbers<'a> {
    pub(crate) design: &'a Design,
    pub(crate) state: &'a State,
    /// Spread of each column in 0 to 1; 1 of columns beyond the last.
    pub(crate) spreads: &'a [f64],
    /// Least and greatest value of a label that is a number; 0 and 1 of a score.
    pub(crate) label: (f64, f64),
    /// Standard errors of the weights, the constant's first.
    pub(crate) errors: Option<&'a [f64]>,
}

/// Returns the coefficients, the constant's first; `None` where there is more than one weight vector.
pub(crate) fn coefficients(numbers: &Numbers<'_>) -> Option<Vec<Coefficient>> {
    let Numbers { design, state, .. } = numbers;
    let (weights, errors) = (&state.weights, numbers.errors);
    let columns = design.columns();
    if weights.len() != columns + 1 {
        return None;
    }
    let (low, high) = numbers.label;
    let width = high - low;
    let bounds = design.bounds();
    let mut constant = weights[0];
    let mut slopes = Vec::with_capacity(columns);
    for (at, weight) in weights[1..].iter().enumerate() {
        let (mean, spread) = match state.spreads.get(at) {
            Some(spread) => (state.means[at], *spread),
            None => (0.0, 1.0),
        };
        // Of the column in 0 to 1, then of the feature.
        let unit = weight / spread;
        constant -= unit * mean;
        let (lo, hi) = bounds[at];
        let slope = unit / (hi - lo);
        constant -= slope * lo;
        let spread = numbers.spreads.get(at).copied().unwrap_or(1.0);
        slopes.push(Coefficient {
            value: width * slope,
            standardised: Some(width * unit * spread),
            error: errors.map(|errors| width * errors[1 + at] / (hi - lo)),
        });
    }
    let mut all = vec![Coefficient {
        value: low + width * constant,
        standardised: None,
        error: errors.map(|errors| width * errors[0]),
    }];
    all.extend(slopes);
    Some(all)
}
