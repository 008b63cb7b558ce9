//! Linear regression, and Newton's steps of logistic regression.

use super::solve::{factor, solve, symmetric};
use super::{Coefficient, Early, Fit, FitError};
use crate::Family;

/// A step that is shorter than this, in standardised weights, ends the search.
const CONVERGED: f64 = 1e-5;

impl Fit {
    /// The factor of second moments that may be off by `rounding`. Noise may leave no positive definite matrix:
    /// then its diagonal is lifted until it is one, by about what noise makes of the least eigenvalue.
    fn factored(&self, matrix: &mut [Vec<f64>], rounding: f64) -> Result<Vec<Vec<f64>>, usize> {
        if !self.is_noisy() {
            return factor(matrix, rounding);
        }
        let mut lift = rounding / 3.0 * (matrix.len() as f64).sqrt();
        loop {
            for (at, row) in matrix.iter_mut().enumerate() {
                row[at] += lift;
            }
            let lower = factor(matrix, lift / 2.0);
            if lower.is_ok() || lift > 1e3 {
                return lower;
            }
            lift *= 2.0;
        }
    }

    /// Least squares from second moments of columns and label in 0 to 1.
    pub(super) fn linear(&mut self, homes: f64, means: &[f64]) -> Result<(), FitError> {
        let columns = self.design.columns();
        let (first, products) = means.split_at(columns + 1);
        let second = symmetric(products, columns + 1);
        let covariance = |a: usize, b: usize| second[a][b] - first[a] * first[b];
        let rounding = self.rounding(1.0, homes);
        if covariance(columns, columns) <= rounding && !self.is_noisy() {
            return Err(FitError::ConstantLabel);
        }
        let l2 = self.settings.l2;
        let mut matrix = vec![vec![0.0; columns]; columns];
        for (row, values) in matrix.iter_mut().enumerate() {
            for (column, value) in values.iter_mut().enumerate() {
                *value = covariance(row, column);
            }
            self.spreads[row] = covariance(row, row).max(0.0).sqrt();
        }
        let plain = matrix.clone();
        for (row, values) in matrix.iter_mut().enumerate() {
            values[row] += l2 * covariance(row, row).max(1e-9);
        }
        let lower = self.factored(&mut matrix, rounding);
        let lower = lower.map_err(|at| FitError::Degenerate(self.name(at)))?;
        let right: Vec<f64> = (0..columns).map(|at| covariance(at, columns)).collect();
        let slopes = solve(&lower, &right);
        let constant = first[columns]
            - slopes
                .iter()
                .zip(first)
                .map(|(slope, mean)| slope * mean)
                .sum::<f64>();
        // What is left of the label's variance, over the degrees of freedom.
        let explained = |a: usize| -> f64 {
            (0..columns)
                .map(|b| slopes[a] * slopes[b] * plain[a][b])
                .sum()
        };
        let explained: f64 = (0..columns).map(explained).sum();
        let crossed: f64 = slopes
            .iter()
            .zip(&right)
            .map(|(slope, right)| slope * right)
            .sum();
        let rest = (covariance(columns, columns) - 2.0 * crossed + explained).max(0.0);
        let freedom = homes - columns as f64 - 1.0;
        let rest = if self.is_noisy() {
            rest.max(rounding)
        } else {
            rest
        };
        let variance = rest / freedom.max(1.0);
        // (XᵀX + P)⁻¹ XᵀX (XᵀX + P)⁻¹; without a penalty (XᵀX)⁻¹. The constant's follows from the means.
        let inverse: Vec<Vec<f64>> = (0..columns)
            .map(|at| {
                let mut unit = vec![0.0; columns];
                unit[at] = 1.0;
                solve(&lower, &unit)
            })
            .collect();
        let quadratic = |left: &[f64]| -> f64 {
            let half: Vec<f64> = (0..columns)
                .map(|at| (0..columns).map(|k| left[k] * inverse[k][at]).sum())
                .collect();
            (0..columns)
                .map(|a| {
                    (0..columns)
                        .map(|b| half[a] * plain[a][b] * half[b])
                        .sum::<f64>()
                })
                .sum()
        };
        // Of the constant where all features are 0, which is outside 0 to 1 for most.
        let zeros = self.design.bounds().into_iter();
        let zeros = zeros.map(|(lo, hi)| -lo / (hi - lo));
        let apart: Vec<f64> = first.iter().zip(zeros).map(|(m, zero)| m - zero).collect();
        let mut errors = vec![(variance * (1.0 + quadratic(&apart))).sqrt()];
        for at in 0..columns {
            let mut unit = vec![0.0; columns];
            unit[at] = 1.0;
            errors.push((variance * quadratic(&unit)).sqrt());
        }
        // They are of the homes, not of the noise.
        self.errors = (freedom > 0.0 && !self.is_noisy()).then_some(errors);
        self.model.state.weights = std::iter::once(constant).chain(slopes).collect();
        Ok(())
    }

