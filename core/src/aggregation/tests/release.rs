//! Tests of the release: certificate, guards, masks, and the result that the querier computes from the totals.

use crate::{
    aggregation::{AggregationError, AggregatorKeys},
    peer::{Channel, PeerContent, PeerMessage},
    release::{Certificate, CommittedBatch, Proposal, ReleaseError, SealedTotal, Total},
    testing::{Scene, Setting, aggregator, home, key_of, member},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    field,
    id::{AggregatorId, QueryId},
    keys::Signature,
    signed::Signed,
};
use dispers_circuit::Row;

/// Creates a query of four batches and commits all of them.
fn committed() -> (Scene, Vec<CommittedBatch>) {
    committed_by(Setting::default().min_verified)
}

/// Creates a query of a 2-of-3 committee in which `min_verified` aggregators must verify, and commits its four batches.
fn committed_by(min_verified: u8) -> (Scene, Vec<CommittedBatch>) {
    let mut scene = Scene::new(Setting {
        batch_size: 9,
        min_verified,
        ..Setting::default()
    });
    let batches = (0..4).map(|batch| {
        let answer = scene.honest(scene.work(batch, 0));
        scene.commit(&answer)
    });
    let batches = batches.collect();
    (scene, batches)
}

fn refusal(scene: &mut Scene, proposal: &Proposal) -> Option<AggregationError> {
    let certificate = scene.certificate(proposal);
    scene.guards_at(member(1), proposal, &certificate).err()
}

#[test]
fn a_certificate_that_is_not_the_notary_s_for_this_proposal_is_refused() {
    let (mut scene, batches) = committed();
    let proposal = scene.proposal(&batches);
    let other = scene.proposal(&batches[..3]);
    let (query, hash) = (proposal.query, proposal.hash());
    let bad = Some(AggregationError::BadCertificate);
    for certificate in [
        Certificate::new(query, 0, hash, &key_of("target")),
        Certificate::new(query, 0, other.hash(), &key_of("finder")),
        Certificate::new(query, 1, hash, &key_of("finder")),
        Certificate::new(QueryId([1; 32]), 0, hash, &key_of("finder")),
    ] {
        let refused = scene.guards_at(member(1), &proposal, &certificate);
        assert_eq!(refused.err(), bad);
    }
    let mut foreign = proposal.clone();
    foreign.query = QueryId([1; 32]);
    assert_eq!(refusal(&mut scene, &foreign), bad);
    assert_eq!(refusal(&mut scene, &proposal), None);
}

#[test]
fn a_second_proposal_is_refused_even_if_the_notary_certifies_it() {
    let (mut scene, batches) = committed();
    let first = scene.proposal(&batches[..3]);
    assert_eq!(refusal(&mut scene, &first), None);
    let second = scene.proposal(&batches);
    let refused = refusal(&mut scene, &second);
    assert_eq!(refused, Some(AggregationError::SecondRelease));
    assert_eq!(refusal(&mut scene, &first), None);
}

#[test]
fn a_proposal_of_anything_but_committed_batches_in_order_is_refused() {
    let (mut scene, batches) = committed();
    let mut changed = |change: &dyn Fn(&mut Proposal)| {
        let mut proposal = scene.proposal(&batches);
        change(&mut proposal);
        refusal(&mut scene, &proposal)
    };
    let not = Some(AggregationError::NotCommitted);
    assert_eq!(changed(&|p| p.batches[3].batch.number = 4), not);
    assert_eq!(changed(&|p| p.batches[3].batch.partition = 1), not);
    assert_eq!(changed(&|p| p.batches[3] = p.batches[2].clone()), not);
    assert_eq!(changed(&|p| p.batches.swap(1, 2)), not);
    assert_eq!(changed(&|p| p.batches[0].attempt = 1), not);
    assert_eq!(changed(&|p| p.batches[0].decision[0] ^= 1), not);
    assert_eq!(changed(&|p| p.batches[0].accepted += 1), not);
    assert_eq!(changed(&|p| p.round = 1), not);
    assert_eq!(changed(&|_| {}), None);
}

