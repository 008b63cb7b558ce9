//! Tests of refreshes: the key stays, and shares from before and after a refresh do not combine.

use super::*;

/// Holds a ceremony of t = 2, n = 3 and returns it with its fresh key.
fn fresh() -> (Scene, Dealing, Transcript) {
    let mut scene = Scene::new(2, 3, Purpose::Fresh, 1);
    let dealings = scene.dealings();
    let (joint, transcript) = scene.finish(None, &dealings);
    (scene, joint, transcript)
}

fn refreshed(previous: &Dealing, seed: u64) -> (Dealing, Transcript) {
    let purpose = Purpose::Refresh {
        previous: key_name(&previous.public),
    };
    let threshold = previous.public.threshold();
    let small = |count: usize| u8::try_from(count).unwrap();
    let (needed, members) = (small(threshold.needed()), small(threshold.members()));
    let mut scene = Scene::new(needed, members, purpose, seed);
    let dealings = scene.dealings();
    scene.finish(Some(previous), &dealings)
}

#[test]
fn a_refresh_keeps_the_key_and_changes_every_share() {
    for (needed, members) in [(2, 3), (3, 5)] {
        let mut scene = Scene::new(needed, members, Purpose::Fresh, 1);
        let dealings = scene.dealings();
        let (first, fresh) = scene.finish(None, &dealings);
        let (second, one) = refreshed(&first, 2);
        let (third, two) = refreshed(&second, 3);
        for joint in [&second, &third] {
            assert_is_one_key(joint);
            assert_eq!(joint.public.key(), first.public.key());
            for m in first.public.threshold().numbers() {
                assert_ne!(joint.public.share(m), first.public.share(m));
            }
        }
        assert_eq!(
            trace(&[fresh, one, two], &scene.signers),
            Ok(third.public.clone())
        );
    }
}

#[test]
fn shares_before_and_after_a_refresh_do_not_combine() {
    let (_, first, _) = fresh();
    let (second, _) = refreshed(&first, 2);
    let again = |share: &KeyShare| KeyShare::from_bytes(&share.to_bytes()[..]).unwrap();
    let mixed = Dealing {
        public: second.public.clone(),
        secrets: vec![again(&first.secrets[0]), again(&second.secrets[1])],
    };
    let secret = recombined(&mixed, &[0, 1]);
    assert_ne!(
        RistrettoPoint::mul_base(&secret),
        *first.public.key().inner()
    );
}

#[test]
fn a_refresh_takes_the_key_that_it_names_and_the_members_own_share() {
    let (_, first, fresh) = fresh();
    let (second, refresh) = refreshed(&first, 2);
    let signers: Vec<_> = (1..=3).map(|m| signing(m).public()).collect();
    let refused = |transcripts: &[Transcript]| {
        let error = trace(transcripts, &signers).unwrap_err();
        assert!(matches!(error, CeremonyError::Previous(_)), "{error}");
    };
    refused(&[]);
    refused(std::slice::from_ref(&refresh));
    refused(&[fresh.clone(), fresh.clone()]);
    refused(&[fresh, refresh.clone(), refresh]);

    let purpose = Purpose::Refresh {
        previous: key_name(&first.public),
    };
    let mut scene = Scene::new(2, 3, purpose, 4);
    let dealings = scene.dealings();
    for previous in [
        None,
        Some((&second.public, &second.secrets[0])),
        Some((&first.public, &first.secrets[1])),
        Some((&first.public, &second.secrets[0])),
    ] {
        let error = scene.enrolled[0]
            .finish(&scene.verified(), previous, dealings.clone())
            .unwrap_err();
        assert!(matches!(error, CeremonyError::Previous(_)), "{error}");
    }
}

#[test]
fn a_refresh_that_shifts_the_key_is_refused() {
    let (_, first, _) = fresh();
    let purpose = Purpose::Refresh {
        previous: key_name(&first.public),
    };
    let mut scene = Scene::new(2, 3, purpose, 4);
    let mut dealings = scene.dealings();
    // The shares of member 2 are those of a polynomial that is not zero at 0. It cannot commit to the constant of that
    // polynomial.
    let enrolments = scene.verified();
    let polynomial = Polynomial::random(scene.ceremony.threshold, &mut scene.rng);
    dealings[1] = enrolments
        .deal_polynomial(number(2), &polynomial, &signing(2), &mut scene.rng)
        .unwrap();
    let previous = Some((&first.public, &first.secrets[0]));
    let error = scene.enrolled[0].finish(&enrolments, previous, dealings);
    assert_eq!(named(error.unwrap_err()), [(2, Fault::Share)]);
}
