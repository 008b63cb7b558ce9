//! Tests of dealings by members that lie: each is refused, and the error names the liar.

use super::*;
use crate::ceremony::deal;
use dispers_crypto::ristretto::Point;

/// Returns `dealing` after `change`, signed again by `member`.
fn resigned(
    dealing: &MemberDealing,
    member: u8,
    change: impl FnOnce(&mut DealingBody),
) -> MemberDealing {
    let mut body = dealing.public.body.clone();
    change(&mut body);
    MemberDealing {
        public: PublicDealing::new(body, &signing(member)),
        shares: dealing.shares.clone(),
    }
}

fn scene() -> (Scene, Vec<MemberDealing>) {
    let mut scene = Scene::new(2, 3, Purpose::Fresh, 1);
    let dealings = scene.dealings();
    (scene, dealings)
}

/// Returns the members that member 1 blames when it finishes after `change`. Asserts that anybody who reads the
/// transcript blames the same ones.
fn blamed(change: impl FnOnce(&mut Vec<MemberDealing>)) -> Vec<(u8, Fault)> {
    let (scene, mut dealings) = scene();
    change(&mut dealings);
    let transcript = Transcript {
        ceremony: scene.ceremony.clone(),
        dealings: dealings.iter().map(|d| d.public.clone()).collect(),
    };
    let by_member = scene.named(1, dealings);
    let public = named(transcript.verify(&scene.signers, None).unwrap_err());
    assert_eq!(by_member.len(), public.len());
    assert!(public.iter().all(|culprit| by_member.contains(culprit)));
    by_member
}

#[test]
fn a_missing_doubled_or_unknown_member_is_named() {
    assert_eq!(blamed(|d| drop(d.pop())), [(3, Fault::Missing)]);
    assert_eq!(blamed(|d| d.push(d[1].clone())), [(2, Fault::Repeated)]);
    assert_eq!(
        blamed(|d| d.push(resigned(&d[2], 3, |body| body.member = number(4)))),
        [(4, Fault::Unknown)]
    );
}

#[test]
fn a_dealing_that_its_node_did_not_sign_is_refused() {
    assert_eq!(
        blamed(|d| d[1].public.body.commitments.swap(0, 1)),
        [(2, Fault::Signature)]
    );
    assert_eq!(
        blamed(|d| d[1] = resigned(&d[1], 3, |_| ())),
        [(2, Fault::Signature)]
    );
}

#[test]
fn a_dealing_for_another_ceremony_or_other_enrolments_is_refused() {
    let other = Scene::new(2, 3, Purpose::Fresh, 2).dealings();
    assert_eq!(
        blamed(|d| d[2] = other[2].clone()),
        [(3, Fault::OtherCeremony)]
    );
    // In the same ceremony, member 1 was made to believe in another key of member 3.
    let (mut scene, mut dealings) = scene();
    let signers = scene.signers.clone();
    let (_, enrolment) = scene
        .ceremony
        .enrol(&signers, number(3), &signing(3), &mut scene.rng)
        .unwrap();
    let mut enrolments = scene.enrolments.clone();
    enrolments[2] = enrolment;
    let deceived = Enrolments::new(scene.ceremony.clone(), signers, enrolments).unwrap();
    dealings[0] = deceived
        .deal(number(1), &signing(1), &mut scene.rng)
        .unwrap();
    assert_eq!(
        scene.named(2, dealings.clone()),
        [(1, Fault::OtherEnrolments)]
    );
    // Whoever has not enrolled goes by the digest that most dealings name. Of two dealings that differ, either may be
    // wrong.
    let public = |dealings: &[MemberDealing]| {
        let dealings = dealings.iter().map(|d| d.public.clone()).collect();
        let transcript = Transcript::new(scene.ceremony.clone(), dealings);
        named(transcript.verify(&scene.signers, None).unwrap_err())
    };
    assert_eq!(public(&dealings), [(1, Fault::OtherEnrolments)]);
    assert_eq!(
        public(&dealings[..2]),
        [
            (3, Fault::Missing),
            (1, Fault::OtherEnrolments),
            (2, Fault::OtherEnrolments)
        ]
    );
}

#[test]
fn a_forged_dealing_blames_nobody_for_its_enrolments() {
    let (_, forged) = scene();
    assert_eq!(
        blamed(|d| {
            d.pop();
            d[1] = resigned(&forged[1], 3, |body| body.enrolments = [0; 32]);
        }),
        [(2, Fault::Signature), (3, Fault::Missing)]
    );
}

#[test]
fn another_number_of_commitments_is_refused() {
    let wrong = |found| Fault::Commitments { expected: 2, found };
    assert_eq!(
        blamed(|d| d[1] = resigned(&d[1], 2, |b| b.commitments.truncate(1))),
        [(2, wrong(1))]
    );
    assert_eq!(
        blamed(|d| d[1] = resigned(&d[1], 2, |b| b.commitments.push(b.commitments[0]))),
        [(2, wrong(3))]
    );
    assert_eq!(
        blamed(|d| d[1] = resigned(&d[1], 2, |b| b.commitments.clear())),
        [(2, wrong(0))]
    );
}

