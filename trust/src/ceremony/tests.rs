//! Tests of whole ceremonies, and of each kind of wrong message in them.

mod refreshes;
mod wrong_dealings;
mod wrong_enrolments;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use curve25519_dalek::RistrettoPoint;
use dispers_base::{
    id::{BatchId, QueryId, Work},
    keys::SigningKey,
};
use dispers_crypto::{
    dealing::{
        Dealing, KeyShare, Polynomial,
        testing::{recombined, subsets},
    },
    oprf, prf,
};

fn number(number: u8) -> MemberNumber {
    MemberNumber::new(number).unwrap()
}

fn signing(member: u8) -> SigningKey {
    SigningKey::from_seed(&[member; 32])
}

/// Members of one ceremony that have all enrolled.
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

    /// Finishes the ceremony as every member, and asserts that all get the same key and transcript.
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

    /// Returns the members that `member` blames when it finishes with `dealings`, each with its fault.
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

/// Asserts that every choice of enough members gives the same pseudonym and the same randomness, proved against the
/// listed shares, and recombines to the secret of the key.
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
            committee: 0,
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
