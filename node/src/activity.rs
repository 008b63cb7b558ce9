//! What a node is doing: told in metrics, and waited for before it stops.

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

/// How often a stopping node looks whether its queries have ended.
const LOOK: Duration = Duration::from_millis(100);
/// How many such looks in a row find nothing, before it stops.
const QUIET: u32 = 10;
/// Methods that a stopping node refuses: they begin what it would not see the end of. Whether a
/// `DataAggregator/Begin` begins anything is known to the aggregator only, which refuses it itself.
const BEGINNING: [&str; 4] = [
    "Conductor/Offers",
    "Conductor/Submit",
    "DataAggregator/Offer",
    "TargetFinder/Find",
];
/// Requests that last as long as their caller wants. A stopping node does not wait for them.
const LASTING: [&str; 3] = ["Conductor/Watch", "Health/Watch", "Target/Attach"];

/// What one node is doing.
pub struct Activity {
    role: Role,
    metrics: Metrics,
    /// Requests that a stopping node waits for.
    requests: AtomicUsize,
    draining: AtomicBool,
    /// Queries that run here and have no [`RunningQuery`].
    queries: Mutex<Option<Count>>,
}

type Count = Box<dyn Fn() -> usize + Send>;

impl Activity {
    /// Nothing yet, at a node of this role.
    pub fn new(role: Role) -> Arc<Self> {
        Arc::new(Self {
            role,
            metrics: Metrics::new(role),
            requests: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            queries: Mutex::default(),
        })
    }

    /// The node's role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// All metrics, as Prometheus reads them.
    pub fn metrics(&self) -> String {
        if let Some(queries) = &*self.queries() {
            self.metrics.queries(QueryPhase::Aggregate, queries());
        }
        self.metrics.text()
    }

    /// A query runs here from now on, until what is returned is dropped.
    pub fn query(self: &Arc<Self>) -> RunningQuery {
        let phase = QueryPhase::Find;
        self.metrics.query_began(phase);
        RunningQuery {
            activity: self.clone(),
            phase,
        }
    }

    /// Has `count` say how many queries run here, instead of what said it before.
    pub fn queries_are(&self, count: impl Fn() -> usize + Send + 'static) {
        *self.queries() = Some(Box::new(count));
    }

    fn queries(&self) -> MutexGuard<'_, Option<Count>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A query was released, over so many batches and answers.
    pub fn released(&self, batches: u64, answers: u64) {
        self.metrics.released(batches, answers);
    }

    /// So many batches were committed here.
    pub fn committed(&self, batches: u64) {
        self.metrics.released(batches, 0);
    }

    /// When the directory expires.
    pub(crate) fn directory_expires(&self, when: Timestamp) {
        self.metrics.directory_expires(when);
    }

    /// Whether a request of this method is refused, since the node is stopping.
    pub(crate) fn refuses(&self, method: &str) -> bool {
        self.is_draining() && BEGINNING.contains(&method)
    }

    /// A request of this method begins: one that this node's server takes, or what another stream
    /// than a request's own brings.
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

    /// Whether the node is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Begins nothing more from now on; or does again, as a node that was started anew.
    pub fn drains(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
        self.metrics.draining(draining);
    }

    /// What runs here and would be cut off.
    pub(crate) fn running(&self) -> Running {
        let queries = self.queries().as_ref().map_or(0, |queries| queries());
        Running {
            queries: queries + self.metrics.queries_running(),
            requests: self.requests.load(Ordering::SeqCst),
        }
    }

    /// Resolves once nothing runs here. Where something did, it stays so for a moment: the totals of
    /// a query are fetched once it has ended.
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

/// What runs at a node.
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

/// A query that runs here until this is dropped.
pub struct RunningQuery {
    activity: Arc<Activity>,
    phase: QueryPhase,
}

impl RunningQuery {
    /// The query is in this phase now.
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

/// A request that runs until this is dropped.
pub struct RunningRequest {
    activity: Arc<Activity>,
    method: &'static str,
    counted: bool,
    began: Instant,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// How it ended, once that is known.
    pub(crate) code: Option<tonic::Code>,
}

impl RunningRequest {
    /// It carried so many bytes, and ended with this code.
    pub fn ends(mut self, received: usize, sent: usize, code: tonic::Code) {
        (self.received, self.sent) = (received as u64, sent as u64);
        self.code = Some(code);
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.activity.metrics.request_ended(
            self.method,
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