#[test]
fn a_release_of_exactly_the_answer_rate_is_given() {
    let mut scene = Scene::new(Setting {
        rows: (0..40).map(home).collect(),
        batch_size: 8,
        ..Setting::default()
    });
    // 16 of 40 homes are 400 in 1000, the answer rate of the manifest.
    let batches = [0, 1].map(|batch| {
        let answer = scene.honest(scene.work(batch, 0));
        scene.commit(&answer)
    });
    let less = scene.proposal(&batches[..1]);
    let few = Some(AggregationError::TooFewAnswers);
    assert_eq!(refusal(&mut scene, &less), few);
    let proposal = scene.proposal(&batches);
    assert_eq!(refusal(&mut scene, &proposal), None);
}

#[test]
fn a_count_of_every_accepted_home_is_released() {
    let mut scene = Scene::new(Setting {
        sql: "SELECT COUNT(*) AS n FROM people",
        rows: (0..12)
            .map(|_| {
                Some(Row {
                    group: 0,
                    levels: Vec::new(),
                })
            })
            .collect(),
        ..Setting::default()
    });
    let answer = scene.honest(scene.work(0, 0));
    let released = scene.released(&answer);
    assert_eq!((released.accepted, released.outputs), (12, vec![Some(12)]));
}

#[test]
fn a_release_of_too_few_answers_is_refused() {
    let (mut scene, batches) = committed();
    let few = Some(AggregationError::TooFewAnswers);
    for count in 0..=1 {
        let proposal = scene.proposal(&batches[..count]);
        assert_eq!(refusal(&mut scene, &proposal), few);
    }
    // 18 of 36 homes are more than 400 in 1000.
    let proposal = scene.proposal(&batches[1..3]);
    assert_eq!(refusal(&mut scene, &proposal), None);
}

/// Returns aggregator 3's guard counts for aggregator 1 after `change`, signed and sealed by aggregator 3.
fn false_guards(
    scene: &mut Scene,
    proposal: &Proposal,
    change: impl FnOnce(&mut u16, &mut [u8; 32], &mut Vec<u64>),
) -> PeerMessage {
    let channel = Channel {
        query: proposal.query,
        committee: 0,
    };
    let messages = scene.guards(proposal);
    let honest = messages
        .iter()
        .find(|m| m.from == member(3) && m.to == member(1));
    let secret = scene.question.offered[0].as_ref().unwrap();
    let directory = &scene.network.directory;
    let opened = channel.open(honest.unwrap(), member(1), secret, directory);
    let PeerContent::Guards {
        mut round,
        mut proposal,
        mut counts,
    } = opened.unwrap().content
    else {
        panic!("guards");
    };
    change(&mut round, &mut proposal, &mut counts);
    let content = PeerContent::Guards {
        round,
        proposal,
        counts,
    };
    let signed = channel.sign(member(3), content, &key_of("aggregator3"));
    let key = secret.public();
    channel.seal(&signed, member(3), member(1), &key, &mut scene.rng)
}

#[test]
fn guards_that_are_too_few_or_contradict_each_other_release_nothing() {
    let (mut scene, batches) = committed();
    let proposal = scene.proposal(&batches);
    let all = scene.guards(&proposal);
    let second: Vec<_> = all
        .iter()
        .filter(|m| m.from == member(2))
        .cloned()
        .collect();
    let off = false_guards(&mut scene, &proposal, |_, _, counts| {
        counts[0] = field::add(counts[0], 1);
    });
    let elsewhere = false_guards(&mut scene, &proposal, |_, proposal, _| proposal[0] ^= 1);
    let later = false_guards(&mut scene, &proposal, |round, _, _| *round = 1);
    let short = false_guards(&mut scene, &proposal, |_, _, counts| counts.truncate(1));
    // With only this false opening beside its own, the aggregator computes a count above the number of homes.
    let lifted = false_guards(&mut scene, &proposal, |_, _, counts| counts[1] = 77);
    let with_second = [second.clone(), vec![off]].concat();
    let bad = Some(AggregationError::BadGuards);
    for messages in [with_second, vec![lifted]] {
        assert_eq!(scene.release_at(member(1), &messages).err(), bad);
    }
    let members = vec![member(2), member(3)];
    let unread = Some(AggregationError::Unread { members });
    for messages in [vec![], vec![elsewhere], vec![later], vec![short]] {
        assert_eq!(scene.release_at(member(1), &messages).err(), unread);
    }
    let first = scene.release_at(member(1), &second).unwrap();
    // The aggregator releases once: later messages get the same bytes.
    assert_eq!(scene.release_at(member(1), &[]).unwrap(), first);
}

