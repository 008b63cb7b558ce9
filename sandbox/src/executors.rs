//! Threads of a sandbox, separate for each role.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use dispers_base::id::Role;
use tokio::runtime::{Builder, Handle, Runtime};

/// Roles that have an executor.
const ROLES: [Role; 7] = [
    Role::Conductor,
    Role::ConceptIndexor,
    Role::TargetFinder,
    Role::Target,
    Role::Stack,
    Role::DataAggregator,
    Role::Querier,
];

/// One executor per role. Its threads bear the role's name, so that the processor time of a role can be told from that
/// of others.
pub struct Executors(BTreeMap<Role, Runtime>);

impl Executors {
    /// Starts the executors. Each thread calls `begin` with its role when it starts.
    ///
    /// # Errors
    /// [`io::Error`] if the system starts no more threads.
    pub fn start(begin: impl Fn(Role) + Send + Sync + 'static) -> io::Result<Self> {
        let begin = Arc::new(begin);
        let executors = ROLES.into_iter().map(|role| {
            let begin = begin.clone();
            let runtime = Builder::new_multi_thread()
                .enable_all()
                .thread_name(role.to_string())
                // The system forgets the processor time of a thread that ends, so threads stay.
                .thread_keep_alive(Duration::from_secs(24 * 3600))
                .on_thread_start(move || begin(role))
                .build()?;
            Ok((role, runtime))
        });
        executors.collect::<io::Result<_>>().map(Self)
    }

    /// Returns the executor of a role.
    pub(crate) fn of(&self, role: Role) -> &Handle {
        self.0[&role].handle()
    }

    /// Runs `work` with a role's executor. The calling thread waits for the result.
    pub fn run<F: Future>(&self, role: Role, work: F) -> F::Output {
        self.of(role).block_on(work)
    }

    /// Ends all executors without waiting for tasks that still run.
    pub fn end(self) {
        for (_, runtime) in self.0 {
            runtime.shutdown_background();
        }
    }
}
