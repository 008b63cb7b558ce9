//! How much noise each dealer deals, and its exact sampling (protocol.md §9).
//!
//! Up to t − 1 dealers may collude and subtract what they dealt, so what any others deal must be enough.
//! Laplace: t dealers, a whole discrete Laplace each, since sums of fewer parts are no Laplace. Gaussian:
//! all dealers, such that any d − t + 1 of them have the whole variance; their sum is so near to one
//! discrete Gaussian that the difference is nothing (Kairouz, Liu and Steinke 2021), as long as each
//! is wide.

use prio::dp::Rational;
use prio::dp::distributions::{DiscreteGaussian, DiscreteLaplace};
use rand::{CryptoRng, distr::Distribution};

use super::{Mechanism, Privacy, PrivacyError};

/// What a dealer's noise is cut off at, in scales of Laplace: P(beyond) < 2 exp(−43) < 2^-60.
const LAPLACE_SCALES: u128 = 43;
/// The same in standard deviations of a Gaussian: P(beyond) < 2 exp(−50) < 2^-71.
const DEVIATIONS: u128 = 10;
/// Standard deviations are rational numbers over this.
const FRACTION: u128 = 1 << 10;
/// Least standard deviation of one dealer's Gaussian noise, 2.5: the sum of several then differs from one
/// discrete Gaussian by less than 10·exp(−2π²·2.5²/2) for each, below 2^-85.
const LEAST_DEVIATION: u128 = 5 * FRACTION / 2;
/// Largest bound of one dealer's noise.
const LARGEST_BOUND: u128 = 1 << 58;

/// How many of `alive` aggregators deal, where `needed` of a committee are needed.
pub fn dealers_of(privacy: &Privacy, needed: usize, alive: usize) -> usize {
    match privacy.mechanism {
        Mechanism::Laplace => needed.min(alive),
        Mechanism::Gaussian { .. } => alive,
    }
}

/// What one dealer deals for one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    gaussian: bool,
    /// Laplace's scale or the standard deviation, as a fraction.
    numerator: u128,
    denominator: u128,
    bound: u64,
}

impl Scale {
    fn new(gaussian: bool, numerator: u128, denominator: u128) -> Result<Self, PrivacyError> {
        let scales = if gaussian { DEVIATIONS } else { LAPLACE_SCALES };
        let bound = numerator
            .checked_mul(scales)
            .map(|n| n.div_ceil(denominator));
        let bound = bound.filter(|bound| *bound <= LARGEST_BOUND);
        Ok(Self {
            gaussian,
            numerator,
            denominator,
            bound: bound.ok_or(PrivacyError::TooWide)? as u64,
        })
    }

    /// Noise within the bound. Exact: integers and fractions only (Canonne, Kamath and Steinke 2020).
    ///
    /// # Security
    /// The time that it takes depends on what is drawn.
    pub fn sample(&self, rng: &mut impl CryptoRng) -> i64 {
        let fraction = Rational::from_unsigned(self.numerator, self.denominator)
            .expect("no denominator is zero");
        loop {
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

    /// Largest absolute value.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// The width of a Laplace, unless it is a Gaussian.
    pub(super) fn laplace(&self) -> Option<f64> {
        (!self.gaussian).then(|| self.width())
    }

    fn width(&self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// Variance.
    pub fn variance(&self) -> f64 {
        let scale = self.width();
        match self.gaussian {
            true => scale * scale,
            // 2q / (1 − q)² with q = exp(−1/scale); for wide ones it is 2 scale².
            false => {
                let q = (-1.0 / scale).exp();
                2.0 * q / (1.0 - q).powi(2)
            }
        }
    }
}

/// The noise of a query: for each moment, what each dealer deals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noise {
    scales: Vec<Scale>,
    dealers: usize,
}

impl Noise {
    /// The noise that `dealers` deal, of a committee of which `needed` are needed, over moments of these
    /// sensitivities.
    ///
    /// # Errors
    /// [`PrivacyError`] when it does not fit 58 bits, or when too few deal.
    pub fn plan(
        privacy: &Privacy,
        sensitivities: &[u64],
        needed: usize,
        dealers: usize,
    ) -> Result<Self, PrivacyError> {
        // What is left when all that may collude take their own away.
        let honest = dealers.checked_sub(needed.saturating_sub(1));
        let honest = honest
            .filter(|honest| *honest > 0)
            .ok_or(PrivacyError::Dealers)?;
        let moments = sensitivities.len() as u128;
        let scale = |sensitivity: &u64| {
            let change = u128::from((*sensitivity).max(1));
            match privacy.mechanism {
                // k·Δ/ε.
                Mechanism::Laplace => {
                    let numerator = moments.checked_mul(change);
                    let numerator = numerator.and_then(|n| n.checked_mul(1_000_000));
                    let numerator = numerator.ok_or(PrivacyError::TooWide)?;
                    Scale::new(false, numerator, privacy.epsilon.into())
                }
                // σ² = k·Δ²/(2ρ), of which each deals a part.
                Mechanism::Gaussian { rho } => {
                    let over = 2 * u128::from(rho.0) * honest as u128;
                    let numerator = change.checked_mul(change);
                    let numerator = numerator.and_then(|n| n.checked_mul(moments * 1_000_000_000));
                    let squared = numerator.and_then(|n| n.checked_mul(FRACTION * FRACTION));
                    let squared = squared.ok_or(PrivacyError::TooWide)?.div_ceil(over);
                    let root = squared.isqrt();
                    let root = root + u128::from(root * root < squared);
                    Scale::new(true, root.max(LEAST_DEVIATION), FRACTION)
                }
            }
        };
        let scales = sensitivities.iter().map(scale);
        Ok(Self {
            scales: scales.collect::<Result<_, _>>()?,
            dealers: dealers_of(privacy, needed, dealers),
        })
    }

    /// What each dealer deals for each moment.
    pub fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// The bound of one dealer's noise for outputs of these moments.
    pub fn bounds(&self, moments: &[usize]) -> Vec<u64> {
        moments
            .iter()
            .map(|moment| self.scales[*moment].bound)
            .collect()
    }

    /// How many deal.
    pub fn dealers(&self) -> usize {
        self.dealers
    }

    /// Largest absolute value of a moment's noise, of all dealers together.
    pub fn largest(&self, moment: usize) -> u128 {
        u128::from(self.scales[moment].bound) * self.dealers as u128
    }

    /// Variance of a moment's noise, of all dealers together.
    pub fn variance(&self, moment: usize) -> f64 {
        self.scales[moment].variance() * self.dealers as f64
    }
}
