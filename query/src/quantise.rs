//! Conversion of bounded values to integer levels, and of sums of levels back to values (protocol.md §10).
//!
//! `clamp(x, lo, hi, step)` puts x on the grid lo, lo + step, …, hi. A value on the grid is exact, and so are sums of
//! such values: if lo and step are short decimals, sums are computed with integers and divided by a power of ten once,
//! at the end.

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;

use crate::invalid_data;

/// Largest number of levels of one variable.
pub const MAX_LEVELS: u64 = 1 << 32;
/// Number of levels of a grid without a step.
pub const DEFAULT_LEVELS: u64 = 4096;

/// Largest relative difference between (hi − lo) / step and a whole number. It allows for steps such as 0.1, which have
/// no exact binary representation.
const GRID_TOLERANCE: f64 = 1e-9;
/// Largest number of decimal places of a bound or step that is treated as a decimal.
const MAX_DECIMALS: i32 = 9;

/// Distance between two levels.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Step {
    /// Step as it was written. A value goes to the nearest level.
    Exact(f64),
    /// No step was written: 4,096 levels. A value between two levels goes to either at random, so that its mean is
    /// right.
    Levels4096,
}

/// Error for bounds and a step that make no grid.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidGrid {
    /// A bound or the step is infinite or not a number.
    #[error("the bounds and the step must be finite numbers")]
    NotFinite,
    /// The lower bound is not below the upper bound.
    #[error("the lower bound must be below the upper bound")]
    Empty,
    /// The step is zero or negative.
    #[error("the step must be above 0")]
    Step,
    /// (hi − lo) / step is not a whole number.
    #[error("the upper bound must be on the grid; the nearest ones are {below} and {above}")]
    OffGrid {
        /// Largest value of the grid below hi.
        below: f64,
        /// Smallest value of the grid above hi.
        above: f64,
    },
    /// More than 2^32 levels.
    #[error("more than 2^32 levels")]
    TooManyLevels,
}

/// Bounded grid, which converts values to levels and sums of levels to sums of values.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize)]
pub struct Quantiser {
    lo: f64,
    hi: f64,
    step: Step,
}

impl Quantiser {
    /// Makes a grid from `lo` to `hi`.
    ///
    /// # Errors
    /// [`InvalidGrid`] if bounds and step make no grid of at most 2^32 levels.
    pub fn new(lo: f64, hi: f64, step: Step) -> Result<Self, InvalidGrid> {
        // Also the difference: of two finite bounds it may be infinite.
        if !(lo.is_finite() && hi.is_finite() && (hi - lo).is_finite()) {
            return Err(InvalidGrid::NotFinite);
        }
        if lo >= hi {
            return Err(InvalidGrid::Empty);
        }
        if let Step::Exact(step) = step {
            if !step.is_finite() {
                return Err(InvalidGrid::NotFinite);
            }
            if step <= 0.0 {
                return Err(InvalidGrid::Step);
            }
            let steps = (hi - lo) / step;
            if steps.is_nan() || steps.round() >= MAX_LEVELS as f64 {
                return Err(InvalidGrid::TooManyLevels);
            }
            if steps.round() < 1.0 || (steps - steps.round()).abs() > GRID_TOLERANCE * steps {
                return Err(InvalidGrid::OffGrid {
                    below: lo + step * steps.floor(),
                    above: lo + step * steps.ceil(),
                });
            }
        }
        Ok(Self { lo, hi, step })
    }

    /// Returns the lower bound, which is level 0.
    pub fn lo(&self) -> f64 {
        self.lo
    }

    /// Returns the upper bound, which is the last level.
    pub fn hi(&self) -> f64 {
        self.hi
    }

    /// Returns the step as it was written.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Returns the last level.
    pub fn max(&self) -> u64 {
        match self.step {
            Step::Exact(step) => ((self.hi - self.lo) / step).round() as u64,
            Step::Levels4096 => DEFAULT_LEVELS - 1,
        }
    }

    /// Returns the distance between two levels.
    pub fn width(&self) -> f64 {
        match self.step {
            Step::Exact(step) => step,
            Step::Levels4096 => (self.hi - self.lo) / (DEFAULT_LEVELS - 1) as f64,
        }
    }

    /// Returns the level of `value`, which must not be NaN. A value beyond a bound is clamped to it.
    pub fn level(&self, value: f64, rng: &mut impl CryptoRng) -> u64 {
        let position = (value.clamp(self.lo, self.hi) - self.lo) / self.width();
        let level = match self.step {
            Step::Exact(_) => position.round(),
            Step::Levels4096 => {
                // 53 bits are the precision of a floating-point number in 0..1.
                let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                let below = position.floor();
                below + f64::from(u8::from(uniform < position - below))
            }
        };
        // The position of hi may be rounded to above the last level, which the circuit cannot encode.
        (level as u64).min(self.max())
    }

    /// Returns whether [`value_sum`](Self::value_sum) is a whole number for every sum of levels.
    pub fn is_integer(&self) -> bool {
        self.decimals().is_some_and(|(_, _, scale)| scale == 1)
    }