#[test]
fn a_proof_of_another_constant_or_none_is_refused() {
    assert_eq!(
        blamed(|d| d[1] = resigned(&d[1], 2, |body| body.knowledge = None)),
        [(2, Fault::Knowledge)]
    );
    let another = scene().1[0].public.body.knowledge.clone();
    assert_eq!(
        blamed(|d| d[1] = resigned(&d[1], 2, |body| body.knowledge = another)),
        [(2, Fault::Knowledge)]
    );
}

#[test]
fn a_copied_dealing_is_refused() {
    // Member 3 sends what member 1 dealt, proof and sealed shares included, as its own.
    assert_eq!(
        blamed(|d| d[2] = resigned(&d[0], 3, |body| body.member = number(3))),
        [(3, Fault::Knowledge)]
    );
}

#[test]
fn a_key_that_takes_the_others_off_is_refused() {
    // Member 3 saw the others' commitments and would leave a key that it alone knows.
    assert_eq!(
        blamed(|d| {
            let constant = |d: &MemberDealing| *d.public.body.commitments[0].inner();
            let rogue = constant(&d[2]) - constant(&d[0]) - constant(&d[1]);
            d[2] = resigned(&d[2], 3, |body| {
                body.commitments[0] = Point::new(rogue).unwrap();
            });
        }),
        [(3, Fault::Knowledge)]
    );
}

#[test]
fn a_wrong_share_for_one_member_is_named_by_that_member_alone() {
    let (mut scene, mut dealings) = scene();
    let enrolments = scene.verified();
    let wrong = Polynomial::random(scene.ceremony.threshold, &mut scene.rng);
    let context = enrolments.share_context(number(1), number(3));
    dealings[0].shares[2] = context.seal(&wrong.at(number(3)), &enrolments.keys[2], &mut scene.rng);
    // The dealing is not signed again, so that every member sees the fault.
    for member in 1..=3 {
        assert_eq!(
            scene.named(member, dealings.clone()),
            [(1, Fault::SealedShares)]
        );
    }
    let shares = deal::digest(&dealings[0].shares);
    dealings[0] = resigned(&dealings[0], 1, |body| body.shares = shares);
    assert_eq!(scene.named(3, dealings.clone()), [(1, Fault::Share)]);
    for enrolled in &scene.enrolled[..2] {
        assert!(enrolled.finish(&enrolments, None, dealings.clone()).is_ok());
    }
    // A share that does not open is the same fault.
    dealings[0].shares[2].truncate(40);
    let shares = deal::digest(&dealings[0].shares);
    dealings[0] = resigned(&dealings[0], 1, |body| body.shares = shares);
    assert_eq!(scene.named(3, dealings), [(1, Fault::Share)]);
}

#[test]
fn a_share_sealed_for_another_member_does_not_pass_for_ones_own() {
    let (scene, mut dealings) = scene();
    dealings[0].shares.swap(0, 1);
    let shares = deal::digest(&dealings[0].shares);
    dealings[0] = resigned(&dealings[0], 1, |body| body.shares = shares);
    assert_eq!(scene.named(1, dealings.clone()), [(1, Fault::Share)]);
    dealings[0].shares.pop();
    let shares = deal::digest(&dealings[0].shares);
    dealings[0] = resigned(&dealings[0], 1, |body| body.shares = shares);
    assert_eq!(scene.named(2, dealings), [(1, Fault::SealedShares)]);
}

#[test]
fn every_culprit_is_named_and_mended_dealings_finish() {
    let (scene, right) = scene();
    let mut dealings = right.clone();
    dealings[0] = resigned(&right[0], 1, |body| body.ceremony = [0; 32]);
    dealings[1].shares[0][50] ^= 1;
    dealings[2] = resigned(&right[2], 3, |body| body.knowledge = None);
    let error = scene.enrolled[0]
        .finish(&scene.verified(), None, dealings)
        .unwrap_err();
    let told = error.to_string();
    for words in [
        "member 1 answered for",
        "member 2 signed",
        "member 3 did not prove",
    ] {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(
        named(error),
        [
            (1, Fault::OtherCeremony),
            (2, Fault::SealedShares),
            (3, Fault::Knowledge)
        ]
    );
    assert_is_one_key(&scene.finish(None, &right).0);
}

#[test]
fn dealings_that_cancel_out_make_no_key() {
    // Dealers can do this only together, since each must know its own constant.
    let mut scene = Scene::new(2, 2, Purpose::Fresh, 1);
    let enrolments = scene.verified();
    let polynomial = Polynomial::random(scene.ceremony.threshold, &mut scene.rng);
    let opposite = polynomial.negated();
    let dealings: Vec<_> = [(1, &polynomial), (2, &opposite)]
        .map(|(m, polynomial)| {
            enrolments
                .deal_polynomial(number(m), polynomial, &signing(m), &mut scene.rng)
                .unwrap()
        })
        .into();
    let error = scene.enrolled[0].finish(&enrolments, None, dealings);
    assert_eq!(error.unwrap_err(), CeremonyError::Cancelled);
}
