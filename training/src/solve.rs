//! Systems of linear equations, symmetric and small.

/// Makes a symmetric matrix from its upper triangle, row by row.
pub(crate) fn symmetric(triangle: &[f64], size: usize) -> Vec<Vec<f64>> {
    let mut matrix = vec![vec![0.0; size]; size];
    let upper = (0..size).flat_map(|row| (row..size).map(move |column| (row, column)));
    for ((row, column), value) in upper.zip(triangle) {
        matrix[row][column] = *value;
        matrix[column][row] = *value;
    }
    matrix
}

/// Returns the lower factor of a positive definite matrix, or the row at which there is none: where no more than
/// `rounding` is left of the row beside those before.
fn factor(matrix: &[Vec<f64>], rounding: f64) -> Result<Vec<Vec<f64>>, usize> {
    let size = matrix.len();
    let mut lower = vec![vec![0.0; size]; size];
    for row in 0..size {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| lower[row][k] * lower[column][k]).sum();
            let rest = matrix[row][column] - known;
            if row != column {
                lower[row][column] = rest / lower[column][column];
                continue;
            }
            let least = rounding.max(1e-7 * matrix[row][row].abs());
            if rest.is_nan() || rest <= least {
                return Err(row);
            }
            lower[row][row] = rest.sqrt();
        }
    }
    Ok(lower)
}

/// Solves for one right side.
pub(crate) fn solve(lower: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let size = lower.len();
    let mut solution = right.to_vec();
    for row in 0..size {
        let known: f64 = (0..row).map(|k| lower[row][k] * solution[k]).sum();
        solution[row] = (solution[row] - known) / lower[row][row];
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|k| lower[k][row] * solution[k]).sum();
        solution[row] = (solution[row] - known) / lower[row][row];
    }
    solution
}

/// Returns the lower factor of second moments that may be off by `rounding`, or the row at which there is none. Noise
/// may leave no positive definite matrix: then its diagonal is lifted until it is one, by about what noise makes of
/// the least eigenvalue.
pub(crate) fn factor_noisy(
    matrix: &mut [Vec<f64>],
    rounding: f64,
    is_noisy: bool,
) -> Result<Vec<Vec<f64>>, usize> {
    if !is_noisy {
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
