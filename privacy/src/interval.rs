//! Effect of noise on a result: simulated noise, and confidence intervals.
//!
//! The querier computes this from released numbers, so it costs no privacy and may use floating point.

use rand::{CryptoRng, RngExt};

use super::Noise;

/// Largest number of parts of Laplace noise whose sum is drawn exactly. By the central limit theorem a sum of more
/// parts is close to normal, and one normal number is much cheaper to draw.
const MANY: usize = 12;
/// Variance below which a sum is drawn exactly whatever its number of parts, since rounding a normal number would
/// distort it.
const NARROW: f64 = 4.0;
/// Probability outside of an interval, on each side.
const TAIL: f64 = 0.025;
/// Fewest simulated numbers from which an interval is computed: fewer say nothing about the tails.
const FEWEST: usize = 20;

impl Noise {
    /// Draws the noise of a sum of `terms` outputs of a moment, as all dealers together may have dealt it.
    pub fn draw(&self, moment: usize, terms: usize, rng: &mut impl CryptoRng) -> f64 {
        let scale = &self.scales()[moment];
        let parts = self.dealers() * terms;
        let variance = scale.variance() * parts as f64;
        if !scale.is_gaussian() && (parts <= MANY || variance < NARROW) {
            return (0..parts).map(|_| laplace(scale.width(), rng)).sum();
        }
        (normal(rng) * variance.sqrt()).round()
    }
}

/// Draws from a discrete Laplace distribution: the difference of two geometric numbers, each of which is an exponential
/// number rounded down.
fn laplace(width: f64, rng: &mut impl CryptoRng) -> f64 {
    geometric(width, rng) - geometric(width, rng)
}

/// Draws an exponential number of the mean `width`, rounded down.
fn geometric(width: f64, rng: &mut impl CryptoRng) -> f64 {
    let uniform: f64 = rng.random();
    (-width * (1.0 - uniform).ln()).floor()
}

