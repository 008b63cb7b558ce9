//! What is sampled and released has the distribution that it is planned to have.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::distribution::Distribution;
use crate::privacy::{Mechanism, Noise, Privacy, Scale};

const SAMPLES: usize = 30_000;
const SENSITIVITIES: [u64; 2] = [1, 5];

fn of(scale: &Scale) -> Distribution {
    let reach = scale.bound() as i64;
    match scale.is_gaussian() {
        true => Distribution::gaussian(scale.width(), reach),
        false => Distribution::laplace(scale.width(), reach),
    }
}

/// Sums of what so many dealers deal.
fn sums(scale: &Scale, dealers: usize, rng: &mut StdRng) -> Vec<i64> {
    let mut sum = || (0..dealers).map(|_| scale.sample(rng)).sum();
    (0..SAMPLES).map(|_| sum()).collect()
}

fn settings() -> impl Iterator<Item = (Privacy, usize, usize)> {
    let losses = [
        (2.0, None),
        (0.7, None),
        (2.0, Some(0.01)),
        (9.0, Some(1e-6)),
    ];
    let committees = [(2, 3), (3, 5)];
    losses.into_iter().flat_map(move |(epsilon, delta)| {
        committees.map(|(needed, dealers)| {
            let mut privacy = Privacy::new(epsilon, None, &SENSITIVITIES, needed, dealers).unwrap();
            if let Some(delta) = delta {
                let rho = crate::privacy::Rho::within(epsilon, delta);
                privacy.delta = delta;
                privacy.mechanism = Mechanism::Gaussian { rho };
            }
            (privacy, needed, dealers)
        })
    })
}

#[test]
fn released_noise_is_the_convolution_of_what_all_dealers_deal() {
    let mut rng = StdRng::seed_from_u64(4);
    for (privacy, needed, dealers) in settings() {
        let noise = Noise::plan(&privacy, &SENSITIVITIES, needed, dealers).unwrap();
        for (moment, scale) in noise.scales().iter().enumerate() {
            let expected = of(scale).times(noise.dealers());
            let released = sums(scale, noise.dealers(), &mut rng);
            assert!(expected.fits(&released), "{privacy:?} {moment}");
            // The comparison tells neighbours apart.
            let shifted: Vec<i64> = released.iter().map(|noise| noise + 1).collect();
            assert!(scale.width() > 8.0 || !expected.fits(&shifted));
            let planned = noise.variance(moment);
            assert!((expected.variance() / planned - 1.0).abs() < 1e-9);
            assert!(
                released
                    .iter()
                    .all(|one| { u128::from(one.unsigned_abs()) <= noise.largest(moment) })
            );
        }
    }
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
                        // As good as one discrete Gaussian.
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
    let samples = sums(&scale, 1, &mut rng);
    let reach = scale.bound() as i64;
    assert!(Distribution::laplace(3.0, reach).fits(&samples));
    assert!(!Distribution::laplace(3.3, reach).fits(&samples));
    assert!(!Distribution::gaussian(scale.variance().sqrt(), reach).fits(&samples));
    assert!(!Distribution::laplace(3.0, 10).fits(&samples));
}
