//! Whole ceremonies, and each kind of wrong message in them.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::dealing::tests::{recombined, subsets};
use crate::dealing::{Dealing, KeyShare, Polynomial};
use crate::id::{BatchId, QueryId, Work};
use crate::keys::SigningKey;
use crate::{oprf, prf};
use curve25519_dalek::RistrettoPoint;

fn number(number: u8) -> MemberNumber {
    MemberNumber::new(number).unwrap()
}

fn signing(member: u8) -> SigningKey {
    SigningKey::from_seed(&[member; 32])
}

/// All members of one ceremony, up to their enrolment.
struct Scene {
    rng: StdRng,
    ceremony: Ceremony,
    signers: Vec<VerifyingKey>,
    enrolled: Vec<Enrolled>,
    enrolments: Vec<Enrolment>,
}

impl Scene {
    fn new(needed: u8, members: u8, purpose: Purpose, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ceremony = Ceremony {
            network: Name::new("test").unwrap(),
            role: Role::DataAggregator,
            group: 1,
            threshold: Threshold::new(needed, members).unwrap(),
            suite: Suite::X25519,
            purpose,
            id: [seed as u8; 16],
        };
        let signers: Vec<_> = (1..=members).map(|m| signing(m).public()).collect();
        let (enrolled, enrolments) = (1..=members)
            .map(|m| {
                ceremony
                    .enrol(&signers, number(m), &signing(m), &mut rng)
                    .unwrap()
            })
            .unzip();
        Self {
            rng,
            ceremony,
            signers,
            enrolled,
            enrolments,
        }
    }

    fn verified(&self) -> Enrolments {
        let (ceremony, signers) = (self.ceremony.clone(), self.signers.clone());
        Enrolments::new(ceremony, signers, self.enrolments.clone()).unwrap()
    }

    fn refusal(&self, enrolments: Vec<Enrolment>) -> CeremonyError {
        let (ceremony, signers) = (self.ceremony.clone(), self.signers.clone());
        Enrolments::new(ceremony, signers, enrolments).unwrap_err()
    }

    fn dealings(&mut self) -> Vec<MemberDealing> {
        let enrolments = self.verified();
        let members = self.ceremony.threshold.numbers();
        members
            .map(|m| {
                enrolments
                    .deal(m, &signing(m.point()), &mut self.rng)
                    .unwrap()
            })
            .collect()
    }

    /// Every member's end.
    fn finish(
        &self,
        previous: Option<&Dealing>,
        dealings: &[MemberDealing],
    ) -> (Dealing, Transcript) {
        let ends: Vec<Finished> = self
            .enrolled
            .iter()
            .enumerate()
            .map(|(position, enrolled)| {
                let previous = previous.map(|p| (&p.public, &p.secrets[position]));
                enrolled
                    .finish(&self.verified(), previous, dealings.to_vec())
                    .unwrap()
            })
            .collect();
        assert!(ends.iter().all(|end| end.key == ends[0].key));
        assert!(ends.iter().all(|end| end.transcript == ends[0].transcript));
        let transcript = ends[0].transcript.clone();
        let joint = Dealing {
            public: ends[0].key.clone(),
            secrets: ends.into_iter().map(|end| end.share).collect(),
        };
        (joint, transcript)
    }

    /// Who is named by `member`.
    fn named(&self, member: u8, dealings: Vec<MemberDealing>) -> Vec<(u8, Fault)> {
        let enrolled = &self.enrolled[usize::from(member) - 1];
        let error = enrolled.finish(&self.verified(), None, dealings);
        named(error.unwrap_err())
    }
}

fn named(error: CeremonyError) -> Vec<(u8, Fault)> {
    match error {
        CeremonyError::Dealings { culprits } | CeremonyError::Enrolments { culprits } => culprits
            .iter()
            .map(|culprit| (culprit.member.point(), culprit.fault))
            .collect(),
        other => panic!("{other}"),
    }
}

/// A ceremony of t = 2, n = 3 and its fresh key.
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

