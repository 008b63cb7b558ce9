//! How much memory each role holds at most.

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

/// Roles and whatever belongs to none.
const GROUPS: usize = 16;

/// Bytes that are allocated by the threads of each role. Memory of SQLite is not among them.
#[derive(Default)]
pub(crate) struct Memory {
    roles: Mutex<BTreeMap<usize, Role>>,
    now: [AtomicUsize; GROUPS],
    peak: [AtomicUsize; GROUPS],
}

struct Tracker(Arc<Memory>);

/// Groups are numbered from one in the order of their registration.
fn place(group: &AllocationGroupId) -> usize {
    group.as_usize().get() % GROUPS
}

impl AllocationTracker for Tracker {
    fn allocated(&self, _: usize, _: usize, size: usize, group: AllocationGroupId) {
        let place = place(&group);
        let now = self.0.now[place].fetch_add(size, Ordering::Relaxed) + size;
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
        self.0.now[place(&source)].fetch_sub(size, Ordering::Relaxed);
    }
}

impl Memory {
    /// Starts to count.
    pub(crate) fn track() -> Arc<Self> {
        let memory = Arc::new(Self::default());
        // A second tracker is refused, and the first goes on: a process runs one command.
        let _ = AllocationRegistry::set_global_tracker(Tracker(memory.clone()));
        AllocationRegistry::enable_tracking();
        memory
    }

    /// Counts what the current thread allocates from now on as the role's.
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
            // The thread belongs to the role for as long as it lives.
            std::mem::forget(token.enter());
        }
    }

    /// Most bytes that each role held at a time.
    pub(crate) fn peaks(&self) -> BTreeMap<Role, usize> {
        let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let peak =
            |(place, role): (&usize, &Role)| (*role, self.peak[*place].load(Ordering::Relaxed));
        roles.iter().map(peak).collect()
    }
}

/// One group of allocations per role.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<Role, AllocationGroupToken>>);
