//! Differential privacy of a query (protocol.md §9, docs/privacy.md): the promise in its manifest, the noise that keeps
//! it, and its cost for a querier's budget. The unit of privacy is one home, added or removed.

mod accounting;
mod budget;
mod interval;
pub mod ledger;
mod loss;
mod noise;
mod population;
mod scale;
#[cfg(test)]
mod tests;

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

pub use budget::{Budget, BudgetRequest, Expense, SignedBudgetRequest};
pub use interval::interval;
pub use loss::Loss;
pub use noise::{Noise, dealers_of};
pub use population::Population;
pub use scale::Scale;

/// Largest ε that a manifest may promise, in millionths: 1000.
pub const MAX_EPSILON: u64 = 1_000_000_000;

/// Amount of zero-concentrated differential privacy ρ, in billionths (Bun and Steinke 2016).
///
/// An integer, so that all parties add up costs to exactly the same sum.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Rho(pub u64);

impl Rho {
    /// Returns ρ as a number.
    pub fn value(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Rho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

/// Distribution of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Mechanism {
    /// Discrete Laplace, which keeps pure ε.
    Laplace,
    /// Discrete Gaussian, which keeps ρ. From ρ and δ follows ε.
    Gaussian {
        /// Cost of the whole query.
        rho: Rho,
    },
}

/// Promise of a manifest about the whole of a noisy query, all its outputs and rounds together.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Privacy {
    /// ε in millionths.
    pub epsilon: u64,
    /// δ; 0 for pure ε.
    pub delta: f64,
    /// Distribution of the noise that keeps ε and δ.
    pub mechanism: Mechanism,
}

/// Error for privacy parameters that protect nobody, or that no noise can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivacyError {
    /// ε is not from one millionth to [`MAX_EPSILON`], or not a number.
    #[error("epsilon must be at least 0.000001 and at most 1000: write a number such as 1")]
    Epsilon,
    /// δ is not a probability, or is 0 for Gaussian noise.
    #[error(
        "delta must be above 0 and below 1: write a number such as 1e-6, or none for pure epsilon"
    )]
    Delta,
    /// Noise of cost ρ does not keep (ε, δ), or ρ is 0.
    #[error("the noise does not keep the promise of epsilon and delta: ask the query again")]
    Rho,
    /// The noise of one dealer does not fit in 58 bits.
    #[error("the noise would be too large to be added: use a larger epsilon, or a coarser step")]
    TooWide,
    /// So few aggregators deal that those which may collude could subtract all noise.
    #[error("too few aggregators deal noise: at least as many must as are needed to read a sum")]
    Dealers,
}