    /// A step of Newton's method over columns in 0 to 1.
    pub(super) fn newton(
        &mut self,
        homes: f64,
        loss: f64,
        sums: &[f64],
    ) -> Result<Option<Early>, FitError> {
        let size = self.design.columns() + 1;
        if sums.len() < size {
            return Err(FitError::TooFew);
        }
        let before = self
            .best
            .as_ref()
            .map(|(best, weights)| (*best, weights.clone()));
        if let Some((best, weights)) = before
            && loss > best + 1e-3 + 3.0 * self.loss_noise
        {
            // Too far: half of the way back.
            let back = self.model.state.weights.iter_mut().zip(weights);
            back.for_each(|(weight, before)| *weight = (*weight + before) / 2.0);
            return Ok(None);
        }
        if let Some(early) = self.judge(loss) {
            return Ok(Some(early));
        }
        let (gradient, second) = sums.split_at(size);
        let mut matrix = symmetric(second, size);
        let mut right: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
        for at in 1..size {
            let penalty = self.settings.l2 * self.spreads[at - 1].powi(2);
            matrix[at][at] += penalty;
            right[at] -= penalty * self.model.state.weights[at];
        }
        if matrix[0][0] < 1e-6 && !self.is_noisy() {
            return Err(FitError::ConstantLabel);
        }
        let rounding = self.rounding(0.25, homes);
        let lower = self
            .factored(&mut matrix, rounding)
            .map_err(|at| match at {
                0 => FitError::ConstantLabel,
                at => FitError::Degenerate(self.name(at - 1)),
            })?;
        let step = solve(&lower, &right);
        let mut longest = 0.0f64;
        for (at, (weight, step)) in self.model.state.weights.iter_mut().zip(&step).enumerate() {
            *weight += step;
            let spread = at.checked_sub(1).map_or(1.0, |at| self.spreads[at]);
            longest = longest.max((step * spread).abs());
        }
        Ok((longest < CONVERGED).then_some(Early::Converged))
    }

    /// The coefficients of a linear model of one score, the constant's first; none of others.
    pub fn coefficients(&self) -> Option<Vec<Coefficient>> {
        let columns = self.design.columns();
        let weights = &self.model.state.weights;
        let linear = matches!(self.model.training.family, Family::Linear);
        let one = match self.model.training.family {
            Family::Linear | Family::Logistic { .. } | Family::Svm => weights.len() == columns + 1,
            _ => false,
        };
        if !one {
            return None;
        }
        // How wide the label is, and where it begins: 1 and 0 of a score.
        let label = self.model.training.label.filter(|_| linear);
        let label = label.and_then(|label| {
            let measure = self.model.local.measures.get(usize::from(label.measure))?;
            measure.quantiser
        });
        let (low, width) = label.map_or((0.0, 1.0), |grid| (grid.lo(), grid.hi() - grid.lo()));
        let bounds = self.design.bounds();
        let state = &self.model.state;
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
            slopes.push(Coefficient {
                value: width * slope,
                standardised: Some(width * unit * self.spreads[at]),
                error: self
                    .errors
                    .as_ref()
                    .map(|errors| width * errors[1 + at] / (hi - lo)),
            });
        }
        let mut all = vec![Coefficient {
            value: low + width * constant,
            standardised: None,
            error: self.errors.as_ref().map(|errors| width * errors[0]),
        }];
        all.extend(slopes);
        Some(all)
    }
}
