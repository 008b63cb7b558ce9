//! Tests that each value has one encoding. For all that crosses the network or is signed, only the encoding of a value
//! decodes to it. A signed value that was changed is refused.

use borsh::{BorshDeserialize, BorshSerialize};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Scene, Setting, member};
use crate::{
    ask::{Answer, AnswerHead, TargetRequest},
    conduct::{Command, Conduct, Event, Status},
    find::{BatchMessage, BatchStatement, FindRequest, FindSummary, ListSegment, SealedGrant},
    manifest::{Manifest, SignedManifest},
    offer::Offer,
    peer::PeerMessage,
    release::{Certificate, Proposal, SealedTotal, SignedAcknowledgement},
};
use dispers_base::encoding::{from_bytes, to_bytes};
use dispers_query::{local::LocalQuery, profile::Profile};
use dispers_trust::directory::{DirectoryBody, SignedDirectory};

const LIMIT: usize = 1 << 24;

/// Returns the encoding after one random change, such as a changed, added or removed byte, or a repeated stretch.
fn changed(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut other = bytes.to_vec();
    let place = rng.random_range(0..other.len());
    match rng.random_range(0..8) {
        0 => other.truncate(place),
        1 => other.insert(place, rng.random()),
        2 => {
            let end = (place + 4).min(bytes.len());
            other.splice(place..place, bytes[place..end].iter().copied());
        }
        3 => {
            other.remove(place);
        }
        _ => other[place] ^= 1 << rng.random_range(0..8),
    }
    other
}

/// Checks that each changed encoding which still decodes is the encoding of the value that it decodes to.
#[track_caller]
fn is_canonical<T: BorshSerialize + BorshDeserialize>(value: &T) {
    let bytes = to_bytes(value);
    let decoded: T = from_bytes(&bytes, LIMIT, "value").unwrap();
    assert_eq!(to_bytes(&decoded), bytes);
    let mut rng = StdRng::seed_from_u64(bytes.len() as u64);
    for _ in 0..400 {
        let other = changed(&bytes, &mut rng);
        if let Ok(decoded) = from_bytes::<T>(&other, LIMIT, "value") {
            assert_eq!(to_bytes(&decoded), other);
        }
    }
    assert!(from_bytes::<T>(&bytes, bytes.len() - 1, "value").is_err());
}

fn scene() -> Scene {
    Scene::new(Setting::default())
}

#[test]
fn what_is_public_or_signed_has_one_encoding() {
    let scene = scene();
    let question = &scene.question;
    is_canonical::<SignedManifest>(&question.signed);
    let manifest: Manifest = from_bytes(&question.signed.body, LIMIT, "manifest").unwrap();
    is_canonical::<Manifest>(&manifest);
    is_canonical::<LocalQuery>(&manifest.local);
    is_canonical::<Profile<dispers_crypto::oprf::Pseudonym>>(&question.profile);
    for offer in manifest.committees[0].offers.iter().flatten() {
        is_canonical::<Offer>(offer);
    }
    let body: DirectoryBody = (*scene.network.directory).clone();
    is_canonical::<DirectoryBody>(&body);
    is_canonical::<SignedDirectory>(&SignedDirectory::new(&body).unwrap());
}

#[test]
fn what_a_find_and_an_ask_send_has_one_encoding() {
    let mut scene = scene();
    let segment: ListSegment = from_bytes(&scene.segments[0], LIMIT, "segment").unwrap();
    is_canonical::<ListSegment>(&segment);
    is_canonical::<FindSummary>(&scene.found.summary);
    is_canonical::<BatchMessage>(&scene.found.batches[0]);
    let statement: BatchStatement = scene.found.batches[0].statement.unverified().unwrap();
    is_canonical::<BatchStatement>(&statement);
    is_canonical::<SealedGrant>(&scene.grant_of(member(1)));
    let request: FindRequest = {
        let (batch_size, opening) = (scene.batch_size, scene.question.opening());
        let (network, rng) = (&scene.network, &mut scene.rng);
        let question = &scene.question;
        question.find_request(network, &opening, batch_size, rng)
    };
    is_canonical::<FindRequest>(&request);
    let work = scene.work(0, 0);
    for ask in scene.asks(work).asks.values() {
        is_canonical(ask);
    }
    for answer in scene.answers(work) {
        is_canonical::<Answer>(&answer);
    }
    let batch = super::copy_of(&scene.found.batches[0]);
    is_canonical(&TargetRequest {
        parameters: None,
        manifest: scene.question.signed.clone(),
        inclusion: super::logged(&scene.network, &scene.question.signed),
        work,
        batch,
    });
    let answer = scene.honest(work);
    is_canonical::<AnswerHead>(&AnswerHead {
        statement: answer.statement,
        signature: answer.signature,
        answered: answer.answered,
        groups: vec![2; 3],
    });
}

