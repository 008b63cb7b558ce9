//! Attacks of a dishonest target, helped by a conductor.

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{BatchId, MemberNumber, Work},
    labels,
};
use dispers_circuit::{
    Row,
    contribution::{Contribution, share},
};
use dispers_core::{
    ask::{Answer, Ask, HomeAsk, MAX_ANSWER, SealedGroup, group_context},
    conduct::{Command, Event, StepError},
    find::{MAX_BATCH, TargetBatch},
    subscription::Link,
};
use dispers_node::{Channels, rng};
use dispers_proto::{Messages, chunks, v1::stack_client::StackClient};
use rand::Rng;

use super::{Forge, aggregator, everybody};

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_forges_contributions_has_none_of_them_counted() {
    let forge = Forge::new().await;
    let manifest = forge.prepared.manifest().clone();
    let forged = |work: Work| -> Vec<Vec<SealedGroup>> {
        let row = Row {
            group: 0,
            levels: vec![Some(100)],
        };
        let offers: Vec<_> = manifest.offers(0).collect();
        let points: Vec<MemberNumber> = offers.iter().map(|(member, _)| *member).collect();
        let input = manifest.circuit().as_rows().unwrap().encode(Some(&row));
        let input = input.unwrap();
        let contributions: Vec<Contribution> = (0..20)
            .map(|index| {
                // The target knows every index, and no tag.
                let mut tags = vec![[0; 16]; 3];
                tags.iter_mut().for_each(|tag| rng().fill_bytes(tag));
                Contribution::new(index, tags, &input)
            })
            .collect();
        let groups = share(manifest.circuit(), &contributions, &points, 2, &mut rng()).unwrap();
        let seal = |(group, (member, key)): (_, &(MemberNumber, &_))| {
            let group: dispers_circuit::contribution::GroupShare = group;
            let context = group_context(work, &[0; 32], 0, *member);
            vec![SealedGroup::seal_bytes(
                group.encode().to_vec(),
                key,
                &context,
                &mut rng(),
            )]
        };
        groups.into_iter().zip(&offers).map(seal).collect()
    };
    let ended = forge
        .told(|event| match event {
            Event::Asked(work, Ok(answer)) => {
                Event::Asked(work, Ok(forge.as_target(&answer, forged(work))))
            }
            event => event,
        })
        .await;
    assert_eq!(ended.status.homes.accepted, 0);
    assert!(
        ended.failure().contains("only about 0 of about 60 homes"),
        "{}",
        ended.failure()
    );
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_adds_its_own_beside_honest_ones_adds_nothing() {
    let forge = Forge::new().await;
    let mut copies = None;
    let ended = forge
        .told(|event| match event {
            // A group of the first batch is repeated in the second: its homes' tags belong to the first.
            Event::Asked(work, Ok(answer)) => {
                let mut groups = answer.groups.clone();
                if let Some(first) = copies.take() {
                    let first: Vec<Vec<SealedGroup>> = first;
                    for (all, more) in groups.iter_mut().zip(first) {
                        all.extend(more.into_iter().take(1));
                    }
                }
                copies = Some(answer.groups.clone());
                Event::Asked(work, Ok(forge.as_target(&answer, groups)))
            }
            event => event,
        })
        .await;
    assert_eq!(ended.row(), everybody());
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_drops_all_but_a_few_releases_nothing() {
    let forge = Forge::new().await;
    let ended = forge
        .told(|event| match event {
            Event::Asked(work, Ok(answer)) => {
                let mut groups = answer.groups.clone();
                groups.iter_mut().for_each(|all| all.truncate(1));
                Event::Asked(work, Ok(forge.as_target(&answer, groups)))
            }
            event => event,
        })
        .await;
    assert!(
        ended.failure().contains("the query demands 500 in 1000"),
        "{}",
        ended.failure()
    );
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_sends_different_groups_to_aggregators_loses_those_that_differ() {
    let forge = Forge::new().await;
    let ended = forge
        .carrying_out(|command| match command {
            Command::Open {
                aggregator: to,
                position,
                answer,
            } if to == aggregator(2) => {
                let mut groups = answer.groups.clone();
                groups[position].pop();
                let answer = forge.as_target(&answer, groups).into();
                vec![Command::Open {
                    aggregator: to,
                    position,
                    answer,
                }]
            }
            command => vec![command],
        })
        .await;
    // The two aggregators that froze the same groups go on. The third gets no matching messages.
    assert_eq!(ended.row(), everybody());
    assert_eq!(ended.status.missing, [aggregator(2)]);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_not_those_that_were_signed_cost_an_attempt_and_no_aggregator() {
    let forge = Forge::new().await;
    let mut refusals = 0;
    let driver = forge.honest_driver();
    let ended = forge
        .run(
            &driver,
            |command| match command {
                Command::Open {
                    aggregator: to,
                    position,
                    answer,
                } if to == aggregator(2) && answer.statement.work.attempt == 0 => {
                    let mut answer = (*answer).clone();
                    answer.groups[position].pop();
                    vec![Command::Open {
                        aggregator: to,
                        position,
                        answer: answer.into(),
                    }]
                }
                command => vec![command],
            },
            |event| {
                if let Event::Opened(_, _, Err(StepError::OtherBytes { target })) = &event {
                    assert_eq!(target.as_str(), "target");
                    refusals += 1;
                }
                event
            },
        )
        .await;
    assert_eq!(ended.row(), everybody());
    assert_eq!((refusals, ended.status.missing), (3, vec![]));
    forge.network.stop().await;
}

/// Returns a batch that the target opened, and the addresses of its homes.
fn opened(forge: &Forge) -> (TargetBatch, Vec<Link>) {
    let recording = forge.network.recording().unwrap();
    let (.., record) = recording
        .records()
        .find(|(name, ..)| name.as_str() == "target")
        .unwrap();
    let received = record.received();
    let of = |purpose| {
        let opened = received.opened.iter();
        opened.filter(move |one| one.purpose == purpose)
    };
    let batch = of(labels::ENVELOPE_TARGETS).next().unwrap();
    let links = of(labels::ENVELOPE_LINK);
    (
        from_bytes(&batch.plaintext, MAX_BATCH, "batch").unwrap(),
        links
            .map(|link| from_bytes(&link.plaintext, 4096, "link").unwrap())
            .collect(),
    )
}

/// Asks a host in the target's name.
pub(super) async fn ask_host(
    forge: &Forge,
    host: &str,
    ask: &Ask,
) -> Result<Answer, tonic::Status> {
    let node = forge.network.node("target").unwrap();
    let directory = forge.network.directory();
    let listed = directory
        .host(&dispers_base::id::Name::new(host).unwrap())
        .unwrap();
    let channel = Channels::new(node.clone()).to(&listed.address, listed.tls_key)?;
    let chunks = tokio_stream::iter(chunks([to_bytes(ask)]));
    let reply = StackClient::new(channel).ask(chunks).await?;
    let bytes = Messages::new(reply.into_inner()).expect(MAX_ANSWER).await?;
    Ok(from_bytes(&bytes, MAX_ANSWER, "answer").unwrap())
}

fn work(forge: &Forge, number: u32) -> Work {
    Work {
        query: forge.prepared.manifest().query(),
        round: 0,
        batch: BatchId {
            partition: 0,
            committee: 0,
            number,
        },
        attempt: 2,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_asks_homes_that_were_not_chosen_gets_no_answer_of_them() {
    let forge = Forge::new().await;
    let asked = |event: &Event| matches!(event, Event::Asked(..));
    forge.until(&forge.honest_driver(), asked).await;
    let (batch, links) = opened(&forge);
    // Each home of the host gets a ticket of another place.
    let mine = links.iter().filter(|link| link.host.as_str() == "host-1");
    let homes: Vec<HomeAsk> = mine
        .zip(&batch.targets)
        .zip(0..)
        .map(|((link, target), index)| HomeAsk {
            home: link.home.clone(),
            index: index + 100,
            ticket: target.ticket.clone(),
        })
        .collect();
    assert!(!homes.is_empty());
    let mut ask = Ask {
        parameters: None,
        announced: false,
        inclusion: forge.inclusion().await,
        manifest: forge.prepared.signed().clone(),
        work: work(&forge, 0),
        find: batch.find,
        homes,
    };
    for number in 0..16 {
        ask.work = work(&forge, number);
        let answer = ask_host(&forge, "host-1", &ask).await.unwrap();
        assert_eq!((answer.homes, answer.groups.len()), (0, 0));
    }
    // The stack recorded none of these asks: the homes answer an ask with their own tickets, but no second one.
    ask.homes = links
        .iter()
        .zip(&batch.targets)
        .zip(0..)
        .filter(|((link, _), _)| link.host.as_str() == "host-1")
        .map(|((link, target), index)| HomeAsk {
            home: link.home.clone(),
            index,
            ticket: target.ticket.clone(),
        })
        .collect();
    let mut homes = 0;
    for number in 0..16 {
        ask.work = work(&forge, number);
        homes = ask_host(&forge, "host-1", &ask).await.unwrap().homes;
        if homes > 0 {
            break;
        }
    }
    assert_eq!(homes as usize, ask.homes.len());
    let again = ask_host(&forge, "host-1", &ask).await.err().unwrap();
    assert!(
        again.message().contains("answered before"),
        "{}",
        again.message()
    );
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_worth_nothing_under_a_later_manifest() {
    let mut forge = Forge::new().await;
    let asked = |event: &Event| matches!(event, Event::Asked(..));
    forge.until(&forge.honest_driver(), asked).await;
    let (batch, links) = opened(&forge);
    forge.prepared = Forge::prepare(&forge.network, super::SQL).await;
    for host in ["host-1", "host-2", "host-3", "host-4"] {
        let homes: Vec<HomeAsk> = links
            .iter()
            .zip(&batch.targets)
            .zip(0..)
            .filter(|((link, _), _)| link.host.as_str() == host)
            .map(|((link, target), index)| HomeAsk {
                home: link.home.clone(),
                index,
                ticket: target.ticket.clone(),
            })
            .collect();
        let ask = Ask {
            parameters: None,
            announced: false,
            inclusion: forge.inclusion().await,
            manifest: forge.prepared.signed().clone(),
            work: work(&forge, 0),
            find: batch.find,
            homes,
        };
        let answer = ask_host(&forge, host, &ask).await.unwrap();
        assert_eq!(answer.homes, 0, "{host}");
    }
    forge.network.stop().await;
}
