//! Zero-concentrated differential privacy: what queries cost, and what that means as (ε, δ)
//! (protocol.md §9). Floating point, rounded so that a promise is never larger than it is kept.

use super::Rho;

/// Relative error that the computation is far within.
const SLACK: f64 = 1e-9;

impl Rho {
    /// What pure ε costs, in millionths, split evenly over mechanisms: k·(ε/k)²/2, rounded up (Bun and
    /// Steinke 2016, proposition 4).
    pub fn of_pure(epsilon: u64, mechanisms: usize) -> Self {
        let squared = u128::from(epsilon) * u128::from(epsilon);
        // (ε·10⁻⁶)²/2k in billionths is ε²/2000k.
        let cost = squared.div_ceil(2_000 * mechanisms.max(1) as u128);
        Self(u64::try_from(cost).unwrap_or(u64::MAX))
    }

    /// The largest ρ that keeps (ε, δ), rounded down.
    pub fn within(epsilon: f64, delta: f64) -> Self {
        // ε = ρ + 2·sqrt(ρ·ln(1/δ)) is above ρ, so ρ is below ε.
        let (mut low, mut high) = (0.0, epsilon);
        for _ in 0..200 {
            let middle = (low + high) / 2.0;
            match epsilon_of(middle, delta) <= epsilon {
                true => low = middle,
                false => high = middle,
            }
        }
        Self((low * 1e9).floor() as u64)
    }

    /// The smallest ε that ρ keeps with δ, rounded up.
    pub fn epsilon(self, delta: f64) -> f64 {
        epsilon_of(self.value(), delta)
    }
}

/// ε = inf over α > 1 of αρ + ln(1/(αδ))/(α − 1) + ln(1 − 1/α) (Canonne, Kamath and Steinke 2020,
/// corollary 13). Any α gives a true bound, so that an imperfect minimum is on the safe side.
fn epsilon_of(rho: f64, delta: f64) -> f64 {
    if rho <= 0.0 {
        return 0.0;
    }
    let at = |log: f64| {
        let over = log.exp();
        let alpha = 1.0 + over;
        alpha * rho - (alpha * delta).ln() / over + (over / alpha).ln()
    };
    let (mut low, mut high) = (-20.0_f64, 60.0_f64);
    for _ in 0..300 {
        let third = (high - low) / 3.0;
        let (a, b) = (low + third, high - third);
        match at(a) < at(b) {
            true => high = b,
            false => low = a,
        }
    }
    // The plain bound holds too.
    let plain = rho + 2.0 * (rho * (1.0 / delta).ln()).sqrt();
    let best = at((low + high) / 2.0).min(plain);
    best.max(0.0) * (1.0 + SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_epsilon_costs_half_its_square() {
        assert_eq!(Rho::of_pure(1_000_000, 1), Rho(500_000_000));
        assert_eq!(Rho::of_pure(1_000_000, 4), Rho(125_000_000));
        assert_eq!(Rho::of_pure(1, 1), Rho(1));
        assert_eq!(Rho::of_pure(u64::MAX, 1), Rho(u64::MAX));
    }

    #[test]
    fn rho_and_epsilon_are_inverse_and_monotone() {
        for delta in [1e-3, 1e-6, 1e-12, 1e-30] {
            let mut before = 0.0;
            for epsilon in [0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0] {
                let rho = Rho::within(epsilon, delta);
                let back = rho.epsilon(delta);
                assert!(back <= epsilon, "{epsilon} {delta}: {back}");
                assert!(
                    back > 0.99 * epsilon || rho.0 < 1000,
                    "{epsilon} {delta}: {back}"
                );
                assert!(rho.value() > before || rho.0 < 1000);
                before = rho.value();
                let plain = rho.value() + 2.0 * (rho.value() * (1.0 / delta).ln()).sqrt();
                assert!(back <= plain * (1.0 + 1e-8));
            }
        }
    }

    /// The definition, minimised by brute force over δ instead of ε.
    #[test]
    fn the_conversion_is_that_of_its_source() {
        for (rho, delta) in [(0.1_f64, 1e-6_f64), (1.0, 1e-6), (0.01, 1e-9), (5.0, 1e-4)] {
            let epsilon = Rho((rho * 1e9) as u64).epsilon(delta);
            let least = (1..200_000)
                .map(|step| 1.0 + f64::from(step) * 0.005)
                .map(|alpha: f64| {
                    let log = (alpha - 1.0) * (alpha * rho - epsilon) - (alpha - 1.0).ln()
                        + alpha * (1.0 - 1.0 / alpha).ln();
                    log.exp()
                })
                .fold(f64::INFINITY, f64::min);
            assert!((least / delta - 1.0).abs() < 0.01, "{rho} {delta}: {least}");
        }
    }
}
