//! Levels as the elements of an input: as weighted bits, and as digits in base 16 (protocol.md §7).

/// Number of bits of a digit.
pub(crate) const DIGIT_BITS: u8 = 4;

/// Returns the weights of a level's bits: 1, 2, 4, …, and last max − (2^(b−1) − 1). They add up to `max`, and every
/// level up to `max` is a sum of some of them.
pub(crate) fn weights(max: u64) -> impl Iterator<Item = u64> {
    let length = u64::BITS - max.leading_zeros();
    let last = length.saturating_sub(1);
    let lower = (0..last).map(|bit| 1 << bit);
    lower.chain((max > 0).then(|| max - ((1 << last) - 1)))
}

/// Writes a level of at most `max` as bits with the [`weights`] of `max`.
pub(crate) fn write_bits(mut level: u64, max: u64, bits: &mut [u64]) {
    let weights: Vec<u64> = weights(max).collect();
    // Only the weight of the highest bit is no power of two. That bit is taken whenever the lower bits cannot reach the
    // level, and the lower bits can always write the remainder.
    for ((place, weight), bit) in weights.into_iter().enumerate().zip(bits).rev() {
        let reach = (1u64 << place) - 1;
        if level > reach {
            *bit = 1;
            level -= weight;
        }
    }
}

/// Returns the weights of digits, the lowest first: 1, 16, 256, …
pub(crate) fn digit_weights() -> impl Iterator<Item = u64> {
    (0u32..).map(|place| 1 << (place * u32::from(DIGIT_BITS)))
}

/// Writes a level as digits, the lowest first.
pub(crate) fn write_digits(mut level: u64, digits: &mut [u64]) {
    for digit in digits {
        *digit = level % (1 << DIGIT_BITS);
        level >>= DIGIT_BITS;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::MAX_LEVELS;

    #[test]
    fn weights_reach_every_level_up_to_the_maximum_and_none_above() {
        for max in 0..70 {
            let weights: Vec<u64> = weights(max).collect();
            assert_eq!(weights.iter().sum::<u64>(), max);
            let sums: HashSet<u64> = (0..1u64 << weights.len())
                .map(|set| {
                    let chosen = weights
                        .iter()
                        .enumerate()
                        .filter(|(bit, _)| set >> bit & 1 == 1);
                    chosen.map(|(_, weight)| weight).sum()
                })
                .collect();
            assert_eq!(sums, (0..=max).collect());
        }
        assert_eq!(weights(MAX_LEVELS - 1).count(), 32);
    }
}
