//! Zero-concentrated differential privacy: the cost of queries, and its conversion to (ε, δ) (protocol.md §9).
//!
//! Costs are whole billionths. Conversions are in floating point; their rounding errors are bounded, and the bound is
//! added to ε, so that no rounding makes a promise look better than it is.

use super::Rho;

/// Relative margin by which a ρ is chosen below the promised ε. It is larger than the difference between two machines'
/// logarithms, so that a promise that one machine makes holds at every other.
const MARGIN: f64 = 1e-9;
/// Bound of the rounding errors of the conversion's few operations, relative to the size of their terms.
const ROUNDING: f64 = 16.0 * f64::EPSILON;

impl Rho {
    /// Returns the cost of pure ε, given in millionths, that is split evenly over k `mechanisms`: k·(ε/k)²/2, rounded
    /// up (Bun and Steinke 2016, proposition 1.4 and lemma 1.7).
    pub fn of_pure(epsilon: u64, mechanisms: usize) -> Self {
        let squared = u128::from(epsilon) * u128::from(epsilon);
        // (ε·10⁻⁶)²/2k in billionths is ε²/2000k, for ε in millionths.
        let cost = squared.div_ceil(2_000 * mechanisms.max(1) as u128);
        Self(u64::try_from(cost).unwrap_or(u64::MAX))
    }

    /// Returns the largest ρ that keeps (ε, δ), rounded down. Returns 0 if it is less than a billionth.
    pub fn within(epsilon: f64, delta: f64) -> Self {
        let target = epsilon * (1.0 - MARGIN);
        // Bisection, since ε grows with ρ and has no closed inverse.
        let (mut kept, mut broken) = (0, u64::MAX);
        while broken - kept > 1 {
            let middle = kept + (broken - kept) / 2;
            match Self(middle).epsilon(delta) <= target {
                true => kept = middle,
                false => broken = middle,
            }
        }
        Self(kept)
    }

    /// Returns the smallest ε that ρ keeps with δ, rounded up.
    pub fn epsilon(self, delta: f64) -> f64 {
        match self.0 {
            0 => 0.0,
            _ => bound(self.value(), delta, best(self.value(), delta)),
        }
    }
}

/// Computes ε = αρ + ln(1/(αδ))/(α − 1) + ln(1 − 1/α), rounded up, for `over` = α − 1 (Canonne, Kamath and Steinke
/// 2020, corollary 13). The result is a true bound for any α > 1.
fn bound(rho: f64, delta: f64, over: f64) -> f64 {
    let linear = (1.0 + over) * rho;
    let (negligible, order) = (-delta.ln(), over.ln_1p());
    let last = over.recip().ln_1p();
    let size = linear + (negligible + order) / over + last;
    let epsilon = linear + (negligible - order) / over - last;
    (epsilon + ROUNDING * size).max(0.0)
}

/// Finds the α − 1 at which [`bound`] is least. With x = α − 1, its derivative is ρ − (ln(1/δ) − ln(1 + x))/x², which
/// has one zero. A zero that is missed by a little still gives a true bound.
fn best(rho: f64, delta: f64) -> f64 {
    let negligible = -delta.ln();
    // Without ln(1 + x) the zero would be at the upper end, and that term only moves it down.
    let (mut low, mut high) = (0.0, (negligible / rho).sqrt());
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        match rho * middle * middle + middle.ln_1p() < negligible {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPSILONS: [f64; 10] = [1e-6, 1e-4, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0, 1000.0];
    const DELTAS: [f64; 8] = [0.9, 0.5, 1e-2, 1e-3, 1e-6, 1e-12, 1e-30, 1e-300];

    #[test]
    fn pure_epsilon_costs_half_its_square() {
        assert_eq!(Rho::of_pure(1_000_000, 1), Rho(500_000_000));
        assert_eq!(Rho::of_pure(1_000_000, 4), Rho(125_000_000));
        assert_eq!(Rho::of_pure(1_000_000, 3), Rho(166_666_667));
        assert_eq!(Rho::of_pure(1, 1), Rho(1));
        assert_eq!(Rho::of_pure(u64::MAX, 1), Rho(u64::MAX));
    }

    /// Known conversions: (ρ in billionths, δ, ε of corollary 13, ε of a continuous Gaussian of this ρ). Both ε were
    /// computed from their definitions with 60 digits, the first by minimising δ over α.
    const KNOWN: [(u64, f64, f64, f64); 9] = [
        (100_000_000, 1e-6, 2.14193892838547, 1.99452690069634),
        (1_000_000_000, 1e-6, 7.76621662531172, 7.28608096641861),
        (10_000_000, 1e-9, 0.810174467867534, 0.768211712795861),
        (5_000_000_000, 1e-4, 17.373516577585, 16.1030804430001),
        (1_000, 1e-12, 0.00854676595083689, 0.00814166347343657),
        (1, 1e-30, 0.000472024160543991, 0.000462362586319774),
        (500_000_000_000, 1e-30, 869.535224393379, 861.67114509193),
        (20_000_000, 0.1, 0.0398372026941369, 0.0),
        (1_000_000_000, 0.5, 0.975108681847389, 0.0852402818130119),
    ];

    #[test]
    fn the_conversion_is_that_of_its_source_and_never_below_what_a_gaussian_really_costs() {
        for (rho, delta, known, gaussian) in KNOWN {
            let epsilon = Rho(rho).epsilon(delta);
            let error = epsilon / known - 1.0;
            assert!(error.abs() < 1e-11, "{rho} {delta}: {epsilon}");
            assert!(epsilon > gaussian, "{rho} {delta}: {epsilon}");
        }
    }

    #[test]
    fn any_order_gives_an_epsilon_that_is_not_below_the_least() {
        for (rho, delta, ..) in KNOWN {
            let rho = Rho(rho);
            let least = rho.epsilon(delta);
            for step in -200..200 {
                let over = best(rho.value(), delta) * (f64::from(step) / 20.0).exp();
                let other = bound(rho.value(), delta, over);
                assert!(other >= least * (1.0 - 1e-12), "{rho} {delta} {over}");
            }
        }
    }

    #[test]
    fn rho_keeps_epsilon_and_one_more_billionth_would_not() {
        for delta in DELTAS {
            for epsilon in EPSILONS {
                let rho = Rho::within(epsilon, delta);
                assert!(rho.epsilon(delta) <= epsilon, "{epsilon} {delta}");
                let more = Rho(rho.0 + 1);
                assert!(
                    more.epsilon(delta) > epsilon * (1.0 - 2.0 * MARGIN),
                    "{epsilon} {delta}: {rho}"
                );
            }
        }
    }

    #[test]
    fn more_rho_or_less_delta_is_more_epsilon() {
        let mut rho = Rho(1);
        while rho.0 < 1 << 60 {
            let next = Rho(rho.0 * 3 / 2 + 1);
            for pair in DELTAS.windows(2) {
                let (looser, tighter) = (rho.epsilon(pair[0]), rho.epsilon(pair[1]));
                assert!(looser < tighter || tighter == 0.0, "{rho} {pair:?}");
                let more = next.epsilon(pair[1]);
                assert!(more > tighter || more == 0.0, "{rho} {pair:?}");
            }
            rho = next;
        }
    }

    #[test]
    fn the_conversion_is_never_above_the_plain_one() {
        for delta in DELTAS {
            for epsilon in EPSILONS {
                let rho = Rho::within(epsilon, delta);
                let plain = rho.value() + 2.0 * (rho.value() * -delta.ln()).sqrt();
                assert!(rho.epsilon(delta) <= plain * (1.0 + 1e-12));
            }
        }
    }
}
