//! Sum of the privacy losses of one home's answers (protocol.md §17, docs/privacy.md).

use super::{Mechanism, Privacy, Rho};
use dispers_base::weakness::{self, Weakness};

/// Privacy loss of a home from all queries that it answered. It only grows. Two bounds on ε follow from its sums, and
/// the smaller one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// Sum of ε, in millionths, of the queries with pure ε.
    pub pure: u64,
    /// Sum of ρ of the other queries.
    pub gaussian: Rho,
    /// Sum of ρ of all queries.
    pub rho: Rho,
}

impl Loss {
    /// Returns the loss of one query with this number of moments. An exact query has none: homes count exact queries
    /// separately.
    pub fn of(privacy: Option<&Privacy>, moments: usize) -> Self {
        let Some(privacy) = privacy else {
            return Self::default();
        };
        if weakness::off(Weakness::DeltaUnbounded) {
            // Without the defence, the stated ε is charged whatever the δ. The largest ρ leaves only that bound.
            let rho = Rho(u64::MAX);
            let (pure, gaussian) = (privacy.epsilon, Rho(0));
            return Self {
                pure,
                gaussian,
                rho,
            };
        }
        let rho = privacy.cost(moments);
        match privacy.mechanism {
            Mechanism::Laplace => Self {
                pure: privacy.epsilon,
                gaussian: Rho(0),
                rho,
            },
            Mechanism::Gaussian { .. } => Self {
                // The stated ε says little without its δ, so ρ is counted and converted at the directory's ceiling of
                // δ.
                pure: 0,
                gaussian: rho,
                rho,
            },
        }
    }

    /// Returns the loss of the queries of both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        // Saturating sums: an overflow must never make a large loss look small.
        Self {
            pure: self.pure.saturating_add(other.pure),
            gaussian: Rho(self.gaussian.0.saturating_add(other.gaussian.0)),
            rho: Rho(self.rho.0.saturating_add(other.rho.0)),
        }
    }

    /// Returns the ε, in millionths and rounded up, that all these queries together keep with `delta`. It is the
    /// smaller of two bounds. The first is the sum of the pure ε, plus the ε that follows from ρ of the other queries.
    /// The second is the ε that follows from ρ of all queries. The first is smaller for few queries of pure ε, the
    /// second for many. Both bounds only grow with every query, and so does the smaller.
    pub fn epsilon(&self, delta: f64) -> u64 {
        let added = self
            .pure
            .saturating_add(rounded_epsilon(self.gaussian, delta));
        added.min(rounded_epsilon(self.rho, delta))
    }
}

/// Returns the ε of `rho` at `delta`, in millionths, rounded up.
fn rounded_epsilon(rho: Rho, delta: f64) -> u64 {
    // The conversion of a floating-point number saturates, so an infinite ε becomes the largest number.
    (rho.epsilon(delta) * 1e6).ceil() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CEILING: f64 = 1e-5;

    fn laplace(epsilon: u64) -> Privacy {
        Privacy {
            epsilon,
            delta: 0.0,
            mechanism: Mechanism::Laplace,
        }
    }

    fn gaussian(epsilon: u64, delta: f64) -> Privacy {
        let rho = Rho::within(epsilon as f64 / 1e6, delta);
        Privacy {
            epsilon,
            delta,
            mechanism: Mechanism::Gaussian { rho },
        }
    }

    fn privacy() -> impl Strategy<Value = (Privacy, usize)> {
        let noise = (
            1..20_000_000u64,
            proptest::option::of(-12.0..-5.0f64),
            1..9usize,
        );
        noise.prop_map(|(epsilon, delta, moments)| match delta {
            Some(power) => (gaussian(epsilon, 10f64.powf(power)), moments),
            None => (laplace(epsilon), moments),
        })
    }

    #[test]
    fn one_query_never_counts_more_than_the_epsilon_that_it_promises() {
        for epsilon in [1, 1_000, 500_000, 1_000_000, 9_999_999, 1_000_000_000] {
            assert_eq!(
                Loss::of(Some(&laplace(epsilon)), 1).epsilon(CEILING),
                epsilon.min((Rho::of_pure(epsilon, 1).epsilon(CEILING) * 1e6).ceil() as u64,)
            );
            for delta in [CEILING, 1e-6, 1e-12] {
                let privacy = gaussian(epsilon, delta);
                if privacy.check().is_ok() {
                    let counted = Loss::of(Some(&privacy), 1).epsilon(CEILING);
                    assert!(counted <= epsilon, "{epsilon} {delta}: {counted}");
                }
            }
        }
        assert_eq!(Loss::of(None, 1).epsilon(CEILING), 0);
    }

    #[test]
    fn a_thousand_queries_that_promise_a_millionth_at_a_large_delta_count_what_they_lose() {
        for (delta, least) in [(0.9, 2.0), (0.5, 0.3)] {
            let one = Loss::of(Some(&gaussian(1, delta)), 1);
            assert!(one.rho.value() > least, "{delta}: {}", one.rho);
            let all = (0..1000).fold(Loss::default(), |sum, _| sum.plus(one));
            assert!(all.epsilon(CEILING) > 400_000_000, "{delta}");
            // The stated ε of all queries would add up to a thousandth only.
            let stated = dispers_base::weakness::without(Weakness::DeltaUnbounded, || {
                let one = Loss::of(Some(&gaussian(1, delta)), 1);
                (0..1000).fold(Loss::default(), |sum, _| sum.plus(one))
            });
            assert_eq!(stated.epsilon(CEILING), 1000);
        }
    }

    proptest! {
        #[test]
        fn what_is_counted_covers_what_is_lost_and_only_grows(
            queries in proptest::collection::vec(privacy(), 0..40),
        ) {
            let (mut counted, mut lost, mut before) = (Loss::default(), 0u64, 0);
            let mut added = 0.0;
            for (privacy, moments) in &queries {
                counted = counted.plus(Loss::of(Some(privacy), *moments));
                lost += privacy.cost(*moments).0;
                added += match privacy.mechanism {
                    Mechanism::Laplace => privacy.epsilon as f64,
                    Mechanism::Gaussian { .. } => 0.0,
                };
                prop_assert!(counted.rho.0 >= lost);
                let epsilon = counted.epsilon(CEILING);
                prop_assert!(epsilon >= before);
                before = epsilon;
                // Both bounds hold, and either may be the smaller.
                let concentrated = Rho(lost).epsilon(CEILING) * 1e6;
                let sequential = added + counted.gaussian.epsilon(CEILING) * 1e6;
                prop_assert!(epsilon as f64 >= concentrated.min(sequential));
            }
        }
    }
}
