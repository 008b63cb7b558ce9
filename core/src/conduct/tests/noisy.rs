//! Tests of queries whose result is noisy, and of dealers that cheat.

use super::honest::setting;
use crate::{
    aggregation::{AggregationError, Deal, DealRequest},
    ask::{SealedGroup, group_context, group_digest},
    conduct::{Command, Conduct, Event, Failure, Phase, StepError},
    peer::{Channel, PeerContent, PeerMessage},
    testing::{Scene, Setting, addressee, aggregator, failed, home, label, member},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    field,
    id::{BatchId, MemberNumber},
    weakness::{Weakness, without},
};
use dispers_privacy::Noise;

fn noisy(committee: (u8, u8), noise: (f64, Option<f64>)) -> Scene {
    Scene::new(Setting {
        noise: Some(noise),
        ..setting(committee, &[])
    })
}

#[test]
fn no_step_of_the_cohort_shows_in_the_funnel_of_a_noisy_query() {
    let mut off = Vec::new();
    // 63 and 64 homes lie on either side of a step of the cohort.
    for homes in [63, 64] {
        let mut scene = Scene::new(Setting {
            rows: (0..homes).map(home).collect(),
            size_noise: 2,
            noise: Some((1.0, None)),
            ..Setting::default()
        });
        let conduct = scene.drive(|_, _| None);
        let status = conduct.status();
        assert_eq!((status.phase, status.failure), (Phase::Done, None));
        // The conductor and the aggregators report the same numbers of homes that were asked and that answered.
        let released = scene.read(conduct.totals().unwrap()).unwrap();
        let reported = status.homes;
        assert_eq!(
            (reported.targeted, reported.asked),
            (released.asked, released.asked)
        );
        assert_eq!(
            (reported.answered, reported.accepted),
            (released.accepted, released.accepted)
        );
        assert!(status.about);
        assert!((reported.targeted..=reported.targeted + 56).contains(&homes));
        assert_eq!((status.batches, status.batches_done), (0, 0));
        off.push(homes - reported.targeted);
    }
    // Neither number is exact, nor the next lower step of the cohort.
    assert!(off.iter().all(|off| *off > 4), "{off:?}");
}

/// Returns the noise in each released output, after checking that it is within the bound of what may be dealt.
fn noise(scene: &Scene, conduct: &Conduct, dealers: usize) -> Vec<i128> {
    let status = conduct.status();
    assert_eq!((status.phase, status.failure), (Phase::Done, None));
    assert!(status.about);
    assert_eq!((status.batches, status.batches_done), (0, 0));
    assert_eq!(status.homes.accepted, 40);
    let released = scene.read(conduct.totals().unwrap()).unwrap();
    assert_eq!((released.asked, released.accepted), (40, 40));
    let exact = scene.sums(scene.homes.iter().map(|home| &home.row));
    let manifest = &scene.question.manifest;
    let circuit = manifest.circuit();
    let needed = usize::from(manifest.committees[0].needed);
    let privacy = manifest.privacy.as_ref().unwrap();
    let plan = Noise::plan(privacy, &circuit.sensitivities(), needed, dealers).unwrap();
    let moments = circuit.moments_of_outputs();
    let outputs = released.outputs.iter().zip(exact).zip(moments);
    outputs
        .map(|((output, exact), moment)| {
            let exact = exact.expect("everything is released without noise");
            let noise = field::signed(field::sub(output.unwrap_or(exact), exact));
            assert!(noise.unsigned_abs() <= plan.largest(moment));
            noise
        })
        .collect()
}

#[test]
fn a_noisy_result_is_the_sums_with_the_noise_of_every_dealer() {
    for committee in [(2, 3), (3, 5)] {
        for (epsilon, delta) in [(3.0, None), (1.0, Some(0.3))] {
            let mut scene = noisy(committee, (epsilon, delta));
            let mut dealt = 0;
            let conduct = scene.drive(|_, command| {
                dealt += usize::from(label(command) == "deal");
                None
            });
            let dealers = if delta.is_some() {
                committee.1
            } else {
                committee.0
            };
            assert_eq!(dealt, usize::from(dealers));
            let noise = noise(&scene, &conduct, dealt);
            assert!(noise.iter().any(|noise| *noise != 0));
        }
    }
}

