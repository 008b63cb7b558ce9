//! Peak memory of each role.

use std::{
    alloc::System,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use dispers_base::id::Role;
use tracking_allocator::{
    AllocationGroupId, AllocationGroupToken, AllocationRegistry, AllocationTracker, Allocator,
};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator::system();

/// Number of allocation groups: one for each role, one for everything else, and some spare.
const GROUPS: usize = 16;

/// Bytes allocated by the threads of each role. Memory that SQLite allocates is not included.
#[derive(Default)]
pub(crate) struct Memory {
    roles: Mutex<BTreeMap<usize, Role>>,
    now: [AtomicUsize; GROUPS],
    peak: [AtomicUsize; GROUPS],
}

struct Tracker(Arc<Memory>);

/// Returns the index of a group. Groups are numbered from 1 in the order of their registration.
fn place(group: &AllocationGroupId) -> usize {
    group.as_usize().get() % GROUPS
}

impl AllocationTracker for Tracker {
    fn allocated(&self, _: usize, _: usize, size: usize, group: AllocationGroupId) {
        let place = place(&group);
        let now = self.0.now[place].fetch_add(size, Ordering::Relaxed) + size;
        // The cheap comparison first: this runs for every allocation.
        if now > self.0.peak[place].load(Ordering::Relaxed) {
            self.0.peak[place].fetch_max(now, Ordering::Relaxed);
        }
    }

    fn deallocated(
        &self,
        _: usize,
        _: usize,
        size: usize,
        source: AllocationGroupId,
        _: AllocationGroupId,
    ) {
        // Memory may be freed by another role's thread. It counts for the role that allocated it.
        self.0.now[place(&source)].fetch_sub(size, Ordering::Relaxed);
    }
}

impl Memory {
    /// Starts to count allocations.
    pub(crate) fn track() -> Arc<Self> {
        let memory = Arc::new(Self::default());
        // A process runs one command, so there is only one tracker. A second one would be refused, and the
        // first would go on.
        let _ = AllocationRegistry::set_global_tracker(Tracker(memory.clone()));
        AllocationRegistry::enable_tracking();
        memory
    }

    /// Counts allocations of the current thread as those of `role` from now on.
    pub(crate) fn enter(&self, role: Role, tokens: &Tokens) {
        let mut tokens = tokens.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !tokens.contains_key(&role)
            && let Some(token) = AllocationGroupToken::register()
        {
            let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
            roles.insert(place(&token.id()), role);
            tokens.insert(role, token);
        }
        if let Some(token) = tokens.get_mut(&role) {
            // The guard is never dropped: the thread belongs to the role for its whole life.
            std::mem::forget(token.enter());
        }
    }

    /// Returns the most bytes that each role held at a time.
    pub(crate) fn peaks(&self) -> BTreeMap<Role, usize> {
        let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let peaks = roles
            .iter()
            .map(|(place, role)| (*role, self.peak[*place].load(Ordering::Relaxed)));
        peaks.collect()
    }
}

/// Allocation groups, one per role.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<Role, AllocationGroupToken>>);
