//! Attacks of a dishonest or broken aggregator on the others. The contents of its messages are tested with the state
//! machines.

use dispers_core::conduct::{Command, Event, StepError};
use dispers_node::serve;
use dispers_proto::v1::{
    Chunk, Empty, Message,
    data_aggregator_server::{DataAggregator, DataAggregatorServer},
};
use tokio_stream::Empty as Nothing;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use super::{Forge, aggregator, everybody};

/// Aggregator that takes every request and never answers.
struct Silent;

type Chunks = Nothing<Result<Chunk, Status>>;

#[tonic::async_trait]
impl DataAggregator for Silent {
    type DealStream = Chunks;
    type OpenDealsStream = Chunks;
    type OpenStream = Chunks;
    type VerifyStream = Chunks;
    type DecideStream = Chunks;
    type GuardsStream = Chunks;
    type ReleaseStream = Chunks;

    async fn offer(&self, _: Request<Message>) -> Result<Response<Message>, Status> {
        std::future::pending().await
    }

    async fn budget(&self, _: Request<Message>) -> Result<Response<Message>, Status> {
        std::future::pending().await
    }

    async fn begin(&self, _: Request<Message>) -> Result<Response<Empty>, Status> {
        std::future::pending().await
    }

    async fn open(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Chunks>, Status> {
        std::future::pending().await
    }

    async fn deal(&self, _: Request<Message>) -> Result<Response<Chunks>, Status> {
        std::future::pending().await
    }

    async fn open_deals(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Chunks>, Status> {
        std::future::pending().await
    }

    async fn verify(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Chunks>, Status> {
        std::future::pending().await
    }

    async fn decide(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Chunks>, Status> {
        std::future::pending().await
    }

    async fn commit(&self, _: Request<Message>) -> Result<Response<Empty>, Status> {
        std::future::pending().await
    }

    async fn guards(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Chunks>, Status> {
        std::future::pending().await
    }

    async fn release(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Chunks>, Status> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_is_silent_is_left_out_at_the_deadline() {
    let forge = Forge::new().await;
    let network = &forge.network;
    let node = network.node("data-aggregator-2").unwrap().clone();
    let listener = network.take_place("data-aggregator-2").await.unwrap();
    tokio::spawn(async move {
        let routes = Routes::new(DataAggregatorServer::new(Silent));
        let _ = serve(listener, routes, &node, std::future::pending()).await;
    });
    let mut out = Vec::new();
    let ended = forge
        .told(|event| {
            if let Event::Begun(from, Err(_)) = &event {
                out.push(*from);
            }
            event
        })
        .await;
    assert_eq!(out, [aggregator(2)]);
    assert_eq!(ended.row(), everybody());
    assert_eq!(ended.status.missing, [aggregator(2)]);
    forge.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_is_stopping_begins_no_query_and_ends_those_that_it_began() {
    let forge = Forge::new().await;
    let stopping = |number: u8| {
        let node = forge.network.node(&format!("data-aggregator-{number}"));
        node.unwrap().activity.drains(true);
    };
    stopping(3);
    let mut begun = Vec::new();
    let ended = forge
        .run(
            &forge.honest_driver(),
            // Aggregator 2 gets its grants twice.
            |command| match &command {
                Command::Begin { aggregator: to, .. } if *to == aggregator(2) => {
                    vec![command.clone(), command]
                }
                _ => vec![command],
            },
            |event| {
                if let Event::Begun(from, result) = &event {
                    begun.push((*from, result.clone()));
                    if *from == aggregator(2) {
                        stopping(2);
                    }
                }
                event
            },
        )
        .await;
    begun.sort_by_key(|(from, _)| from.member);
    let refused = Err(StepError::Unreachable);
    assert_eq!(
        begun,
        [
            (aggregator(1), Ok(())),
            (aggregator(2), Ok(())),
            (aggregator(2), Ok(())),
            (aggregator(3), refused),
        ]
    );
    assert_eq!(ended.row(), everybody());
    assert_eq!(ended.status.missing, [aggregator(3)]);
    forge.network.stop().await;
}
