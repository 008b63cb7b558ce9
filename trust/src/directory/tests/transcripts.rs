//! Tests of threshold keys that were made jointly, and of directories that only claim it.

use super::*;
use crate::ceremony::{Ceremony, CeremonyError, Enrolments, Fault, Finished, Purpose, key_name};
use dispers_crypto::dealing::KeyShare;

/// Returns the signing key of a member. The forge draws all signing keys from small seeds.
fn signing_key(body: &DirectoryBody, role: Role, group: u16, number: MemberNumber) -> SigningKey {
    let mut nodes = body.nodes.iter();
    let node = nodes
        .find(|n| n.role == role && n.group == group && n.member == Some(number))
        .unwrap();
    (0..100)
        .map(|seed| SigningKey::from_seed(&[seed; 32]))
        .find(|key| key.public() == node.signing_key)
        .unwrap()
}

/// Holds a ceremony of t = 2, n = 3 among the nodes of `body`, and lists the key and transcript that it makes.
fn hold(
    body: &mut DirectoryBody,
    role: Role,
    group: u16,
    previous: Option<(&ThresholdKey, &[KeyShare])>,
    rng: &mut StdRng,
) -> Vec<KeyShare> {
    let threshold = Threshold::new(2, 3).unwrap();
    let ceremony = Ceremony {
        network: body.network.clone(),
        role,
        group,
        threshold,
        suite: Suite::X25519,
        purpose: match previous {
            None => Purpose::Fresh,
            Some((key, _)) => Purpose::Refresh {
                previous: key_name(key),
            },
        },
        id: [u8::try_from(body.transcripts.len()).unwrap(); 16],
    };
    let keys: Vec<_> = threshold
        .numbers()
        .map(|number| signing_key(body, role, group, number))
        .collect();
    let signers: Vec<_> = keys.iter().map(SigningKey::public).collect();
    let members = || threshold.numbers().zip(&keys);
    let (secrets, enrolments): (Vec<_>, Vec<_>) = members()
        .map(|(m, key)| ceremony.enrol(&signers, m, key, rng).unwrap())
        .unzip();
    let enrolments = Enrolments::new(ceremony, signers, enrolments).unwrap();
    let dealings: Vec<_> = members()
        .map(|(m, key)| enrolments.deal(m, key, rng).unwrap())
        .collect();
    let mut ends: Vec<Finished> = secrets
        .iter()
        .zip(0..)
        .map(|(secret, position): (_, usize)| {
            let previous = previous.map(|(key, shares)| (key, &shares[position]));
            secret
                .finish(&enrolments, previous, dealings.clone())
                .unwrap()
        })
        .collect();
    body.transcripts.push(ends[0].transcript.clone());
    let key = ends[0].key.clone();
    match role {
        Role::ConceptIndexor => body.indexors = key,
        _ => body.committees[usize::from(group)] = key,
    }
    ends.drain(..).map(|end| end.share).collect()
}

/// Returns a valid body of a network that is no trial, and the shares of the indexors.
fn joint() -> (DirectoryBody, Vec<KeyShare>) {
    let mut body = valid();
    body.trial = false;
    let mut rng = StdRng::seed_from_u64(8);
    let indexors = hold(&mut body, Role::ConceptIndexor, 0, None, &mut rng);
    for group in 0..2 {
        hold(&mut body, Role::DataAggregator, group, None, &mut rng);
    }
    (body, indexors)
}

const INDEXORS: (Role, u16) = (Role::ConceptIndexor, 0);

#[test]
fn keys_that_their_listed_members_made_are_accepted_and_stay_so_when_refreshed() {
    let (mut body, shares) = joint();
    assert_eq!(body.check(), Ok(()));
    let bytes = SignedDirectory::new(&body).unwrap().to_bytes();
    let received = SignedDirectory::from_bytes(&bytes).unwrap();
    assert_eq!(received.unverified_body(), Ok(body.clone()));

    let before = body.indexors.clone();
    let mut rng = StdRng::seed_from_u64(9);
    let previous = Some((&before, &shares[..]));
    let (role, group) = INDEXORS;
    let again = hold(&mut body, role, group, previous, &mut rng);
    assert_eq!(body.check(), Ok(()));
    assert_eq!(body.indexors.key(), before.key());
    assert_ne!(again[0].public(), shares[0].public());

    // The directory lists the public shares from before the refresh, with its transcript.
    let mut old = body.clone();
    old.indexors = before.clone();
    let refused = old.check().unwrap_err();
    assert_eq!(refused, DirectoryError::OtherTranscript { role, group });
    // The directory lists the public shares from after the refresh, without its transcript.
    body.transcripts.pop();
    let refused = body.check().unwrap_err();
    assert_eq!(refused, DirectoryError::OtherTranscript { role, group });
}

