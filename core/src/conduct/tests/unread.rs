//! Tests of messages that their reader cannot read, and of aggregators that claim so falsely.

use super::adverse::exact;
use super::honest::setting;
use crate::{
    conduct::{Command, Conduct, Event, Failure, StepError},
    peer::{Channel, PeerMessage, SignedPeer},
    release::SignedAcknowledgement,
    testing::{Scene, Setting, addressee, aggregator, failed, key_of, label, member},
};
use dispers_base::weakness::{Weakness, without};

/// Number of the Byzantine aggregator, the last of its committee.
const LIAR: u8 = 5;

/// Returns a message of the liar that its reader cannot accept, because its content has no valid signature.
fn unreadable(scene: &mut Scene, from: u8, to: u8) -> PeerMessage {
    let manifest = scene.question.manifest.clone();
    let channel = Channel {
        query: manifest.query(),
        committee: 0,
    };
    let signed = SignedPeer::from_parts(vec![0; 40], key_of("nobody").sign("none", &[]));
    let (_, key) = manifest
        .offers(0)
        .find(|(offered, _)| *offered == member(to))
        .unwrap();
    channel.seal(&signed, member(from), member(to), key, &mut scene.rng)
}

/// Carries a command out, and makes the messages of its answer to `readers` unreadable.
fn garbled(scene: &mut Scene, command: &Command, from: u8, readers: &[u8]) -> Event {
    let mut event = scene.carry_out(command);
    let messages = match &mut event {
        Event::Opened(_, _, Ok(messages))
        | Event::Verified(_, _, Ok(messages))
        | Event::Guarded(_, Ok(messages)) => messages,
        _ => panic!("{}", label(command)),
    };
    for message in messages {
        let to = message.to.point();
        if readers.contains(&to) {
            *message = unreadable(scene, from, to);
        }
    }
    event
}

/// Returns the attempt of a command, if the command is named `step` and addressed to aggregator `of`.
fn attempt_of(command: &Command, step: &str, of: u8) -> Option<u8> {
    let ours = label(command) == step && addressee(command) == Some(aggregator(of));
    let attempt = match command {
        Command::Open { answer, .. } => answer.statement.work.attempt,
        Command::Verify { work, .. } | Command::Decide { work, .. } => work.attempt,
        _ => 0,
    };
    ours.then_some(attempt)
}

fn five() -> Scene {
    Scene::new(setting((3, 5), &[]))
}

/// Runs a query of five aggregators. Entry i of `readers` lists those that cannot read the liar's verifier messages of
/// attempt i.
fn with_garbled(readers: [&[u8]; 3]) -> (Scene, Conduct) {
    let mut scene = five();
    let conduct = scene.drive(|scene, command| {
        let attempt = attempt_of(command, "verify", LIAR)?;
        let readers = readers[usize::from(attempt)];
        Some(garbled(scene, command, LIAR, readers))
    });
    (scene, conduct)
}

#[test]
fn an_aggregator_whose_messages_some_cannot_read_puts_none_of_them_out() {
    let attack: [&[u8]; 3] = [&[1, 2], &[], &[]];
    let (scene, conduct) = with_garbled(attack);
    exact(&scene, &conduct);
    let status = conduct.status();
    assert_eq!((status.missing, status.verified), (vec![], 5));
    // Without the defence, the Byzantine aggregator chooses who verifies.
    let (_, conduct) = without(Weakness::UnreadEvicts, || with_garbled(attack));
    assert_eq!(conduct.status().missing, [aggregator(1), aggregator(2)]);
}

#[test]
fn an_aggregator_in_dispute_with_most_others_is_out() {
    let (scene, conduct) = with_garbled([&[1, 2], &[2, 3], &[]]);
    exact(&scene, &conduct);
    assert_eq!(conduct.out()[&aggregator(LIAR)], StepError::Disputed);
    assert_eq!(conduct.status().missing, [aggregator(LIAR)]);
}

#[test]
fn an_aggregator_that_says_falsely_that_it_reads_nothing_is_out() {
    for step in ["verify", "decide"] {
        let mut scene = five();
        let conduct = scene.drive(|_, command| {
            attempt_of(command, step, LIAR)?;
            let members = (1..=5).map(member).collect();
            Some(failed(command, StepError::Unread { members }))
        });
        exact(&scene, &conduct);
        assert_eq!(conduct.status().missing, [aggregator(LIAR)], "{step}");
    }
}

