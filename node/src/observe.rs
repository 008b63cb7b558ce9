//! What happens to every request of every role, in one place: it is counted, it is refused if its caller speaks another
//! version, or if the node is stopping and it would begin something, and it continues its caller's trace.

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

/// A request for something that no role serves.
const OTHER: &str = "other";
/// The methods that every role has.
const HEALTH: [(&str, &str); 2] = [
    ("/grpc.health.v1.Health/Check", "Health/Check"),
    ("/grpc.health.v1.Health/Watch", "Health/Watch"),
];

/// The name of a request's method; one for all that are unknown.
pub(crate) fn method_of(path: &str) -> &'static str {
    let mut known = METHODS.iter().chain(&HEALTH);
    known
        .find(|(known, _)| *known == path)
        .map_or(OTHER, |(_, name)| name)
}

/// Observes what a server is asked.
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

/// The routes of a server, observed.
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
        // A host's trace would link what the Target keeps apart: its uploads and its pseudonyms.
        let peer = request.extensions().get::<PeerInfo>();
        if peer.is_some_and(|PeerInfo(peer)| peer.role() != Role::Stack) {
            telemetry::continues(&span, request.headers());
        }
        let stopping = self.activity.refuses(method);
        let stopping = stopping.then(|| Status::unavailable("this node is stopping: try again"));
        if let Some(status) = version::check_request(&request).or(stopping) {
            running.code = Some(status.code());
            let mut answer = status.into_http();
            version::announce(answer.headers_mut());
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let received = Arc::new(AtomicU64::new(0));
        let counted = received.clone();
        let request = request.map(|body| Body::new(Received { body, counted }));
        let answer = self.routes.call(request);
        let instrumented = span.clone();
        let answered = async move {
            let mut answer = answer.await?;
            version::announce(answer.headers_mut());
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

/// A request's body, counted.
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

/// An answer's body, with which its request ends.
struct Sent {
    body: Body,
    received: Arc<AtomicU64>,
    // The request has ended for the trace before it is counted.
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
