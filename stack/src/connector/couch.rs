//! Documents in CouchDB, or in Cozys, which speak its API: Mango queries over HTTP.
//!
//! Each home has its own database and credentials. If reading one home fails, only this home has no documents: a wrong
//! password of one home must not fail an ask of all.

mod config;
mod find;
mod place;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dispers_core::subscription::HomeId;
use dispers_query::local::FieldValue;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use config::Home;
pub use config::{Config, CouchError, Kind};
use find::{Failure, Find};

use super::{Connector, Document, Selector};
use crate::{Error, http::Clients};

/// Source of documents over HTTP.
pub struct Couch {
    clients: Clients,
    config: Config,
    homes: Arc<BTreeMap<HomeId, Home>>,
}

impl Couch {
    /// Reads the homes' credentials. The paths in `config` must be resolved already.
    ///
    /// # Errors
    /// [`CouchError`] that says what to write instead.
    pub fn open(config: Config) -> Result<Self, CouchError> {
        let homes = config.read_homes()?;
        let timeout = Duration::from_millis(config.timeout_ms);
        let clients = Clients::new(&config.tls()?, timeout)
            .map_err(|error| CouchError::Content(error.to_string()))?;
        Ok(Self {
            clients,
            config,
            homes: Arc::new(homes),
        })
    }

    /// Reads the documents of homes, several at the same time. Returns a result per home in any order, with the home's
    /// place in `homes`.
    async fn all(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        selector: &Selector,
    ) -> Vec<(u32, Result<Vec<Vec<FieldValue>>, Failure>)> {
        let slots = Arc::new(Semaphore::new(self.config.parallel.max(1)));
        let deadline = Instant::now() + Duration::from_millis(self.config.deadline_ms);
        let find = Arc::new(Find::new(&self.config, doctype, fields, selector));
        let mut finding = JoinSet::new();
        for (place, home) in (0u32..).zip(homes) {
            let (clients, find, slots) = (self.clients.clone(), find.clone(), slots.clone());
            let (homes, home) = (self.homes.clone(), home.clone());
            finding.spawn(async move {
                // All homes have one deadline, which includes their wait for a slot: many slow homes must not add up
                // their times.
                let found = timeout_at(deadline, async {
                    let _slot = slots.acquire().await.map_err(|_| Failure::Timeout)?;
                    let access = homes.get(&home).ok_or(Failure::Unknown)?;
                    find.documents(&clients, &home, access).await
                });
                (place, found.await.unwrap_or(Err(Failure::Timeout)))
            });
        }
        finding.join_all().await
    }

    /// Waits for an asynchronous task.
    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        // Connectors are called on worker threads, where waiting holds up no other task.
        let executor =
            Handle::try_current().map_err(|_| Error::Source("there is no executor".into()))?;
        Ok(executor.block_on(work))
    }
}

impl Connector for Couch {
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        selector: &Selector,
    ) -> Result<Vec<Document>, Error> {
        let found = self.wait(self.all(doctype, fields, homes, selector))?;
        let mut documents = Vec::new();
        let mut failed: BTreeMap<Failure, usize> = BTreeMap::new();
        for (place, found) in found {
            match found {
                Ok(found) => documents.extend(found.into_iter().map(|values| (place, values))),
                Err(failure) => *failed.entry(failure).or_default() += 1,
            }
        }
        // Failures are counted by kind, since a log must not name a home.
        for (failure, homes) in failed {
            tracing::warn!(
                ?failure,
                homes,
                "documents of homes could not be read: they answer as if they had none"
            );
        }
        Ok(documents)
    }

    fn holds(&self, home: &HomeId) -> Result<bool, Error> {
        Ok(self.homes.contains_key(home))
    }

    fn homes(&self) -> Result<Vec<HomeId>, Error> {
        Ok(self.homes.keys().cloned().collect())
    }

    fn check(&self, home: &HomeId, doctype: &str) -> Result<usize, Error> {
        let homes = [home.clone()];
        let selector = Selector::default();
        let found = self.wait(self.all(doctype, &[], &homes, &selector))?;
        let found = found.into_iter().next().map(|(_, found)| found);
        let found = found.unwrap_or(Err(Failure::Unknown));
        let found = found.map_err(|failure| Error::Source(failure.to_string()))?;
        Ok(found.len())
    }
}

#[cfg(test)]
mod tests;
