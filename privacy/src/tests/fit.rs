//! Tests that sampled and released noise has its planned distribution.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::distribution::Distribution;
use crate::{Mechanism, Noise, Privacy, Rho, Scale};

const SAMPLES: usize = 5_000;
const SENSITIVITIES: [u64; 2] = [1, 5];

fn of(scale: &Scale) -> Distribution {
    let reach = scale.bound() as i64;
    match scale.is_gaussian() {
        true => Distribution::gaussian(scale.width(), reach),
        false => Distribution::laplace(scale.width(), reach),
    }
}

/// Draws sums of the noise of this number of dealers.
fn sums(scale: &Scale, dealers: usize, rng: &mut StdRng) -> Vec<i64> {
    let mut sum = || (0..dealers).map(|_| scale.sample(rng)).sum();
    (0..SAMPLES).map(|_| sum()).collect()
}

/// Returns tested settings: the privacy of a query, the number of needed aggregators, and the number of aggregators.
fn settings() -> [(Privacy, usize, usize); 4] {
    let setting = |epsilon, delta, (needed, members): (usize, usize)| {
        let mut privacy = Privacy::new(epsilon, None, &SENSITIVITIES, needed, members).unwrap();
        if delta > 0.0 {
            privacy.delta = delta;
            let rho = Rho::within(epsilon, delta);
            privacy.mechanism = Mechanism::Gaussian { rho };
        }
        (privacy, needed, members)
    };
    [
        setting(2.0, 0.0, (2, 3)),
        setting(0.7, 0.0, (3, 5)),
        setting(2.0, 0.01, (3, 5)),
        setting(9.0, 1e-6, (2, 3)),
    ]
}

#[test]
fn released_noise_is_the_convolution_of_what_all_dealers_deal() {
    let mut rng = StdRng::seed_from_u64(4);
    let mut told_apart = 0;
    for (privacy, needed, dealers) in settings() {
        let noise = Noise::plan(&privacy, &SENSITIVITIES, needed, dealers).unwrap();
        for (moment, scale) in noise.scales().iter().enumerate() {
            let expected = of(scale).times(noise.dealers());
            let released = sums(scale, noise.dealers(), &mut rng);
            assert!(expected.fits(&released), "{privacy:?} {moment}");
            if scale.width() < 3.0 {
                let shifted: Vec<i64> = released.iter().map(|noise| noise + 1).collect();
                assert!(!expected.fits(&shifted), "{privacy:?} {moment}");
                told_apart += 1;
            }
            let planned = noise.variance(moment);
            assert!((expected.variance() / planned - 1.0).abs() < 1e-9);
            assert!(
                released
                    .iter()
                    .all(|one| { u128::from(one.unsigned_abs()) <= noise.largest(moment) })
            );
        }
    }
    assert!(told_apart >= 2, "{told_apart}");
}

#[test]
fn what_colluders_leave_has_the_whole_variance_and_a_whole_laplace() {
    let mut rng = StdRng::seed_from_u64(5);
    let moments = SENSITIVITIES.len() as f64;
    for (privacy, needed, members) in settings() {
        for dealers in needed..=members {
            let noise = Noise::plan(&privacy, &SENSITIVITIES, needed, dealers).unwrap();
            let left = noise.dealers() - (needed - 1);
            for (scale, change) in noise.scales().iter().zip(SENSITIVITIES) {
                let samples = sums(scale, left, &mut rng);
                let one = of(scale).times(left);
                match privacy.mechanism {
                    Mechanism::Laplace => {
                        assert_eq!(left, 1);
                        let whole = moments * change as f64 / privacy.epsilon();
                        assert!((scale.width() / whole - 1.0).abs() < 1e-12);
                        let whole = Distribution::laplace(whole, scale.bound() as i64);
                        assert!(whole.fits(&samples));
                    }
                    Mechanism::Gaussian { rho } => {
                        let whole = moments * (change as f64).powi(2) / (2.0 * rho.value());
                        let kept = left as f64 * scale.width().powi(2);
                        assert!(kept > whole, "{kept} {whole}");
                        assert!(one.variance() > whole * (1.0 - 1e-9));
                        // The sum cannot be distinguished from one discrete Gaussian.
                        let reach = scale.bound() as i64 * left as i64;
                        assert!(Distribution::gaussian(kept.sqrt(), reach).fits(&samples));
                    }
                }
            }
        }
    }
}

#[test]
fn an_ill_fitting_distribution_is_told_apart() {
    let mut rng = StdRng::seed_from_u64(6);
    let scale = Scale::laplace(1, 3, 1_000_000).unwrap();
    let samples: Vec<i64> = (0..30_000).map(|_| scale.sample(&mut rng)).collect();
    let reach = scale.bound() as i64;
    assert!(Distribution::laplace(3.0, reach).fits(&samples));
    assert!(!Distribution::laplace(3.3, reach).fits(&samples));
    assert!(!Distribution::gaussian(scale.variance().sqrt(), reach).fits(&samples));
    assert!(!Distribution::laplace(3.0, 10).fits(&samples));
}
