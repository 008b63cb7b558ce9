//! Attacks of a dishonest target finder.

use dispers_base::{
    encoding::to_bytes,
    id::{KeyEpoch, Name, Role, Work},
    signed::Signed,
};
use dispers_core::{
    conduct::{Command, Event},
    find::{BatchMessage, BatchStatement, Cut, Fingerprint, Grant, Sizes, TargetBatch},
    release::Certificate,
    ticket::PoolSecret,
};
use dispers_crypto::envelope::Sealed;
use dispers_node::rng;
use dispers_privacy::Population;

use super::{Forge, aggregator, everybody, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_below_the_cohort_is_not_asked() {
    let forge = Forge::new().await;
    let prepared = &forge.prepared;
    let (driver, kept) =
        forge.driver_and_kept(prepared.signed(), prepared.profiles(), &forge.segments());
    let mut small = None;
    let ended = forge
        .run(
            &driver,
            |command| match command {
                Command::Ask { work, .. } => {
                    // The batch has a single home, and is signed and sealed as a finder does.
                    let directory = forge.network.directory();
                    let pool = directory.pool(Role::Target, 0).unwrap();
                    let content = TargetBatch {
                        find: dispers_core::ticket::FindId([0; 32]),
                        key_epoch: directory.key_epoch,
                        uploads: Vec::new(),
                        targets: Vec::new(),
                    };
                    let context = TargetBatch::context(work.query, work.batch);
                    let sealed: Sealed<dispers_crypto::envelope::reader::Target, TargetBatch> =
                        Sealed::seal(&content, &pool.envelope_key, &context, &mut rng());
                    let sealed = to_bytes(&sealed);
                    let statement = BatchStatement {
                        finder: Name::new("target-finder").unwrap(),
                        query: work.query,
                        batch: work.batch,
                        find: content.find,
                        count: 0,
                        targets: vec![Name::new("target").unwrap()],
                        digest: BatchStatement::digest_of(&sealed),
                    };
                    let key = forge.signing("target-finder");
                    let batch = BatchMessage {
                        statement: Signed::new(&statement, key),
                        sealed,
                    };
                    let mut batches = kept.batches.lock().unwrap();
                    batches.insert(work.batch, to_bytes(&batch));
                    vec![Command::Ask {
                        work,
                        parameters: None,
                    }]
                }
                command => vec![command],
            },
            |event| {
                if let Event::Asked(_, Err(error)) = &event {
                    small = Some(error.to_string());
                }
                event
            },
        )
        .await;
    assert_eq!(
        small.as_deref(),
        Some("refused: the batch is below the minimum cohort")
    );
    assert!(
        ended.failure().contains("below the minimum cohort"),
        "{}",
        ended.failure()
    );
    assert_eq!(ended.status.homes.answered, 0);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_below_the_cohort_is_refused_by_the_aggregator() {
    let forge = Forge::new().await;
    let driver = forge.honest_driver();
    let manifest = forge.prepared.manifest();
    let query = manifest.query();
    let find = dispers_core::ticket::FindId([1; 32]);
    let (one, key) = manifest.offers(0).next().unwrap();
    let secret = PoolSecret::generate(&mut rng());
    let set = Fingerprint::from_bytes([0; 32]);
    let cuts = [
        vec![vec![19]],
        vec![vec![60, 1]],
        vec![vec![u32::MAX; 3]],
        vec![vec![60], vec![20]],
        vec![vec![]],
    ];
    for cut in cuts {
        let grant = Grant {
            finder: Name::new("target-finder").unwrap(),
            query,
            partition: 0,
            find,
            population: Population([0; 32]),
            noisy_size: Sizes::new(&secret, KeyEpoch(1), 0).report(&set, 60),
            key: PoolSecret::generate(&mut rng()).tag_key(&find, 0, one),
            batches: Cut::of(cut),
        };
        let grant = Sealed::seal(
            &Signed::new(&grant, forge.signing("target-finder")),
            key,
            &Grant::context(query, 0, 0, one),
            &mut rng(),
        );
        let begin = Command::Begin {
            aggregator: aggregator(1),
            grants: vec![(0, grant)].into(),
        };
        let Event::Begun(_, result) = driver.clone().carry_out(begin).await else {
            unreachable!("a command is answered by its event");
        };
        let words = refusal(result);
        assert!(
            words.contains("the grant is not one of the target finder"),
            "{words}"
        );
    }
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finder_that_cuts_several_ways_gets_each_home_s_answer_once() {
    let forge = Forge::new().await;
    let (prepared, segments) = (&forge.prepared, forge.segments());
    let mut answered = Vec::new();
    // All tickets are valid, since each cut is a find of the same homes.
    for (attempt, batch_size) in (0..).zip([20, 23, 27]) {
        let (driver, memory) = forge.driver_that_cuts(
            batch_size,
            prepared.signed(),
            prepared.profiles(),
            &segments,
        );
        let find = Command::Find { partition: 0 };
        let Event::Found(_, Ok(found)) = driver.clone().carry_out(find).await else {
            panic!("the homes are found");
        };
        let mut of_cut = 0;
        for (batch, count) in found.batches.batches(0) {
            assert_eq!(count, 20);
            assert!(memory.batches.lock().unwrap().contains_key(&batch));
            let work = Work {
                query: prepared.signed().query(),
                round: 0,
                batch,
                attempt,
            };
            let ask = Command::Ask {
                work,
                parameters: None,
            };
            let Event::Asked(_, Ok(answer)) = driver.clone().carry_out(ask).await else {
                panic!("the batch is asked");
            };
            of_cut += answer.answered;
        }
        answered.push(of_cut);
    }
    // Every home takes part only at its place in the first cut.
    assert_eq!(answered, [60, 0, 0]);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finder_that_certifies_twice_gets_one_release() {
    let forge = Forge::new().await;
    let driver = forge.honest_driver();
    let key = forge.signing("target-finder");
    let mut second = Vec::new();
    let ended = forge
        .run(
            &driver,
            |command| match command {
                Command::Guards {
                    aggregator: to,
                    proposal,
                    certificate,
                } => {
                    let mut smaller = (*proposal).clone();
                    smaller.batches.pop();
                    let also = Certificate::new(smaller.query, 0, smaller.hash(), key);
                    let honest = Command::Guards {
                        aggregator: to,
                        proposal,
                        certificate,
                    };
                    let dishonest = Command::Guards {
                        aggregator: to,
                        proposal: smaller.into(),
                        certificate: also.into(),
                    };
                    vec![honest, dishonest]
                }
                command => vec![command],
            },
            |event| {
                // The state machine waits for one answer per aggregator, so that the second is recorded here.
                if let Event::Guarded(from, Err(error)) = &event {
                    second.push((*from, error.to_string()));
                }
                event
            },
        )
        .await;
    assert_eq!(ended.row(), everybody());
    let refused: Vec<_> = second.iter().map(|(from, _)| *from).collect();
    assert_eq!(refused, [aggregator(1), aggregator(2), aggregator(3)]);
    for (_, words) in second {
        assert!(words.contains("another proposal was certified"), "{words}");
    }
    forge.network.stop().await;
}
