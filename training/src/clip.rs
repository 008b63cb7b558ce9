//! Updates that are scaled down to a longest length.

/// Scales a vector down to a length.
pub(crate) fn clipped(mut vector: Vec<f64>, longest: f64) -> Vec<f64> {
    shorten(vector.iter_mut(), longest);
    vector
}

/// Scales what a vector consists of down to a length. A vector that has no length, since a value is no finite number or
/// the squares are beyond all numbers, becomes zeros: whoever sends parameters must not reach past the clip with it.
pub(crate) fn shorten<'a>(values: impl Iterator<Item = &'a mut f64>, longest: f64) {
    let values: Vec<&mut f64> = values.collect();
    let length = values.iter().map(|value| **value * **value).sum::<f64>();
    let length = length.sqrt();
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
