//! Which threads the roles of a sandbox run on.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use dispers_base::id::Role;
use tokio::runtime::{Builder, Handle, Runtime};

const ROLES: [Role; 7] = [
    Role::Conductor,
    Role::ConceptIndexor,
    Role::TargetFinder,
    Role::Target,
    Role::Stack,
    Role::DataAggregator,
    Role::Querier,
];

/// One executor per role, whose threads bear the role's name, so that what a role costs can be told
/// from what another does.
pub struct Executors(BTreeMap<Role, Runtime>);

impl Executors {
    /// Starts them. Each thread calls `begin` with its role when it starts.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(begin: impl Fn(Role) + Send + Sync + 'static) -> io::Result<Self> {
        let begin = Arc::new(begin);
        let start = |role: Role| {
            let begin = begin.clone();
            let runtime = Builder::new_multi_thread()
                .enable_all()
                .thread_name(role.to_string())
                // A thread that ends takes with it what it cost.
                .thread_keep_alive(Duration::from_secs(24 * 3600))
                .on_thread_start(move || begin(role))
                .build()?;
            Ok((role, runtime))
        };
        ROLES
            .into_iter()
            .map(start)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    pub(crate) fn of(&self, role: Role) -> &Handle {
        self.0[&role].handle()
    }

    /// Runs `work` with a role's executor, on the calling thread.
    pub fn run<F: Future>(&self, role: Role, work: F) -> F::Output {
        self.of(role).block_on(work)
    }

    /// Ends them without waiting for what still runs.
    pub fn end(self) {
        for (_, runtime) in self.0 {
            runtime.shutdown_background();
        }
    }
}
