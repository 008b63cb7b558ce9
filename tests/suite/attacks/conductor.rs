//! Attacks of a dishonest conductor.

use std::sync::Arc;

use dispers_base::id::AggregatorId;
use dispers_core::{
    aggregation::Quorum,
    conduct::{Command, Event, StepError},
    find::{ListSegment, ProfileOpening},
    release::{Certificate, Proposal},
};
use dispers_crypto::{envelope::Sealed, oprf::Pseudonym};
use dispers_node::rng;
use dispers_query::profile::Profile;

use super::{Forge, aggregator, everybody, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_substitutes_the_profile_finds_nobody() {
    let forge = Forge::new().await;
    let manifest = forge.prepared.signed();
    let directory = forge.network.directory();
    let pool = directory
        .pool(dispers_base::id::Role::TargetFinder, 0)
        .unwrap();
    // The conductor may choose any pseudonym that it keeps a list for, and any salt.
    let pseudonym: Pseudonym = forge.uploads[0].entries[0].pseudonym;
    let opening = ProfileOpening {
        profile: Profile::atom(pseudonym),
        salt: [7; 32],
    };
    let context = ProfileOpening::context(manifest.query());
    let profile = Sealed::seal(&opening, &pool.envelope_key, &context, &mut rng());
    let driver = forge.driver(manifest, &[profile], &forge.segments());
    let ended = forge.driven(&driver).await;
    let words = "the target profile is not the one that the manifest commits to";
    assert!(ended.failure().contains(words), "{}", ended.failure());
    assert_eq!(ended.status.homes.asked, 0);
    forge.network.stop().await;
}

/// Runs the query for one city over changed lists. Returns the number of homes and the sum of their ages.
async fn over(change: impl FnOnce(&Forge, &mut Vec<ListSegment>)) -> (i128, i128) {
    let lyon = "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 100, 1)) AS ages FROM people \
                WHERE concept('city>lyon')";
    let forge = Forge::asking(lyon).await;
    let mut segments = forge.segments();
    change(&forge, &mut segments);
    let prepared = &forge.prepared;
    let driver = forge.driver(prepared.signed(), prepared.profiles(), &segments);
    let ended = forge.driven(&driver).await;
    forge.network.stop().await;
    ended.row()
}

/// Result for the homes with even numbers, which live in Lyon.
const LYON: (i128, i128) = (30, 870);

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_moves_entries_to_another_list_adds_nobody() {
    let row = over(|forge, segments| {
        // Every entry of every list is put under the asked pseudonym.
        let asked = forge.prepared.pseudonyms()[0];
        *segments = forge.every_list();
        let entries = segments.iter_mut().flat_map(|segment| &mut segment.entries);
        entries.for_each(|entry| entry.pseudonym = asked);
    })
    .await;
    assert_eq!(row, LYON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_repeats_or_invents_entries_adds_nobody() {
    let row = over(|forge, segments| {
        segments.extend(forge.segments());
        segments.extend(forge.segments());
        let mut invented = forge.segments();
        for (byte, entry) in invented.iter_mut().flat_map(|s| &mut s.entries).enumerate() {
            let length = entry.ciphertext.len();
            entry.ciphertext[byte % length] ^= 1;
        }
        segments.extend(invented);
    })
    .await;
    assert_eq!(row, LYON);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_drops_entries_asks_fewer_and_never_below_the_cohort() {
    let (n, _) = over(|_, segments| {
        segments.pop();
    })
    .await;
    assert!((20..30).contains(&n));

    let forge = Forge::new().await;
    let mut segments = forge.segments();
    segments.truncate(1);
    let prepared = &forge.prepared;
    let driver = forge.driver(prepared.signed(), prepared.profiles(), &segments);
    let ended = forge.driven(&driver).await;
    assert!(
        ended.failure().contains("may not be asked"),
        "{}",
        ended.failure()
    );
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_cuts_a_find_several_ways_counts_no_home_twice() {
    let forge = Forge::new().await;
    let (prepared, segments) = (&forge.prepared, forge.segments());
    let driver_of =
        |size| forge.driver_that_cuts(size, prepared.signed(), prepared.profiles(), &segments);
    let (driver, memory) = driver_of(20);
    // The second cut has three batches of twenty homes too, with the same homes in another order.
    let (second, cut) = driver_of(25);
    let find = Command::Find { partition: 0 };
    let Event::Found(_, Ok(found)) = second.carry_out(find).await else {
        panic!("the second cut is found");
    };
    let grants_of = |to: AggregatorId| {
        let grants = found.grants.iter();
        let own = grants.filter(|(_, member, _)| *member == to.member);
        own.map(|(_, _, grant)| (0, grant.clone())).collect()
    };
    let mut refused = Vec::new();
    let ended = forge
        .run(
            &driver,
            |command| match command {
                Command::Begin { aggregator, grants } => {
                    let second = Command::Begin {
                        aggregator,
                        grants: Arc::new(grants_of(aggregator)),
                    };
                    vec![Command::Begin { aggregator, grants }, second]
                }
                Command::Ask { work, .. } if work.batch.number > 0 => {
                    let other = cut.batches.lock().unwrap()[&work.batch].clone();
                    memory.batches.lock().unwrap().insert(work.batch, other);
                    vec![command]
                }
                command => vec![command],
            },
            |event| {
                if let Event::Begun(from, Err(error)) = &event {
                    refused.push((*from, error.to_string()));
                }
                event
            },
        )
        .await;
    let aggregators: Vec<_> = refused.iter().map(|(from, _)| *from).collect();
    assert_eq!(aggregators, [1, 2, 3].map(aggregator));
    for (_, words) in refused {
        assert!(words.contains("another find"), "{words}");
    }
    // The homes of the second cut were asked, but their tickets belong to a find that no aggregator accepts.
    assert_eq!(ended.status.homes.accepted, 20);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_finds_twice_is_refused_the_second_time() {
    let forge = Forge::new().await;
    let begun = |event: &Event| matches!(event, Event::Begun(..));
    forge.until(&forge.honest_driver(), begun).await;
    // Lists without one host would show, by difference, what its homes contributed.
    let mut fewer = forge.segments();
    fewer.pop();
    let prepared = &forge.prepared;
    let driver = forge.driver(prepared.signed(), prepared.profiles(), &fewer);
    let ended = forge.driven(&driver).await;
    let words = ended.failure();
    assert!(words.contains("was over other lists"), "{words}");
    // Over reversed segments the finder finds the same homes, but the aggregators accept one find only.
    let mut reversed = forge.segments();
    reversed.reverse();
    let driver = forge.driver(prepared.signed(), prepared.profiles(), &reversed);
    let Event::Begun(_, result) = forge.until(&driver, begun).await else {
        unreachable!("the event was chosen");
    };
    let words = refusal(result);
    assert!(words.contains("another find was taken"), "{words}");
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_streams_other_lists_than_the_profile_s_finds_nobody() {
    let forge = Forge::asking(
        "SELECT COUNT(*) AS n FROM people WHERE concept('city>lyon') OR concept('city>paris')",
    )
    .await;
    let prepared = &forge.prepared;
    // The find streams entries of a list that is not in it.
    let driver = forge.driver(prepared.signed(), prepared.profiles(), &forge.every_list());
    let words = forge.driven(&driver).await.failure();
    assert!(words.contains("an entry of another list"), "{words}");
    // The find has one list less than the profile, as if that list were empty.
    let left = &prepared.pseudonyms()[..1];
    let mut segments = forge.segments();
    for segment in &mut segments {
        segment
            .entries
            .retain(|entry| left.contains(&entry.pseudonym));
    }
    let driver = forge.driver_over(left, prepared.signed(), prepared.profiles(), &segments);
    let words = forge.driven(&driver).await.failure();
    assert!(
        words.contains("not exactly those of the target profile"),
        "{words}"
    );
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_replays_a_batch_under_another_attempt_counts_it_once() {
    let forge = Forge::new().await;
    let mut kept = None;
    let ended = forge
        .told(|event| match event {
            // It hides the first answer to a batch, and shows it in place of the second.
            Event::Asked(work, Ok(answer)) if work.attempt == 0 && work.batch.number == 0 => {
                kept = Some(answer);
                Event::Asked(work, Err(StepError::Unreachable))
            }
            Event::Asked(work, Ok(_)) if work.attempt == 1 => {
                let mut old = kept.take().unwrap();
                old.statement.work = work;
                Event::Asked(work, Ok(forge.as_target(&old, old.groups.clone())))
            }
            event => event,
        })
        .await;
    // Even with the target's signature, the old groups open for nobody under another attempt. This attempt is over, no
    // aggregator is out, and the third attempt counts.
    assert_eq!(ended.status.homes.accepted, 60);
    assert_eq!((ended.row(), ended.status.missing), (everybody(), vec![]));
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_tells_different_quorums_gets_nothing_committed() {
    let forge = Forge::new().await;
    let ended = forge
        .carrying_out(|command| match command {
            Command::Decide {
                aggregator: to,
                work,
                messages,
                ..
            } if to == aggregator(1) => vec![Command::Decide {
                aggregator: to,
                work,
                quorum: Quorum::new([aggregator(1), aggregator(2)].map(|one| one.member)),
                messages,
            }],
            command => vec![command],
        })
        .await;
    assert!(
        ended.failure().contains("did not agree"),
        "{}",
        ended.failure()
    );
    assert_eq!(ended.status.homes.accepted, 0);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_proposes_two_releases_gets_one() {
    let forge = Forge::new().await;
    let driver = forge.honest_driver();
    let mut whole: Option<Proposal> = None;
    let mut certificate: Option<Certificate> = None;
    let ended = forge
        .run(
            &driver,
            |command| {
                if let Command::Notarise { proposal } = &command {
                    whole = Some((**proposal).clone());
                }
                if let Command::Guards { certificate: c, .. } = &command {
                    certificate = Some((**c).clone());
                }
                vec![command]
            },
            |event| event,
        )
        .await;
    assert_eq!(ended.row(), everybody());
    let mut without_one = whole.unwrap();
    without_one.batches.pop();
    let proposal = std::sync::Arc::new(without_one);
    let notarise = Command::Notarise {
        proposal: proposal.clone(),
    };
    let Event::Notarised(second) = driver.clone().carry_out(notarise).await else {
        unreachable!("a command is answered by its event");
    };
    let words = refusal(second);
    assert!(words.contains("another"), "{words}");
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_release_that_the_notary_certifies_is_refused_by_every_aggregator() {
    let forge = Forge::new().await;
    let driver = forge.honest_driver();
    let mut first: Option<Proposal> = None;
    // The query stops where the guards would be opened for the second time.
    let event = forge
        .until(&driver, |event| matches!(event, Event::Guarded(..)))
        .await;
    let Event::Guarded(one, Ok(_)) = event else {
        panic!("the honest proposal is opened");
    };
    assert!(first.replace(forge_proposal(&forge)).is_none());
    let proposal = first.unwrap();
    let certificate = Certificate::new(
        proposal.query,
        proposal.round,
        proposal.hash(),
        forge.signing("target-finder"),
    );
    let guards = Command::Guards {
        aggregator: one,
        proposal: proposal.into(),
        certificate: certificate.into(),
    };
    let Event::Guarded(_, second) = driver.clone().carry_out(guards).await else {
        unreachable!("a command is answered by its event");
    };
    let words = refusal(second);
    assert!(words.contains("another proposal was certified"), "{words}");
    forge.network.stop().await;
}

/// Returns a proposal without batches, for the prepared query.
fn forge_proposal(forge: &Forge) -> Proposal {
    Proposal {
        query: forge.prepared.manifest().query(),
        round: 0,
        batches: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_relabels_an_envelope_for_another_reader_is_refused() {
    let forge = Forge::new().await;
    let ended = forge
        .carrying_out(|command| match command {
            // Each aggregator is handed the groups of the next.
            Command::Open {
                aggregator,
                position,
                answer,
            } => vec![Command::Open {
                aggregator,
                position: (position + 1) % 3,
                answer,
            }],
            command => vec![command],
        })
        .await;
    let words = ended.failure();
    assert!(
        words.contains("could not open or that it had not signed"),
        "{words}"
    );
    assert_eq!(ended.status.missing, []);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_swaps_messages_between_aggregators_gets_no_result() {
    let forge = Forge::new().await;
    let ended = forge
        .carrying_out(|command| match command {
            Command::Verify {
                aggregator: to,
                work,
                mut messages,
            } => {
                for message in &mut messages {
                    message.to = aggregator(to.member.point() % 3 + 1).member;
                }
                vec![Command::Verify {
                    aggregator: to,
                    work,
                    messages,
                }]
            }
            command => vec![command],
        })
        .await;
    let words = ended.failure();
    assert!(words.contains("contradicted most others"), "{words}");
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_does_everything_twice_changes_nothing() {
    let forge = Forge::new().await;
    let ended = forge
        .carrying_out(|command| match command {
            // A find consumes its lists, and homes answer once. Every other command may be repeated.
            Command::Find { .. } | Command::Ask { .. } => vec![command],
            command => vec![command.clone(), command],
        })
        .await;
    assert_eq!(ended.row(), everybody());
    forge.network.stop().await;
}
