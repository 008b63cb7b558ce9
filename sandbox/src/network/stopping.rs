//! Stopping and restarting of a sandbox's services.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use dispers_node::Patience;
use tokio::net::TcpListener;

use super::Network;
use crate::Error;

/// Tries to listen at an address that a stopped node had.
const FREE: Patience = Patience::new(Duration::from_millis(100), Duration::from_millis(200))
    .within(Duration::from_secs(5));

/// Returns whether a port is in use, which it can be for a moment, for example by a connection of another process.
fn is_in_use(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

impl Network {
    /// Stops one node for good, as if its machine had failed. Returns false if no node of that name runs.
    pub fn stop_node(&self, name: &str) -> bool {
        let switch = self.switches.iter().find(|(node, _)| node.as_str() == name);
        switch.is_some_and(|(_, switch)| switch.stop.send(true).is_ok())
    }

    /// Stops one node, and waits until it answers nobody any longer. Returns false if no node of that name runs.
    pub async fn end_node(&self, name: &str) -> bool {
        let stopped = self.stop_node(name);
        let switch = self.switches.iter().find(|(node, _)| node.as_str() == name);
        if let Some((_, switch)) = switch {
            // The channel carries no value. Waiting for a change ends when the channel is closed.
            let _ = switch.ended.clone().changed().await;
        }
        stopped
    }

    /// Stops a node's service and listens at its address, for another service in its place.
    ///
    /// # Errors
    /// [`Error::Start`] if there is no such node, or its address does not become free within five seconds.
    pub async fn take_place(&self, name: &str) -> Result<TcpListener, Error> {
        let node = self.node(name);
        let name = &node
            .ok_or_else(|| Error::start(name, "there is no such node"))?
            .name;
        let address = self
            .directory
            .node(name)
            .map(|entry| &entry.address)
            .or_else(|| self.directory.host(name).map(|host| &host.address))
            .cloned()
            .unwrap_or_default();
        self.end_node(name.as_str()).await;
        FREE.retry(is_in_use, || TcpListener::bind(&address))
            .await
            .map_err(|error| Error::start(name.as_str(), error))
    }

    /// Stops one node, and starts it again with only its keys and its stored state. This works for a data aggregator,
    /// a target finder, and a host that is dialled.
    ///
    /// # Errors
    /// [`Error`] if there is no such node, it cannot be restarted, or it does not start again.
    pub async fn restart_node(&mut self, name: &str) -> Result<(), Error> {
        let listener = self.take_place(name).await?;
        let node = self.node(name).cloned();
        let durable = node.and_then(|node| Some((self.durable.get(&node.name)?, node)));
        let (durable, node) =
            durable.ok_or_else(|| Error::start(name, "it cannot be restarted"))?;
        let (role, routes) = (durable.role(), durable.routes(&node, &self.keeping)?);
        let routes = self.keeping.witness(&node, routes)?;
        self.serve(node, role, listener, routes);
        Ok(())
    }

    /// Stops every service, and waits until all have ended.
    pub async fn stop(mut self) {
        for switch in self.switches.values() {
            let _ = switch.stop.send(true);
        }
        while self.services.join_next().await.is_some() {}
    }
}
