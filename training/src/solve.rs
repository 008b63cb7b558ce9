//! Systems of linear equations with small symmetric matrices.

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

/// Returns the lower Cholesky factor of a positive definite matrix.
///
/// # Errors
/// The number of the first row that follows from the rows before it: no more than `rounding` is left of its diagonal.
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
            // Also where homes round finely, a row that keeps a ten-millionth of its diagonal counts as dependent.
            let least = rounding.max(1e-7 * matrix[row][row].abs());
            if rest.is_nan() || rest <= least {
                return Err(row);
            }
            lower[row][row] = rest.sqrt();
        }
    }
    Ok(lower)
}

/// Solves the equations for one right-hand side, from the lower factor of the matrix.
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

/// Returns the lower Cholesky factor of second moments that may be off by `rounding`.
///
/// Noise may leave a matrix that is not positive definite. With noise, the diagonal is therefore lifted until it is.
///
/// # Errors
/// The number of the row at which there is no factor.
pub(crate) fn factor_noisy(
    matrix: &mut [Vec<f64>],
    rounding: f64,
    is_noisy: bool,
) -> Result<Vec<Vec<f64>>, usize> {
    if !is_noisy {
        return factor(matrix, rounding);
    }
    // `rounding` is three deviations. One deviation times the root of the size is about the least eigenvalue of noise.
    let mut lift = rounding / 3.0 * (matrix.len() as f64).sqrt();
    loop {
        for (at, row) in matrix.iter_mut().enumerate() {
            row[at] += lift;
        }
        let lower = factor(matrix, lift / 2.0);
        // Moments are at most 1: beside a lift this large nothing of them is left.
        if lower.is_ok() || lift > 1e3 {
            return lower;
        }
        lift *= 2.0;
    }
}