#[test]
fn a_query_without_noise_has_none_dealt_and_no_aggregator_deals_unasked() {
    let mut scene = Scene::new(setting((2, 3), &[]));
    let conduct = scene.drive(|_, command| {
        assert_ne!(label(command), "deal");
        None
    });
    assert_eq!(conduct.status().phase, Phase::Done);
    let mut scene = Scene::new(setting((2, 3), &[]));
    let request = request(&scene, &[1, 2]);
    let refused = scene.deal_at(member(1), &request).err();
    assert_eq!(refused, Some(AggregationError::WrongWork));
}

fn request(scene: &Scene, dealers: &[u8]) -> DealRequest {
    let mut work = scene.work(0, 0);
    work.batch = BatchId::noise(0);
    DealRequest {
        work,
        dealers: dealers.iter().copied().map(member).collect(),
    }
}

#[test]
fn noise_is_dealt_by_as_many_as_leave_enough_when_some_collude() {
    for (delta, good, bad) in [
        (
            None,
            &[&[1, 2][..], &[2, 3]][..],
            &[&[1][..], &[1, 2, 3]][..],
        ),
        (Some(0.3), &[&[1, 2, 3], &[1, 3]], &[&[3]]),
    ] {
        let mut scene = noisy((2, 3), (1.0, delta));
        let mut deal = |dealers: &[u8], by| {
            let request = request(&scene, dealers);
            scene.deal_at(member(by), &request).err()
        };
        for dealers in good {
            assert_eq!(deal(dealers, dealers[0]), None);
        }
        for dealers in bad {
            assert_eq!(deal(dealers, dealers[0]), Some(AggregationError::WrongWork));
        }
        // Dealers that are not in order, listed twice, not of the committee; and a dealer that is not among those
        // listed.
        for dealers in [&[2, 1], &[1, 1], &[1, 9]] {
            assert_eq!(deal(dealers, 1), Some(AggregationError::WrongWork));
        }
        assert_eq!(deal(&[1, 2], 3), Some(AggregationError::WrongStep));
    }
}

#[test]
fn a_dealer_that_is_lost_before_or_after_it_dealt_is_not_missed() {
    for step in ["deal", "open deals", "verify", "decide", "commit"] {
        for delta in [None, Some(0.3)] {
            let mut scene = noisy((3, 5), (1.0, delta));
            let (mut gone, mut dealers) = (false, 0);
            let conduct = scene.drive(|_, command| {
                if let Command::Deal { request, .. } = command {
                    dealers = request.dealers.len();
                }
                let noise = dealers > 0 && addressee(command) == Some(aggregator(2));
                gone |= noise && label(command) == step;
                (gone && addressee(command) == Some(aggregator(2)))
                    .then(|| failed(command, StepError::Unreachable))
            });
            assert!(gone, "{step}");
            noise(&scene, &conduct, dealers);
            assert_eq!(conduct.status().missing, [aggregator(2)]);
        }
    }
}

#[test]
fn too_few_answers_end_a_noisy_query_before_it_is_charged() {
    let mut scene = noisy((2, 3), (1.0, Some(0.3)));
    let conduct = scene.drive(|scene, command| match command {
        Command::Ask { work, .. } => {
            let mut answers = scene.answers(*work);
            answers.truncate(usize::from(work.batch.number == 0));
            Some(Event::Asked(*work, Ok(scene.collect(*work, answers))))
        }
        Command::Deal { .. } => panic!("aggregators charge for noise"),
        _ => None,
    });
    let failure = conduct.status().failure;
    assert!(
        matches!(failure, Some(Failure::TooFewAnswers { .. })),
        "{failure:?}"
    );
}

