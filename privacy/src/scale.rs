//! Noise of one dealer for one moment: an exact distribution, cut off at a public bound (protocol.md §9).
//!
//! The bound is needed since dealt noise is proved to be within it. Let τ be the probability of the numbers beyond the
//! bound. Cutting them off turns ε-privacy into (ε, δ) with δ = (1 + e^ε)·τ. The bounds grow with ε, so that this δ is
//! below 2^-60 for any ε, dealer and moment.

use prio::dp::Rational;
use prio::dp::distributions::{DiscreteGaussian, DiscreteLaplace};
use rand::{CryptoRng, distr::Distribution};

use super::PrivacyError;

/// Number of scales, without ε, at which a Laplace distribution is cut off. The bound is ⌈ε⌉ scales further out, so
/// that τ ≤ exp(−43 − ε) and δ ≤ 2·exp(−43) < 2^-61.
const LAPLACE_TAIL: u128 = 43;
/// Exponent, without ε, of the tail of a Gaussian distribution. It is cut off where its tail bound 2·exp(−B²/2σ²) is
/// below 2·exp(−50 − ε), so that δ ≤ 4·exp(−50) < 2^-70.
const GAUSSIAN_TAIL: u128 = 50;
/// Denominator of standard deviations, which are fractions so that all parties compute the same.
pub(super) const FRACTION: u128 = 1 << 10;
/// Largest bound of one dealer's noise (protocol.md §11).
const LARGEST_BOUND: u128 = 1 << 58;
/// Units of ε in 1.
const MILLION: u64 = 1_000_000;

/// Distribution of one dealer's noise for one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    gaussian: bool,
    /// Scale of the Laplace distribution, or standard deviation, as a fraction `numerator / denominator`.
    numerator: u128,
    denominator: u128,
    bound: u64,
}

impl Scale {
    /// Makes a discrete Laplace distribution of the scale k·Δ/ε, where k is `moments`, Δ is `change` and ε is in
    /// millionths. Each of the k moments gets the part ε/k.
    pub(super) fn laplace(moments: u64, change: u64, epsilon: u64) -> Result<Self, PrivacyError> {
        if epsilon == 0 {
            return Err(PrivacyError::Epsilon);
        }
        let width = u128::from(moments) * u128::from(change);
        let width = width.checked_mul(MILLION.into());
        let scales = LAPLACE_TAIL + u128::from(epsilon.div_ceil(MILLION));
        Self::cut(false, width, epsilon.into(), scales)
    }

    /// Makes a discrete Gaussian distribution with the standard deviation `parts` / [`FRACTION`]. ε, in millionths,
    /// widens the bound only.
    pub(super) fn gaussian(parts: u128, epsilon: u64) -> Result<Self, PrivacyError> {
        let tail = 2 * (GAUSSIAN_TAIL + u128::from(epsilon.div_ceil(MILLION)));
        // The integer root rounds down; one more is above the real root.
        Self::cut(true, Some(parts), FRACTION, tail.isqrt() + 1)
    }

    /// Makes a distribution that is cut off at this number of scales or standard deviations. Computes with integers
    /// only, so that all parties get the same bound.
    fn cut(
        gaussian: bool,
        numerator: Option<u128>,
        denominator: u128,
        scales: u128,
    ) -> Result<Self, PrivacyError> {
        let numerator = numerator.ok_or(PrivacyError::TooWide)?;
        let bound = numerator.checked_mul(scales);
        let bound = bound.map(|bound| bound.div_ceil(denominator));
        let bound = bound.filter(|bound| *bound <= LARGEST_BOUND);
        Ok(Self {
            gaussian,
            numerator,
            denominator,
            bound: bound.ok_or(PrivacyError::TooWide)? as u64,
        })
    }

    /// Draws noise within the bound. The sampler is exact: it computes with integers and fractions only (Canonne,
    /// Kamath and Steinke 2020, algorithms 1 to 3).
    ///
    /// # Security
    /// The running time depends on the drawn number.
    pub fn sample(&self, rng: &mut impl CryptoRng) -> i64 {
        let fraction = Rational::from_unsigned(self.numerator, self.denominator)
            .expect("no denominator is zero");
        loop {
            // A number beyond the bound is drawn again instead of moved to the bound, which would make the bound
            // likelier than the distribution says.
            let drawn = match self.gaussian {
                true => DiscreteGaussian::new(fraction.clone())
                    .map(|distribution| i64::try_from(distribution.sample(rng))),
                false => DiscreteLaplace::new(fraction.clone())
                    .map(|distribution| i64::try_from(distribution.sample(rng))),
            };
            let drawn = drawn.expect("no scale is zero");
            if let Ok(noise) = drawn
                && noise.unsigned_abs() <= self.bound
            {
                return noise;
            }
        }
    }