    /// Returns lo·count + step·`level_sum` exactly, if lo and step are whole numbers.
    pub fn integer_sum(&self, count: i128, level_sum: i128) -> Option<i128> {
        match self.decimals()? {
            (lo, step, 1) => Some(lo * count + step * level_sum),
            _ => None,
        }
    }

    /// Returns the sum of `count` values whose levels add up to `level_sum`: lo·count + step·`level_sum`.
    pub fn value_sum(&self, count: i128, level_sum: i128) -> f64 {
        match self.decimals() {
            Some((lo, step, scale)) => (lo * count + step * level_sum) as f64 / scale as f64,
            None => self.lo * count as f64 + self.width() * level_sum as f64,
        }
    }

    /// Returns the value of a level.
    pub fn value(&self, level: u64) -> f64 {
        self.value_sum(1, level.into())
    }

    /// Returns the mean of `count` values whose levels add up to `level_sum`; `None` if `count` is not positive, which
    /// noise can cause.
    pub fn mean(&self, count: i128, level_sum: i128) -> Option<f64> {
        (count > 0).then(|| match self.decimals() {
            // A single division, so that a mean on the grid has no rounding error but that of the decimal itself.
            Some((lo, step, scale)) => {
                let sum = lo * count + step * level_sum;
                sum as f64 / (scale as f64 * count as f64)
            }
            None => self.lo + self.width() * (level_sum as f64 / count as f64),
        })
    }

    /// Returns the sum of the products of two variables' values over the `count` rows in which neither is NULL. `sums`
    /// are the sums of this and the other variable's levels over these rows, and `product_sum` is the sum of the
    /// products of their levels.
    pub fn product_sum(
        &self,
        other: &Self,
        count: i128,
        sums: (i128, i128),
        product_sum: i128,
    ) -> f64 {
        let exact = self.exact_product_sum(other, count, sums, product_sum);
        exact.unwrap_or_else(|| {
            let (n, a, b) = (count as f64, sums.0 as f64, sums.1 as f64);
            let (x, y) = (self.width(), other.width());
            self.lo * other.lo * n + self.lo * y * b + x * other.lo * a + x * y * product_sum as f64
        })
    }

    /// Returns the sum of products as [`Self::product_sum`] does, or `None` if it does not fit 128 bits or a grid is no
    /// short decimal.
    fn exact_product_sum(
        &self,
        other: &Self,
        count: i128,
        sums: (i128, i128),
        product_sum: i128,
    ) -> Option<f64> {
        let (a, step_a, scale_a) = self.decimals()?;
        let (b, step_b, scale_b) = other.decimals()?;
        // (lo₁ + step₁·k₁)(lo₂ + step₂·k₂), multiplied out and summed.
        let terms = [
            (a, b, count),
            (a, step_b, sums.1),
            (step_a, b, sums.0),
            (step_a, step_b, product_sum),
        ];
        let total = terms.into_iter().try_fold(0i128, |total, (x, y, z)| {
            total.checked_add(x.checked_mul(y)?.checked_mul(z)?)
        })?;
        Some(total as f64 / (scale_a * scale_b) as f64)
    }

    /// Returns the variance, with the divisor `count − 1` for a `sample` and `count` otherwise. Returns `None` if the
    /// divisor is not positive, or if noise made the variance negative.
    ///
    /// Without a step, random rounding adds at most a quarter of the squared distance between levels.
    pub fn variance(
        &self,
        count: i128,
        level_sum: i128,
        square_sum: i128,
        sample: bool,
    ) -> Option<f64> {
        let divisor = count - i128::from(sample);
        if divisor <= 0 {
            return None;
        }
        let scatter = count * square_sum - level_sum * level_sum;
        // A negative variance is impossible without noise, and has no root: the noise is larger than the variance.
        if scatter < 0 {
            return None;
        }
        Some(self.width().powi(2) * (scatter as f64 / count as f64 / divisor as f64))
    }

    /// Returns lo and step as integers, with the common power of ten that they were multiplied by. Returns `None` if
    /// they are not short decimals.
    fn decimals(&self) -> Option<(i128, i128, i128)> {
        let Step::Exact(step) = self.step else {
            return None;
        };
        (0..=MAX_DECIMALS).find_map(|places| {
            let scale = 10f64.powi(places);
            Some((scaled(self.lo, scale)?, scaled(step, scale)?, scale as i128))
        })
    }
}

/// Returns `value * scale` if it is an integer that a floating-point number represents exactly.
fn scaled(value: f64, scale: f64) -> Option<i128> {
    let rounded = (value * scale).round();
    // From 2^53 on a floating-point number may stand for several written integers.
    let exact = rounded / scale == value && rounded.abs() < (1u64 << 53) as f64;
    exact.then_some(rounded as i128)
}