/// Checks that every choice of enough members gives one pseudonym and one randomness, proved against
/// the listed shares, and recombines to the key's secret.
fn assert_is_one_key(joint: &Dealing) {
    let mut rng = StdRng::seed_from_u64(1);
    let (key, threshold) = (&joint.public, joint.public.threshold());
    let members = u8::try_from(threshold.members()).unwrap();
    let needed = u32::try_from(threshold.needed()).unwrap();
    let work = Work {
        query: QueryId([7; 32]),
        round: 0,
        batch: BatchId {
            partition: 0,
            number: 1,
        },
        attempt: 0,
    };
    let mut values = Vec::new();
    for subset in subsets(members, needed) {
        let secret = recombined(joint, &subset);
        assert_eq!(RistrettoPoint::mul_base(&secret), *key.key().inner());
        let quorum = || subset.iter().map(|&i| &joint.secrets[i]);
        let (blinding, blinded) = oprf::blind(b"city>lyon", &mut rng).unwrap();
        let evaluations: Vec<_> = quorum()
            .map(|share| {
                let answer = oprf::evaluate(share, &[blinded], &mut rng).unwrap();
                (share.number(), answer)
            })
            .collect();
        let pseudonyms = oprf::finalize(key, vec![blinding], &evaluations).unwrap();
        let parts: Vec<_> = quorum()
            .map(|share| (share.number(), prf::evaluate(share, &work, &mut rng)))
            .collect();
        values.push((pseudonyms, prf::combine(key, &work, &parts).unwrap()));
    }
    assert!(values.iter().all(|value| *value == values[0]));
}

#[test]
fn any_needed_shares_of_a_ceremony_evaluate_as_one_key() {
    for (needed, members) in [(2, 2), (2, 3), (3, 5), (5, 5)] {
        let mut scene = Scene::new(needed, members, Purpose::Fresh, 1);
        let dealings = scene.dealings();
        let (joint, transcript) = scene.finish(None, &dealings);
        assert_is_one_key(&joint);
        assert_eq!(trace(&[transcript], &scene.signers), Ok(joint.public));
    }
}

#[test]
fn messages_and_secrets_come_back_from_their_bytes_in_any_order() {
    let mut scene = Scene::new(2, 3, Purpose::Fresh, 1);
    scene.enrolments.rotate_left(1);
    for enrolment in &mut scene.enrolments {
        *enrolment = Enrolment::from_bytes(&enrolment.to_bytes()).unwrap();
    }
    let mut dealings = scene.dealings();
    dealings.reverse();
    for dealing in &mut dealings {
        *dealing = MemberDealing::from_bytes(&dealing.to_bytes()).unwrap();
    }
    for enrolled in &mut scene.enrolled {
        *enrolled = Enrolled::from_bytes(&enrolled.to_bytes()[..]).unwrap();
    }
    let (joint, transcript) = scene.finish(None, &dealings);
    assert_is_one_key(&joint);
    let again = Transcript::from_bytes(&transcript.to_bytes()).unwrap();
    assert_eq!(again, transcript);
    assert_eq!(format!("{:?}", scene.enrolled[1]), "Enrolled(member 2)");
    for bad in [&[][..], &[1; 65], &[1; 67], &[9; 66]] {
        assert!(Enrolled::from_bytes(bad).is_err());
    }
    assert!(MemberDealing::from_bytes(&dealings[0].to_bytes()[1..]).is_err());
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
    // Its shares are those of a polynomial that is not zero at 0, the constant of which it cannot
    // commit to.
    let enrolments = scene.verified();
    let polynomial = Polynomial::random(scene.ceremony.threshold, &mut scene.rng);
    dealings[1] = enrolments
        .deal_polynomial(number(2), &polynomial, &signing(2), &mut scene.rng)
        .unwrap();
    let previous = Some((&first.public, &first.secrets[0]));
    let error = scene.enrolled[0].finish(&enrolments, previous, dealings);
    assert_eq!(named(error.unwrap_err()), [(2, Fault::Share)]);
}

