//! Tests of failures: their messages, and those that do not change the result.

use dispers_base::id::Name;
use dispers_core::{conduct::Phase, find::exact_finder, manifest::ManifestError};
use dispers_querier::{Error, PrivacyLoss, Progress, Question};
use dispers_sandbox::{Network, Options};
use dispers_sql::decode::Value;

use crate::options;

const SQL: &str = "SELECT COUNT(*) AS n, SUM(clamp(age, 0, 120, 1)) AS ages FROM nhefs";

async fn network(options: &Options) -> Network {
    Network::start(options, |_| {}).await.unwrap()
}

fn assert_is_everybody(rows: &[Vec<Value>]) {
    assert_eq!(rows[0][0], Value::Integer(1629));
    assert_eq!(crate::plain::real(&rows[0][1]), 71_538.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_t_aggregators_are_enough() {
    let options = Options {
        aggregators: 5,
        threshold: 3,
        batch_size: 500,
        ..options(Vec::new())
    };
    let network = network(&options).await;
    for (stopped, verified) in [("data-aggregator-5", 4), ("data-aggregator-2", 3)] {
        assert!(network.end_node(stopped).await);
        let result = network.ask(SQL, None, |_| {}).await.unwrap();
        assert_is_everybody(&result.table.rows);
        assert_eq!(result.aggregators.verified, verified);
    }
    assert!(network.end_node("data-aggregator-1").await);
    let error = network.ask(SQL, None, |_| {}).await.unwrap_err();
    assert!(error.is_temporary());
    let Error::TooFewAggregators {
        needed,
        mut missing,
    } = error
    else {
        panic!("{error}");
    };
    missing.sort_unstable();
    assert_eq!(needed, 3);
    assert_eq!(
        missing,
        [
            "data-aggregator-1",
            "data-aggregator-2",
            "data-aggregator-5"
        ]
    );
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_dies_during_the_query_is_left_out() {
    for phase in [Phase::Find, Phase::Ask] {
        let options = Options {
            batch_size: 200,
            ..options(Vec::new())
        };
        let network = network(&options).await;
        let result = network
            .ask(SQL, None, |step| {
                if let Progress::Running(status) = step
                    && status.phase == phase
                {
                    network.stop_node("data-aggregator-2");
                }
            })
            .await
            .unwrap();
        assert_is_everybody(&result.table.rows);
        assert!(result.aggregators.verified >= 2);
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_is_missing_and_the_others_answer() {
    let network = network(&options(Vec::new())).await;
    assert!(network.end_node("host-3").await);
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    let homes = &result.homes;
    assert_eq!((homes.targeted, homes.asked), (1629, 1629));
    assert_eq!((homes.answered, homes.accepted), (1222, 1222));
    assert_eq!(result.table.rows[0][0], Value::Integer(1222));
    // Below the answer rate of the network's floor, nothing is released.
    assert!(network.end_node("host-1").await && network.end_node("host-2").await);
    let error = network.ask(SQL, None, |_| {}).await.unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("about 400 of about 1620") && error.is_temporary(),
        "{words}"
    );
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_concept_indexor_may_be_down() {
    let network = network(&options(Vec::new())).await;
    assert!(network.end_node("concept-indexor-1").await);
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_is_everybody(&result.table.rows);
    assert!(network.end_node("concept-indexor-3").await);
    let error = network.ask(SQL, None, |_| {}).await.unwrap_err();
    let words = error.to_string();
    assert!(error.is_temporary(), "{words}");
    for name in ["concept-indexor-1", "concept-indexor-3", "ask again"] {
        assert!(words.contains(name), "{words}");
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_small_a_cohort_is_refused_before_anybody_is_asked() {
    let options = Options {
        concepts: vec!["height_cm".into()],
        ..options(Vec::new())
    };
    let network = network(&options).await;
    let mut asked = 0;
    let sql = format!("{SQL} WHERE concept('height_cm>174.19')");
    let error = network
        .ask(&sql, None, |step| {
            if let Progress::Running(status) = step {
                asked = asked.max(status.homes.asked);
            }
        })
        .await
        .unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("minimum cohort of 20") && !error.is_temporary(),
        "{words}"
    );
    assert_eq!(asked, 0);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_cannot_ask_for_less_protection_or_another_purpose() {
    let network = network(&options(Vec::new())).await;
    let error = network.ask(SQL, Some(19), |_| {}).await.unwrap_err();
    assert!(matches!(
        error,
        Error::Manifest(ManifestError::BelowFloor {
            got: 19,
            floor: 20,
            ..
        })
    ));
    let question = Question::new(SQL, "marketing").exact();
    let error = network.querier().ask(&question).await.unwrap_err();
    assert!(matches!(error, Error::Manifest(ManifestError::Purpose(_))));
    // A querier may ask for more protection.
    let result = network.ask(SQL, Some(1000), |_| {}).await.unwrap();
    assert_is_everybody(&result.table.rows);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_questions_at_once_do_not_disturb_each_other() {
    let network = network(&options(Vec::new())).await;
    let ask = || network.ask(SQL, None, |_| {});
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let results = [a.unwrap(), b.unwrap(), c.unwrap()];
    for result in &results {
        assert_is_everybody(&result.table.rows);
    }
    assert!(results[0].query != results[1].query && results[1].query != results[2].query);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_finder_of_a_partition_finds_a_query_with_noise_and_none_an_exact_one() {
    for down in ["target-finder", "target-finder-b"] {
        let network = network(&Options {
            finders: 2,
            ..options(Vec::new())
        })
        .await;
        assert!(network.end_node(down).await);
        let (directory, querier) = (network.directory(), Name::new("querier").unwrap());
        let exact = exact_finder(directory, &querier, directory.key_epoch, 0).unwrap();
        match network.ask(SQL, None, |_| {}).await {
            Ok(result) => {
                assert_ne!(exact.name.as_str(), down);
                assert_is_everybody(&result.table.rows);
            }
            Err(error) => {
                assert_eq!(exact.name.as_str(), down, "{error}");
                assert!(error.is_temporary(), "{error}");
            }
        }
        // The notary is drawn from both finders: a query whose notary is down is submitted again.
        let loss = Some(PrivacyLoss {
            epsilon: 5.0,
            delta: None,
        });
        let question = network.question(SQL, None, loss);
        let mut answers = 0;
        for _ in 0..12 {
            match network.querier().ask(&question).await {
                Ok(result) => {
                    let Value::Integer(homes) = result.table.rows[0][0] else {
                        panic!("a count is an integer");
                    };
                    assert!((1500..1750).contains(&homes), "{homes}");
                    answers += 1;
                    break;
                }
                Err(error) => assert!(error.is_temporary(), "{error}"),
            }
        }
        assert_eq!(answers, 1);
        network.stop().await;
    }
}
