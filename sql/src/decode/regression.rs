//! Ordinary least squares from second moments.

use super::cell::Sums;
use super::{Kind, Table, Value};

/// Smallest part of a feature's variance that the features before it must leave unexplained. A feature with
/// less is treated as collinear: the rest is rounding error.
const COLLINEAR: f64 = 1e-9;

/// A linear model: a dependent value, and the features that explain it, as variables with names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) dependent: u16,
    pub(crate) features: Vec<(u16, String)>,
    /// Variables that must all be present for a home to count.
    pub(crate) present: Vec<u16>,
}

/// A fitted model. A feature that is a linear combination of others has no coefficient.
pub(super) struct Fit {
    /// Coefficients with their standard errors, the intercept first, then one per feature.
    pub(super) coefficients: Vec<Option<(f64, f64)>>,
    r_squared: f64,
    residual_error: f64,
    homes: i128,
    collinear: Vec<String>,
}

impl Model {
    /// Returns the table of the model without rows.
    pub(super) fn empty(&self) -> Table {
        let columns = ["term", "coefficient", "standard_error", "t"];
        Table {
            columns: columns.map(str::to_owned).into(),
            kinds: vec![Kind::Text, Kind::Real, Kind::Real, Kind::Real],
            keys: vec![0],
            ..Table::default()
        }
    }

    /// Returns the table of the fit. It has no rows if a number that the fit needs was withheld.
    pub(super) fn table(&self, sums: &Sums<'_>) -> Table {
        let mut table = self.empty();
        let Some(fit) = self.fit(sums) else {
            // The empty key marks the single group of the query, which is suppressed.
            table.suppressed_groups.push(Vec::new());
            return table;
        };
        let fit = match fit {
            Ok(fit) => fit,
            Err(reason) => {
                table.notes.push(reason);
                return table;
            }
        };
        let names = std::iter::once("(intercept)")
            .chain(self.features.iter().map(|(_, name)| name.as_str()));
        for (name, coefficient) in names.zip(&fit.coefficients) {
            let values = match *coefficient {
                Some((value, error)) => [real(value), real(error), real(value / error)],
                None => [Value::Null, Value::Null, Value::Null],
            };
            table.rows.push(
                std::iter::once(Value::Text(name.to_owned()))
                    .chain(values)
                    .collect(),
            );
        }
        for name in &fit.collinear {
            table.notes.push(format!(
                "{name} is a linear combination of the features before it, or has one value only: it \
                 is left out"
            ));
        }
        table.notes.push(format!(
            "{} homes; R² {:.4}; residual standard error {:.4}",
            fit.homes, fit.r_squared, fit.residual_error
        ));
        table
    }

    /// Solves the normal equations of the centred features, in their order. Returns `None` if a sum was
    /// withheld, and an error text if there are too few homes.
    pub(super) fn fit(&self, sums: &Sums<'_>) -> Option<Result<Fit, String>> {
        let homes = sums.count(&self.present)?;
        let n = homes as f64;
        let variables: Vec<u16> = self
            .features
            .iter()
            .map(|(variable, _)| *variable)
            .collect();
        let means = variables.iter().map(|v| sums.mean_of(&self.present, *v));
        let means = means.collect::<Option<Vec<_>>>()?.into_iter();
        let means: Vec<f64> = means.map(|mean| mean.unwrap_or(f64::NAN)).collect();
        let mean_y = sums
            .mean_of(&self.present, self.dependent)?
            .unwrap_or(f64::NAN);
        let yy = self.centred(sums, self.dependent, self.dependent)?;
        let xx: Vec<Vec<f64>> = variables
            .iter()
            .map(|a| {
                variables
                    .iter()
                    .map(|b| self.centred(sums, *a, *b))
                    .collect()
            })
            .collect::<Option<_>>()?;
        let xy: Vec<f64> = variables
            .iter()
            .map(|x| self.centred(sums, *x, self.dependent))
            .collect::<Option<_>>()?;
        if homes <= variables.len() as i128 + 1 {
            let what = "fewer homes answered than the regression has terms";
            return Some(Err(what.to_owned()));
        }
        let (lower, used) = cholesky(&xx);
        let independent: Vec<usize> = (0..xx.len()).filter(|place| used[*place]).collect();
        let inverse = inverse(&lower);
        let beta: Vec<f64> = inverse
            .iter()
            .map(|row| {
                row.iter()
                    .zip(&independent)
                    .map(|(c, place)| c * xy[*place])
                    .sum()
            })
            .collect();
        let explained: f64 = beta
            .iter()
            .zip(&independent)
            .map(|(b, place)| b * xy[*place])
            .sum();
        // Noise may take the residual below zero.
        let residual = (yy - explained).max(0.0);
        let variance = residual / (n - independent.len() as f64 - 1.0);
        let offset: f64 = beta
            .iter()
            .zip(&independent)
            .map(|(b, place)| b * means[*place])
            .sum();
        // The intercept is the prediction at zero. Its error grows with the distance of the means from there.
        let spread: f64 = (0..independent.len())
            .flat_map(|a| (0..independent.len()).map(move |b| (a, b)))
            .map(|(a, b)| means[independent[a]] * inverse[a][b] * means[independent[b]])
            .sum();
        let mut coefficients = vec![None; variables.len() + 1];
        let error = (variance * (1.0 / n + spread)).sqrt();
        coefficients[0] = Some((mean_y - offset, error));
        for (rank, place) in independent.iter().enumerate() {
            let error = (variance * inverse[rank][rank]).sqrt();
            coefficients[place + 1] = Some((beta[rank], error));
        }
        let left_out = (0..used.len()).filter(|place| !used[*place]);
        Some(Ok(Fit {
            coefficients,
            r_squared: if yy > 0.0 { explained / yy } else { f64::NAN },
            residual_error: variance.sqrt(),
            homes,
            collinear: left_out
                .map(|place| self.features[place].1.clone())
                .collect(),
        }))
    }

