//! Calls to any node of a role, tried one after the other until one can be reached.

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
use tonic::Status;

use crate::{CallFailure, Channel, Channels, Node, rng};

/// Nodes of a role that can replace each other.
pub struct AnyOf {
    node: Arc<Node>,
    channels: Channels,
    role: Role,
    /// Position of the node that is tried first. It is random at the start, so that callers spread over all nodes, and
    /// then that of the last node that answered.
    first: AtomicUsize,
}

impl AnyOf {
    /// Creates a caller of the nodes of `role` that the directory of `node` lists.
    pub fn new(node: Arc<Node>, channels: Channels, role: Role) -> Self {
        Self {
            node,
            channels,
            role,
            first: AtomicUsize::new(rng().next_u32() as usize),
        }
    }

    /// Calls one node after the other until one can be reached. `call` may run several times, so that its effect must
    /// bear repetition.
    ///
    /// # Errors
    /// The status of the first node that answers. If none can be reached, that of a node that says so itself, or else
    /// of a failed connection; `UNAVAILABLE` if the directory lists no node of the role.
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
                Err(status) if CallFailure::of(&status) == CallFailure::Unreachable => {
                    // The refusal of a node that answered says more than the reason why another cannot be reached.
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