    /// Returns the largest absolute value of the noise.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// Returns whether the distribution is Gaussian; otherwise it is a Laplace distribution.
    pub(super) fn is_gaussian(&self) -> bool {
        self.gaussian
    }

    /// Returns the scale of the Laplace distribution, or the standard deviation.
    pub(super) fn width(&self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// Returns the variance, without the effect of the bound.
    pub fn variance(&self) -> f64 {
        let width = self.width();
        match self.gaussian {
            true => width * width,
            // 2q / (1 − q)² with q = exp(−1/scale). For a large scale 1 − q would lose its digits, hence `exp_m1`.
            false => {
                let q = (-1.0 / width).exp();
                2.0 * q / (-1.0 / width).exp_m1().powi(2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const EPSILONS: [u64; 6] = [1, 1_000, 1_000_000, 1_500_000, 20_000_000, 1_000_000_000];

    #[test]
    fn no_sample_is_beyond_its_bound() {
        let mut rng = StdRng::seed_from_u64(1);
        let wide = [
            Scale::laplace(1, 10, 1_000_000).unwrap(),
            Scale::gaussian(10 * FRACTION, 1_000_000).unwrap(),
        ];
        for scale in wide {
            // A bound so tight that most draws are beyond it.
            let tight = Scale { bound: 3, ..scale };
            let mut seen = [0; 7];
            for _ in 0..2_000 {
                seen[(tight.sample(&mut rng) + 3) as usize] += 1;
            }
            assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        }
    }

    #[test]
    fn what_is_cut_off_adds_less_than_2_to_the_minus_60_to_delta() {
        for epsilon in EPSILONS {
            let real = epsilon as f64 / 1e6;
            // ln(1 + e^ε).
            let loss = real + (-real).exp().ln_1p();
            for change in [1, 7, 1 << 20] {
                for moments in [1, 3, 500] {
                    let Ok(scale) = Scale::laplace(moments, change, epsilon) else {
                        continue;
                    };
                    // P(|noise| > B) = 2q^(B + 1) / (1 + q).
                    let exponent = -1.0 / scale.width();
                    let beyond = (scale.bound as f64 + 1.0) * exponent;
                    let cut = 2.0_f64.ln() + beyond - exponent.exp().ln_1p();
                    assert!(cut + loss < -61.0 * 2.0_f64.ln(), "{epsilon} {change}");
                }
            }
            for parts in [4 * FRACTION, 12_345_678, 1 << 60] {
                let scale = Scale::gaussian(parts, epsilon).unwrap();
                let deviations = scale.bound as f64 / scale.width();
                let cut = 2.0_f64.ln() - deviations.powi(2) / 2.0;
                assert!(cut + loss < -70.0 * 2.0_f64.ln(), "{epsilon} {parts}");
            }
        }
    }

    #[test]
    fn noise_of_more_than_58_bits_is_refused() {
        assert_eq!(
            Scale::laplace(1, 1 << 53, 1_000_000),
            Err(PrivacyError::TooWide)
        );
        assert!(Scale::laplace(1, 1 << 52, 1_000_000).is_ok());
        let most = Scale::laplace(u64::MAX, u64::MAX, 1);
        assert_eq!(most, Err(PrivacyError::TooWide));
        let most = Scale::gaussian(u128::MAX, 1);
        assert_eq!(most, Err(PrivacyError::TooWide));
    }

    #[test]
    fn a_variance_is_that_of_its_distribution() {
        for (change, epsilon) in [
            (1, 10_000_000),
            (1, 1_000_000),
            (1, 300_000),
            (20, 1_000_000),
        ] {
            let scale = Scale::laplace(1, change, epsilon).unwrap();
            let q = (-1.0 / scale.width()).exp();
            let term = |z: i32| f64::from(z).powi(2) * q.powi(z);
            let sum = 2.0 * (1..5_000).map(term).sum::<f64>() * (1.0 - q) / (1.0 + q);
            assert!((scale.variance() / sum - 1.0).abs() < 1e-9, "{change}");
        }
        let wide = Scale::laplace(1, 1 << 50, 1_000_000).unwrap();
        let expected = 2.0 * (1u64 << 50) as f64 * (1u64 << 50) as f64;
        assert!((wide.variance() / expected - 1.0).abs() < 1e-9);
    }
}
