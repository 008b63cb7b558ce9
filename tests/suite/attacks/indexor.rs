//! Attacks of a dishonest concept indexor.

use dispers_base::{encoding::to_bytes, id::Threshold};
use dispers_crypto::{
    dealing::deal,
    oprf::{blind, evaluate},
};
use dispers_node::{rng, serve};
use dispers_proto::v1::{
    EvaluateRequest, Message,
    concept_indexor_server::{ConceptIndexor, ConceptIndexorServer},
};
use dispers_querier::Error;
use dispers_sandbox::Network;
use tonic::{Request, Response, Status, service::Routes};

use super::{Forge, SQL, everybody};

/// Indexor that evaluates with a key that is not its own.
struct Liar;

#[tonic::async_trait]
impl ConceptIndexor for Liar {
    async fn evaluate(&self, _: Request<EvaluateRequest>) -> Result<Response<Message>, Status> {
        let key = deal(Threshold::new(2, 3).unwrap(), &mut rng());
        let (_, blinded) = blind(b"home>all", &mut rng()).unwrap();
        let evaluation = evaluate(&key.secrets[0], &[blinded], &mut rng()).unwrap();
        Ok(Response::new(Message {
            body: to_bytes(&evaluation),
        }))
    }
}

/// Replaces an indexor by a liar with the same address and TLS key.
async fn corrupt(network: &Network, name: &str) {
    let node = network.node(name).unwrap().clone();
    let listener = network.take_place(name).await.unwrap();
    tokio::spawn(async move {
        let routes = Routes::new(ConceptIndexorServer::new(Liar));
        let _ = serve(listener, routes, &node, std::future::pending()).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexor_that_lies_is_left_out_and_two_are_named() {
    let forge = Forge::new().await;
    let network = &forge.network;
    corrupt(network, "concept-indexor-1").await;
    let result = network.ask(SQL, None, |_| {}).await.unwrap();
    assert_eq!(i128::from(result.homes.accepted), everybody().0);

    corrupt(network, "concept-indexor-3").await;
    let error = network.ask(SQL, None, |_| {}).await.err().unwrap();
    let Error::TooFewIndexors { needed: 2, missing } = &error else {
        panic!("{error}");
    };
    assert_eq!(missing.len(), 2);
    assert!(
        missing[0].starts_with("concept-indexor-1 (") && missing[0].contains("wrong"),
        "{error}"
    );
    assert!(missing[1].starts_with("concept-indexor-3 ("), "{error}");
    forge.network.stop().await;
}