    /// Returns the sum of the products of two variables' deviations from their means.
    fn centred(&self, sums: &Sums<'_>, a: u16, b: u16) -> Option<f64> {
        let homes = sums.count(&self.present)? as f64;
        let scatter = sums.scatter(&self.present, a, b)? as f64;
        let (a, b) = (sums.grid(a)?, sums.grid(b)?);
        // Centred products are computed exactly, in integers. Dividing only afterwards avoids the cancellation of large
        // sums.
        Some(scatter / homes * a.width() * b.width())
    }
}

/// Returns the lower triangle of the Cholesky decomposition over the rows that are not combinations of the
/// rows before them, and for each row of `matrix` whether it was used.
fn cholesky(matrix: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<bool>) {
    let mut lower: Vec<Vec<f64>> = Vec::new();
    let mut kept: Vec<usize> = Vec::new();
    let mut used = vec![false; matrix.len()];
    for place in 0..matrix.len() {
        let mut row: Vec<f64> = Vec::with_capacity(kept.len() + 1);
        for (rank, other) in kept.iter().enumerate() {
            let before: f64 = (0..rank).map(|k| row[k] * lower[rank][k]).sum();
            row.push((matrix[place][*other] - before) / lower[rank][rank]);
        }
        // The rest of the row's variance that earlier rows do not explain.
        let left = matrix[place][place] - row.iter().map(|value| value * value).sum::<f64>();
        let whole = matrix[place][place];
        if whole > 0.0 && left > COLLINEAR * whole {
            row.push(left.sqrt());
            lower.push(row);
            kept.push(place);
            used[place] = true;
        }
    }
    (lower, used)
}

/// Returns the inverse of L·Lᵀ.
fn inverse(lower: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = lower.len();
    // Columns of the inverse of L, from the diagonal down.
    let columns = (0..size).map(|column| {
        let mut solved: Vec<f64> = vec![0.0; column];
        for (row, coefficients) in lower.iter().enumerate().skip(column) {
            let unit = f64::from(u8::from(row == column));
            let before: f64 = (column..row).map(|k| coefficients[k] * solved[k]).sum();
            solved.push((unit - before) / coefficients[row]);
        }
        solved
    });
    let columns: Vec<Vec<f64>> = columns.collect();
    (0..size)
        .map(|a| {
            let products = (0..size).map(|b| {
                let terms = (a.max(b)..size).map(|k| columns[a][k] * columns[b][k]);
                terms.sum()
            });
            products.collect()
        })
        .collect()
}

/// Returns a number as a cell, NULL if it is not finite.
fn real(value: f64) -> Value {
    match value.is_finite() {
        true => Value::Real(value),
        false => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one_and_dependent_rows_are_left_out() {
        let matrix = vec![
            vec![4.0, 2.0, 8.0, 0.6],
            vec![2.0, 3.0, 4.0, 0.4],
            // Twice the first row.
            vec![8.0, 4.0, 16.0, 1.2],
            vec![0.6, 0.4, 1.2, 2.0],
        ];
        let (lower, used) = cholesky(&matrix);
        assert_eq!(used, [true, true, false, true]);
        let inverse = inverse(&lower);
        let kept = [0, 1, 3];
        for (a, row) in kept.iter().enumerate() {
            for (b, column) in inverse.iter().enumerate() {
                let terms = kept.iter().zip(column);
                let product: f64 = terms.map(|(k, value)| matrix[*row][*k] * value).sum();
                let unit = f64::from(u8::from(a == b));
                assert!((product - unit).abs() < 1e-12, "{a} {b}: {product}");
            }
        }
    }
}
