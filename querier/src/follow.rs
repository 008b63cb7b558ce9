//! Running queries: their status, until they end.

use std::time::Instant;

use dispers_base::{encoding::decode, id::QueryId};
use dispers_core::conduct::{Phase, Status};
use dispers_node::Tries;
use dispers_proto::v1::{Query, StatusUpdate};
use tonic::Streaming;

use crate::{
    Error, Querier,
    conductors::{AWAY, refused},
    pending::Events,
    result::PhaseTimes,
};

/// Progress of a question.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Progress {
    /// The querier obtains pseudonyms from concept indexors and keys from aggregators.
    Preparing,
    /// The network has the query of this id.
    Submitted(QueryId),
    /// The network works on the query, with this status.
    Running(Status),
}

/// Status of one query, through any Conductor that can be reached.
pub(crate) struct Updates {
    querier: Querier,
    query: QueryId,
    stream: Option<Streaming<StatusUpdate>>,
}

impl Updates {
    pub(crate) fn new(querier: &Querier, query: QueryId) -> Self {
        Self {
            querier: querier.clone(),
            query,
            stream: None,
        }
    }

    /// Makes the next status come from a new stream.
    pub(crate) fn begin_again(&mut self) {
        self.stream = None;
    }

    /// Returns the next status. Waits for a Conductor that can be reached, under [`AWAY`]: the query goes on without a
    /// Conductor that is away, and another one may report its status.
    pub(crate) async fn next(&mut self) -> Result<Status, Error> {
        let mut tries: Option<Tries> = None;
        loop {
            match self.update().await {
                Err(error @ Error::Unreachable(_)) => {
                    self.stream = None;
                    // The time counts from the first failure: a status may be long in coming while all is well.
                    if !tries.get_or_insert_with(|| AWAY.begin()).again().await {
                        return Err(error);
                    }
                }
                status => return status,
            }
        }
    }

    async fn update(&mut self) -> Result<Status, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            stream => stream.insert(self.querier.updates(self.query).await?),
        };
        let update = stream.message().await.map_err(|status| refused(&status))?;
        let update = update
            .ok_or_else(|| Error::Unreachable("its stream of the query's status ended".into()))?;
        Ok(decode(&update.status)?)
    }
}

impl Querier {
    /// Returns the status of a query of this querier.
    ///
    /// # Errors
    /// [`Error::Refused`] for a query that the Conductor does not know, or that another querier asked.
    pub async fn status(&self, query: QueryId) -> Result<Status, Error> {
        let mut updates = self.updates(query).await?;
        let update = updates.message().await.map_err(|status| refused(&status))?;
        let update = update.ok_or_else(|| Error::Unreachable("it gave no status".into()))?;
        Ok(decode(&update.status)?)
    }

    /// Cancels a query of this querier, waits until it has ended without a release, and forgets its question. May be
    /// repeated.
    ///
    /// # Errors
    /// [`Error::Released`] for a query that had ended with a release; its question is not forgotten.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use std::time::Duration;
    /// use dispers_querier::{Phase, Querier, Question};
    ///
    /// let querier = Querier::open(path)?;
    /// let question = Question::new("SELECT COUNT(*) AS people FROM health", "sandbox")
    ///     .exact()
    ///     .ask_owners(Duration::from_secs(3600));
    /// let asked = querier.detach(&question).await?;
    /// querier.cancel(asked.query()).await?;
    /// assert_eq!(querier.status(asked.query()).await?.phase, Phase::Failed);
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(&self, query: QueryId) -> Result<(), Error> {
        match self.end(query).await {
            // A query that has ended is refused, also one that an earlier try cancelled.
            Ok(()) | Err(Error::Refused(_)) => {}
            Err(Error::NoQuery) => {
                self.forget(query)?;
                return Err(Error::NoQuery);
            }
            Err(error) => return Err(error),
        }
        // The process that drives the query reads the mark when it next renews its lease, and until then may release.
        // Without its file a released answer could not be opened any more.
        let mut times = PhaseTimes::default();
        match self.watch(query, &mut times, &Events::ignored()).await {
            Ok(_) => Err(Error::Released),
            Err(Error::Failed(_)) => self.forget(query),
            Err(error) => Err(error),
        }
    }

    /// Ends a query at the Conductors.
    pub(crate) async fn end(&self, query: QueryId) -> Result<(), Error> {
        let cancelled = self.conductors.call(|mut conductor| {
            let id = query.0.to_vec();
            async move { conductor.cancel(Query { id }).await }
        });
        cancelled.await.map_err(|status| refused(&status))?;
        Ok(())
    }

    /// Opens a stream of a query's status, from one Conductor.
    async fn updates(&self, query: QueryId) -> Result<Streaming<StatusUpdate>, Error> {
        let updates = self.conductors.call(|mut conductor| {
            let id = query.0.to_vec();
            async move { conductor.watch(Query { id }).await }
        });
        updates.await.map_err(|status| refused(&status))
    }

    /// Follows a query until it ends, and records the duration of each phase.
    pub(crate) async fn watch(
        &self,
        query: QueryId,
        times: &mut PhaseTimes,
        events: &Events<Progress>,
    ) -> Result<Status, Error> {
        let mut since = Instant::now();
        let mut phase = Phase::Find;
        let mut updates = Updates::new(self, query);
        loop {
            let status = updates.next().await?;
            // The duration of a phase ends when the first status of another phase arrives.
            if status.phase != phase {
                times.add(phase, since.elapsed());
                (phase, since) = (status.phase, Instant::now());
            }
            events.tell(Progress::Running(status.clone())).await;
            match (status.phase, status.failure.clone()) {
                (Phase::Done, _) => return Ok(status),
                (Phase::Failed, Some(failure)) => return Err(Error::Failed(failure)),
                _ => {}
            }
        }
    }
}