/// Runs a query in which `change` is applied to the first deal of aggregator 1.
fn cheating(scene: &mut Scene, mut change: impl FnMut(&mut Scene, &mut Deal)) -> Conduct {
    let mut cheated = false;
    scene.drive(|scene, command| {
        let Command::Deal {
            aggregator: dealer,
            request,
        } = command
        else {
            return None;
        };
        if *dealer != aggregator(1) || std::mem::replace(&mut cheated, true) {
            return None;
        }
        let mut deal = scene.deal_at(member(1), request).unwrap();
        change(scene, &mut deal);
        Some(Event::Dealt(*dealer, request.work, Ok(deal)))
    })
}

/// Replaces the third aggregator's share by one that does not open for it, under a valid signature of the dealer.
fn spoil_the_third_share(scene: &Scene, deal: &mut Deal) {
    deal.shares[2] = deal.shares[0].clone();
    deal.statement.digests[2] = deal.statement.digests[0];
    deal.signature = deal.statement.signed_by(&scene.key(deal.statement.dealer));
}

#[test]
fn a_dealer_of_malformed_noise_is_refused_and_named() {
    type Change = fn(&mut Scene, &mut Deal);
    let changes: [Change; 2] = [
        // A share that differs from the signed one.
        |_, deal| deal.shares[1] = deal.shares[0].clone(),
        // Noise out of its bound, made with a circuit that allows more.
        |scene, deal| *deal = scene.forge_deal(member(1), &deal.statement.request),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut scene = noisy((2, 3), (1.0, Some(0.3)));
        let conduct = cheating(&mut scene, change);
        assert_eq!(conduct.status().missing, [aggregator(1)], "{number}");
        noise(&scene, &conduct, 2);
    }
}

#[test]
fn faults_of_noise_are_found_in_a_committee_that_is_too_large_to_try_every_set() {
    let forging = |scene: &mut Scene, deal: &mut Deal| {
        *deal = scene.forge_deal(member(1), &deal.statement.request);
    };
    let mut scene = noisy((7, 13), (1.0, Some(0.3)));
    let conduct = cheating(&mut scene, forging);
    assert_eq!(conduct.status().missing, [aggregator(1)]);
    noise(&scene, &conduct, 12);
    let (scene, conduct) = denying(&[3], (7, 13), 1, false);
    assert_eq!(conduct.status().missing, []);
    noise(&scene, &conduct, 13);
}

#[test]
fn a_dealer_that_deals_one_aggregator_a_false_share_costs_an_attempt_and_nobody_its_place() {
    type Change = fn(&mut Scene, &mut Deal);
    let changes: [Change; 2] = [
        // Shares of other noise for one aggregator.
        |scene, deal| {
            let other = scene.deal_at(member(1), &deal.statement.request).unwrap();
            deal.shares[2] = other.shares[2].clone();
            deal.statement.digests[2] = other.statement.digests[2];
            deal.signature = deal.statement.signed_by(&scene.key(member(1)));
        },
        // A share that does not open.
        |scene, deal| spoil_the_third_share(scene, deal),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut scene = noisy((2, 3), (1.0, Some(0.3)));
        let conduct = cheating(&mut scene, change);
        assert_eq!(conduct.status().missing, [], "{number}");
        noise(&scene, &conduct, 3);
    }
}

