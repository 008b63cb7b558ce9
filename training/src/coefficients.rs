//! Coefficients of a linear model of one score.

use super::data::Design;
use super::scores::State;

/// Coefficient of a linear model.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficient {
    /// Value in the units of feature and label.
    pub value: f64,
    /// Value for a feature in units of its spread; `None` for the constant.
    pub standardised: Option<f64>,
    /// Standard error in the units of the value; `None` if it is not known.
    pub error: Option<f64>,
}

/// Numbers from which coefficients are computed.
pub(crate) struct Numbers<'a> {
    pub(crate) design: &'a Design,
    pub(crate) state: &'a State,
    /// Spread of each column in 0 to 1. Missing spreads count as 1.
    pub(crate) spreads: &'a [f64],
    /// Least and greatest value of a label that is a number; 0 and 1 for classes.
    pub(crate) label: (f64, f64),
    /// Standard errors of the weights, the constant's first.
    pub(crate) errors: Option<&'a [f64]>,
}

/// Returns the coefficients, the constant's first; `None` for a model with several weight vectors.
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
        // Undo the scaling of the column, then its mapping to 0 to 1. Both move the constant.
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
