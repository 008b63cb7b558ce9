//! Differential privacy of a query (protocol.md §9): what its manifest promises, and what that
//! costs a querier's budget. The unit is one home, added or removed.

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

pub use budget::{Budget, BudgetRequest, Expense, MAX_BUDGET, SignedBudgetRequest};
pub use interval::interval;
pub use loss::Loss;
pub use noise::{Noise, dealers_of};
pub use population::Population;
pub use scale::Scale;

/// Largest ε, in millionths.
pub const MAX_EPSILON: u64 = 1_000_000_000;

/// An amount of zero-concentrated differential privacy ρ, in billionths (Bun and Steinke 2016).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Rho(pub u64);

impl Rho {
    /// ρ as a number.
    pub fn value(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Rho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

/// The distribution of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Mechanism {
    /// Discrete Laplace: pure ε.
    Laplace,
    /// Discrete Gaussian: ρ, of which (ε, δ) follows.
    Gaussian {
        /// What the whole query costs.
        rho: Rho,
    },
}

/// What a manifest promises of a noisy query, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Privacy {
    /// ε in millionths.
    pub epsilon: u64,
    /// δ; 0 for pure ε.
    pub delta: f64,
    /// How it is reached.
    pub mechanism: Mechanism,
}

/// Privacy parameters that protect nobody, or cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivacyError {
    /// ε is not a positive number that is small enough to mean something.
    #[error("epsilon must be at least 0.000001 and at most 1000: write a number such as 1")]
    Epsilon,
    /// δ is no probability.
    #[error(
        "delta must be above 0 and below 1: write a number such as 1e-6, or none for pure epsilon"
    )]
    Delta,
    /// ρ promises less than (ε, δ), or is 0.
    #[error("the noise does not keep the promise of epsilon and delta: ask the query anew")]
    Rho,
    /// The noise does not fit.
    #[error("the noise would be too large to be added: use a larger epsilon, or a coarser step")]
    TooWide,
    /// Those who may collude could take all noise away.
    #[error("too few aggregators deal noise: at least as many must as are needed to read a sum")]
    Dealers,
}

impl Privacy {
    /// The noise that keeps ε for the whole query, or (ε, δ), with the least error over moments of
    /// these sensitivities, dealt by `dealers` of a committee of which `needed` are needed.
    ///
    /// # Errors
    /// [`PrivacyError`] saying what to write.
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
        let plan = |privacy: &Self| Noise::plan(privacy, sensitivities, needed, dealers);
        // Errors relative to what one home can change, so that no moment outweighs the others.
        let error = |noise: Noise| {
            let moments = sensitivities.iter().enumerate();
            let relative = moments.map(|(moment, sensitivity)| {
                noise.variance(moment) / (*sensitivity as f64).powi(2).max(1.0)
            });
            relative.sum::<f64>()
        };
        let of_laplace = plan(&laplace).map(error);
        let Some(delta) = delta else {
            return of_laplace.map(|_| laplace);
        };
        if !(delta > 0.0 && delta < 1.0) {
            return Err(PrivacyError::Delta);
        }
        let rho = Rho::within(laplace.epsilon(), delta);
        let gaussian = Self {
            mechanism: Mechanism::Gaussian { rho },
            ..laplace
        };
        match (of_laplace, plan(&gaussian).map(error)) {
            (Ok(one), Ok(other)) if other < one => Ok(gaussian),
            (Ok(_), _) => Ok(laplace),
            (Err(_), Ok(_)) => Ok(gaussian),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Gaussian noise that keeps (ε, δ) for a whole session, however many rounds it has.
    ///
    /// # Errors
    /// [`PrivacyError`] saying what to write.
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

    /// Checks what a manifest promises.
    ///
    /// # Errors
    /// [`PrivacyError`] for what protects nobody or is not kept.
    pub fn check(&self) -> Result<(), PrivacyError> {
        if !(1..=MAX_EPSILON).contains(&self.epsilon) {
            return Err(PrivacyError::Epsilon);
        }
        match self.mechanism {
            Mechanism::Laplace if (0.0..1.0).contains(&self.delta) => Ok(()),
            Mechanism::Gaussian { .. } if !(self.delta > 0.0 && self.delta < 1.0) => {
                Err(PrivacyError::Delta)
            }
            Mechanism::Laplace => Err(PrivacyError::Delta),
            Mechanism::Gaussian { rho } => {
                let kept = rho.epsilon(self.delta) <= self.epsilon as f64 / 1e6;
                (kept && rho.0 > 0).then_some(()).ok_or(PrivacyError::Rho)
            }
        }
    }

    /// The part of one of so many rounds, which together cost the whole.
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

    /// What a query of so many moments costs.
    pub fn cost(&self, moments: usize) -> Rho {
        match self.mechanism {
            Mechanism::Laplace => Rho::of_pure(self.epsilon, moments),
            Mechanism::Gaussian { rho } => rho,
        }
    }

    /// ε as it was written.
    pub fn epsilon(&self) -> f64 {
        self.epsilon as f64 / 1e6
    }
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
    let written = (exact - nearest).abs() <= 1e-12 * nearest;
    // The conversion turns negative numbers and NaN into 0, and too large ones into the largest.
    (if written { nearest } else { exact.floor() }) as u64
}
