//! Stacks that the Target dials at the address that the directory lists.

use std::sync::Arc;

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::Name,
};
use dispers_core::ask::Ask;
use dispers_node::{Channels, Node, blocking};
use dispers_proto::{Messages, chunks, v1::stack_client::StackClient};
use tonic::Status;

use super::{Answering, StackLink};

/// Dials the address that the directory lists for a host, and accepts only the TLS key listed there.
pub(crate) struct Dialled {
    node: Arc<Node>,
    channels: Channels,
}

impl Dialled {
    /// Creates the links of `node`.
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            channels: Channels::new(node.clone()),
            node,
        }
    }
}

impl StackLink for Dialled {
    fn ask<'a>(&'a self, host: &'a Name, ask: Ask, limit: usize) -> Answering<'a> {
        Box::pin(async move {
            let listed = self
                .node
                .directory
                .host(host)
                .ok_or_else(|| Status::not_found("the directory does not list this host"))?;
            // The directory lists hosts that cannot be dialled with an empty address. They attach themselves.
            if listed.address.is_empty() {
                return Err(Status::unavailable("the host's stack is not attached"));
            }
            let channel = self.channels.to(&listed.address, listed.tls_key)?;
            let request = blocking(move || Ok(to_bytes(&ask))).await?;
            let request = tokio_stream::iter(chunks([request]));
            let reply = StackClient::new(channel).ask(request).await?;
            let answer = Messages::new(reply.into_inner()).expect(limit).await?;
            blocking(move || {
                from_bytes(&answer, limit, "answer")
                    .map_err(|error| Status::data_loss(error.to_string()))
            })
            .await
        })
    }
}
