//! Linear regression from first and second moments, in one round.

use ndarray::{Array1, Axis};
use rand::rngs::StdRng;

use super::logistic::layer;
use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::coefficients::{Coefficient, Numbers, coefficients};
use crate::data::{Design, Row};
use crate::fit::{FitError, Released, Settings, Step};
use crate::graph::Operation;
use crate::layout::{Layout, Section, Values};
use crate::scores::{State, inputs, matrix, mean, scores};
use crate::solve::{factor_noisy, solve, symmetric};
use crate::{InvalidTraining, Label, Labels, Task};

/// Linear regression.
pub(crate) struct Linear;

impl Algorithm for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn labels(&self) -> Labels {
        Labels::Number
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(
            label.is_some_and(|label| label.classes == 0),
            "linear regression needs a number",
        )
    }

    fn rounds(&self, _updates: u16) -> Vec<Task> {
        vec![Task::Update]
    }

    fn steps(&self, design: &Design, settings: &Settings) -> Box<dyn Steps> {
        Box::new(LeastSquares {
            l2: settings.l2,
            spreads: vec![1.0; design.columns()],
            errors: None,
        })
    }
}

impl Vectors for Linear {
    fn layout(&self, _task: Task, design: &Design, _clip: f64) -> Layout {
        let values = design.columns() + 1;
        let moments = values + values * (values + 1) / 2;
        Layout::full(Section::default().centred(moments, 0.0, 1.0))
    }

    fn values(
        &self,
        _task: Task,
        _design: &Design,
        _clip: f64,
        _state: &State,
        rows: &[Row],
    ) -> Option<Values> {
        Some(vec![Some(moments(rows))])
    }

    fn operations(&self, design: &Design) -> usize {
        let values = design.columns() + 1;
        values * values
    }
}

impl Weights for Linear {
    fn weights(&self, design: &Design) -> usize {
        design.columns() + 1
    }

    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        let columns = design.columns();
        let weights = matrix(&state.weights, 1, columns + 1)?;
        let inputs = inputs(state, columns, rows);
        let numbers = inputs
            .axis_iter(Axis(0))
            .map(|input| scores(weights, input));
        Some(numbers.collect())
    }

    fn graph(&self, design: &Design, weights: &[f64]) -> Option<(Vec<Operation>, usize)> {
        Some(layer(design, weights))
    }
}

/// Returns the means of all columns and the label, then those of all products of two of them: the upper triangle, row
/// by row.
fn moments(rows: &[Row]) -> Vec<f64> {
    let count = rows.first().map_or(0, |row| row.columns.len()) + 1;
    let mut sums: Vec<f64> = (0..count)
        .map(|place| mean(rows.iter().map(|row| value_at(row, place))))
        .collect();
    for one in 0..count {
        for other in one..count {
            sums.push(mean(
                rows.iter()
                    .map(|row| value_at(row, one) * value_at(row, other)),
            ));
        }
    }
    sums
}

/// Returns the value of a column, or the label for the place after the last column.
fn value_at(row: &Row, place: usize) -> f64 {
    row.columns.get(place).copied().unwrap_or(row.label)
}

/// Computes covariances from first and second moments.
fn covariances(first: &[f64], second: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut covariances = second.to_vec();
    for (row, values) in covariances.iter_mut().enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            *value -= first[row] * first[column];
        }
    }
    covariances
}

/// Querier's only step.
struct LeastSquares {
    l2: f64,
    /// Spread of each column in 0 to 1.
    spreads: Vec<f64>,
    /// Standard errors of the weights, the constant's first; `None` with noise.
    errors: Option<Vec<f64>>,
}

