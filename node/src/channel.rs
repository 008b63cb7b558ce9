//! The caller's side of a request to another node: it passes the trace on, names this program's version of the
//! protocol, and verifies that of the answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use dispers_base::id::Role;
use tonic::{Status, body::Body, codegen::http, transport};
use tower::Service;
use tracing::Instrument;

use crate::{observe::method_of, telemetry, version};

/// Channel to another node.
#[derive(Clone)]
pub struct Channel {
    channel: transport::Channel,
    role: Role,
}

impl Channel {
    /// Wraps `channel` for a node of `role`.
    pub(crate) fn new(channel: transport::Channel, role: Role) -> Self {
        Self { channel, role }
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let span = tracing::debug_span!(
            target: telemetry::TARGET,
            "call",
            otel.name = method_of(request.uri().path()),
            otel.kind = "client",
            role = self.role.name(),
            code = tracing::field::Empty,
        );
        // A trace of a host would link its uploads to its pseudonyms, which the target keeps apart (protocol.md §15).
        if self.role != Role::Stack {
            telemetry::passes_on(&span, request.headers_mut());
        }
        version::announce(request.headers_mut());
        let path = request.uri().path().to_owned();
        let answer = self.channel.call(request);
        let told = span.clone();
        let answered = async move {
            let answer = answer.await;
            let answer = answer.map(|answer| version::check_response(&path, answer));
            let code = match &answer {
                Ok(answer) => Status::from_header_map(answer.headers()).map(|s| s.code()),
                // Nothing answered: the failure is on the way.
                Err(_) => Some(tonic::Code::Unavailable),
            };
            if let Some(code) = code {
                told.record("code", i32::from(code));
            }
            answer
        };
        Box::pin(answered.instrument(span))
    }
}
