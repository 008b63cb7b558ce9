//! Amount of noise that each dealer deals (protocol.md §9).
//!
//! Up to t − 1 dealers may collude and subtract their own noise, so the noise of any others must be enough.
//!
//! - Laplace: t dealers deal, each a whole discrete Laplace number, since noise of a smaller part each would not add up
//!   to a Laplace distribution.
//! - Gaussian: all d dealers deal, such that any d − t + 1 of them have more than the whole variance together. A sum of
//!   discrete Gaussians is not quite a discrete Gaussian, which adds τ ≤ 10·(d − t)·exp(−π²σ²) to √(2ρ), where σ is one
//!   dealer's deviation (Kairouz, Liu and Steinke 2021, proposition 14). The variance exceeds what ρ requires by enough
//!   to pay for τ.

use super::scale::FRACTION;
use super::{Mechanism, Privacy, PrivacyError, Scale};

/// Least standard deviation of one dealer's Gaussian noise: 2.5, in parts of [`FRACTION`]. Then τ is below 2^-84 for
/// each dealer.
const LEAST_DEVIATION: u128 = 5 * FRACTION / 2;
/// Number of binary places of a computed root.
const ROOT_BITS: u32 = 40;
/// Units of ρ in 1.
const BILLION: u128 = 1_000_000_000;

/// Returns the number of aggregators that deal, if `alive` of a committee are alive and `needed` are needed.
pub fn dealers_of(privacy: &Privacy, needed: usize, alive: usize) -> usize {
    match privacy.mechanism {
        Mechanism::Laplace => needed.min(alive),
        Mechanism::Gaussian { .. } => alive,
    }
}

/// Noise of a query: for each moment, the distribution of each dealer's noise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noise {
    scales: Vec<Scale>,
    dealers: usize,
}

impl Noise {
    /// Plans the noise that keeps `privacy`, dealt by `dealers` aggregators of a committee of which `needed` are
    /// needed. `sensitivities` holds the largest summand of one home, one per moment.
    ///
    /// # Errors
    /// [`PrivacyError`] if the noise does not fit in 58 bits, if too few aggregators deal, or if ε or ρ is zero.
    pub fn plan(
        privacy: &Privacy,
        sensitivities: &[u64],
        needed: usize,
        dealers: usize,
    ) -> Result<Self, PrivacyError> {
        // Dealers whose noise is left when all those that may collude subtract theirs.
        let honest = dealers.checked_sub(needed.saturating_sub(1));
        let honest = honest
            .filter(|honest| *honest > 0)
            .ok_or(PrivacyError::Dealers)?;
        let moments = sensitivities.len() as u64;
        let scales = sensitivities.iter().map(|sensitivity| {
            let change = (*sensitivity).max(1);
            // A moment that no home can change still gets noise of width 1: a scale of zero has no distribution.
            match privacy.mechanism {
                Mechanism::Laplace => Scale::laplace(moments, change, privacy.epsilon),
                Mechanism::Gaussian { rho } => {
                    let parts = deviation(moments, change, rho.0, honest as u64)?;
                    Scale::gaussian(parts, privacy.epsilon)
                }
            }
        });
        Ok(Self {
            scales: scales.collect::<Result<_, _>>()?,
            dealers: dealers_of(privacy, needed, dealers),
        })
    }

    /// Returns the distribution of each dealer's noise, one per moment.
    pub fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// Returns the bound of one dealer's noise for each of the given outputs, which are named by their moments.
    pub fn bounds(&self, moments: &[usize]) -> Vec<u64> {
        moments
            .iter()
            .map(|moment| self.scales[*moment].bound())
            .collect()
    }

    /// Returns the number of dealers.
    pub fn dealers(&self) -> usize {
        self.dealers
    }

    /// Returns the largest absolute value of a moment's noise, of all dealers together.
    pub fn largest(&self, moment: usize) -> u128 {
        u128::from(self.scales[moment].bound()) * self.dealers as u128
    }

    /// Returns the variance of a moment's noise, of all dealers together.
    pub fn variance(&self, moment: usize) -> f64 {
        self.scales[moment].variance() * self.dealers as f64
    }
}

