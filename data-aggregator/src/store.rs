//! What an aggregator keeps: offers, and queries until they are released or expire. In memory: an
//! aggregator that restarts is out of the queries that it was in, and nothing can be opened later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dispers_core::{
    aggregation::Aggregation,
    envelope::{EnvelopePublicKey, EnvelopeSecretKey},
    id::{Name, QueryId, Timestamp},
    release::SealedTotal,
};

use crate::Error;

/// A fresh key that no manifest uses yet.
pub(crate) struct OpenOffer {
    pub(crate) secret: EnvelopeSecretKey,
    pub(crate) querier: Name,
    pub(crate) expires: Timestamp,
}

/// A query here.
pub(crate) enum Query {
    /// Its key is still needed.
    Active(Box<Aggregation>),
    /// Its key is erased; the sealed total can be fetched again.
    Released(SealedTotal),
}

struct Kept {
    query: Arc<Mutex<Query>>,
    expires: Timestamp,
}

#[derive(Default)]
struct Tables {
    offers: HashMap<EnvelopePublicKey, OpenOffer>,
    queries: HashMap<QueryId, Kept>,
}

/// The store.
pub(crate) struct Store {
    tables: Mutex<Tables>,
    max_offers: usize,
    max_queries: usize,
}

/// A panic in another request must not end this node: each table is valid after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(crate) fn new(max_offers: usize, max_queries: usize) -> Self {
        Self {
            tables: Mutex::default(),
            max_offers,
            max_queries,
        }
    }

    /// Erases what has expired.
    pub(crate) fn expire(&self, now: Timestamp) {
        let mut tables = lock(&self.tables);
        tables
            .offers
            .retain(|_, offer| !offer.expires.has_passed(now));
        tables
            .queries
            .retain(|_, kept| !kept.expires.has_passed(now));
    }

    pub(crate) fn put_offer(&self, offer: OpenOffer) -> Result<(), Error> {
        let mut tables = lock(&self.tables);
        let of_querier = tables
            .offers
            .values()
            .filter(|other| other.querier == offer.querier)
            .count();
        // One querier must not keep the others out.
        if tables.offers.len() >= self.max_offers || of_querier >= self.max_offers / 4 {
            return Err(Error::Full("offers"));
        }
        tables.offers.insert(offer.secret.public(), offer);
        Ok(())
    }

    /// Takes the first of `keys` that was offered: from now on it belongs to one query.
    pub(crate) fn take_offer(&self, key: &EnvelopePublicKey) -> Option<OpenOffer> {
        lock(&self.tables).offers.remove(key)
    }

    pub(crate) fn query(&self, query: QueryId) -> Result<Arc<Mutex<Query>>, Error> {
        lock(&self.tables)
            .queries
            .get(&query)
            .map(|kept| kept.query.clone())
            .ok_or(Error::UnknownQuery)
    }

    pub(crate) fn put_query(
        &self,
        id: QueryId,
        aggregation: Aggregation,
        expires: Timestamp,
    ) -> Result<(), Error> {
        let mut tables = lock(&self.tables);
        if tables.queries.len() >= self.max_queries {
            return Err(Error::Full("queries"));
        }
        let query = Arc::new(Mutex::new(Query::Active(Box::new(aggregation))));
        tables.queries.entry(id).or_insert(Kept { query, expires });
        Ok(())
    }
}