impl BorshDeserialize for Quantiser {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let lo = f64::deserialize_reader(reader)?;
        let hi = f64::deserialize_reader(reader)?;
        let step = Step::deserialize_reader(reader)?;
        // Decoding makes the grid with `new`, so that a forged grid is refused.
        Self::new(lo, hi, step).map_err(invalid_data)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    #[test]
    fn a_value_on_the_grid_is_exact() {
        let q = Quantiser::new(80.0, 230.0, Step::Exact(1.0)).unwrap();
        assert_eq!(q.max(), 150);
        for value in 80..=230u64 {
            let level = q.level(value as f64, &mut rng());
            assert_eq!(q.integer_sum(1, level.into()), Some(i128::from(value)));
        }
        assert_eq!(q.level(-1e300, &mut rng()), 0);
        assert_eq!(q.level(1e300, &mut rng()), 150);
    }

    #[test]
    fn decimal_sums_carry_no_binary_noise() {
        let q = Quantiser::new(0.1, 10.0, Step::Exact(0.1)).unwrap();
        assert_eq!(q.max(), 99);
        // In floating point, 0.1 + 0.2 would be 0.30000000000000004.
        assert_eq!(q.value_sum(2, 1), 0.3);
        assert_eq!(q.mean(2, 1), Some(0.15));
        assert!(!q.is_integer());
    }

    #[test]
    fn what_makes_no_grid_is_refused() {
        let new = |lo, hi, step| Quantiser::new(lo, hi, Step::Exact(step)).unwrap_err();
        assert_eq!(new(2.0, 2.0, 1.0), InvalidGrid::Empty);
        assert_eq!(new(3.0, 2.0, 1.0), InvalidGrid::Empty);
        assert_eq!(new(0.0, f64::INFINITY, 1.0), InvalidGrid::NotFinite);
        assert_eq!(new(f64::NAN, 1.0, 1.0), InvalidGrid::NotFinite);
        assert_eq!(new(0.0, 1.0, f64::NAN), InvalidGrid::NotFinite);
        assert_eq!(new(-f64::MAX, f64::MAX, 1.0), InvalidGrid::NotFinite);
        assert_eq!(new(0.0, 1.0, 0.0), InvalidGrid::Step);
        assert_eq!(new(0.0, 1.0, -1.0), InvalidGrid::Step);
        assert_eq!(new(0.0, 4294967296.0, 1.0), InvalidGrid::TooManyLevels);
        assert_eq!(new(0.0, 1.0, 1e-300), InvalidGrid::TooManyLevels);
        assert!(matches!(new(0.0, 1.0, 0.3), InvalidGrid::OffGrid { .. }));
        assert!(matches!(new(0.0, 1.0, 5.0), InvalidGrid::OffGrid { .. }));
        assert!(Quantiser::new(0.0, 4294967295.0, Step::Exact(1.0)).is_ok());
    }

    #[test]
    fn a_forged_grid_does_not_decode() {
        let bytes = borsh::to_vec(&(5.0f64, 1.0f64, Step::Levels4096)).unwrap();
        assert!(borsh::from_slice::<Quantiser>(&bytes).is_err());
        let q = Quantiser::new(1.0, 5.0, Step::Levels4096).unwrap();
        assert_eq!(
            borsh::from_slice::<Quantiser>(&borsh::to_vec(&q).unwrap()).unwrap(),
            q
        );
    }

    #[test]
    fn rounding_without_a_step_is_unbiased() {
        let q = Quantiser::new(0.0, 4095.0, Step::Levels4096).unwrap();
        let mut rng = rng();
        let n = 20_000u64;
        let sum: u64 = (0..n).map(|_| q.level(10.25, &mut rng)).sum();
        let (n, sum) = (i128::from(n), i128::from(sum));
        // The standard error is 0.003.
        assert!((q.mean(n, sum).unwrap() - 10.25).abs() < 0.02);
    }

    #[test]
    fn moments_of_too_few_are_null() {
        let q = Quantiser::new(0.0, 10.0, Step::Exact(1.0)).unwrap();
        assert_eq!(q.mean(0, 0), None);
        assert_eq!(q.variance(1, 4, 16, true), None);
        assert_eq!(q.variance(1, 4, 16, false), Some(0.0));
        assert_eq!(q.variance(0, 0, 0, true), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sums_of_levels_are_sums_of_values(
            values in prop::collection::vec(-500i32..500, 2..20),
            tenths in any::<bool>(),
        ) {
            let unit = if tenths { 10.0 } else { 1.0 };
            let q = Quantiser::new(-500.0 / unit, 500.0 / unit, Step::Exact(1.0 / unit)).unwrap();
            let levels: Vec<i128> = values
                .iter()
                .map(|v| q.level(f64::from(*v) / unit, &mut rng()).into())
                .collect();
            let n = values.len() as i128;
            let (k, k2) = (levels.iter().sum(), levels.iter().map(|k| k * k).sum());
            let total: i32 = values.iter().sum();
            prop_assert_eq!(q.value_sum(n, k), f64::from(total) / unit);
            let mean = f64::from(total) / n as f64;
            let scatter: f64 = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
            let expected = scatter / (n - 1) as f64 / unit / unit;
            prop_assert!((q.variance(n, k, k2, true).unwrap() - expected).abs() < 1e-6 * (1.0 + expected));
        }
    }
}
