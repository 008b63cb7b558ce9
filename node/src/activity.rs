//! Activity of a node: metrics show it, and a stopping node waits for it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dispers_base::id::{Role, Timestamp};

use crate::metrics::{Metrics, QueryPhase};

/// Interval at which a stopping node checks whether its queries have ended.
const LOOK: Duration = Duration::from_millis(100);
/// Number of checks in a row that must find nothing before the node stops.
const QUIET: u32 = 10;
/// Methods that a stopping node refuses, since they begin something whose end it would not see. `DataAggregator/Begin`
/// is not among them: only the aggregator knows whether it begins a query, and refuses it itself.
const BEGINNING: [&str; 4] = [
    "Conductor/Offers",
    "Conductor/Submit",
    "DataAggregator/Offer",
    "TargetFinder/Find",
];
/// Methods whose requests last as long as their caller wants. A stopping node does not wait for them.
const LASTING: [&str; 3] = ["Conductor/Watch", "Health/Watch", "Target/Attach"];

/// Requests and queries that run at one node.
pub struct Activity {
    role: Role,
    metrics: Metrics,
    /// Number of running requests that a stopping node waits for.
    requests: AtomicUsize,
    draining: AtomicBool,
    /// Function that counts the running queries without a [`RunningQuery`].
    queries: Mutex<Option<Count>>,
}

type Count = Box<dyn Fn() -> usize + Send>;

impl Activity {
    /// Creates the activity of a node of this role, at which nothing runs yet.
    pub fn new(role: Role) -> Arc<Self> {
        Arc::new(Self {
            role,
            metrics: Metrics::new(role),
            requests: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            queries: Mutex::default(),
        })
    }

    /// Returns the node's role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns all metrics in the text format that Prometheus reads.
    pub fn metrics(&self) -> String {
        // Nobody reports the begin and end of these queries, so that they are counted when the metrics are read.
        if let Some(queries) = &*self.queries() {
            self.metrics.queries(QueryPhase::Aggregate, queries());
        }
        self.metrics.text()
    }

    /// Records that a query runs here, until the returned value is dropped.
    pub fn query(self: &Arc<Self>) -> RunningQuery {
        let phase = QueryPhase::Find;
        self.metrics.query_began(phase);
        RunningQuery {
            activity: self.clone(),
            phase,
        }
    }

    /// Sets the function that counts the queries which run here without a [`RunningQuery`]. It replaces an earlier one.
    pub fn queries_are(&self, count: impl Fn() -> usize + Send + 'static) {
        *self.queries() = Some(Box::new(count));
    }

    fn queries(&self) -> MutexGuard<'_, Option<Count>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a query was released, with its numbers of batches and of answers.
    pub fn released(&self, batches: u64, answers: u64) {
        self.metrics.released(batches, answers);
    }

    /// Records that this number of batches was committed here.
    pub fn committed(&self, batches: u64) {
        self.metrics.released(batches, 0);
    }

    /// Records when the directory expires.
    pub(crate) fn directory_expires(&self, when: Timestamp) {
        self.metrics.directory_expires(when);
    }

    /// Returns whether a request of this method is refused because the node is stopping.
    pub(crate) fn refuses(&self, method: &str) -> bool {
        self.is_draining() && BEGINNING.contains(&method)
    }

    /// Records that a request of this method runs, until the returned value is dropped. It is a request to this node's
    /// server, or one that came over another stream, such as that of an attached stack.
    pub fn request(self: &Arc<Self>, method: &'static str) -> RunningRequest {
        let counted = !LASTING.contains(&method);
        if counted {
            self.requests.fetch_add(1, Ordering::SeqCst);
        }
        self.metrics.request_began(method);
        RunningRequest {
            activity: self.clone(),
            method,
            counted,
            began: Instant::now(),
            received: 0,
            sent: 0,
            code: None,
        }
    }

    /// Returns whether the node is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Sets whether the node is stopping. A node that is started again in the same process takes requests again.
    pub fn drains(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
        self.metrics.draining(draining);
    }

    /// Returns the numbers of requests and queries that a stop would cut off.
    pub(crate) fn running(&self) -> Running {
        let queries = self.queries().as_ref().map_or(0, |queries| queries());
        Running {
            queries: queries + self.metrics.queries_running(),
            requests: self.requests.load(Ordering::SeqCst),
        }
    }

    /// Resolves once nothing runs here. If something ran, nothing must run for a moment: a querier fetches the totals
    /// only after its query has ended.
    pub(crate) async fn idle(&self) {
        let mut wanted = 0;
        let mut quiet = 0;
        loop {
            if self.running() == Running::default() {
                if quiet == wanted {
                    return;
                }
                quiet += 1;
            } else {
                (wanted, quiet) = (QUIET, 0);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Numbers of running queries and requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) queries: usize,
    pub(crate) requests: usize,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queries, {} requests", self.queries, self.requests)
    }
}

/// Query that runs here until this value is dropped.
pub struct RunningQuery {
    activity: Arc<Activity>,
    phase: QueryPhase,
}

impl RunningQuery {
    /// Records that the query enters this phase.
    pub fn enters(&mut self, phase: QueryPhase) {
        if phase != self.phase {
            self.activity.metrics.query_left(self.phase);
            self.activity.metrics.query_began(phase);
            self.phase = phase;
        }
    }
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        self.activity.metrics.query_left(self.phase);
    }
}

/// Request that runs until this value is dropped.
pub struct RunningRequest {
    activity: Arc<Activity>,
    method: &'static str,
    counted: bool,
    began: Instant,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// gRPC code of the answer, once it is known.
    pub(crate) code: Option<tonic::Code>,
}

impl RunningRequest {
    /// Ends the request, with the numbers of bytes that it carried and its code.
    pub fn ends(mut self, received: usize, sent: usize, code: tonic::Code) {
        (self.received, self.sent) = (received as u64, sent as u64);
        self.code = Some(code);
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.activity.metrics.request_ended(
            self.method,
            // A request without a code was dropped before its answer, as when the caller goes away.
            self.code.unwrap_or(tonic::Code::Cancelled),
            self.began.elapsed(),
            self.received,
            self.sent,
        );
        if self.counted {
            self.activity.requests.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
