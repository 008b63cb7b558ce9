//! Tests of wrong enrolments, and of ceremonies that no members can hold.

use super::*;

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
    // Member 3 enrols in the place of member 2, and signs with its own key.
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
    let hybrid =
        dispers_crypto::envelope::EnvelopeSecretKey::from_bytes(Suite::XWing, &[7; 32]).unwrap();
    assert_eq!(
        resigned(1, &|body| body.key = hybrid.public()),
        [(1, Fault::Suite)]
    );
    // Every wrong enrolment is named, not only the first.
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
