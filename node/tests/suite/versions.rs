//! Tests that nodes name their version of the protocol, and read nothing of another one.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use dispers_base::id::Role;
use dispers_node::{Channels, VERSION_HEADER, tls};
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{self, Response},
    transport::Server,
};

use crate::{
    network::Network,
    service::{PATIENCE, Served, call_in, node},
};

const SUBMIT: &str = "/dispers.v1.Conductor/Submit";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

fn version_of(answer: &Response<Body>) -> Option<&str> {
    answer.headers().get(VERSION_HEADER)?.to_str().ok()
}

#[tokio::test]
async fn a_call_of_another_version_is_refused_before_it_is_read() {
    let network = Network::new();
    let served = Served::start(&network, PATIENCE).await;
    let call = |path, version| call_in(served.channel(&network, "querier"), path, version);
    for (version, says) in [
        (None, "does not say in `dispers-version`"),
        (
            Some("2"),
            "speaks version 2 of the protocol, and this node version 1",
        ),
        (Some("0"), "speaks version 0"),
        (Some("70000"), "does not say"),
        (Some("one"), "does not say"),
    ] {
        let answer = call(SUBMIT, version).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::FailedPrecondition, "{version:?}");
        assert!(status.message().contains(says), "{version:?}: {status}");
        assert_eq!(version_of(&answer), Some("1"), "{version:?}");
    }
    let answered = tokio::spawn(call(SUBMIT, Some("1")));
    let (method, answer) = served.arrived().await;
    assert_eq!(method, "Submit");
    answer.send(()).unwrap();
    let answer = answered.await.unwrap().unwrap();
    assert_eq!(version_of(&answer), Some("1"));
    served
        .until_counted(&[
            "dispers_requests_total{role=\"conductor\",method=\"Conductor/Submit\",code=\"FAILED_PRECONDITION\"} 5",
        ])
        .await;
}

#[tokio::test]
async fn a_health_check_needs_no_version() {
    let network = Network::new();
    let served = Served::start(&network, PATIENCE).await;
    let answer = call_in(served.channel(&network, "querier"), HEALTH, None)
        .await
        .unwrap();
    let status = Status::from_header_map(answer.headers());
    assert!(status.is_none_or(|status| status.code() != Code::FailedPrecondition));
}

/// Service that answers every request with success, in a version.
#[derive(Clone)]
struct Speaks(Option<&'static str>);

impl tonic::server::NamedService for Speaks {
    const NAME: &'static str = "dispers.v1.Conductor";
}

impl tower::Service<http::Request<Body>> for Speaks {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let said = request.headers().get(VERSION_HEADER);
        assert_eq!(said.unwrap(), "1", "a caller says its version");
        let mut answer = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "0");
        if let Some(version) = self.0 {
            answer = answer.header(VERSION_HEADER, version);
        }
        std::future::ready(Ok(answer.body(Body::empty()).unwrap()))
    }
}

#[tokio::test]
async fn an_answer_of_another_version_is_refused_before_it_is_read() {
    let network = Network::new();
    let caller = Arc::new(node(&network, "querier", Role::Querier));
    let conductor = node(&network, "c", Role::Conductor);
    let mut codes = BTreeMap::new();
    for version in [None, Some("1"), Some("2")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let directory = conductor.directory.clone();
        let incoming = tls::incoming(listener, &conductor.tls, directory, None).unwrap();
        let server = Server::builder().add_service(Speaks(version));
        tokio::spawn(server.serve_with_incoming(incoming));

        let channels = Channels::new(caller.clone());
        let channel = channels.to(&address, conductor.tls.key()).unwrap();
        let answer = call_in(channel, SUBMIT, None).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        codes.insert(version, (status.code(), status.message().to_owned()));
    }
    assert_eq!(codes[&Some("1")].0, Code::Ok);
    assert_eq!(codes[&None].0, Code::FailedPrecondition);
    assert_eq!(codes[&Some("2")].0, Code::FailedPrecondition);
    assert!(
        codes[&Some("2")]
            .1
            .contains("the node that was called speaks version 2")
    );
}
