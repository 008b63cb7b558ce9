//! Scaled rows, and their scores.

use borsh::{BorshDeserialize, BorshSerialize};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::data::Row;

/// Least spread by which a column in 0 to 1 may be divided.
pub(crate) const LEAST_SPREAD: f64 = 1e-6;

/// Parameters that the querier sends before a round: scales of the columns, and the model so far.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct State {
    /// Mean of each column; empty before the scales are known.
    pub means: Vec<f64>,
    /// Spread of each column; empty before the scales are known.
    pub spreads: Vec<f64>,
    /// Weights of the model, or points of k-means.
    pub weights: Vec<f64>,
}

impl State {
    /// Returns the parameters of the first round of any session, before anything is known.
    pub fn empty() -> Self {
        Self {
            means: Vec::new(),
            spreads: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Returns whether the scales are empty or have `columns` columns, all numbers are finite, and no spread is close
    /// to 0. Homes answer other parameters with zeros (protocol.md §18).
    pub(crate) fn holds(&self, columns: usize) -> bool {
        let lengths = [self.means.len(), self.spreads.len()];
        lengths
            .iter()
            .all(|length| *length == columns || *length == 0)
            && are_finite(&self.means)
            && are_finite(&self.weights)
            && self
                .spreads
                .iter()
                .all(|spread| spread.is_finite() && *spread >= LEAST_SPREAD)
    }

    /// Returns the mean and the spread of a column; 0 and 1 before they are known.
    pub(crate) fn scale(&self, column: usize) -> (f64, f64) {
        let mean = self.means.get(column).copied().unwrap_or(0.0);
        let spread = self.spreads.get(column).copied().unwrap_or(1.0);
        (mean, spread)
    }
}

/// Returns whether all values are finite numbers.
fn are_finite(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// Returns the mean of values; NaN if there are none.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// Views values as a matrix, row by row. Returns `None` if their number is not `rows` times `columns`.
pub(crate) fn matrix(values: &[f64], rows: usize, columns: usize) -> Option<ArrayView2<'_, f64>> {
    // `from_shape` also accepts more values than the matrix has.
    let view = ArrayView2::from_shape((rows, columns), values).ok();
    view.filter(|view| view.len() == values.len())
}

/// Returns the rows with columns scaled to mean 0 and spread 1, or unscaled before the scales are known.
pub(crate) fn inputs(state: &State, columns: usize, rows: &[Row]) -> Array2<f64> {
    let mut inputs = Array2::zeros((rows.len(), columns));
    for (row, mut scaled) in rows.iter().zip(inputs.axis_iter_mut(Axis(0))) {
        for (column, value) in row.columns.iter().enumerate() {
            let (mean, spread) = state.scale(column);
            scaled[column] = (value - mean) / spread;
        }
    }
    inputs
}

/// Returns 1 / (1 + e^−score).
pub(crate) fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// Computes the chances of classes from their scores.
pub(crate) fn softmax(mut scores: Array1<f64>) -> Array1<f64> {
    // Less the highest score, no power overflows, and the chances are the same.
    let highest = scores.fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    scores.mapv_inplace(|score| (score - highest).exp());
    let sum = scores.sum();
    scores / sum
}

/// Computes the scores of an input by a linear model, one for each weight vector. The first weight is the constant's.
pub(crate) fn scores(weights: ArrayView2<'_, f64>, input: ArrayView1<'_, f64>) -> Array1<f64> {
    let constants = weights.column(0).to_owned();
    constants + weights.split_at(Axis(1), 1).1.dot(&input)
}

/// Returns for each row the nearest point, and the squared distance to this point, divided by the number of columns.
pub(crate) fn nearest(inputs: &Array2<f64>, points: ArrayView2<'_, f64>) -> Vec<(usize, f64)> {
    let inputs = inputs.axis_iter(Axis(0));
    inputs.map(|input| nearest_to(input, points)).collect()
}

/// Returns the point nearest to one input, and the squared distance to this point, divided by the number of columns.
fn nearest_to(input: ArrayView1<'_, f64>, points: ArrayView2<'_, f64>) -> (usize, f64) {
    let columns = points.ncols().max(1) as f64;
    let distances = points.axis_iter(Axis(0)).map(|point| {
        let apart = &input - &point;
        apart.dot(&apart) / columns
    });
    let first = (0, f64::INFINITY);
    distances
        .enumerate()
        .fold(first, |best, one| if one.1 < best.1 { one } else { best })
}

/// Returns the most likely class, the first of equally likely ones.
pub(crate) fn argmax(chances: &Array1<f64>) -> usize {
    let first = (0, f64::NEG_INFINITY);
    let best = chances.iter().copied().enumerate();
    best.fold(first, |best, one| if one.1 > best.1 { one } else { best })
        .0
}
