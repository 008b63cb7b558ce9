//! The queries that this process drives: accepted or taken up, driven in tasks, followed and ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{Name, QueryId},
};
use dispers_core::{
    aggregation::MAX_IN_FLIGHT,
    conduct::{Command, Conduct, Options, Record, Status as QueryStatus},
    session::SignedParameters,
};
use dispers_node::{Node, now, rng};
use rand::Rng;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tracing::Instrument;

use crate::{
    Config, Driver, Error, Lease, Log, NewQuery, Seen, Store, Submission, TakenUp,
    kept::Stored,
    run::{self, Advance, Run},
    store::MAX_RECORD,
    submission::damaged,
};

/// Time between two looks at a query that another Conductor drives.
const LOOK: Duration = Duration::from_millis(500);

/// The queries of a Conductor's store, and those of them that this process drives.
pub(crate) struct Conducting {
    pub(crate) node: Arc<Node>,
    config: Config,
    store: Arc<dyn Store>,
    log: Arc<Log>,
    /// Name of this process towards other processes that use the same store. It has a random part, so that a
    /// restarted Conductor does not hold the leases of the process before (protocol.md §8).
    holder: String,
    running: Mutex<HashMap<QueryId, Running>>,
}

/// Channels to the task that drives a query in this process.
struct Running {
    progress: watch::Receiver<QueryStatus>,
    cancelled: Arc<Notify>,
    advances: mpsc::Sender<Advance>,
}

/// State of a query from which it is driven on.
struct Checkpoint {
    conduct: Conduct,
    commands: Vec<Command>,
    /// Version of the stored state.
    version: u64,
    /// Encoded record of the stored state.
    record: Vec<u8>,
}

impl Conducting {
    /// Creates the table of a process that drives nothing yet.
    pub(crate) fn new(
        node: Arc<Node>,
        config: Config,
        store: Arc<dyn Store>,
        log: Arc<Log>,
    ) -> Self {
        Self {
            holder: format!("{} {:016x}", node.name, rng().next_u64()),
            node,
            config,
            store,
            log,
            running: Mutex::default(),
        }
    }

    /// Locks the table of the queries that this process drives.
    fn running(&self) -> MutexGuard<'_, HashMap<QueryId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the options of the state machine.
    fn options(&self) -> Options {
        Options {
            partitions: self.node.directory.partitions(),
            in_flight: self.config.batches_in_flight.clamp(1, MAX_IN_FLIGHT),
        }
    }

    /// Returns the lease that this process takes and renews.
    fn lease(&self) -> Lease {
        Lease {
            holder: self.holder.clone(),
            length: Duration::from_millis(self.config.lease_ms),
        }
    }

    /// Does one round of [`keep_up`](Self::keep_up).
    async fn keep_up_once(self: Arc<Self>) -> Result<(), Error> {
        let driven: Vec<QueryId> = self.running().keys().copied().collect();
        for query in self.store.renew(&self.lease(), &driven).await? {
            if let Some(running) = self.running().get(&query) {
                running.cancelled.notify_one();
            }
        }
        self.store.expire(now()).await?;
        // A Conductor that is stopping takes up nothing, so that another one does.
        if self.node.activity.is_draining() {
            return Ok(());
        }
        while let Some(taken) = self.store.take_up(&self.lease()).await? {
            if let Err(error) = self.clone().go_on(taken).await {
                tracing::error!(%error, "a query that was kept cannot be taken up");
            }
        }
        Ok(())
    }

    /// Takes up queries that no process drives, renews the leases of those that this process drives, and cancels those
    /// that are to be cancelled. Runs until it is dropped.
    pub(crate) async fn keep_up(self: Arc<Self>) {
        // Three renewals per lease leave time to repeat one that fails.
        let pause = Duration::from_millis((self.config.lease_ms / 3).max(1));
        loop {
            if let Err(error) = self.clone().keep_up_once().await {
                tracing::error!(%error, "what is kept cannot be reached");
            }
            sleep(pause).await;
        }
    }

    /// Gives up the leases of this process, so that another Conductor takes up its queries at once.
    pub(crate) async fn give_up(&self) {
        if let Err(error) = self.store.give_up(&self.holder).await {
            tracing::warn!(%error, "the queries were not given up");
        }
    }

    /// Goes on with a query that this or another process drove before.
    async fn go_on(self: Arc<Self>, taken: TakenUp) -> Result<(), Error> {
        let submission = Submission::load(&taken, &self.node.directory, now())?;
        let record: Record = from_bytes(&taken.record, MAX_RECORD, "record").map_err(damaged)?;
        let query = submission.manifest.query();
        // This process still drives the query: it renewed the lease too late, and has just taken it back itself.
        if self.running().contains_key(&query) {
            return Ok(());
        }
        tracing::info!(%query, "query taken up");
        let (conduct, commands) =
            Conduct::resume(submission.manifest.clone(), self.options(), record);
        let from = Checkpoint {
            conduct,
            commands,
            version: taken.version,
            record: taken.record,
        };
        self.drive(submission, from).await
    }

    /// Accepts a query of `sender` and starts to drive it. A query that is stored already is not started again.
    pub(crate) async fn start(
        self: Arc<Self>,
        submission: Submission,
        sender: &Name,
    ) -> Result<QueryId, Error> {
        submission.check(sender, self.node.directory.partitions())?;
        let manifest = &submission.manifest;
        let query = manifest.query();
        let (conduct, commands) = Conduct::new(manifest.clone(), self.options());
        let state = run::state(&conduct);
        let record = state.record.clone();
        let new = NewQuery {
            id: query,
            querier: manifest.querier.clone(),
            expires: manifest.expires,
            manifest: to_bytes(&submission.signed),
            profiles: to_bytes(&submission.profiles),
            pseudonyms: submission.pseudonyms.clone(),
            state,
        };
        let most = self.config.max_queries;
        if self.store.begin(new, &self.lease(), most, now()).await? {
            tracing::info!(%query, "query started");
            let from = Checkpoint {
                conduct,
                commands,
                version: 0,
                record,
            };
            self.drive(submission, from).await?;
        }
        Ok(query)
    }

