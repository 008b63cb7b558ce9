//! What noise does to a result: draws of it for the reader to simulate with, and intervals.
//!
//! This is after the release, so it costs no privacy and may use floating point.

use rand::{CryptoRng, RngExt};

use super::Noise;

/// Above so many parts a sum of Laplace noise is drawn as a normal one.
const MANY: usize = 12;
/// What lies outside an interval on each side.
const TAIL: f64 = 0.025;

impl Noise {
    /// The noise of a sum of `terms` outputs of a moment, as all dealers together may have dealt it.
    pub fn draw(&self, moment: usize, terms: usize, rng: &mut impl CryptoRng) -> f64 {
        let scale = &self.scales()[moment];
        let parts = self.dealers() * terms;
        if let Some(width) = scale.laplace().filter(|_| parts <= MANY) {
            return (0..parts).map(|_| laplace(width, rng)).sum::<f64>().round();
        }
        let deviation = (scale.variance() * parts as f64).sqrt();
        (normal(rng) * deviation).round()
    }
}

fn laplace(width: f64, rng: &mut impl CryptoRng) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    // The difference of two exponential ones.
    width * ((1.0 - b).ln() - (1.0 - a).ln())
}

fn normal(rng: &mut impl CryptoRng) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// The standard error of an estimate and its 95 % interval, from what the same noise once more makes of
/// it: the basic bootstrap. `None` where too few of the simulated values are numbers.
pub fn interval(estimate: f64, simulated: &mut [f64]) -> Option<(f64, f64, f64)> {
    let finite = simulated.iter().filter(|value| value.is_finite()).count();
    if finite * 2 < simulated.len() || finite < 20 || !estimate.is_finite() {
        return None;
    }
    // What is no number could be anywhere.
    simulated.sort_by(f64::total_cmp);
    let missing = simulated.len() - finite;
    let numbers: Vec<f64> = simulated
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    let mean = numbers.iter().sum::<f64>() / finite as f64;
    let squares = numbers
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>();
    let error = (squares / (finite - 1) as f64).sqrt();
    if missing as f64 > TAIL * simulated.len() as f64 {
        return Some((error, f64::NEG_INFINITY, f64::INFINITY));
    }
    let at = |fraction: f64| numbers[((finite - 1) as f64 * fraction).round() as usize];
    let (low, high) = (at(TAIL), at(1.0 - TAIL));
    Some((error, 2.0 * estimate - high, 2.0 * estimate - low))
}