/// Runs a query in which each aggregator of `liars` says, at the first `attempts` attempts, that it has no share of the
/// first dealer's noise, and accuses that dealer. The first liar also deals malformed noise if `forges`.
fn denying(liars: &[u8], committee: (u8, u8), attempts: u8, forges: bool) -> (Scene, Conduct) {
    let mut scene = noisy(committee, (1.0, Some(0.3)));
    let liars: Vec<_> = liars.iter().map(|liar| aggregator(*liar)).collect();
    let conduct = scene.drive(|scene, command| match command {
        Command::Deal {
            aggregator: dealer,
            request,
        } if *dealer == liars[0] && forges => {
            let deal = scene.forge_deal(dealer.member, request);
            Some(Event::Dealt(*dealer, request.work, Ok(deal)))
        }
        Command::Verify {
            aggregator: from,
            work,
            ..
        } if liars.contains(from) && work.batch.is_noise() && work.attempt < attempts => {
            let mut event = scene.carry_out(command);
            if let Event::Verified(_, _, Ok(messages)) = &mut event {
                for message in messages {
                    *message = without_the_first(scene, message);
                }
            }
            Some(event)
        }
        Command::Decide {
            aggregator: from,
            work,
            ..
        } if liars.contains(from) && work.batch.is_noise() && work.attempt < attempts => {
            let error = StepError::BadDeals {
                dealers: vec![member(1)],
                disputes: Vec::new(),
            };
            Some(failed(command, error))
        }
        _ => None,
    });
    (scene, conduct)
}

/// Returns a verifier message without the share at the first index, signed again.
fn without_the_first(scene: &mut Scene, message: &PeerMessage) -> PeerMessage {
    let manifest = scene.question.manifest.clone();
    let channel = Channel {
        query: manifest.query(),
        committee: 0,
    };
    let secret = scene.question.offered[message.to.index()].as_ref().unwrap();
    let opened = channel.open(message, message.to, secret, &scene.network.directory);
    let mut content = opened.unwrap().content;
    let PeerContent::Verifier { present, .. } = &mut content else {
        panic!("a verifier message");
    };
    present[0] &= !1;
    let signed = channel.sign(message.from, content, &scene.key(message.from));
    let mut offers = manifest.offers(0);
    let (_, key) = offers.find(|(to, _)| *to == message.to).unwrap();
    channel.seal(&signed, message.from, message.to, key, &mut scene.rng)
}

#[test]
fn an_aggregator_that_denies_one_dealer_s_share_puts_no_dealer_out() {
    let once = || denying(&[3], (2, 3), 1, false);
    let (scene, conduct) = once();
    assert_eq!(conduct.status().missing, []);
    noise(&scene, &conduct, 3);
    let (_, conduct) = without(Weakness::FalseBitEvictsDealer, once);
    assert_eq!(conduct.status().missing, [aggregator(1)]);
    // If the aggregator denies the share at every attempt, the query fails and names both the dealer and this
    // aggregator.
    let (_, conduct) = denying(&[3], (2, 3), u8::MAX, false);
    let status = conduct.status();
    let disputes = vec![(aggregator(1), vec![member(3)])];
    assert_eq!(status.failure, Some(Failure::Disputes { disputes }));
    assert_eq!(status.missing, []);
}

#[test]
fn a_dealer_of_malformed_noise_that_denies_another_s_share_is_out_alone() {
    let (scene, conduct) = denying(&[3], (2, 3), u8::MAX, true);
    assert_eq!(conduct.status().missing, [aggregator(3)]);
    noise(&scene, &conduct, 2);
}

#[test]
fn fewer_aggregators_than_t_that_deny_one_dealer_s_share_put_no_dealer_out() {
    let once = || denying(&[4, 5], (3, 5), 1, false);
    let (scene, conduct) = once();
    assert_eq!(conduct.status().missing, []);
    noise(&scene, &conduct, 5);
    let (_, conduct) = without(Weakness::FalseBitEvictsDealer, once);
    assert_eq!(conduct.status().missing, [aggregator(1)]);
}

#[test]
fn fewer_dealers_than_t_that_deal_one_aggregator_false_shares_do_not_put_it_out() {
    let mut scene = noisy((3, 5), (1.0, Some(0.3)));
    let conduct = scene.drive(|scene, command| {
        let Command::Deal {
            aggregator: dealer,
            request,
        } = command
        else {
            return None;
        };
        let lies = [1, 2].map(aggregator).contains(dealer) && request.work.attempt == 0;
        lies.then(|| {
            let mut deal = scene.deal_at(dealer.member, request).unwrap();
            spoil_the_third_share(scene, &mut deal);
            Event::Dealt(*dealer, request.work, Ok(deal))
        })
    });
    assert_eq!(conduct.status().missing, []);
    noise(&scene, &conduct, 5);
}

