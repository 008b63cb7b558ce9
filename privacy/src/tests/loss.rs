//! Tests of the privacy of one home with exact distributions: how much likelier an output is with it than without.

use super::distribution::Distribution;
use crate::{Mechanism, Noise, Privacy, Rho};

/// Returns the largest ratio of the probabilities of one output with and without a change, over the outputs that are
/// possible with both.
fn ratio(noise: &Distribution, change: i64) -> f64 {
    let both = (change - noise.reach)..=noise.reach;
    both.map(|at| noise.at(at) / noise.at(at - change))
        .fold(0.0, f64::max)
}

/// Returns δ at ε between outputs that differ by `change`.
fn delta(noise: &Distribution, change: i64, epsilon: f64) -> f64 {
    (-noise.reach..=noise.reach + change)
        .map(|at| noise.at(at) - epsilon.exp() * noise.at(at - change))
        .filter(|excess| *excess > 0.0)
        .sum()
}

/// Returns the Rényi divergence of this order between outputs that differ by `change`.
fn divergence(noise: &Distribution, change: i64, order: f64) -> f64 {
    let both = (change - noise.reach)..=noise.reach;
    let sum: f64 = both
        .map(|at| (noise.at(at), noise.at(at - change)))
        .filter(|(one, other)| one.min(*other) > f64::MIN_POSITIVE)
        .map(|(one, other)| (order * one.ln() + (1.0 - order) * other.ln()).exp())
        .sum();
    sum.ln() / (order - 1.0)
}

#[test]
fn with_laplace_noise_no_output_is_likelier_than_its_part_of_epsilon_allows() {
    for epsilon in [0.5, 1.0, 8.0] {
        for sensitivities in [&[1][..], &[1, 12], &[1, 3, 9]] {
            let privacy = Privacy::new(epsilon, None, sensitivities, 2, 3).unwrap();
            let noise = Noise::plan(&privacy, sensitivities, 2, 3).unwrap();
            let part = epsilon / sensitivities.len() as f64;
            for (scale, sensitivity) in noise.scales().iter().zip(sensitivities) {
                let left = Distribution::laplace(scale.width(), scale.bound() as i64);
                for change in 1..=*sensitivity as i64 {
                    let likelier = ratio(&left, change).ln();
                    assert!(likelier <= part * (1.0 + 1e-9), "{likelier} {part}");
                    // The probability of outputs that are possible with only one of the two.
                    let beyond: f64 = ((left.reach - change + 1)..=left.reach)
                        .map(|at| left.at(at))
                        .sum();
                    assert!(beyond < 2.0_f64.powi(-61), "{beyond}");
                }
                let most = ratio(&left, *sensitivity as i64).ln();
                assert!(
                    (most / part - 1.0).abs() < 1e-6,
                    "all of it is used: {most}"
                );
            }
        }
    }
}

#[test]
fn gaussian_noise_keeps_rho_and_delta_after_the_colluders_took_theirs() {
    let mut used = 0;
    for (epsilon, promised) in [(1.0, 1e-3), (3.0, 1e-5), (8.0, 1e-6), (30.0, 1e-3)] {
        for (needed, dealers) in [(2, 2), (2, 3), (3, 5), (4, 7)] {
            for sensitivities in [&[1][..], &[1, 4]] {
                let rho = Rho::within(epsilon, promised);
                let privacy = Privacy {
                    epsilon: (epsilon * 1e6) as u64,
                    delta: promised,
                    mechanism: Mechanism::Gaussian { rho },
                };
                assert_eq!(privacy.check(), Ok(()));
                let noise = Noise::plan(&privacy, sensitivities, needed, dealers).unwrap();
                let part = rho.value() / sensitivities.len() as f64;
                for (scale, sensitivity) in noise.scales().iter().zip(sensitivities) {
                    let dealt = Distribution::gaussian(scale.width(), scale.bound() as i64);
                    let honest = noise.dealers() - (needed - 1);
                    let left = dealt.times(honest);
                    // ρ holds for noise before it is cut off; δ covers the effect of the bound.
                    let uncut = (30.0 * scale.width()) as i64;
                    let uncut = Distribution::gaussian(scale.width(), uncut).times(honest);
                    for change in 1..=*sensitivity as i64 {
                        for order in [1.1, 1.5, 2.0, 4.0, 16.0] {
                            let cost = divergence(&uncut, change, order);
                            assert!(cost <= order * part + 1e-9, "{cost} {order} {part}");
                            if change as u64 == *sensitivity && scale.width() > 2.6 {
                                assert!(cost > 0.9 * order * part, "hardly any is used: {cost}");
                                used += 1;
                            }
                        }
                        let really = delta(&left, change, epsilon);
                        assert!(really <= promised, "{really}");
                    }
                }
            }
        }
    }
    assert!(used > 50, "{used}");
}
