//! Calling any node of a role: one after the other, until one can be reached.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dispers_base::id::Role;
use dispers_trust::directory::Node as Listed;
use rand::Rng;
use tonic::{Code, Status};

use crate::{Channel, Channels, Node, rng};

/// The nodes of a role of which any will do.
pub struct AnyOf {
    node: Arc<Node>,
    channels: Channels,
    role: Role,
    /// Place of the one that is tried first: at the start by chance, so that callers spread over all,
    /// then the last one that answered.
    first: AtomicUsize,
}

impl AnyOf {
    /// Those that the directory of `node` lists.
    pub fn new(node: Arc<Node>, channels: Channels, role: Role) -> Self {
        Self {
            node,
            channels,
            role,
            first: AtomicUsize::new(rng().next_u32() as usize),
        }
    }

    /// Calls one after the other until one can be reached. What `call` does may be repeated.
    ///
    /// # Errors
    /// What the first that answered says; `UNAVAILABLE` when nobody can be reached.
    pub async fn call<T, F: Future<Output = Result<T, Status>>>(
        &self,
        call: impl Fn(Channel) -> F,
    ) -> Result<T, Status> {
        let listed: Vec<&Listed> = self.node.directory.nodes(self.role).collect();
        let first = self.first.load(Ordering::Relaxed);
        let mut refused: Option<Status> = None;
        for step in 0..listed.len() {
            let place = first.wrapping_add(step) % listed.len();
            let channel = self
                .channels
                .to(&listed[place].address, listed[place].tls_key)?;
            match call(channel).await {
                Err(status) if is_away(&status) => {
                    // What a node says goes before why another cannot be reached.
                    if refused
                        .as_ref()
                        .is_none_or(|before| before.source().is_some())
                    {
                        refused = Some(status);
                    }
                }
                answer => {
                    self.first.store(place, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(refused.unwrap_or_else(|| {
            Status::unavailable(format!("the directory lists no {}", self.role))
        }))
    }
}

/// Whether another node may do better: this one, or what it needs, cannot be reached.
fn is_away(status: &Status) -> bool {
    // With a cause of its own, the failure is on the way.
    status.code() == Code::Unavailable || status.source().is_some()
}