    /// Drives a query from its stored state.
    async fn drive(self: Arc<Self>, submission: Submission, from: Checkpoint) -> Result<(), Error> {
        let query = submission.manifest.query();
        let expires = submission.manifest.expires;
        let partitions = self.node.directory.partitions();
        let (store, holder) = (self.store.clone(), self.holder.clone());
        let kept = Stored::new(store, holder, &submission, partitions).await?;
        let driver = Driver::new(
            self.node.clone(),
            self.config.clone(),
            submission,
            Arc::new(kept),
            self.log.clone(),
        );
        let (progress, watched) = watch::channel(from.conduct.status());
        let cancelled = Arc::new(Notify::new());
        let (advance, advances) = mpsc::channel(1);
        let running = Running {
            progress: watched,
            cancelled: cancelled.clone(),
            advances: advance,
        };
        self.running().insert(query, running);
        let run = Run {
            driver: Arc::new(driver),
            store: self.store.clone(),
            holder: self.holder.clone(),
            version: from.version,
            kept: from.record,
            progress,
            cancelled,
            advances,
            life: Duration::from_millis(expires.0.saturating_sub(now().0)),
        };
        let driving = async move {
            run.run(from.conduct, from.commands).await;
            self.running().remove(&query);
        };
        tokio::spawn(driving.in_current_span());
        Ok(())
    }

    /// Cancels a query of `querier`.
    ///
    /// # Errors
    /// [`Error::HasEnded`], and as [`see`](Self::see).
    pub(crate) async fn cancel(&self, query: QueryId, querier: &Name) -> Result<(), Error> {
        if self.see(query, querier).await?.ended {
            return Err(Error::HasEnded);
        }
        // Another process may drive the query. It reads the mark when it next renews its leases. If this process drives
        // the query, the query is cancelled at once.
        self.store.cancel(query).await?;
        if let Some(running) = self.running().get(&query) {
            running.cancelled.notify_one();
        }
        Ok(())
    }

    /// Begins the next round of a session of `querier` that this process drives.
    ///
    /// # Errors
    /// [`Error::Ended`], and as [`see`](Self::see). [`Error::Elsewhere`] if this process does not drive the session. [`Error::Parameters`] if no round begins with
    /// these parameters.
    pub(crate) async fn advance(
        &self,
        query: QueryId,
        querier: &Name,
        parameters: SignedParameters,
    ) -> Result<(), Error> {
        if self.see(query, querier).await?.ended {
            return Err(Error::Ended);
        }
        let advances = self
            .running()
            .get(&query)
            .map(|running| running.advances.clone());
        let advances = advances.ok_or(Error::Elsewhere)?;
        let (taken, told) = oneshot::channel();
        let advance = Advance { parameters, taken };
        advances.send(advance).await.map_err(|_| Error::Elsewhere)?;
        told.await
            .map_err(|_| Error::Elsewhere)?
            .map_err(Error::Parameters)
    }

    /// Returns the state of a query to its own querier.
    ///
    /// # Errors
    /// [`Error::OtherQuerier`] for anybody else, [`Error::UnknownQuery`].
    pub(crate) async fn see(&self, query: QueryId, querier: &Name) -> Result<Seen, Error> {
        let seen = self.store.see(query).await?;
        if seen.querier != *querier {
            return Err(Error::OtherQuerier);
        }
        Ok(seen)
    }

    /// Follows a query of `querier`: returns its encoded status at every change, until the query has ended.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    pub(crate) async fn watch(
        self: Arc<Self>,
        query: QueryId,
        querier: &Name,
    ) -> Result<mpsc::Receiver<Result<Vec<u8>, Error>>, Error> {
        // Only a query's own querier may watch it; the stream itself does not check again.
        self.see(query, querier).await?;
        let (sender, updates) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(error) = self.tell(query, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(updates)
    }

    /// Sends the status of a query to `updates` at every change, until the query has ended or the receiver is gone,
    /// whichever process drives the query.
    async fn tell(
        &self,
        query: QueryId,
        updates: &mpsc::Sender<Result<Vec<u8>, Error>>,
    ) -> Result<(), Error> {
        let mut last = Vec::new();
        let mut local: Option<watch::Receiver<QueryStatus>> = None;
        loop {
            let seen = self.store.see(query).await?;
            // The watch channel closes when this process no longer drives the query. Then the store has the status.
            local = local.filter(|progress| progress.has_changed().is_ok());
            local = local.or_else(|| {
                let running = self.running();
                running.get(&query).map(|running| running.progress.clone())
            });
            let status = match &mut local {
                // The stored status does not tell which nodes the query waits for.
                Some(progress) if !seen.ended => to_bytes(&*progress.borrow_and_update()),
                _ => seen.status,
            };
            if status != last {
                last.clone_from(&status);
                if updates.send(Ok(status)).await.is_err() {
                    return Ok(());
                }
            }
            if seen.ended {
                return Ok(());
            }
            match &mut local {
                Some(progress) => {
                    let _ = timeout(LOOK, progress.changed()).await;
                }
                None => sleep(LOOK).await,
            }
        }
    }
}