impl Steps for LeastSquares {
    /// Solves least squares from the moments of columns and label in 0 to 1.
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        _rng: &mut StdRng,
    ) -> Result<Step, FitError> {
        let (sums, columns) = (released.sums, released.design.columns());
        let (first, products) = released.means.split_at(columns + 1);
        let covariances = covariances(first, &symmetric(products, columns + 1));
        let label_variance = covariances[columns][columns];
        let rounding = sums.rounding(1.0, sums.homes);
        if label_variance <= rounding && !sums.is_noisy() {
            return Err(FitError::ConstantLabel);
        }
        let mut plain = Vec::with_capacity(columns);
        for (row, values) in covariances[..columns].iter().enumerate() {
            plain.push(values[..columns].to_vec());
            self.spreads[row] = values[row].max(0.0).sqrt();
        }
        let mut matrix = plain.clone();
        for (row, values) in matrix.iter_mut().enumerate() {
            // The penalty is on standardised weights, so it grows with the column's variance.
            values[row] += self.l2 * values[row].max(1e-9);
        }
        let lower = factor_noisy(&mut matrix, rounding, sums.is_noisy());
        let lower = lower.map_err(|at| FitError::Degenerate(released.name(at)))?;
        let right: Vec<f64> = (0..columns).map(|at| covariances[at][columns]).collect();
        let slopes = solve(&lower, &right);
        // Covariances leave the constant out. It follows from the means.
        let constant = first[columns]
            - slopes
                .iter()
                .zip(first)
                .map(|(slope, mean)| slope * mean)
                .sum::<f64>();
        let rest = residual(&slopes, &right, &plain, label_variance);
        self.errors = standard_errors(released, &lower, &plain, first, rest);
        state.weights = std::iter::once(constant).chain(slopes).collect();
        Ok(Step::default())
    }

    fn coefficients(
        &self,
        design: &Design,
        state: &State,
        label: (f64, f64),
    ) -> Option<Vec<Coefficient>> {
        coefficients(&Numbers {
            design,
            state,
            spreads: &self.spreads,
            label,
            errors: self.errors.as_deref(),
        })
    }
}

/// Returns the variance of the label that the slopes leave unexplained.
///
/// `right` holds the covariances of columns and label, `plain` those of the columns, and `whole` is the variance of the
/// label.
fn residual(slopes: &[f64], right: &[f64], plain: &[Vec<f64>], whole: f64) -> f64 {
    let columns = slopes.len();
    let explained: f64 = (0..columns)
        .map(|a| {
            (0..columns)
                .map(|b| slopes[a] * slopes[b] * plain[a][b])
                .sum::<f64>()
        })
        .sum();
    let crossed: f64 = slopes
        .iter()
        .zip(right)
        .map(|(slope, right)| slope * right)
        .sum();
    (whole - 2.0 * crossed + explained).max(0.0)
}

/// Returns the standard errors of constant and slopes, from the diagonal of (XᵀX + P)⁻¹ XᵀX (XᵀX + P)⁻¹ times the
/// variance of the errors. Without a penalty P the product is (XᵀX)⁻¹.
///
/// `lower` is the factor of the covariances with the penalty, `plain` has those without, and `rest` is the label's
/// unexplained variance. The constant's standard error follows from the means.
fn standard_errors(
    released: &Released<'_>,
    lower: &[Vec<f64>],
    plain: &[Vec<f64>],
    means: &[f64],
    rest: f64,
) -> Option<Vec<f64>> {
    let columns = plain.len();
    let freedom = released.sums.homes - columns as f64 - 1.0;
    // Standard errors describe how homes vary. With noise they would promise too much, so there are none.
    if freedom <= 0.0 || released.sums.is_noisy() {
        return None;
    }
    // Covariances are means over homes, so the number of homes cancels out.
    let variance = rest / freedom.max(1.0);
    let inverse: Vec<Vec<f64>> = (0..columns)
        .map(|at| solve(lower, &unit(at, columns)))
        .collect();
    // The constant is the prediction where all features are 0. For most features that lies outside of 0 to 1.
    let zeros = released.design.bounds().into_iter();
    let zeros = zeros.map(|(lo, hi)| -lo / (hi - lo));
    let apart: Vec<f64> = means.iter().zip(zeros).map(|(m, zero)| m - zero).collect();
    let mut errors = vec![(variance * (1.0 + quadratic(&apart, &inverse, plain))).sqrt()];
    errors.extend((0..columns).map(|at| {
        let unit = unit(at, columns);
        (variance * quadratic(&unit, &inverse, plain)).sqrt()
    }));
    Some(errors)
}

/// Returns the unit vector of a coordinate.
fn unit(at: usize, size: usize) -> Vec<f64> {
    let mut unit = vec![0.0; size];
    unit[at] = 1.0;
    unit
}

/// Computes vᵀ A⁻¹ C A⁻¹ v for a vector v, from the inverse A⁻¹ and the covariances C.
fn quadratic(vector: &[f64], inverse: &[Vec<f64>], plain: &[Vec<f64>]) -> f64 {
    let columns = plain.len();
    let half: Vec<f64> = (0..columns)
        .map(|at| (0..columns).map(|k| vector[k] * inverse[k][at]).sum())
        .collect();
    (0..columns)
        .map(|a| {
            (0..columns)
                .map(|b| half[a] * plain[a][b] * half[b])
                .sum::<f64>()
        })
        .sum()
}