#[test]
fn a_key_without_a_transcript_is_for_trying_only() {
    for (position, (role, group)) in [INDEXORS, (Role::DataAggregator, 0)]
        .into_iter()
        .enumerate()
    {
        let (mut body, _) = joint();
        body.transcripts.remove(position);
        let refused = body.check().unwrap_err();
        assert_eq!(refused, DirectoryError::MissingTranscript { role, group });
        body.trial = true;
        assert_eq!(body.check(), Ok(()));
    }
}

#[test]
fn a_transcript_that_is_listed_holds_even_in_a_trial() {
    let (role, group) = INDEXORS;
    for trial in [false, true] {
        let (mut body, _) = joint();
        body.trial = trial;
        body.transcripts[0].dealings.pop();
        match body.check().unwrap_err() {
            DirectoryError::Transcript {
                error: CeremonyError::Dealings { culprits },
                ..
            } => assert_eq!(culprits[0].fault, Fault::Missing),
            other => panic!("{other}"),
        }
        let (mut body, _) = joint();
        body.trial = trial;
        body.indexors = deal(
            Threshold::new(2, 3).unwrap(),
            &mut StdRng::seed_from_u64(10),
        )
        .public;
        let refused = body.check().unwrap_err();
        assert_eq!(refused, DirectoryError::OtherTranscript { role, group });
    }
}

#[test]
fn a_transcript_that_others_signed_is_refused_and_names_the_members() {
    // A root operator alone could make a whole ceremony with signing keys of its own.
    let (mut body, _) = joint();
    let mut forged = body.clone();
    for (node, seed) in forged.nodes.iter_mut().zip(60..) {
        node.signing_key = SigningKey::from_seed(&[seed; 32]).public();
    }
    forged.transcripts.clear();
    let mut rng = StdRng::seed_from_u64(11);
    let (role, group) = INDEXORS;
    hold(&mut forged, role, group, None, &mut rng);
    body.transcripts[0] = forged.transcripts[0].clone();
    body.indexors = forged.indexors.clone();
    match body.check().unwrap_err() {
        DirectoryError::Transcript {
            error: CeremonyError::Dealings { culprits },
            ..
        } => {
            assert_eq!(culprits.len(), 3);
            assert!(culprits.iter().all(|c| c.fault == Fault::Signature));
        }
        other => panic!("{other}"),
    }

    // One listed node did not take part in the ceremony.
    let (mut body, _) = joint();
    node(&mut body, "ci2").signing_key = SigningKey::from_seed(&[99; 32]).public();
    let told = body.check().unwrap_err().to_string();
    assert!(told.contains("member 2 did not sign"), "{told}");
}

#[test]
fn a_transcript_belongs_to_one_network_role_and_group() {
    let refused = |change: fn(&mut DirectoryBody)| {
        let (mut body, _) = joint();
        change(&mut body);
        body.check().unwrap_err()
    };
    let (role, group) = INDEXORS;
    assert_eq!(
        refused(|b| b.network = name("other")),
        DirectoryError::ForeignTranscript {
            role,
            group,
            network: name("test")
        }
    );
    for (role, group) in [
        (Role::ConceptIndexor, 1),
        (Role::DataAggregator, 2),
        (Role::Target, 0),
    ] {
        let (mut body, _) = joint();
        let ceremony = &mut body.transcripts[0].ceremony;
        (ceremony.role, ceremony.group) = (role, group);
        let refused = body.check().unwrap_err();
        assert_eq!(refused, DirectoryError::StrayTranscript { role, group });
    }
    // A renamed transcript is no longer the one that the members signed.
    let renamed = refused(|b| {
        b.transcripts.remove(1);
        b.transcripts[0].ceremony.role = Role::DataAggregator;
    });
    assert!(
        matches!(renamed, DirectoryError::MissingTranscript { .. }),
        "{renamed}"
    );
    let swapped = refused(|b| {
        b.transcripts[1].ceremony.group = 1;
        b.transcripts[2].ceremony.group = 0;
    });
    assert!(
        matches!(swapped, DirectoryError::Transcript { .. }),
        "{swapped}"
    );
}
