//! Metrics for Prometheus. Every label has a closed set of values: role, method, gRPC code, direction and phase. No
//! label has a concept, home, address, value, query or querier.
//!
//! Numbers of homes and batches are totals over released queries.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use dispers_base::id::{Role, Timestamp};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tonic::Code;

use crate::activity::Activity;

/// Content of the `[metrics]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MetricsConfig {
    /// Address at which metrics can be read, over plain HTTP; `None` for nowhere.
    pub listen: Option<SocketAddr>,
}

/// Phase of a query at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryPhase {
    /// At a conductor: target finders choose homes.
    Find,
    /// At a conductor: homes are asked, and their answers are verified.
    Ask,
    /// At a conductor: aggregators agree on the release.
    Release,
    /// At an aggregator: the query has begun and is not released.
    Aggregate,
}

impl QueryPhase {
    /// Phases of a query at a conductor.
    const DRIVEN: [Self; 3] = [Self::Find, Self::Ask, Self::Release];

    fn label(self) -> InPhase {
        let phase = match self {
            Self::Find => "find",
            Self::Ask => "ask",
            Self::Release => "release",
            Self::Aggregate => "aggregate",
        };
        InPhase { phase }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMethod {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Carried {
    method: &'static str,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

/// Bounds of the histogram of durations, in seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0,
];

/// Metrics of one node.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Ended, Counter>,
    seconds: Family<OfMethod, Histogram>,
    bytes: Family<Carried, Counter>,
    running: Family<OfMethod, Gauge>,
    queries: Family<InPhase, Gauge>,
    batches: Counter,
    answers: Counter,
    draining: Gauge,
    expires: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new(role: Role) -> Self {
        let labels = [("role".into(), role.name().into())];
        let mut registry = Registry::with_prefix_and_labels("dispers", labels.into_iter());
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            bytes: Family::default(),
            running: Family::default(),
            queries: Family::default(),
            batches: Counter::default(),
            answers: Counter::default(),
            draining: Gauge::default(),
            expires: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests that ended", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "How long requests took",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register_with_unit(
            "message",
            "What requests that ended carried",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register(
            "requests_running",
            "Requests in flight",
            metrics.running.clone(),
        );
        registry.register(
            "queries_running",
            "Queries under way",
            metrics.queries.clone(),
        );
        registry.register(
            "batches_committed",
            "Batches that count",
            metrics.batches.clone(),
        );
        registry.register(
            "homes_answered",
            "Answers of homes to queries that were released",
            metrics.answers.clone(),
        );
        registry.register(
            "draining",
            "Whether the node is stopping",
            metrics.draining.clone(),
        );
        registry.register_with_unit(
            "directory_expires_timestamp",
            "When the directory expires, since the Unix epoch",
            Unit::Seconds,
            metrics.expires.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }

    pub(crate) fn request_began(&self, method: &'static str) {
        self.running.get_or_create(&OfMethod { method }).inc();
    }

    pub(crate) fn request_ended(
        &self,
        method: &'static str,
        code: Code,
        took: Duration,
        received: u64,
        sent: u64,
    ) {
        let code = name_of(code);
        self.requests.get_or_create(&Ended { method, code }).inc();
        let of_method = OfMethod { method };
        self.running.get_or_create(&of_method).dec();
        let seconds = self.seconds.get_or_create(&of_method);
        seconds.observe(took.as_secs_f64());
        for (direction, bytes) in [("in", received), ("out", sent)] {
            let carried = Carried { method, direction };
            self.bytes.get_or_create(&carried).inc_by(bytes);
        }
    }

    pub(crate) fn queries(&self, phase: QueryPhase, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.queries.get_or_create(&phase.label()).set(count);
    }

    pub(crate) fn query_began(&self, phase: QueryPhase) {
        self.queries.get_or_create(&phase.label()).inc();
    }

    pub(crate) fn query_left(&self, phase: QueryPhase) {
        self.queries.get_or_create(&phase.label()).dec();
    }

    /// Returns the number of running queries that have a [`RunningQuery`](crate::RunningQuery).
    pub(crate) fn queries_running(&self) -> usize {
        let counts =
            QueryPhase::DRIVEN.map(|phase| self.queries.get_or_create(&phase.label()).get());
        let running: i64 = counts.iter().sum();
        usize::try_from(running).unwrap_or(0)
    }

    pub(crate) fn released(&self, batches: u64, answers: u64) {
        self.batches.inc_by(batches);
        self.answers.inc_by(answers);
    }

    pub(crate) fn draining(&self, draining: bool) {
        self.draining.set(draining.into());
    }

    pub(crate) fn directory_expires(&self, when: Timestamp) {
        self.expires.set(when.0 as f64 / 1000.0);
    }
}

/// Returns the name of a code as gRPC writes it.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Serves the node's metrics at `/metrics` over plain HTTP, as long as the future is polled.
///
/// # Errors
/// [`io::Error`] if the listener fails.
pub async fn serve_metrics(listener: TcpListener, activity: Arc<Activity>) -> io::Result<()> {
    // Content type of the OpenMetrics text format, which Prometheus prefers.
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics = get(move || async move { ([(CONTENT_TYPE, TEXT)], activity.metrics()) });
    axum::serve(listener, Router::new().route("/metrics", metrics)).await
}