fn normal(rng: &mut impl CryptoRng) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Returns the standard error of an estimate, and the lower and upper end of its 95 % interval, by the basic bootstrap
/// (Davison and Hinkley 1997, §5.2). `simulated` are the values of the same expression after the noise was drawn again
/// around the released sums; they are sorted in place.
///
/// If more than 2.5 % of the simulated values may lie beyond all numbers on one side, the interval has no end on the
/// opposite side. Infinite values lie on their side, and NaN may lie on either side. Returns `None` if the estimate is
/// not finite, or if fewer than half or fewer than 20 of the simulated values are finite.
pub fn interval(estimate: f64, simulated: &mut [f64]) -> Option<(f64, f64, f64)> {
    let finite = simulated.iter().copied().filter(|value| value.is_finite());
    let count = finite.clone().count();
    if count * 2 < simulated.len() || count < FEWEST || !estimate.is_finite() {
        return None;
    }
    let mean = finite.clone().sum::<f64>() / count as f64;
    let squares = finite.map(|value| (value - mean).powi(2)).sum::<f64>();
    let error = (squares / (count - 1) as f64).sqrt();
    // NaN comes last whatever its sign: `total_cmp` alone would put a negative NaN first.
    simulated.sort_by(|a, b| a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(b)));
    let numbers = simulated.partition_point(|value| !value.is_nan());
    let missing = simulated.len() - numbers;
    let last = (simulated.len() - 1) as f64;
    // Each NaN might have been the smallest value, or the largest: the lower percentile moves down by all of them.
    let low = match ((last * TAIL).round() as usize).checked_sub(missing) {
        Some(place) => simulated[place],
        None => f64::NEG_INFINITY,
    };
    let high = match (last * (1.0 - TAIL)).round() as usize {
        place if place < numbers => simulated[place],
        _ => f64::INFINITY,
    };
    // Reversed percentiles: the error of the estimate is assumed to be distributed like that of the simulation.
    Some((error, 2.0 * estimate - high, 2.0 * estimate - low))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::Privacy;

    fn noise(epsilon: f64, delta: Option<f64>) -> Noise {
        let privacy = Privacy::new(epsilon, delta, &[1, 40], 2, 3).unwrap();
        Noise::plan(&privacy, &[1, 40], 2, 3).unwrap()
    }

    #[test]
    fn drawn_noise_varies_as_released_noise_does() {
        let mut rng = StdRng::seed_from_u64(2);
        for noise in [noise(0.5, None), noise(6.0, None), noise(0.5, Some(0.01))] {
            for (moment, terms) in [(0, 1), (1, 1), (1, 3), (0, 20)] {
                let draws = (0..60_000).map(|_| noise.draw(moment, terms, &mut rng).powi(2));
                let variance = draws.sum::<f64>() / 60_000.0;
                let expected = noise.variance(moment) * terms as f64;
                let ratio = variance / expected;
                assert!((ratio - 1.0).abs() < 0.1, "{moment} {terms}: {ratio}");
            }
        }
    }

    #[test]
    fn an_interval_of_a_ratio_of_noisy_sums_covers_it_19_times_of_20() {
        let mut rng = StdRng::seed_from_u64(3);
        let (count, sum) = (400.0, 6_000.0);
        for noise in [noise(0.8, None), noise(0.6, Some(0.01))] {
            let mut ratio = |count: f64, sum: f64| {
                let noisy = (
                    count + noise.draw(0, 1, &mut rng),
                    sum + noise.draw(1, 1, &mut rng),
                );
                (noisy.1 / noisy.0, noisy)
            };
            let (mut covered, mut errors) = (0, 0.0);
            let runs = 2_000;
            for _ in 0..runs {
                let (estimate, (noisy_count, noisy_sum)) = ratio(count, sum);
                let mut simulated: Vec<f64> = (0..1_000)
                    .map(|_| ratio(noisy_count, noisy_sum).0)
                    .collect();
                let (error, low, high) = interval(estimate, &mut simulated).unwrap();
                covered += i32::from(low <= sum / count && sum / count <= high);
                errors += error;
            }
            let coverage = f64::from(covered) / f64::from(runs);
            assert!((0.93..=0.97).contains(&coverage), "{coverage}");
            // The expected error to first order: that of the sum, and that of the count times the ratio.
            let first = noise.variance(1) + noise.variance(0) * (sum / count).powi(2);
            let ratio = errors / f64::from(runs) / (first.sqrt() / count);
            assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
        }
    }

    /// Returns the numbers 0 to 999, with the last of them replaced by `last`.
    fn with(last: &[f64]) -> Vec<f64> {
        let numbers = (0..1000 - last.len()).map(|number| number as f64);
        numbers.chain(last.iter().copied()).collect()
    }

    #[test]
    fn an_interval_is_the_reversed_percentiles() {
        let (error, low, high) = interval(100.0, &mut with(&[])).unwrap();
        assert_eq!((low, high), (200.0 - 974.0, 200.0 - 25.0));
        assert!((error - 288.8).abs() < 0.1, "{error}");
    }

    #[test]
    fn an_interval_has_no_end_where_too_many_values_are_beyond_all_numbers() {
        let ends = |last: &[f64]| {
            let (error, low, high) = interval(0.0, &mut with(last)).unwrap();
            assert!(error.is_finite());
            (low.is_finite(), high.is_finite())
        };
        assert_eq!(ends(&[f64::INFINITY; 25]), (true, true));
        assert_eq!(ends(&[f64::INFINITY; 26]), (false, true));
        assert_eq!(ends(&[f64::NEG_INFINITY; 25]), (true, true));
        assert_eq!(ends(&[f64::NEG_INFINITY; 26]), (true, false));
        assert_eq!(ends(&[f64::NAN; 25]), (true, true));
        assert_eq!(ends(&[f64::NAN; 26]), (false, false));
        assert_eq!(ends(&[-f64::NAN; 26]), (false, false));
        let both = [[f64::NAN; 13], [f64::NEG_INFINITY; 13]].concat();
        assert_eq!(ends(&both), (true, false));
    }

    #[test]
    fn there_is_no_interval_of_hardly_any_numbers() {
        assert_eq!(interval(0.0, &mut with(&[f64::NAN; 501])), None);
        assert_eq!(interval(0.0, &mut [1.0; 19]), None);
        assert_eq!(interval(0.0, &mut []), None);
        assert_eq!(interval(f64::INFINITY, &mut with(&[])), None);
        assert_eq!(interval(1.0, &mut [1.0; 20]), Some((0.0, 1.0, 1.0)));
    }
}
