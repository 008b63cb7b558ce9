//! Connections to stacks: the Target dials a stack, or the stack has attached itself.

mod attached;
mod dialled;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use dispers_base::id::Name;
use dispers_core::ask::{Answer, Ask};
use dispers_node::Node;
use tonic::Status;

pub(crate) use attached::Attached;
use dialled::Dialled;

use crate::Config;

/// Future of a stack's answer.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, Status>> + Send + 'a>>;

/// A way to ask the stack of a host that the directory lists.
pub trait StackLink: Send + Sync + 'static {
    /// Asks homes of `host`. An answer of more than `limit` encoded bytes is refused.
    fn ask<'a>(&'a self, host: &'a Name, ask: Ask, limit: usize) -> Answering<'a>;
}

/// Links to all stacks: a stack that attached itself is asked over its stream, any other is dialled.
pub struct Links {
    dialled: Dialled,
    attached: Attached,
}

impl Links {
    /// Creates the links of `node`.
    pub fn new(node: Arc<Node>, config: &Config) -> Self {
        let idle = Duration::from_millis(config.attached_idle_ms);
        Self {
            dialled: Dialled::new(node),
            attached: Attached::new(config.max_attached, idle),
        }
    }

    /// Returns the attached stacks.
    pub(crate) fn attached(&self) -> &Attached {
        &self.attached
    }
}

impl StackLink for Links {
    fn ask<'a>(&'a self, host: &'a Name, ask: Ask, limit: usize) -> Answering<'a> {
        if self.attached.has(host) {
            self.attached.ask(host, ask, limit)
        } else {
            self.dialled.ask(host, ask, limit)
        }
    }
}