#[test]
fn an_aggregator_whose_dispute_is_provably_false_is_out_at_once() {
    // A claim about one other aggregator is false: the messages of three are enough, and four are left. The other
    // claims name nobody else.
    for (step, named) in [
        ("verify", &[1][..]),
        ("verify", &[]),
        ("decide", &[]),
        ("decide", &[LIAR]),
        ("release", &[1]),
    ] {
        let mut scene = five();
        let conduct = scene.drive(|_, command| {
            attempt_of(command, step, LIAR)?;
            let members = named.iter().map(|named| member(*named)).collect();
            Some(failed(command, StepError::Unread { members }))
        });
        exact(&scene, &conduct);
        let out = conduct.out().get(&aggregator(LIAR));
        assert_eq!(out, Some(&StepError::FalseClaim), "{step} {named:?}");
        assert_eq!(conduct.status().missing, [aggregator(LIAR)]);
    }
}

#[test]
fn an_aggregator_whose_verdict_is_provably_false_is_out_at_once() {
    let of_noise = StepError::BadDeals {
        dealers: vec![member(1)],
        disputes: Vec::new(),
    };
    let of = |suspect: Option<u8>| StepError::Inconsistent {
        suspect: suspect.map(member),
    };
    // False verdicts on a batch of homes: nobody, itself or a stranger is suspected, or noise is refused.
    for verdict in [of(None), of(Some(LIAR)), of(Some(9)), of_noise] {
        let mut scene = five();
        let conduct = scene.drive(|_, command| {
            attempt_of(command, "decide", LIAR)?;
            Some(failed(command, verdict.clone()))
        });
        exact(&scene, &conduct);
        let out = conduct.out().get(&aggregator(LIAR));
        assert_eq!(out, Some(&StepError::FalseClaim), "{verdict}");
        assert_eq!(conduct.status().missing, [aggregator(LIAR)]);
    }
}

#[test]
fn one_dispute_at_every_attempt_ends_the_query_by_both_names() {
    let (_, conduct) = with_garbled([&[1]; 3]);
    let status = conduct.status();
    let disputes = vec![(aggregator(1), vec![member(LIAR)])];
    assert_eq!(status.failure, Some(Failure::Disputes { disputes }));
    assert_eq!(status.missing, []);
    let words = status.failure.unwrap().to_string();
    assert!(
        words.contains("aggregator 1 and aggregator 5 contradict"),
        "{words}"
    );
}

/// Returns a message of the liar whose content has `bytes` bytes.
fn large(scene: &mut Scene, to: u8, bytes: usize) -> PeerMessage {
    let manifest = scene.question.manifest.clone();
    let channel = Channel {
        query: manifest.query(),
        committee: 0,
    };
    let signed = SignedPeer::from_parts(vec![0; bytes], key_of("nobody").sign("none", &[]));
    let (_, key) = manifest
        .offers(0)
        .find(|(offered, _)| *offered == member(to))
        .unwrap();
    channel.seal(&signed, member(LIAR), member(to), key, &mut scene.rng)
}

type Change = fn(&mut Scene, &mut Vec<PeerMessage>);

#[test]
fn an_aggregator_with_a_message_too_large_missing_or_repeated_is_out_alone() {
    let changes: [(&str, Change); 4] = [
        ("too large", |scene, messages| {
            messages[0] = large(scene, 1, 16 << 10);
        }),
        ("missing", |_, messages| {
            messages.remove(0);
        }),
        ("repeated", |_, messages| {
            messages.push(messages[0].clone());
        }),
        ("in another's name", |_, messages| {
            messages[0].from = member(2);
        }),
    ];
    for step in ["open", "verify", "guards"] {
        for (what, change) in changes {
            let mut scene = five();
            let conduct = scene.drive(|scene, command| {
                attempt_of(command, step, LIAR)?;
                let mut event = scene.carry_out(command);
                if let Event::Opened(_, _, Ok(messages))
                | Event::Verified(_, _, Ok(messages))
                | Event::Guarded(_, Ok(messages)) = &mut event
                {
                    change(scene, messages);
                }
                Some(event)
            });
            exact(&scene, &conduct);
            let status = conduct.status();
            assert_eq!(status.missing, [aggregator(LIAR)], "{step}: {what}");
            assert_eq!(conduct.out()[&aggregator(LIAR)], StepError::BadMessages);
        }
    }
}

