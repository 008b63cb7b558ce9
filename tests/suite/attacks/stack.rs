//! Effects of a broken or hostile stack on a query: its own homes are missing, and nothing else changes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dispers_base::encoding::{from_bytes, to_bytes};
use dispers_core::ask::{Answer, Ask, MAX_ASK};
use dispers_node::{Reply, reply, serve};
use dispers_proto::{
    Messages,
    v1::{
        Chunk,
        stack_server::{Stack, StackServer},
    },
};
use dispers_sandbox::{Network, Options};
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::options;

const SQL: &str = "SELECT COUNT(*) AS n FROM nhefs";
/// Number of homes of the example. `OTHERS` is the number at three of its four hosts.
const ALL: u64 = 1629;
const OTHERS: u64 = 1222;

#[derive(Clone, Copy)]
enum Manner {
    /// Never answers.
    Silent,
    /// Sends data without end.
    Endless,
    /// Sends bytes that are no answer.
    Garbage,
    /// Answers for homes that it was not asked for.
    More,
    /// Refuses the ask.
    Refusing,
}

struct Hostile {
    manner: Manner,
    asks: Arc<AtomicUsize>,
}

fn endless() -> impl Iterator<Item = Chunk> {
    std::iter::repeat_with(|| Chunk {
        data: vec![1; 1 << 18],
        last: false,
    })
}

#[tonic::async_trait]
impl Stack for Hostile {
    type AskStream = Reply;

    async fn ask(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Reply>, Status> {
        self.asks.fetch_add(1, Ordering::SeqCst);
        let body = Messages::new(request.into_inner()).expect(MAX_ASK).await?;
        let ask: Ask = from_bytes(&body, MAX_ASK, "ask").unwrap();
        match self.manner {
            Manner::Silent => std::future::pending().await,
            Manner::Endless => {
                let chunks = tokio_stream::iter(endless().map(Ok));
                Ok(Response::new(Box::pin(chunks)))
            }
            Manner::Garbage => Ok(reply([vec![7; 1000]])),
            Manner::More => Ok(reply([to_bytes(&Answer {
                homes: ask.homes.len() as u32 + 1,
                groups: Vec::new(),
            })])),
            Manner::Refusing => Err(Status::failed_precondition("not today")),
        }
    }
}

/// Starts a network whose third host has this manner. Also returns a counter of the asks to that host.
async fn with(manner: Manner, options: &Options) -> (Network, Arc<AtomicUsize>) {
    let network = Network::start(options, |_| {}).await.unwrap();
    let node = network.node("host-3").unwrap().clone();
    let listener = network.take_place("host-3").await.unwrap();
    let asks = Arc::new(AtomicUsize::new(0));
    let hostile = Hostile {
        manner,
        asks: asks.clone(),
    };
    tokio::spawn(async move {
        let routes = Routes::new(StackServer::new(hostile));
        let _ = serve(listener, routes, &node, std::future::pending()).await;
    });
    (network, asks)
}

fn impatient(batch_size: u32) -> Options {
    Options {
        batch_size,
        target: dispers_target::Config {
            stack_timeout_ms: 2000,
            ..dispers_target::Config::default()
        },
        ..options(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_never_answers_sends_data_without_end_or_lies_is_missing_alone() {
    for manner in [
        Manner::Silent,
        Manner::Endless,
        Manner::Garbage,
        Manner::More,
        Manner::Refusing,
    ] {
        let (network, asks) = with(manner, &impatient(2000)).await;
        let result = network.ask(SQL, None, |_| {}).await.unwrap();
        let homes = &result.homes;
        assert_eq!((homes.targeted, homes.asked), (ALL, ALL));
        assert_eq!((homes.answered, homes.accepted), (OTHERS, OTHERS));
        assert_eq!(asks.load(Ordering::SeqCst), 1);
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_fails_again_and_again_is_not_waited_for_at_every_batch() {
    // There are about sixteen batches, two at a time: a silent stack would cost eight waits.
    let (network, asks) = with(Manner::Silent, &impatient(100)).await;
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!(result.homes.accepted, OTHERS);
    assert_eq!(result.homes.asked, ALL);
    // Three asks failed, and one more may have been in progress with the third.
    let asked = asks.load(Ordering::SeqCst);
    assert!((3..=4).contains(&asked), "{asked}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_refuses_is_asked_again_the_next_time() {
    let (network, asks) = with(Manner::Refusing, &impatient(300)).await;
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!(result.homes.accepted, OTHERS);
    // The stack is asked once for each batch that has a home of it.
    assert!(asks.load(Ordering::SeqCst) >= 5);
    network.stop().await;
}
