//! The verbs of a question: ask, detach, follow, result.

use std::time::Instant;

use dispers_base::id::QueryId;
use dispers_core::conduct::Phase;
use dispers_node::now;

use crate::{
    Asked, Error, Pending, Progress, Querier, QueryResult, Question, pending::Events,
    result::PhaseTimes, steps::Prepared,
};

/// Question on its way to its answer.
pub type Asking = Pending<Progress, QueryResult>;

impl Querier {
    /// Asks a question and waits for its answer.
    ///
    /// The question's file is in the folder of the configuration from before the question leaves until
    /// [`forget`](Self::forget), so that a program that dies, or fails to store the answer, can fetch the answer again.
    /// A query that fails has no answer, and its file is removed.
    ///
    /// # Errors
    /// [`Error`] if the query cannot be prepared, if it fails, or if its answer cannot be opened. The question may be
    /// asked again.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use dispers_querier::{Progress, Querier, Question};
    ///
    /// let querier = Querier::open(path)?;
    /// let sql = "SELECT AVG(clamp(heart_rate, 40, 160, 1)) AS rate FROM health";
    /// let question = Question::new(sql, "sandbox").epsilon(5.0);
    /// let mut asking = querier.ask(&question);
    /// while let Some(progress) = asking.next().await {
    ///     if let Progress::Running(status) = progress {
    ///         println!("{:?}: {} homes answered", status.phase, status.homes.answered);
    ///     }
    /// }
    /// let result = asking.await?;
    /// println!("{:?} ± {:?}", result.table.rows[0][0], result.table.standard_errors[0][0]);
    /// querier.forget(result.query)?;
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ask(&self, question: &Question) -> Asking {
        let (querier, question) = (self.clone(), question.clone());
        Pending::new(|events| async move {
            let start = Instant::now();
            let mut times = PhaseTimes::default();
            let (plan, privacy) = querier.checked_plan(&question)?;
            events.tell(Progress::Preparing).await;
            let prepared = querier.prepare_plan(&question, plan, privacy).await?;
            querier.hand_in(&prepared).await?;
            times.prepare = start.elapsed();
            events
                .tell(Progress::Submitted(prepared.asked.query()))
                .await;
            querier.answer(&prepared.asked, times, &events).await
        })
    }

    /// Asks a question without waiting for its answer. [`find`](Self::find) finds the question again, also from another
    /// process.
    ///
    /// # Errors
    /// [`Error`] if the query cannot be prepared or submitted. After [`Error::Unreachable`] the question may have
    /// arrived, and its file stays.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use dispers_querier::{Querier, Question};
    ///
    /// let querier = Querier::open(path)?;
    /// let question = Question::new("SELECT COUNT(*) AS people FROM health", "sandbox").exact();
    /// let id = querier.detach(&question).await?.query().to_string();
    ///
    /// // Until the query expires, also in another process:
    /// let asked = querier.find(&id)?;
    /// let result = querier.follow(&asked).await?;
    /// assert_eq!(result.table.columns, ["people"]);
    /// querier.forget(asked.query())?;
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn detach(&self, question: &Question) -> Result<Asked, Error> {
        let (plan, privacy) = self.checked_plan(question)?;
        let prepared = self.prepare_plan(question, plan, privacy).await?;
        self.hand_in(&prepared).await?;
        Ok(prepared.asked)
    }

    /// Waits for the answer to a question that was submitted.
    ///
    /// # Errors
    /// [`Error`]. A query that still runs may be followed again.
    pub fn follow(&self, asked: &Asked) -> Asking {
        let (querier, asked) = (self.clone(), asked.clone());
        Pending::new(|events| async move {
            let times = PhaseTimes::default();
            querier.answer(&asked, times, &events).await
        })
    }

    /// Returns the answer to a question whose query has ended.
    ///
    /// # Errors
    /// [`Error::Unfinished`] with the status of a query that still runs. Otherwise as [`follow`](Self::follow).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use dispers_querier::{Error, Querier, Question};
    ///
    /// # let querier = Querier::open(path)?;
    /// # let question = Question::new("SELECT COUNT(*) AS people FROM health", "sandbox").exact();
    /// # let asked = querier.detach(&question).await?;
    /// match querier.result(&asked).await {
    ///     Ok(result) => println!("{:?}", result.table.rows),
    ///     Err(Error::Unfinished(status)) => println!("{:?}: come back later", status.phase),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn result(&self, asked: &Asked) -> Result<QueryResult, Error> {
        let status = self.status(asked.query()).await?;
        if !matches!(status.phase, Phase::Done | Phase::Failed) {
            return Err(Error::Unfinished(Box::new(status)));
        }
        let times = PhaseTimes::default();
        self.answer(asked, times, &Events::ignored()).await
    }

    /// Keeps a prepared question, then submits it.
    async fn hand_in(&self, prepared: &Prepared) -> Result<(), Error> {
        // The key is on the disk before the question is submitted. Whatever happens from here on, the answer can be
        // opened.
        self.keep(&prepared.asked)?;
        let submitted = self.submit(prepared).await;
        if let Err(error) = &submitted {
            self.forget_unless_it_arrived(prepared.asked.query(), error)
                .await;
        }
        submitted
    }

    /// Removes the file of a question or session whose submission failed, if no Conductor has it.
    pub(crate) async fn forget_unless_it_arrived(&self, query: QueryId, error: &Error) {
        // A refusal does not prove that the query is nowhere: a Conductor may fail after it stored the query, or
        // another one refuse it after the first stored it and lost the connection. A submission that broke off may even
        // arrive later, so that its file stays.
        if !matches!(error, Error::Unreachable(_))
            && matches!(self.status(query).await, Err(Error::NoQuery))
        {
            // A failure is ignored: the refusal is what the user needs to read.
            let _ = self.forget(query);
        }
    }

    /// Waits until the query has ended, then fetches and opens its totals. Forgets a question that failed.
    async fn answer(
        &self,
        asked: &Asked,
        mut times: PhaseTimes,
        events: &Events<Progress>,
    ) -> Result<QueryResult, Error> {
        let status = match self.watch(asked.query(), &mut times, events).await {
            Err(error @ (Error::Failed(_) | Error::NoQuery)) => {
                // A query that is unknown before its expiry may be one that the Conductor has still to store.
                if matches!(error, Error::Failed(_)) || asked.manifest.expires < now() {
                    // A failure is ignored: the reason of the query's failure is what the user needs to read.
                    let _ = self.forget(asked.query());
                }
                return Err(error);
            }
            status => status?,
        };
        let fetch = Instant::now();
        let totals = self.totals(asked.query()).await?;
        let (released, table) = self.open_answer(asked, &totals)?;
        times.open = fetch.elapsed();
        Ok(QueryResult::new(
            asked.query(),
            table,
            &status,
            &released,
            asked.manifest.needed(),
            &times,
        ))
    }
}
