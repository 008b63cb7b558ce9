//! Scaling of updates down to a longest length.

/// Returns a vector, scaled down to the length `longest` if it is longer.
pub(crate) fn clipped(mut vector: Vec<f64>, longest: f64) -> Vec<f64> {
    shorten(vector.iter_mut(), longest);
    vector
}

/// Scales values down so that their Euclidean length is at most `longest`.
///
/// Values become zeros if their length is not a finite number. Otherwise whoever sends parameters could reach past the
/// clip (protocol.md §18).
pub(crate) fn shorten<'a>(values: impl Iterator<Item = &'a mut f64>, longest: f64) {
    let values: Vec<&mut f64> = values.collect();
    let length = values.iter().map(|value| **value * **value).sum::<f64>();
    let length = length.sqrt();
    // A length that is NaN is not below any bound, and goes on to the zeros.
    if length <= longest {
        return;
    }
    for value in values {
        *value = match length.is_finite() {
            true => *value * (longest / length),
            false => 0.0,
        };
    }
}
