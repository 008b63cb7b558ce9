//! Tests of noise against its planned distributions, and of the privacy that these distributions give.

mod distribution;
mod fit;
mod loss;

use super::*;

#[test]
fn epsilon_is_taken_as_it_was_written() {
    for (written, expected) in [
        (1.0, 1_000_000),
        (4.35, 4_350_000),
        (0.29, 290_000),
        (1.1, 1_100_000),
        (1e-6, 1),
        (1000.0, 1_000_000_000),
        // More than six decimals are rounded down, since ε must not exceed what was written.
        (1.9e-6, 1),
        (0.333_333_9, 333_333),
    ] {
        let privacy = Privacy::new(written, None, &[1], 2, 3).unwrap();
        assert_eq!(privacy.epsilon, expected, "{written}");
    }
}

#[test]
fn parameters_that_protect_nobody_are_refused() {
    let new = |epsilon, delta| Privacy::new(epsilon, delta, &[1, 100], 2, 3).err();
    for epsilon in [
        0.0,
        -1.0,
        9e-7,
        1000.1,
        f64::NAN,
        f64::INFINITY,
        -f64::INFINITY,
    ] {
        assert_eq!(new(epsilon, None), Some(PrivacyError::Epsilon), "{epsilon}");
        assert_eq!(new(epsilon, Some(1e-6)), Some(PrivacyError::Epsilon));
    }
    for delta in [0.0, -0.1, 1.0, 2.0, f64::NAN, f64::INFINITY] {
        assert_eq!(new(1.0, Some(delta)), Some(PrivacyError::Delta), "{delta}");
    }
    let wide = Privacy::new(1e-6, None, &[1, 1 << 40], 2, 3).err();
    assert_eq!(wide, Some(PrivacyError::TooWide));
    let wide = Privacy::new(1e-6, Some(1e-9), &[1, 1 << 62], 2, 3).err();
    assert_eq!(wide, Some(PrivacyError::TooWide));
    let few = Privacy::new(1.0, None, &[1], 3, 2).err();
    assert_eq!(few, Some(PrivacyError::Dealers));
}

#[test]
fn what_is_promised_holds_and_can_be_dealt_for_all_parameters() {
    for epsilon in [1e-6, 1e-4, 0.01, 0.1, 1.0, 10.0, 1000.0] {
        for delta in [
            None,
            Some(1e-300),
            Some(1e-12),
            Some(1e-6),
            Some(0.1),
            Some(0.9),
        ] {
            for sensitivities in [&[1][..], &[1, 40, 1600], &[1; 400]] {
                let privacy = Privacy::new(epsilon, delta, sensitivities, 3, 5).unwrap();
                assert_eq!(privacy.check(), Ok(()), "{epsilon} {delta:?}");
                assert!(Noise::plan(&privacy, sensitivities, 3, 5).is_ok());
                let cost = privacy.cost(sensitivities.len());
                assert!(cost.0 > 0);
                if let Mechanism::Gaussian { rho } = privacy.mechanism {
                    assert_eq!(cost, rho);
                    assert!(cost.epsilon(privacy.delta) <= epsilon);
                }
            }
        }
    }
}

#[test]
fn of_two_mechanisms_the_one_with_less_noise_is_taken() {
    let mechanism = |epsilon, delta, moments: usize| {
        let sensitivities = vec![1; moments];
        Privacy::new(epsilon, delta, &sensitivities, 2, 3).unwrap()
    };
    let laplace = mechanism(1.0, Some(1e-9), 1);
    assert_eq!(laplace.mechanism, Mechanism::Laplace);
    let gaussian = mechanism(1.0, Some(1e-6), 50);
    assert!(matches!(gaussian.mechanism, Mechanism::Gaussian { .. }));
    let pure = mechanism(1.0, None, 50);
    assert_eq!((pure.mechanism, pure.delta), (Mechanism::Laplace, 0.0));
    // A ρ below a billionth is rounded to 0, with which there is no Gaussian noise.
    let tiny = mechanism(1e-6, Some(1e-6), 50);
    assert_eq!(tiny.mechanism, Mechanism::Laplace);
}

#[test]
fn a_received_promise_that_protects_nobody_or_is_not_kept_is_refused() {
    let good = Privacy {
        epsilon: 1_000_000,
        delta: 1e-6,
        mechanism: Mechanism::Gaussian {
            rho: Rho::within(1.0, 1e-6),
        },
    };
    assert_eq!(good.check(), Ok(()));
    let check = |change: &dyn Fn(&mut Privacy)| {
        let mut privacy = good;
        change(&mut privacy);
        privacy.check().err()
    };
    let gaussian = |rho| Mechanism::Gaussian { rho: Rho(rho) };
    for epsilon in [0, MAX_EPSILON + 1, u64::MAX] {
        let error = check(&|privacy| privacy.epsilon = epsilon);
        assert_eq!(error, Some(PrivacyError::Epsilon));
    }
    for delta in [0.0, -1e-6, 1.0, f64::NAN, f64::INFINITY] {
        let error = check(&|privacy| privacy.delta = delta);
        assert_eq!(error, Some(PrivacyError::Delta), "{delta}");
    }
    let Mechanism::Gaussian { rho } = good.mechanism else {
        panic!("a Gaussian");
    };
    for rho in [0, rho.0 + 2, u64::MAX] {
        let error = check(&|privacy| privacy.mechanism = gaussian(rho));
        assert_eq!(error, Some(PrivacyError::Rho), "{rho}");
    }
    for (delta, error) in [
        (0.0, None),
        (1e-6, None),
        (-1e-6, Some(PrivacyError::Delta)),
        (1.0, Some(PrivacyError::Delta)),
        (f64::NAN, Some(PrivacyError::Delta)),
    ] {
        let got = check(&|privacy| {
            privacy.mechanism = Mechanism::Laplace;
            privacy.delta = delta;
        });
        assert_eq!(got, error, "{delta}");
    }
}

#[test]
fn any_epsilon_that_is_written_keeps_the_promise_of_a_session() {
    for tenths in 1..1000 {
        let epsilon = f64::from(tenths) / 10.0;
        let privacy = Privacy::of_session(epsilon, 1e-6).unwrap();
        assert!((privacy.epsilon() - epsilon).abs() < 1e-9, "{epsilon}");
    }
    let long = 1.234_567_89;
    assert!(Privacy::of_session(long, 1e-6).unwrap().epsilon() <= long);
    assert_eq!(Privacy::of_session(0.0, 1e-6), Err(PrivacyError::Epsilon));
    assert_eq!(Privacy::of_session(1.0, 0.0), Err(PrivacyError::Delta));
}