#[test]
fn a_dealer_that_signs_other_noise_than_was_asked_puts_nobody_else_out() {
    type Change = fn(&mut Scene, &mut Deal);
    let changes: [Change; 5] = [
        // A share that makes the request to its reader too large, under a valid signature.
        |scene, deal| {
            let (manifest, position) = (scene.question.manifest.clone(), 1);
            let (_, key) = manifest.offers(0).nth(position).unwrap();
            let context = group_context(deal.statement.request.work, &[0; 32], 0, member(2));
            let bytes = vec![0; 1 << 20];
            deal.shares[position] = SealedGroup::seal_bytes(bytes, key, &context, &mut scene.rng);
            deal.statement.digests[position] = group_digest(&deal.shares[position]);
            deal.signature = deal.statement.signed_by(&scene.key(member(1)));
        },
        |scene, deal| deal.signature = deal.statement.signed_by(&scene.key(member(2))),
        |scene, deal| {
            deal.statement.request.work.attempt = 1;
            deal.signature = deal.statement.signed_by(&scene.key(member(1)));
        },
        |scene, deal| {
            deal.statement.dealer = member(2);
            deal.signature = deal.statement.signed_by(&scene.key(member(1)));
        },
        |scene, deal| {
            deal.statement.digests.pop();
            deal.signature = deal.statement.signed_by(&scene.key(member(1)));
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut scene = noisy((2, 3), (1.0, Some(0.3)));
        let conduct = cheating(&mut scene, change);
        assert_eq!(conduct.status().missing, [aggregator(1)], "{number}");
        noise(&scene, &conduct, 2);
    }
}

#[test]
fn a_release_without_the_noise_is_refused() {
    let mut scene = noisy((2, 3), (1.0, None));
    let mut refused = 0;
    scene.drive(|scene, command| {
        let Command::Notarise { proposal } = command else {
            return None;
        };
        let mut without = (**proposal).clone();
        without.batches.retain(|batch| !batch.batch.is_noise());
        let certificate = scene.certificate(&without);
        for number in 1..=3 {
            let error = scene
                .guards_at(member(number), &without, &certificate)
                .err();
            assert_eq!(error, Some(AggregationError::NotCommitted));
            refused += 1;
        }
        None
    });
    assert_eq!(refused, 3);
}

#[test]
fn deals_are_bound_to_their_query_attempt_and_dealers() {
    let mut scene = noisy((2, 3), (1.0, Some(0.3)));
    let first = request(&scene, &[1, 2]);
    let mut second = first.clone();
    second.work.attempt = 1;
    let all = request(&scene, &[1, 2, 3]);
    let deals = |scene: &mut Scene, request: &DealRequest| -> Vec<Deal> {
        let dealers = request.dealers.clone();
        let deal = |member: MemberNumber| scene.deal_at(member, request).unwrap();
        dealers.into_iter().map(deal).collect()
    };
    let of_first = deals(&mut scene, &first);
    for other in [&second, &all] {
        let mut foreign = deals(&mut scene, other);
        foreign[0] = of_first[0].clone();
        let error = scene.open_deals_at(member(3), other, &foreign).err();
        let dealer = member(1);
        assert_eq!(error, Some(AggregationError::FalseDeal { dealer }));
    }
    assert!(scene.open_deals_at(member(3), &first, &of_first).is_ok());
    // D is frozen: other deals of the same attempt are refused for good.
    let others = deals(&mut scene, &first);
    let error = scene.open_deals_at(member(3), &first, &others).err();
    assert_eq!(error, Some(AggregationError::OtherGroups));
    let bytes = to_bytes(&of_first[0]);
    let decoded: Deal = from_bytes(&bytes, 1 << 24, "deal").unwrap();
    assert_eq!(to_bytes(&decoded), bytes);
}
