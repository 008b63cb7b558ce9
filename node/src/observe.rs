//! Observation of every request of every role. Each request is counted and continues its caller's trace. It is refused
//! if its caller speaks another version of the protocol, or if the node is stopping and the request would begin
//! something.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use dispers_base::id::Role;
use dispers_proto::METHODS;
use http_body::{Frame, SizeHint};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Bytes, http},
    service::Routes,
};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::{
    activity::{Activity, RunningRequest},
    telemetry,
    tls::PeerInfo,
    version,
};

/// Name of all methods that no role serves. One name bounds the values of the label, whatever paths a peer asks for.
const OTHER: &str = "other";
/// Paths and names of the methods that every role has.
const HEALTH: [(&str, &str); 2] = [
    ("/grpc.health.v1.Health/Check", "Health/Check"),
    ("/grpc.health.v1.Health/Watch", "Health/Watch"),
];

/// Returns the name of a request's method; one name for all unknown methods.
pub(crate) fn method_of(path: &str) -> &'static str {
    let mut known = METHODS.iter().chain(&HEALTH);
    known
        .find(|(known, _)| *known == path)
        .map_or(OTHER, |(_, name)| name)
}

/// Layer that observes the requests to a server.
#[derive(Clone)]
pub(crate) struct ObserveLayer(pub(crate) Arc<Activity>);

impl Layer<Routes> for ObserveLayer {
    type Service = Observe;

    fn layer(&self, routes: Routes) -> Observe {
        Observe {
            routes,
            activity: self.0.clone(),
        }
    }
}

/// Observed routes of a server.
#[derive(Clone)]
pub(crate) struct Observe {
    routes: Routes,
    activity: Arc<Activity>,
}

type Answer = http::Response<Body>;

impl Service<http::Request<Body>> for Observe {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = method_of(request.uri().path());
        let mut running = self.activity.request(method);
        let span = tracing::debug_span!(
            target: telemetry::TARGET,
            "serve",
            otel.name = method,
            otel.kind = "server",
            role = self.activity.role().name(),
            code = tracing::field::Empty,
        );
        // A trace of a host would link its uploads to its pseudonyms, which the target keeps apart (protocol.md §15).
        let peer = request.extensions().get::<PeerInfo>();
        if peer.is_some_and(|PeerInfo(peer)| peer.role() != Role::Stack) {
            telemetry::continues(&span, request.headers());
        }
        let stopping = self.activity.refuses(method);
        let stopping = stopping.then(|| Status::unavailable("this node is stopping: try again"));
        // The version comes first, and both checks come before the body is read: another version may mean something
        // else by the same bytes (protocol.md §3).
        if let Some(status) = version::check_request(&request).or(stopping) {
            running.code = Some(status.code());
            let mut answer = status.into_http();
            version::announce(answer.headers_mut());
            return Box::pin(std::future::ready(Ok(answer)));
        }
        // The service reads the body while this future waits for the answer, so that the two share the count.
        let received = Arc::new(AtomicU64::new(0));
        let counted = received.clone();
        let request = request.map(|body| Body::new(Received { body, counted }));
        let answer = self.routes.call(request);
        let instrumented = span.clone();
        let answered = async move {
            let mut answer = answer.await?;
            version::announce(answer.headers_mut());
            // An answer without a body has its status in the headers. Any other has it in the trailers, after the body.
            running.code = Status::from_header_map(answer.headers()).map(|status| status.code());
            Ok(answer.map(|body| {
                Body::new(Sent {
                    body,
                    received,
                    running,
                    span,
                })
            }))
        };
        Box::pin(answered.instrument(instrumented))
    }
}

/// Body of a request, whose bytes are counted.
struct Received {
    body: Body,
    counted: Arc<AtomicU64>,
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let bytes = data.len() as u64;
            self.counted.fetch_add(bytes, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Body of an answer. The request ends with it.
struct Sent {
    body: Body,
    received: Arc<AtomicU64>,
    // Fields are dropped in this order: the span ends before the request is counted as ended.
    span: Span,
    running: RunningRequest,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.running.sent += data.len() as u64;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    let status = Status::from_header_map(trailers);
                    self.running.code = status.map(|status| status.code());
                }
            }
            Poll::Ready(Some(Err(status))) => self.running.code = Some(status.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.running.received = self.received.load(Ordering::Relaxed);
        // An answer without a code did not reach its end.
        let code = self.running.code.unwrap_or(Code::Cancelled);
        self.span.record("code", i32::from(code));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_name_and_everything_else_has_one() {
        assert_eq!(
            method_of("/dispers.v1.Conductor/Submit"),
            "Conductor/Submit"
        );
        assert_eq!(method_of("/grpc.health.v1.Health/Check"), "Health/Check");
        for stranger in [
            "",
            "/",
            "/dispers.v1.Conductor/",
            "/dispers.v1.Conductor/p7",
        ] {
            assert_eq!(method_of(stranger), OTHER);
        }
        let names: std::collections::BTreeSet<&str> =
            METHODS.iter().map(|(_, name)| *name).collect();
        assert_eq!(names.len(), METHODS.len());
    }
}
