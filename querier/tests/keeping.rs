//! Questions and sessions outlive their process, until they are forgotten.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{path::PathBuf, time::Duration};

use dispers_querier::{
    Error, Family, Phase, Progress, Querier, QueryId, Question, Settings, TrainingProgress,
    TrainingQuestion, TrainingRequest,
};
use dispers_sandbox::{Network, Options};
use tempfile::TempDir;

const SQL: &str = "SELECT COUNT(*) AS people FROM health";

struct Stage {
    network: Network,
    config: PathBuf,
    folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::start(&Options::small(), |_| {}).await.unwrap();
        Self {
            config: network.write_querier(folder.path()).unwrap(),
            network,
            folder,
        }
    }

    fn querier(&self) -> Querier {
        Querier::open(&self.config).unwrap()
    }

    /// Returns the names of the kept files.
    fn kept(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.folder.path().join("queries")) else {
            return Vec::new();
        };
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_can_be_fetched_until_it_is_forgotten() {
    let stage = Stage::new().await;
    let question = Question::new(SQL, "sandbox").exact();
    let querier = stage.querier();
    let mut asking = querier.ask(&question);
    let mut submitted = None;
    let mut phases = Vec::new();
    while let Some(progress) = asking.next().await {
        match progress {
            Progress::Submitted(query) => submitted = Some(query),
            Progress::Running(status) => phases.push(status.phase),
            _ => {}
        }
    }
    let result = asking.await.unwrap();
    assert_eq!(
        (submitted, phases.last()),
        (Some(result.query), Some(&Phase::Done))
    );
    let id = result.query.to_string();
    assert_eq!(stage.kept(), [format!("{id}.query")]);

    let other = stage.querier();
    let asked = other.find(&id).unwrap();
    let again = other.result(&asked).await.unwrap();
    assert_eq!(again.table, result.table);
    other.forget(asked.query()).unwrap();
    assert!(matches!(other.find(&id), Err(Error::NoQuestion { .. })));
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_owners_has_no_answer_and_can_be_cancelled() {
    let stage = Stage::new().await;
    let querier = stage.querier();
    let question = Question::new(SQL, "sandbox").exact();
    let question = question.ask_owners(Duration::from_secs(3600));
    let asked = querier.detach(&question).await.unwrap();
    let unfinished = querier.result(&asked).await.unwrap_err();
    assert!(unfinished.is_temporary());
    assert!(matches!(unfinished, Error::Unfinished(status) if status.failure.is_none()));
    querier.cancel(asked.query()).await.unwrap();
    assert_eq!(stage.kept(), Vec::<String>::new());
    assert!(matches!(
        querier.follow(&asked).await,
        Err(Error::Failed(_))
    ));
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_refused_before_it_leaves_is_not_kept() {
    let stage = Stage::new().await;
    let querier = stage.querier();
    let undecided = querier
        .ask(&Question::new(SQL, "sandbox"))
        .await
        .unwrap_err();
    assert!(matches!(undecided, Error::NoBound) && undecided.is_misuse());
    let purpose = Question::new(SQL, "marketing").epsilon(1.0);
    assert!(matches!(querier.check(&purpose), Err(Error::Manifest(_))));
    assert!(querier.detach(&purpose).await.is_err());
    assert_eq!(stage.kept(), Vec::<String>::new());
    stage.network.stop().await;
}

fn logistic() -> TrainingQuestion {
    let request = TrainingRequest {
        label: Some("heart_rate > 70".into()),
        positive: None,
        features: vec!["age".into()],
        from: "health".into(),
        condition: None,
        family: Family::Logistic { newton: false },
        bits: 8,
        clip: None,
        held_out: 200,
        updates: 3,
    };
    let settings = Settings {
        rate: 1.0,
        momentum: 0.9,
        l2: 0.0,
        adaptive: false,
        seed: 1,
    };
    TrainingQuestion::new(request, settings, "sandbox", None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_process_died_is_resumed() {
    let stage = Stage::new().await;
    let querier = stage.querier();
    let mut training = querier.train(&logistic());
    let mut id = None;
    loop {
        match training.next().await.unwrap() {
            TrainingProgress::Kept(query) => id = Some(query.to_string()),
            TrainingProgress::Round(round, _) if round.number == 1 => break,
            _ => {}
        }
    }
    let id = id.unwrap();
    let other = stage.querier();
    let second = other.resume(&id).unwrap().await.err().unwrap();
    assert!(matches!(second, Error::InUse) && second.is_temporary());
    drop(training);

    assert!(stage.kept().contains(&format!("{id}.training")));
    let trained = other.resume(&id).unwrap().await.unwrap();
    assert!(trained.interrupted.is_none());
    let last = trained.fit.history.last().unwrap();
    assert_eq!(last.number + 1, trained.rounds);
    assert_eq!(trained.question.request, logistic().request);
    other.forget(trained.query).unwrap();
    assert_eq!(stage.kept(), Vec::<String>::new());
    assert!(matches!(other.resume(&id), Err(Error::NoSession { .. })));
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_stays() {
    let stage = Stage::new().await;
    let querier = stage.querier();
    let asked = querier.detach(&Question::new(SQL, "sandbox").exact()).await;
    let id = asked.unwrap().query().to_string();
    let path = stage.folder.path().join(format!("queries/{id}.query"));
    let whole = std::fs::read_to_string(&path).unwrap();
    for damaged in ["", "00", "no digits", &whole[..(whole.len() / 2) & !1]] {
        std::fs::write(&path, damaged).unwrap();
        let error = querier.find(&id).err().unwrap();
        assert!(error.is_misuse(), "{error}");
        assert!(error.to_string().contains(&id), "{error}");
    }
    std::fs::write(&path, &whole).unwrap();
    let copy = stage.folder.path().join("queries/c0ffee.query");
    std::fs::copy(&path, copy).unwrap();
    assert!(matches!(querier.find("c0ffee"), Err(Error::Damaged { .. })));
    let answer = querier.follow(&querier.find(&id).unwrap()).await.unwrap();
    assert_eq!(answer.table.columns, ["people"]);
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_waits_for_the_end_and_may_be_repeated() {
    let stage = Stage::new().await;
    let querier = stage.querier();
    let question = Question::new(SQL, "sandbox").exact();
    let owners = question.clone().ask_owners(Duration::from_secs(3600));
    let asked = querier.detach(&owners).await.unwrap();
    querier.cancel(asked.query()).await.unwrap();
    let status = querier.status(asked.query()).await.unwrap();
    assert_eq!(status.phase, Phase::Failed);
    querier.cancel(asked.query()).await.unwrap();

    let released = querier.detach(&question).await.unwrap();
    querier.follow(&released).await.unwrap();
    let late = querier.cancel(released.query()).await.unwrap_err();
    assert!(matches!(late, Error::Released), "{late}");
    // The answer can still be fetched.
    let id = released.query().to_string();
    querier.result(&querier.find(&id).unwrap()).await.unwrap();

    let unknown = QueryId([9; 32]);
    assert!(matches!(querier.status(unknown).await, Err(Error::NoQuery)));
    assert!(matches!(querier.cancel(unknown).await, Err(Error::NoQuery)));
    stage.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_work_is_refused_before_it_leaves() {
    let stage = Stage::new().await;
    let querier = stage.querier();
    let mut endless = logistic();
    endless.settings.momentum = 1.0;
    let mut twice = logistic();
    twice.request.features.push("age".into());
    let mut small = logistic();
    small.min_cohort = Some(1);
    let mut long = logistic();
    long.owners_ms = u64::MAX;
    for (question, reason) in [
        (endless, "momentum"),
        (twice, "age stands twice"),
        (small, "minimum cohort"),
        (long, "seven days"),
    ] {
        let error = querier.train(&question).await.err().unwrap();
        assert!(error.is_misuse(), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert_eq!(stage.kept(), Vec::<String>::new());
    stage.network.stop().await;
}