#[test]
fn what_aggregators_say_has_one_encoding() {
    let mut scene = scene();
    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    for message in &scene.open(&answer) {
        is_canonical::<PeerMessage>(message);
    }
    let mut scene = self::scene();
    let mut kinds = Vec::new();
    let conduct: Conduct = scene.drive(|scene, command| {
        let event = scene.carry_out(command);
        match (&event, command) {
            (Event::Decided(_, _, Ok(said)), _) => is_canonical::<SignedAcknowledgement>(said),
            (Event::Notarised(Ok(certificate)), Command::Notarise { proposal }) => {
                is_canonical::<Certificate>(certificate);
                is_canonical::<Proposal>(proposal);
            }
            (Event::Released(_, Ok(total)), _) => is_canonical::<SealedTotal>(total),
            _ => return Some(event),
        }
        kinds.push(super::label(command));
        Some(event)
    });
    assert_eq!(kinds.len(), 3 + 1 + 3, "{kinds:?}");
    is_canonical::<Status>(&conduct.status());
}

/// Checks that `holds` is true for `bytes`, and false after any one bit is flipped. In long inputs only every fifth bit
/// is flipped.
fn each_flipped(bytes: &[u8], mut holds: impl FnMut(&[u8]) -> bool) {
    assert!(holds(bytes), "as it is, it holds");
    let step = if bytes.len() > 600 { 5 } else { 1 };
    let mut other = bytes.to_vec();
    for bit in (0..8 * bytes.len()).step_by(step) {
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!holds(&other), "with bit {bit} flipped");
        other[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn any_flipped_bit_of_what_is_signed_is_refused() {
    let mut scene = scene();
    let directory = scene.network.directory.clone();
    let notary = &directory
        .node(&scene.question.manifest.notary)
        .unwrap()
        .signing_key;

    let proposal = Proposal {
        query: scene.question.manifest.query(),
        round: 0,
        batches: Vec::new(),
    };
    let key = super::key_of("finder");
    let certificate = Certificate::new(proposal.query, 0, proposal.hash(), &key);
    assert_eq!(key.public(), *notary, "the notary of the test network");
    each_flipped(&to_bytes(&certificate), |bytes| {
        from_bytes::<Certificate>(bytes, LIMIT, "certificate")
            .is_ok_and(|certificate| certificate.verify(&proposal, notary).is_ok())
    });
    each_flipped(&to_bytes(&proposal), |bytes| {
        from_bytes::<Proposal>(bytes, LIMIT, "proposal")
            .is_ok_and(|proposal| certificate.verify(&proposal, notary).is_ok())
    });

    let offer = scene.question.manifest.committees[0].offers[0]
        .clone()
        .unwrap();
    let aggregator = super::key_of("aggregator1").public();
    each_flipped(&to_bytes(&offer), |bytes| {
        from_bytes::<Offer>(bytes, LIMIT, "offer")
            .is_ok_and(|offer| offer.verify(&aggregator).is_ok())
    });

    let work = scene.work(0, 0);
    let answer = scene.honest(work);
    let messages = scene.verified(&answer);
    let acknowledgements = scene.decide(work, &messages).unwrap();
    each_flipped(&to_bytes(&acknowledgements[0]), |bytes| {
        from_bytes::<SignedAcknowledgement>(bytes, LIMIT, "acknowledgement")
            .is_ok_and(|said| said.verify(&aggregator).is_ok())
    });
}

#[test]
fn any_flipped_bit_of_a_ticket_or_a_grant_is_refused() {
    let scene = scene();
    let work = scene.work(0, 0);
    let query = scene.question.manifest.query();
    let ask = scene.asks(work).asks.into_values().next().unwrap();
    let asked = &ask.homes[0];
    let key = scene.home(&asked.home.0).key.clone();
    each_flipped(&to_bytes(&asked.ticket), |bytes| {
        from_bytes::<crate::ticket::Ticket>(bytes, LIMIT, "ticket").is_ok_and(|ticket| {
            let opened = ticket.open(&key, query, &ask.find, work.batch, asked.index);
            opened.is_ok()
        })
    });
    let grant = to_bytes(&scene.grant_of(member(1)));
    let mut fresh = scene.aggregation(member(1));
    each_flipped(&grant, |bytes| {
        from_bytes::<SealedGrant>(bytes, LIMIT, "grant")
            .is_ok_and(|grant| fresh.grant(0, &grant, &scene.network.directory).is_ok())
    });
}
