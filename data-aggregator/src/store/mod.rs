//! Storage of an aggregator: offers, and queries until they expire. A query is in memory while it is open. A change
//! that must survive a restart is in the file before its result leaves (protocol.md §8).

mod kept;
mod ledger;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dispers_base::id::{MemberNumber, Name, QueryId, Timestamp};
use dispers_core::{
    aggregation::{Aggregation, AggregationError, sealing::StorageKey},
    manifest::SignedManifest,
};
use dispers_crypto::envelope::{EnvelopePublicKey, EnvelopeSecretKey};
use dispers_node::{Database, GivesWay, Node, Room, Schema, now};
use dispers_privacy::Rho;
use rusqlite::Transaction;

use kept::{Kept, offer_id};
pub(crate) use ledger::Ledger;

use crate::{Config, Error};

/// Schema of an aggregator's file.
pub static SCHEMA: Schema = Schema {
    role: "data aggregator",
    application: 0x4453_4441,
    migrations: &["
CREATE TABLE offer (
    id BLOB PRIMARY KEY, expires INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE query (
    id BLOB PRIMARY KEY, expires INTEGER NOT NULL, key BLOB NOT NULL, manifest BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE record (
    query BLOB NOT NULL, part BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (query, part)
);
", "
CREATE TABLE expense (
    querier TEXT NOT NULL, key_epoch INTEGER NOT NULL, population BLOB NOT NULL, query BLOB NOT NULL,
    rho INTEGER NOT NULL, expires INTEGER NOT NULL, released INTEGER NOT NULL,
    PRIMARY KEY (querier, key_epoch, population, query)
) WITHOUT ROWID;
CREATE INDEX expense_query ON expense (query);
"],
    damaged: "the file is of a node with another signing key, or damaged. Start with the right key \
              file; or move the database away, and its queries are asked again",
};

/// Time without a step after which a query does not count as running. It is longer than one batch may take.
const LATELY: Duration = Duration::from_secs(150);

/// Fresh envelope key of an offer that no manifest has named yet.
pub(crate) struct OpenOffer {
    pub(crate) secret: EnvelopeSecretKey,
    pub(crate) querier: Name,
    pub(crate) expires: Timestamp,
}

/// Open query.
pub(crate) struct Query {
    pub(crate) aggregation: Aggregation,
    manifest: SignedManifest,
    /// Key that seals the query's records, once they are written.
    key: Option<StorageKey>,
    /// Id of the offer that the query takes, until the query is written.
    offer: Option<[u8; 32]>,
    /// Time of the last step in this process.
    pub(crate) worked_on: Option<Instant>,
}

impl Query {
    /// Creates a query that takes the offer of `key`.
    pub(crate) fn new(
        aggregation: Aggregation,
        manifest: SignedManifest,
        key: &EnvelopePublicKey,
    ) -> Self {
        Self {
            aggregation,
            manifest,
            key: None,
            offer: Some(offer_id(key)),
            worked_on: None,
        }
    }

    /// Returns whether the query had a step recently and is not released.
    fn runs(&self) -> bool {
        let lately = self.worked_on.is_some_and(|when| when.elapsed() < LATELY);
        lately && !self.aggregation.has_released()
    }
}

/// Entry of an open query. The other fields are copies, so that they can be read without the query's lock.
struct Open {
    query: Arc<Mutex<Query>>,
    querier: Name,
    expires: Timestamp,
    /// True if the query is released, so that only repetitions are answered.
    released: bool,
}

/// Offers and queries in memory.
#[derive(Default)]
struct Tables {
    offers: HashMap<EnvelopePublicKey, OpenOffer>,
    queries: HashMap<QueryId, Open>,
}

impl Tables {
    /// Counts the queries of `querier`, or of all queriers, of which something was released or nothing was.
    fn count(&self, released: bool, querier: Option<&Name>) -> usize {
        let counted = self.queries.values().filter(|open| {
            open.released == released && querier.is_none_or(|name| open.querier == *name)
        });
        counted.count()
    }
}

/// Offers and queries, in memory and in the file.
pub(crate) struct Store {
    tables: Mutex<Tables>,
    kept: Kept,
    max_offers: usize,
    max_queries: usize,
    /// Budget of a querier on one population in a key epoch at this aggregator.
    most: Rho,
}

/// Locks a mutex, even after a panic of another request, which must not end this node. Each table is valid after every
/// statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Marks the expenses of a restored query as released, if they count. No budget refuses what is already released.
fn charge(kept: &Kept, aggregation: &Aggregation) -> Result<(), Error> {
    let (manifest, charges) = (aggregation.manifest(), aggregation.charges());
    let (querier, epoch) = (&manifest.querier, manifest.key_epoch);
    let ledger = Ledger(kept.database());
    Ok(ledger.charge(querier, epoch, &charges, Rho(u64::MAX), now())??)
}

impl Store {
    /// Restores the offers and queries in the file.
    ///
    /// # Errors
    /// [`Error::Database`] if a stored offer or query cannot be opened or decoded.
    pub(crate) fn new(
        node: &Node,
        committee: u16,
        me: MemberNumber,
        database: Database,
        config: &Config,
    ) -> Result<Self, Error> {
        let kept = Kept::new(database, &node.signing);
        kept.expire(now())?;
        let mut tables = Tables::default();
        for mut offer in kept.offers()? {
            offer.secret = node.watched(offer.secret);
            tables.offers.insert(offer.secret.public(), offer);
        }
        for query in kept.queries()? {
            let id = query.manifest.query();
            // The directory may have changed since the query began. The query stays in the file until it expires.
            let manifest = match query.manifest.verify(&node.directory, now()) {
                Ok(manifest) => manifest,
                Err(error) => {
                    tracing::warn!(query = %id, %error, "a query is refused under this directory");
                    continue;
                }
            };
            let aggregation =
                Aggregation::restore(manifest, committee, me, query.records, |secret| {
                    node.watched(secret)
                })
                .map_err(|_| kept.unreadable("record"))?;
            // The step that made the expenses count wrote them as well. This repetition costs nothing, and covers a
            // ledger that was restored from an older copy.
            charge(&kept, &aggregation)?;
            let (querier, released) = (
                aggregation.manifest().querier.clone(),
                aggregation.has_released(),
            );
            let open = Query {
                aggregation,
                manifest: query.manifest,
                key: Some(query.key),
                offer: None,
                worked_on: None,
            };
            let open = Open {
                query: Arc::new(Mutex::new(open)),
                querier,
                expires: query.expires,
                released,
            };
            tables.queries.insert(id, open);
        }
        Ok(Self {
            tables: Mutex::new(tables),
            kept,
            max_offers: config.max_offers,
            max_queries: config.max_queries,
            most: node.directory.budget_of(committee),
        })
    }

    /// Erases offers and queries that have expired.
    pub(crate) fn expire(&self, now: Timestamp) -> Result<(), Error> {
        let mut tables = lock(&self.tables);
        tables
            .offers
            .retain(|_, offer| !offer.expires.has_passed(now));
        tables
            .queries
            .retain(|_, open| !open.expires.has_passed(now));
        Ok(self.kept.expire(now)?)
    }

    /// Returns the budget of a querier on one population in a key epoch at this aggregator.
    pub(crate) fn most(&self) -> Rho {
        self.most
    }

    /// Returns the ledger of the queriers' privacy budgets.
    pub(crate) fn ledger(&self) -> Ledger<'_> {
        Ledger(self.kept.database())
    }

    /// Returns the number of queries that run.
    pub(crate) fn running(&self) -> usize {
        // The tables are not locked while the queries are looked at: a step can hold a query's lock for long.
        let queries: Vec<_> = {
            let tables = lock(&self.tables);
            tables
                .queries
                .values()
                .map(|open| open.query.clone())
                .collect()
        };
        // A query whose lock is taken is in a step.
        let running = queries
            .iter()
            .filter(|query| query.try_lock().map_or(true, |query| query.runs()));
        running.count()
    }

    /// Stores an offer.
    ///
    /// # Errors
    /// [`Error::Full`] if too many offers are open, of all queriers or of this one. [`Error::Database`].
    pub(crate) fn put_offer(&self, offer: OpenOffer) -> Result<(), Error> {
        let mut tables = lock(&self.tables);
        let of_querier = tables
            .offers
            .values()
            .filter(|other| other.querier == offer.querier)
            .count();
        // A quarter per querier: one querier must not use up the offers of all others.
        if tables.offers.len() >= self.max_offers || of_querier >= self.max_offers / 4 {
            return Err(Error::Full("offers"));
        }
        // Written first: an offer that left and was lost in a restart would cost its query an aggregator.
        self.kept.put_offer(&offer)?;
        tables.offers.insert(offer.secret.public(), offer);
        Ok(())
    }

    /// Returns whether a query is open here.
    pub(crate) fn has(&self, query: QueryId) -> bool {
        lock(&self.tables).queries.contains_key(&query)
    }

    /// Returns an open query.
    pub(crate) fn query(&self, query: QueryId) -> Result<Arc<Mutex<Query>>, Error> {
        lock(&self.tables)
            .queries
            .get(&query)
            .map(|open| open.query.clone())
            .ok_or(Error::UnknownQuery)
    }

    /// Opens the query that `begin` creates, and lets it take the offer of `key`. Does nothing if the query is open
    /// already. Writes nothing; the query's first step does.
    pub(crate) fn begin(
        &self,
        id: QueryId,
        expires: Timestamp,
        key: &EnvelopePublicKey,
        begin: impl FnOnce(EnvelopeSecretKey) -> Result<Query, Error>,
    ) -> Result<(), Error> {
        let mut tables = lock(&self.tables);
        if tables.queries.contains_key(&id) {
            return Ok(());
        }
        let querier = &tables
            .offers
            .get(key)
            .ok_or(AggregationError::NoOffer)?
            .querier;
        let querier = querier.clone();
        self.make_room(&mut tables, &querier)?;
        // An offer is bound to the first manifest that names it (§6). A second manifest with the same offer finds none.
        let offer = tables.offers.remove(key);
        let offer = offer.ok_or(AggregationError::NoOffer)?;
        let query = Arc::new(Mutex::new(begin(offer.secret)?));
        let open = Open {
            query,
            querier,
            expires,
            released: false,
        };
        tables.queries.insert(id, open);
        Ok(())
    }

    /// Makes room for one more query of `querier`. Released queries take no place from others: if too many are kept,
    /// the one that expires first is forgotten, among the querier's own if the querier has its share of them.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::OwnQueries`] if too many queries run.
    fn make_room(&self, tables: &mut Tables, querier: &Name) -> Result<(), Error> {
        let room = Room {
            running: tables.count(false, None),
            over: tables.count(true, None),
            own_running: tables.count(false, Some(querier)),
            own_over: tables.count(true, Some(querier)),
        };
        let own = match room.admit(self.max_queries)? {
            GivesWay::Nobody => return Ok(()),
            GivesWay::Own => true,
            GivesWay::Any => false,
        };
        let released = tables.queries.iter().filter(|(_, open)| open.released);
        let released = released.filter(|(_, open)| !own || open.querier == *querier);
        let first = released.min_by_key(|(_, open)| open.expires);
        if let Some(first) = first.map(|(id, _)| *id) {
            self.kept.remove(first)?;
            tables.queries.remove(&first);
        }
        Ok(())
    }

    /// Forgets a query that cannot continue here.
    pub(crate) fn remove(&self, id: QueryId) -> Result<(), Error> {
        let mut tables = lock(&self.tables);
        self.kept.remove(id)?;
        tables.queries.remove(&id);
        Ok(())
    }

    /// Writes the changes of a query and its charges in one transaction. The result of the step may leave only after
    /// this call.
    ///
    /// # Errors
    /// [`Error::Budget`] if the budget does not cover the charges; then nothing is written. [`Error::Database`].
    pub(crate) fn save(&self, id: QueryId, query: &mut Query) -> Result<(), Error> {
        let Some(changes) = query.aggregation.changes() else {
            return Ok(());
        };
        let manifest = query.aggregation.manifest();
        let charge = |rows: &Transaction<'_>| {
            let (querier, epoch) = (&manifest.querier, manifest.key_epoch);
            ledger::charge(rows, querier, epoch, &changes.charges, self.most, now())
        };
        // A query that is written as a whole gets a fresh key. Copies of its earlier records cannot be opened without
        // the erased one (§8).
        match &query.key {
            Some(key) if !changes.whole => {
                // The query was removed by another request, for example because it expired. Nothing may be answered.
                if !self.kept.update(id, key, &changes.records, charge)?? {
                    return Err(Error::UnknownQuery);
                }
            }
            _ => {
                let key = self.kept.replace(
                    id,
                    manifest.expires,
                    &query.manifest,
                    &changes.records,
                    query.offer.as_ref(),
                    charge,
                )??;
                query.key = Some(key);
                query.offer = None;
            }
        }
        // Only after the write: if it failed, the same changes are written with the next step.
        query.aggregation.saved();
        if query.aggregation.has_released()
            && let Some(open) = lock(&self.tables).queries.get_mut(&id)
        {
            open.released = true;
        }
        Ok(())
    }
}