/// Returns the rows of ten homes: seven in the first group, of which three have a y, and three in the second.
fn few() -> Vec<Option<Row>> {
    let row = |group, x, y| {
        Some(Row {
            group,
            levels: vec![Some(x), y],
        })
    };
    let mut rows: Vec<_> = (0..4).map(|x| row(0, 10 + x, None)).collect();
    rows.extend((0..3).map(|x| row(0, x, Some(6))));
    rows.extend((0..3).map(|x| row(1, x, Some(x))));
    rows
}

#[test]
fn what_fewer_people_than_the_cohort_stand_behind_is_masked_and_the_rest_is_exact() {
    let mut scene = Scene::new(Setting {
        rows: few(),
        ..Setting::default()
    });
    let answer = scene.honest(scene.work(0, 0));
    let batch = scene.commit(&answer);
    let totals = scene.release(&[batch]);
    let expected = [Some(7), Some(49), None, None, None, None, None, None];
    // Any two aggregators withhold and show the same outputs.
    for pair in [[0, 1], [0, 2], [1, 2]] {
        let pair = pair.map(|place: usize| totals[place].clone());
        assert_eq!(scene.read(&pair).unwrap().outputs, expected);
        for total in &pair {
            let shown = total_of(&scene, total).outputs.into_iter();
            let shown: Vec<bool> = shown.map(|output| output.is_some()).collect();
            assert_eq!(shown, expected.map(|output| output.is_some()));
        }
    }
}

/// Opens a sealed total with the querier's reply key.
fn total_of(scene: &Scene, (from, sealed): &(AggregatorId, SealedTotal)) -> Total {
    let context = Total::context(scene.question.manifest.query(), 0, from.member);
    let signed = sealed.open(&scene.question.reply, &context, 1 << 20);
    let signed = to_bytes(&signed.unwrap());
    let (body, _): (Vec<u8>, Signature) = from_bytes(&signed, 1 << 20, "signed total").unwrap();
    from_bytes(&body, 1 << 20, "total").unwrap()
}

/// Creates a released query of a 2-of-3 committee, and replaces the total of aggregator 3 by the result of `change`,
/// signed with the key of `key`.
fn liar(change: impl FnOnce(&mut Total), key: &str) -> (Scene, Vec<(AggregatorId, SealedTotal)>) {
    let (mut scene, batches) = committed();
    let mut totals = scene.release(&batches);
    let mut total = total_of(&scene, &totals[2]);
    change(&mut total);
    totals[2].1 = SealedTotal::seal(
        &Signed::new(&total, &key_of(key)),
        &scene.question.reply.public(),
        &Total::context(scene.question.manifest.query(), 0, member(3)),
        &mut scene.rng,
    );
    (scene, totals)
}

