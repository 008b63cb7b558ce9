//! Service of a conductor whose requests last as long as the test wants.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use dispers_base::{id::Role, keys::SigningKey};
use dispers_node::{
    Activity, Node, PROTOCOL_VERSION, ServeError, TlsIdentity, VERSION_HEADER, serve_draining,
    tls::connect,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tonic::{
    Code,
    body::Body,
    codegen::{Service, http},
    service::Routes,
};
use tower::ServiceExt;

use crate::network::{Network, name};

/// Longest wait for an event that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Service that reports each request to the test by the last part of its path, and answers when the test says so.
#[derive(Clone)]
struct Waiting(mpsc::UnboundedSender<(String, oneshot::Sender<()>)>);

impl tonic::server::NamedService for Waiting {
    const NAME: &'static str = "dispers.v1.Conductor";
}

impl Service<http::Request<Body>> for Waiting {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let (answer, answered) = oneshot::channel();
        self.0.send((method, answer)).unwrap();
        Box::pin(async {
            let _ = answered.await;
            let response = http::Response::builder().header("grpc-status", "0");
            Ok(response.body(Body::empty()).unwrap())
        })
    }
}

/// Node of the network that is served.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) activity: Arc<Activity>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) ended: JoinHandle<Result<(), ServeError>>,
    arrived: Mutex<mpsc::UnboundedReceiver<(String, oneshot::Sender<()>)>>,
}

/// Returns the node `label` of the network.
pub(crate) fn node(network: &Network, label: &str, role: Role) -> Node {
    Node {
        name: name(label),
        directory: network.directory(),
        signing: SigningKey::from_seed(&[1; 32]),
        tls: TlsIdentity::from_pkcs8(network.keys(label).tls.pkcs8()).unwrap(),
        watcher: None,
        activity: Activity::new(role),
    }
}

impl Served {
    /// Serves the conductor of the network.
    pub(crate) async fn start(network: &Network, drain: Duration) -> Self {
        Self::serve(node(network, "c", Role::Conductor), drain).await
    }

    /// Serves the conductor again, in the process that already has this activity.
    pub(crate) async fn start_again(network: &Network, activity: Arc<Activity>) -> Self {
        let node = Node {
            activity,
            ..node(network, "c", Role::Conductor)
        };
        Self::serve(node, PATIENCE).await
    }

    async fn serve(node: Node, drain: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let activity = node.activity.clone();
        let (told, arrived) = mpsc::unbounded_channel();
        let routes = Routes::new(Waiting(told));
        let ended =
            tokio::spawn(
                async move { serve_draining(listener, routes, &node, drain, shutdown).await },
            );
        Self {
            address,
            activity,
            stop: Some(stop),
            ended,
            arrived: Mutex::new(arrived),
        }
    }

    /// Returns a plain channel of `client` to this node.
    pub(crate) fn channel(&self, network: &Network, client: &str) -> tonic::transport::Channel {
        let key = network.keys("c").tls.key();
        connect(
            &self.address.to_string(),
            key,
            &network.keys(client).tls,
            None,
        )
        .unwrap()
    }

    /// Returns the method of the next request that reached the service, and the sender that has it answered.
    #[allow(clippy::await_holding_lock, reason = "one test waits at a time")]
    pub(crate) async fn arrived(&self) -> (String, oneshot::Sender<()>) {
        let mut arrived = self.arrived.lock().unwrap();
        timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap()
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the node's metrics have all these lines.
    pub(crate) async fn until_counted(&self, lines: &[&str]) -> String {
        let counted = async {
            loop {
                let text = self.activity.metrics();
                if lines.iter().all(|line| text.lines().any(|it| it == *line)) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let counted = timeout(PATIENCE, counted).await;
        counted.unwrap_or_else(|_| panic!("{lines:?} are not in {}", self.activity.metrics()))
    }
}

/// Sends an empty request for a path. Returns the code of the answer, or `None` if the connection ended.
pub(crate) async fn call(channel: tonic::transport::Channel, path: &str) -> Option<Code> {
    let version = PROTOCOL_VERSION.to_string();
    let answer = call_in(channel, path, Some(&version)).await?;
    let status = tonic::Status::from_header_map(answer.headers())?;
    Some(status.code())
}

/// Sends an empty request that names a version of the protocol, or none.
pub(crate) async fn call_in(
    channel: impl Service<http::Request<Body>, Response = http::Response<Body>>,
    path: &str,
    version: Option<&str>,
) -> Option<http::Response<Body>> {
    let mut request = http::Request::builder()
        .method("POST")
        .uri(path)
        .header("content-type", "application/grpc");
    if let Some(version) = version {
        request = request.header(VERSION_HEADER, version);
    }
    let request = request.body(Body::empty()).unwrap();
    channel.oneshot(request).await.ok()
}