impl Privacy {
    /// Chooses the mechanism that keeps ε for the whole query, or (ε, δ) if there is a δ, with the least error.
    ///
    /// `sensitivities` holds the largest summand of one home, one per moment. `dealers` aggregators deal the noise, of
    /// a committee of which `needed` are needed.
    ///
    /// # Errors
    /// [`PrivacyError`], which states what to write instead.
    pub fn new(
        epsilon: f64,
        delta: Option<f64>,
        sensitivities: &[u64],
        needed: usize,
        dealers: usize,
    ) -> Result<Self, PrivacyError> {
        let laplace = Self {
            epsilon: millionths(epsilon)?,
            delta: delta.unwrap_or(0.0),
            mechanism: Mechanism::Laplace,
        };
        let noise = Noise::plan(&laplace, sensitivities, needed, dealers);
        let laplace_error = noise.map(|noise| relative_variance(&noise, sensitivities));
        let Some(delta) = delta else {
            return laplace_error.map(|_| laplace);
        };
        if !(delta > 0.0 && delta < 1.0) {
            return Err(PrivacyError::Delta);
        }
        let rho = Rho::within(laplace.epsilon(), delta);
        let gaussian = Self {
            mechanism: Mechanism::Gaussian { rho },
            ..laplace
        };
        let noise = Noise::plan(&gaussian, sensitivities, needed, dealers);
        let gaussian_error = noise.map(|noise| relative_variance(&noise, sensitivities));
        match (laplace_error, gaussian_error) {
            (Ok(of_laplace), Ok(of_gaussian)) if of_gaussian < of_laplace => Ok(gaussian),
            (Ok(_), _) => Ok(laplace),
            (Err(_), Ok(_)) => Ok(gaussian),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Makes the promise of Gaussian noise that keeps (ε, δ) for a whole session, however many rounds it has.
    ///
    /// # Errors
    /// [`PrivacyError`], which states what to write instead.
    pub fn of_session(epsilon: f64, delta: f64) -> Result<Self, PrivacyError> {
        let epsilon = millionths(epsilon)?;
        if !(delta > 0.0 && delta < 1.0) {
            return Err(PrivacyError::Delta);
        }
        let rho = Rho::within(epsilon as f64 / 1e6, delta);
        let privacy = Self {
            epsilon,
            delta,
            mechanism: Mechanism::Gaussian { rho },
        };
        privacy.check().map(|()| privacy)
    }

    /// Checks the promise of a received manifest.
    ///
    /// # Errors
    /// [`PrivacyError`] for an ε or δ out of range, or a ρ that does not keep them.
    pub fn check(&self) -> Result<(), PrivacyError> {
        if !(1..=MAX_EPSILON).contains(&self.epsilon) {
            return Err(PrivacyError::Epsilon);
        }
        match self.mechanism {
            // Laplace noise may come with a δ: it was chosen because it has less error than Gaussian noise at this δ.
            Mechanism::Laplace if (0.0..1.0).contains(&self.delta) => Ok(()),
            Mechanism::Gaussian { .. } if !(self.delta > 0.0 && self.delta < 1.0) => {
                Err(PrivacyError::Delta)
            }
            Mechanism::Laplace => Err(PrivacyError::Delta),
            Mechanism::Gaussian { rho } => {
                // The querier chose ρ a margin below ε, so that a rounding that differs between machines changes no
                // answer.
                let kept = rho.epsilon(self.delta) <= self.epsilon as f64 / 1e6;
                (kept && rho.0 > 0).then_some(()).ok_or(PrivacyError::Rho)
            }
        }
    }

    /// Returns the promise of one round, if `rounds` rounds together may cost the whole ρ. Rounds down.
    #[must_use]
    pub fn of_one_in(self, rounds: u16) -> Self {
        let mechanism = match self.mechanism {
            Mechanism::Laplace => Mechanism::Laplace,
            Mechanism::Gaussian { rho } => Mechanism::Gaussian {
                rho: Rho(rho.0 / u64::from(rounds.max(1))),
            },
        };
        Self { mechanism, ..self }
    }

    /// Returns the cost of a query with this number of moments.
    pub fn cost(&self, moments: usize) -> Rho {
        match self.mechanism {
            Mechanism::Laplace => Rho::of_pure(self.epsilon, moments),
            Mechanism::Gaussian { rho } => rho,
        }
    }

    /// Returns ε as a number.
    pub fn epsilon(&self) -> f64 {
        self.epsilon as f64 / 1e6
    }
}

/// Returns the sum of the moments' variances, each relative to the largest change by one home, so that no moment
/// outweighs the others.
fn relative_variance(noise: &Noise, sensitivities: &[u64]) -> f64 {
    let moments = sensitivities.iter().enumerate();
    let relative = moments.map(|(moment, sensitivity)| {
        noise.variance(moment) / (*sensitivity as f64).powi(2).max(1.0)
    });
    relative.sum()
}

/// Returns ε in millionths, if a manifest may promise it.
fn millionths(epsilon: f64) -> Result<u64, PrivacyError> {
    match whole_millionths(epsilon) {
        whole @ 1..=MAX_EPSILON => Ok(whole),
        _ => Err(PrivacyError::Epsilon),
    }
}

/// Returns ε in millionths, rounded down. An ε with at most six decimals is exact. Returns 0 for NaN.
pub fn whole_millionths(epsilon: f64) -> u64 {
    let exact = epsilon * 1e6;
    let nearest = exact.round();
    // 4.35 · 10^6 is 4349999.9999999995 in binary: rounding down would lose a millionth that was written. In every
    // other case rounding down is right, since a promise must never be larger than what was written.
    let written = (exact - nearest).abs() <= 1e-12 * nearest;
    // The conversion turns negative numbers and NaN into 0, and too large ones into the largest.
    (if written { nearest } else { exact.floor() }) as u64
}