/// Runs a query of three aggregators in which the second is lost, so that the others need the third's randomness.
fn with_garbled_randomness() -> (Scene, Conduct) {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let conduct = scene.drive(|scene, command| {
        if addressee(command) == Some(aggregator(2)) {
            return Some(failed(command, StepError::Unreachable));
        }
        let attempt = attempt_of(command, "open", 3)?;
        (attempt == 0).then(|| garbled(scene, command, 3, &[1]))
    });
    (scene, conduct)
}

#[test]
fn randomness_that_cannot_be_read_costs_an_attempt_and_no_aggregator() {
    let (scene, conduct) = with_garbled_randomness();
    exact(&scene, &conduct);
    assert_eq!(conduct.status().missing, [aggregator(2)]);
    let (_, conduct) = without(Weakness::UnreadEvicts, with_garbled_randomness);
    assert_eq!(conduct.status().missing, [aggregator(1), aggregator(2)]);
}

/// Runs a query of five aggregators, of which four must verify. The aggregators `readers` cannot read the guard counts
/// of the last two.
fn with_garbled_guards(readers: &[u8]) -> (Scene, Conduct) {
    let mut scene = Scene::new(Setting {
        min_verified: 4,
        ..setting((3, 5), &[])
    });
    let conduct = scene.drive(|scene, command| {
        let of = |liar| attempt_of(command, "guards", liar).map(|_| liar);
        let liar = of(4).or_else(|| of(LIAR))?;
        Some(garbled(scene, command, liar, readers))
    });
    (scene, conduct)
}

#[test]
fn guard_counts_that_one_cannot_read_cost_its_total_and_not_its_place() {
    let (scene, conduct) = with_garbled_guards(&[1]);
    exact(&scene, &conduct);
    assert_eq!(conduct.status().missing, []);
    let totals = conduct.totals().unwrap();
    assert_eq!(scene.read(totals).unwrap().verified, 4);
    let (_, conduct) = without(Weakness::UnreadEvicts, || with_garbled_guards(&[1]));
    assert_eq!(conduct.status().missing, [aggregator(1)]);
}

#[test]
fn guard_counts_that_too_many_cannot_read_end_the_query_by_all_names() {
    let (_, conduct) = with_garbled_guards(&[1, 2]);
    let status = conduct.status();
    let disputes = [1, 2].map(|reader| (aggregator(reader), [4, LIAR].map(member).to_vec()));
    let failure = Failure::Disputes {
        disputes: disputes.to_vec(),
    };
    assert_eq!((status.failure, status.missing), (Some(failure), vec![]));
}

#[test]
fn an_aggregator_that_forgets_at_once_puts_nobody_out_who_lacks_its_randomness() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let conduct = scene.drive(|_, command| {
        if addressee(command) == Some(aggregator(2)) {
            return Some(failed(command, StepError::Unreachable));
        }
        let attempt = attempt_of(command, "open", 3)?;
        (attempt == 0).then(|| failed(command, StepError::Forgotten))
    });
    exact(&scene, &conduct);
    assert_eq!(conduct.status().missing, [aggregator(2)]);
}

/// Runs a query of five aggregators in which the liar's acknowledgements have no valid signature.
fn with_false_acknowledgements() -> (Scene, Conduct) {
    let mut scene = five();
    let conduct = scene.drive(|scene, command| {
        attempt_of(command, "decide", LIAR)?;
        let mut event = scene.carry_out(command);
        if let Event::Decided(_, _, Ok(acknowledgement)) = &mut event {
            let body = acknowledgement.body.clone();
            *acknowledgement = SignedAcknowledgement::new(body, &key_of("nobody"));
        }
        Some(event)
    });
    (scene, conduct)
}

#[test]
fn an_aggregator_that_does_not_sign_what_it_acknowledges_is_out_alone() {
    let (scene, conduct) = with_false_acknowledgements();
    exact(&scene, &conduct);
    assert_eq!(conduct.status().missing, [aggregator(LIAR)]);
    let attack = with_false_acknowledgements;
    let (_, conduct) = without(Weakness::FalseAcknowledgementEvicts, attack);
    assert_eq!(conduct.status().missing, [1, 2, 3, 4, 5].map(aggregator));
}