#[test]
fn a_wrong_enrolment_names_its_member() {
    let scene = Scene::new(2, 3, Purpose::Fresh, 1);
    let changed = |change: &dyn Fn(&mut Vec<Enrolment>)| {
        let mut enrolments = scene.enrolments.clone();
        change(&mut enrolments);
        named(scene.refusal(enrolments))
    };
    let resigned = |member: u8, change: &dyn Fn(&mut EnrolmentBody)| {
        changed(&|enrolments: &mut Vec<Enrolment>| {
            let mut body = enrolments[usize::from(member) - 1].body.clone();
            change(&mut body);
            enrolments[usize::from(member) - 1] = Enrolment::sign(body, &signing(member));
        })
    };
    assert_eq!(changed(&|e| drop(e.pop())), [(3, Fault::Missing)]);
    assert_eq!(changed(&|e| e.push(e[0].clone())), [(1, Fault::Repeated)]);
    // In the place of another, signed by itself.
    assert_eq!(
        resigned(3, &|body| body.member = number(2)),
        [
            (2, Fault::Repeated),
            (3, Fault::Missing),
            (2, Fault::Signature)
        ]
    );
    assert_eq!(
        resigned(3, &|body| body.member = number(4)),
        [(3, Fault::Missing), (4, Fault::Unknown)]
    );
    let stolen = scene.enrolments[0].body.key.clone();
    assert_eq!(
        changed(&|e| e[1].body.key = stolen.clone()),
        [(2, Fault::Signature)]
    );
    assert_eq!(
        resigned(1, &|body| body.ceremony = [0; 32]),
        [(1, Fault::OtherCeremony)]
    );
    let hybrid = crate::envelope::EnvelopeSecretKey::from_bytes(Suite::XWing, &[7; 32]).unwrap();
    assert_eq!(
        resigned(1, &|body| body.key = hybrid.public()),
        [(1, Fault::Suite)]
    );
    // Every one of several.
    let mut enrolments = scene.enrolments.clone();
    enrolments.remove(0);
    enrolments[0].body.ceremony[0] ^= 1;
    assert_eq!(
        named(scene.refusal(enrolments)),
        [(1, Fault::Missing), (2, Fault::Signature)]
    );
}

#[test]
fn only_a_member_enrols_deals_and_finishes_as_itself() {
    let mut scene = Scene::new(2, 3, Purpose::Fresh, 1);
    let dealings = scene.dealings();
    let (enrolments, mut rng) = (scene.verified(), StdRng::seed_from_u64(9));
    let other = CeremonyError::NotAMember(number(2));
    let enrolled = scene
        .ceremony
        .enrol(&scene.signers, number(2), &signing(3), &mut rng);
    assert_eq!(enrolled.map(|_| ()), Err(other.clone()));
    assert_eq!(
        enrolments.deal(number(2), &signing(3), &mut rng),
        Err(other)
    );
    let mut twin = Scene::new(2, 3, Purpose::Fresh, 2);
    twin.ceremony.id = scene.ceremony.id;
    for enrolled in &twin.enrolled {
        let error = enrolled.finish(&enrolments, None, dealings.clone());
        let expected = CeremonyError::OtherSecret(enrolled.member());
        assert_eq!(error.unwrap_err(), expected);
    }
}

#[test]
fn a_ceremony_has_a_role_and_members_that_differ() {
    let scene = Scene::new(2, 3, Purpose::Fresh, 1);
    let refused = |change: &dyn Fn(&mut Ceremony, &mut Vec<VerifyingKey>)| {
        let (mut ceremony, mut signers) = (scene.ceremony.clone(), scene.signers.clone());
        change(&mut ceremony, &mut signers);
        Enrolments::new(ceremony, signers, scene.enrolments.clone()).unwrap_err()
    };
    assert_eq!(
        refused(&|c, _| c.role = Role::Target),
        CeremonyError::Role(Role::Target)
    );
    assert_eq!(
        refused(&|c, _| c.threshold = Threshold::new(1, 3).unwrap()),
        CeremonyError::Lone
    );
    assert_eq!(
        refused(&|_, s| s.truncate(2)),
        CeremonyError::Signers {
            members: 3,
            signers: 2
        }
    );
    assert_eq!(
        refused(&|_, s| s[2] = s[0]),
        CeremonyError::RepeatedSigner(number(3))
    );
}

mod wrong_dealings;
