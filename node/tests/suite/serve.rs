//! Tests of a request over the served transport, and of the end of serving.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use dispers_base::{
    id::{Name, Role},
    keys::SigningKey,
};
use dispers_node::{
    Activity, Node, ServeError, serve,
    tls::{PeerInfo, TlsIdentity, connect},
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::service::Routes;
use tonic::transport::Channel;
use tower::ServiceExt;

use crate::network::Network;

/// Service that answers every request with its sender's name, in a header.
#[derive(Clone)]
struct Telling;

impl tonic::server::NamedService for Telling {
    const NAME: &'static str = "telling";
}

impl Service<http::Request<Body>> for Telling {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let PeerInfo(peer) = request.extensions().get().unwrap();
        let response = http::Response::builder().header("peer", peer.name().as_str());
        ready(Ok(response.body(Body::empty()).unwrap()))
    }
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

async fn start(network: &Network) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    let keys = network.keys("c");
    let node = Node {
        name: Name::new("c").unwrap(),
        directory: network.directory(),
        signing: SigningKey::from_seed(&[1; 32]),
        tls: TlsIdentity::from_pkcs8(keys.tls.pkcs8()).unwrap(),
        watcher: None,
        activity: Activity::new(Role::Conductor),
    };
    let served =
        tokio::spawn(async move { serve(listener, Routes::new(Telling), &node, shutdown).await });
    Running {
        address,
        stop,
        served,
    }
}

fn ask(channel: Channel) -> impl Future<Output = Result<String, tonic::transport::Error>> {
    let request = http::Request::builder()
        .uri("/telling/who")
        .body(Body::empty());
    async move {
        let response = channel.oneshot(request.unwrap()).await?;
        Ok(response.headers()["peer"].to_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_request_carries_its_sender_until_the_server_stops() {
    let network = Network::new();
    let running = start(&network).await;
    let address = running.address.to_string();
    let key = network.keys("c").tls.key();
    let channel = connect(&address, key, &network.keys("da1").tls, None).unwrap();
    assert_eq!(ask(channel.clone()).await.unwrap(), "da1");
    assert_eq!(ask(channel.clone()).await.unwrap(), "da1");

    running.stop.send(()).unwrap();
    let served = timeout(Duration::from_secs(5), running.served).await;
    served.expect("no request holds it up").unwrap().unwrap();
    assert!(ask(channel).await.is_err());
}

#[tokio::test]
async fn a_malformed_address_is_refused_before_it_is_dialled() {
    let network = Network::new();
    let keys = network.keys("da1");
    assert!(connect("no address", keys.tls.key(), &keys.tls, None).is_err());
}