/// Returns one dealer's standard deviation in parts of [`FRACTION`]: above Δ·√(k/(2ρ·honest)) by a part or more.
fn deviation(moments: u64, change: u64, rho: u64, honest: u64) -> Result<u128, PrivacyError> {
    // Every rounding is upwards: less deviation than computed with real numbers would break the promise. The part that
    // is added at the end pays for τ.
    let over = 2 * u128::from(rho) * u128::from(honest);
    let squared = u128::from(moments)
        .checked_mul(BILLION << (2 * ROOT_BITS))
        .ok_or(PrivacyError::TooWide)?;
    let squared = squared.checked_div(over).ok_or(PrivacyError::Rho)? + 1;
    let root = squared.isqrt() + 1;
    let parts = u128::from(change).checked_mul(root);
    let parts = parts.ok_or(PrivacyError::TooWide)?;
    let parts = parts.div_ceil((1 << ROOT_BITS) / FRACTION) + 1;
    Ok(parts.max(LEAST_DEVIATION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rho;

    /// Computes τ = 10·Σ exp(−2π²σ²·j/(j + 1)) over j from 1 to `honest` − 1.
    fn tau(deviation: f64, honest: u64) -> f64 {
        let term = |j: u64| {
            let ratio = j as f64 / (j + 1) as f64;
            (-2.0 * (std::f64::consts::PI * deviation).powi(2) * ratio).exp()
        };
        10.0 * (1..honest).map(term).sum::<f64>()
    }

    #[test]
    fn the_variance_of_honest_dealers_pays_for_their_sum_being_no_discrete_gaussian() {
        let mut paid = 0;
        for honest in [1, 2, 3, 10, 200] {
            for moments in [1, 3, 513] {
                for change in [1, 2, 9, 1000, 1 << 32] {
                    for rho in [1, 10, 12_345, 20_000_000, 1 << 34, 1 << 39] {
                        let Ok(parts) = deviation(moments, change, rho, honest) else {
                            continue;
                        };
                        let one = parts as f64 / FRACTION as f64;
                        // √(2ρ) of a moment, and the least deviation that keeps it.
                        let whole = (2.0 * Rho(rho).value() / moments as f64).sqrt();
                        let least = change as f64 / (whole * (honest as f64).sqrt());
                        // Computed as a difference, since the two values of √(2ρ) are too near to each other.
                        let spare = whole * (1.0 - least / one);
                        if one < 1e6 {
                            assert!(spare > tau(one, honest), "{one} {honest} {rho}");
                            paid += 1;
                        }
                        assert!(
                            one >= 2.5 && one >= least * (1.0 - 1e-15),
                            "{one} {honest} {rho}"
                        );
                        assert!(one < (least * 1.0001).max(2.5) + 0.003, "{one} {least}");
                    }
                }
            }
        }
        assert!(paid > 200, "{paid}");
    }

    #[test]
    fn each_dealers_sum_differs_from_a_discrete_gaussian_by_less_than_2_to_the_minus_84() {
        let least = LEAST_DEVIATION as f64 / FRACTION as f64;
        for honest in 2..=255 {
            let each = tau(least, honest) / (honest - 1) as f64;
            assert!(each < 2.0_f64.powi(-84), "{honest}: {each}");
        }
    }

    #[test]
    fn noise_of_nothing_is_refused_and_does_not_panic() {
        let mut privacy = Privacy {
            epsilon: 0,
            delta: 0.0,
            mechanism: Mechanism::Laplace,
        };
        let plan = |privacy: &Privacy, needed, dealers| {
            Noise::plan(privacy, &[1, u64::MAX], needed, dealers).err()
        };
        assert_eq!(plan(&privacy, 2, 3), Some(PrivacyError::Epsilon));
        privacy.epsilon = 1;
        assert_eq!(plan(&privacy, 2, 3), Some(PrivacyError::TooWide));
        assert_eq!(plan(&privacy, 3, 2), Some(PrivacyError::Dealers));
        assert_eq!(plan(&privacy, 0, 0), Some(PrivacyError::Dealers));
        privacy.mechanism = Mechanism::Gaussian { rho: Rho(0) };
        assert_eq!(plan(&privacy, 2, 3), Some(PrivacyError::Rho));
        privacy.mechanism = Mechanism::Gaussian { rho: Rho(1) };
        assert_eq!(plan(&privacy, 2, 3), Some(PrivacyError::TooWide));
    }

    #[test]
    fn noise_on_the_widest_sums_is_planned() {
        let privacy = Privacy {
            epsilon: 1_000_000,
            delta: 1e-6,
            mechanism: Mechanism::Gaussian {
                rho: Rho(26_000_000),
            },
        };
        // The last moment is the sum of squares of 2^22 levels.
        let noise = Noise::plan(&privacy, &[1, 1 << 22, 1 << 44], 2, 3).unwrap();
        assert_eq!(noise.scales().len(), 3);
        assert!(noise.scales()[2].bound() > 1 << 49);
    }
}