#[test]
fn a_liar_among_more_totals_than_needed_is_noticed() {
    let changes: [fn(&mut Total); 6] = [
        |total| total.outputs[1] = total.outputs[1].map(|share| field::add(share, 1)),
        |total| total.outputs[1] = None,
        |total| total.accepted += 1,
        |total| total.asked += 1,
        |total| total.proposal[0] ^= 1,
        |total| total.finds[0].1.0[0] ^= 1,
    ];
    for change in changes {
        let (scene, totals) = liar(change, "aggregator3");
        let read = scene.read(&totals);
        assert_eq!(read, Err(ReleaseError::Contradiction));
        // Without the false total, the totals of the others are the result.
        assert_eq!(
            scene.read(&totals[..2]).unwrap().outputs,
            scene.sums(scene.homes.iter().map(|home| &home.row))
        );
    }
    let (scene, totals) = liar(|_| {}, "aggregator3");
    assert_eq!(scene.read(&totals).unwrap().aggregators.len(), 3);
}

#[test]
fn a_result_is_verified_by_no_more_aggregators_than_gave_totals() {
    // With exactly t totals, a liar can change a sum unnoticed.
    let change = |total: &mut Total| total.outputs[1] = None;
    let (scene, totals) = liar(change, "nobody");
    let released = scene.read(&totals).unwrap();
    assert_eq!(
        (total_of(&scene, &totals[0]).verified, released.verified),
        (3, 2)
    );
    // Where three aggregators must verify, two totals are not a result.
    let (mut scene, batches) = committed_by(3);
    let totals = scene.release(&batches);
    let few = ReleaseError::TooFew {
        opened: 2,
        needed: 3,
    };
    assert_eq!(scene.read(&totals[..2]), Err(few));
    assert_eq!(scene.read(&totals).unwrap().verified, 3);
}

#[test]
fn totals_that_are_not_their_sender_s_for_this_query_are_left_out() {
    type Change = fn(&mut Total);
    let forged: [(Change, &str); 6] = [
        (|_| {}, "aggregator2"),
        (|total| total.round = 1, "aggregator3"),
        (|total| total.member = member(2), "aggregator3"),
        (|total| total.query = QueryId([1; 32]), "aggregator3"),
        (|total| total.committee = 1, "aggregator3"),
        (|total| total.outputs.truncate(1), "aggregator3"),
    ];
    let few = ReleaseError::TooFew {
        opened: 1,
        needed: 2,
    };
    for (change, key) in forged {
        let (scene, totals) = liar(change, key);
        assert_eq!(scene.read(&totals[1..]), Err(few.clone()));
        assert_eq!(scene.read(&totals).unwrap().aggregators.len(), 2);
    }
}

#[test]
fn totals_without_those_of_another_committee_are_no_result() {
    let (mut scene, batches) = committed();
    let totals = scene.release(&batches);
    assert!(scene.read(&totals).is_ok());
    let manifest = scene.question.manifest.with_another_committee();
    scene.question.manifest = manifest;
    let lacking = matches!(
        scene.read(&totals),
        Err(ReleaseError::TooFew { opened: 0, .. })
    );
    assert!(lacking);
}

#[test]
fn nothing_is_released_before_every_partition_s_grant_is_taken() {
    let (mut scene, batches) = committed();
    let proposal = scene.proposal(&batches);
    let certificate = scene.certificate(&proposal);
    let mut late = scene.aggregation(member(1));
    let network = &scene.network;
    let signing = key_of(&format!("aggregator{}", member(1)));
    let keys = AggregatorKeys {
        signing: &signing,
        share: &network.shares[0],
    };
    let guards = late.guards(
        &proposal,
        &certificate,
        &keys,
        &network.directory,
        &mut scene.rng,
    );
    assert_eq!(guards.err(), Some(AggregationError::NoGrant));
}

#[test]
fn fewer_totals_than_the_threshold_are_too_few_however_often_they_come() {
    let (mut scene, batches) = committed();
    let totals = scene.release(&batches);
    let few = |opened| Err(ReleaseError::TooFew { opened, needed: 2 });
    assert_eq!(scene.read(&[]), few(0));
    assert_eq!(scene.read(&totals[..1]), few(1));
    let twice = [totals[0].clone(), totals[0].clone()];
    assert_eq!(scene.read(&twice), few(1));
    let renamed = [totals[0].clone(), (aggregator(2), totals[0].1.clone())];
    assert_eq!(scene.read(&renamed), few(1));
}
