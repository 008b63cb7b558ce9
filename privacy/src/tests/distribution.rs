//! Probability distributions over the integers, computed from their definitions.

use std::collections::BTreeMap;

/// Probabilities of the integers from −`reach` to `reach`.
#[derive(Clone)]
pub(super) struct Distribution {
    pub(super) reach: i64,
    pub(super) probabilities: Vec<f64>,
}

impl Distribution {
    /// Makes the distribution that is proportional to `weight`, cut off at `reach`.
    pub(super) fn cut(reach: i64, weight: impl Fn(f64) -> f64) -> Self {
        let weights: Vec<f64> = (-reach..=reach).map(|at| weight(at as f64)).collect();
        let total: f64 = weights.iter().sum();
        Self {
            reach,
            probabilities: weights.iter().map(|weight| weight / total).collect(),
        }
    }

    pub(super) fn laplace(scale: f64, reach: i64) -> Self {
        Self::cut(reach, |at| (-at.abs() / scale).exp())
    }

    pub(super) fn gaussian(deviation: f64, reach: i64) -> Self {
        Self::cut(reach, |at| (-(at / deviation).powi(2) / 2.0).exp())
    }

    /// Returns the distribution of the sum of `count` independent numbers.
    pub(super) fn times(&self, count: usize) -> Self {
        let mut sum = vec![1.0];
        for _ in 0..count {
            let mut next = vec![0.0; sum.len() + self.probabilities.len() - 1];
            for (place, one) in sum.iter().enumerate() {
                for (offset, other) in self.probabilities.iter().enumerate() {
                    next[place + offset] += one * other;
                }
            }
            sum = next;
        }
        Self {
            reach: self.reach * count as i64,
            probabilities: sum,
        }
    }

    pub(super) fn at(&self, at: i64) -> f64 {
        let place = usize::try_from(at + self.reach).ok();
        let found = place.and_then(|place| self.probabilities.get(place));
        found.copied().unwrap_or(0.0)
    }

    pub(super) fn variance(&self) -> f64 {
        (-self.reach..=self.reach)
            .map(|at| (at as f64).powi(2) * self.at(at))
            .sum()
    }

    /// Returns whether samples fit this distribution, by Pearson's χ² test. It refuses one of a million sets of samples
    /// that are of this distribution. Neighbouring numbers are counted together until 20 samples are expected.
    pub(super) fn fits(&self, samples: &[i64]) -> bool {
        let mut counts: BTreeMap<i64, f64> = BTreeMap::new();
        for sample in samples {
            *counts.entry(*sample).or_default() += 1.0;
        }
        let outside = samples.iter().any(|at| self.at(*at) == 0.0);
        let (mut expected, mut observed) = (0.0, 0.0);
        let mut cells: Vec<(f64, f64)> = Vec::new();
        for at in -self.reach..=self.reach {
            expected += self.at(at) * samples.len() as f64;
            observed += counts.get(&at).unwrap_or(&0.0);
            if expected >= 20.0 {
                cells.push((expected, observed));
                (expected, observed) = (0.0, 0.0);
            }
        }
        if let Some(last) = cells.last_mut() {
            last.0 += expected;
            last.1 += observed;
        }
        let statistic: f64 = cells
            .iter()
            .map(|(expected, observed)| (observed - expected).powi(2) / expected)
            .sum();
        !outside && statistic < critical(cells.len() as f64 - 1.0)
    }
}

/// Returns the χ² that one of a million sets of samples exceeds (Wilson and Hilferty 1931).
fn critical(freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 4.7534 * spread.sqrt()).powi(3)
}
