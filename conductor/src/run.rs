//! One query as this process drives it. Its state is stored before its commands are carried out (protocol.md §8).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dispers_base::{encoding::to_bytes, id::QueryId};
use dispers_core::{
    conduct::{Command, Conduct, Event, Failure, Phase, Status, Wait},
    session::{ParametersError, SignedParameters},
};
use dispers_node::{Patience, QueryPhase, now};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::Instrument;

use crate::{Driver, Error, State, Store};

/// Tries to store a state while the store fails, until the query expires.
const STORE: Patience = Patience::new(Duration::from_millis(500), Duration::from_secs(5));

/// Returns the state of `conduct` in the form that the store keeps.
pub(crate) fn state(conduct: &Conduct) -> State {
    let record = conduct.record();
    State {
        ended: record.has_ended(),
        record: to_bytes(&record),
        status: to_bytes(&conduct.status()),
        totals: conduct.totals().map(|totals| to_bytes(&totals)),
    }
}

/// Parameters of a session's next round, and the channel for the answer to their sender.
pub(crate) struct Advance {
    pub(crate) parameters: SignedParameters,
    pub(crate) taken: oneshot::Sender<Result<(), ParametersError>>,
}

/// One query that this process drives.
pub(crate) struct Run {
    pub(crate) driver: Arc<Driver>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) holder: String,
    /// Version of the stored state.
    pub(crate) version: u64,
    /// Encoded record of the stored state.
    pub(crate) kept: Vec<u8>,
    pub(crate) progress: watch::Sender<Status>,
    pub(crate) cancelled: Arc<Notify>,
    pub(crate) advances: mpsc::Receiver<Advance>,
    pub(crate) life: Duration,
}

impl Run {
    /// Drives the query to its end, unless another conductor has taken it over.
    pub(crate) async fn run(mut self, mut conduct: Conduct, mut commands: Vec<Command>) {
        let query = conduct.manifest().query();
        let deadline = Instant::now() + self.life;
        let mut steps: JoinSet<(u64, Event)> = JoinSet::new();
        let mut waits: BTreeMap<u64, Wait> = BTreeMap::new();
        let mut number = 0;
        let activity = self.driver.node.activity.clone();
        let mut running = activity.query();
        if let Some(ends) = self.publish(&mut conduct, deadline).await {
            commands = ends;
        }
        loop {
            // > C keeps a record of each query, and writes it before it carries out what it shows to the world (§8).
            if let Err(error) = self.keep(query, &conduct, deadline).await {
                // Another process drives the query now, or the query expired before its state could be stored. All
                // that this process could have sent is idempotent (§8), so stopping is enough.
                tracing::warn!(%query, %error, "no longer driven here");
                return;
            }
            for command in commands {
                number += 1;
                waits.extend(self.driver.wait(&command, now()).map(|wait| (number, wait)));
                let driver = self.driver.clone();
                let step = async move { (number, driver.carry_out(command).await) };
                steps.spawn(step.in_current_span());
            }
            let mut status = conduct.status();
            status.waiting = waits.values().cloned().collect();
            let phase = status.phase;
            match phase {
                Phase::Find => running.enters(QueryPhase::Find),
                Phase::Ask => running.enters(QueryPhase::Ask),
                Phase::Release => running.enters(QueryPhase::Release),
                Phase::Done => {
                    let (batches, answers) = (status.batches_done.into(), status.homes.answered);
                    activity.released(batches, answers);
                }
                Phase::Between | Phase::Failed => {}
            }
            self.progress.send_replace(status);
            if matches!(phase, Phase::Done | Phase::Failed) {
                tracing::info!(%query, ?phase, "query ended");
                return;
            }
            commands = tokio::select! {
                // Between two rounds no step runs, and `join_next` would return `None` at once.
                done = steps.join_next(), if !steps.is_empty() || phase != Phase::Between => match done {
                    Some(Ok((number, event))) => {
                        waits.remove(&number);
                        conduct.handle(event)
                    }
                    // Every command ends in an event, so a step that panicked is a defect of this program.
                    Some(Err(_)) | None => ended(&mut conduct, "a step of the conductor failed"),
                },
                Some(advance) = self.advances.recv() => self.advance(&mut conduct, advance),
                () = self.cancelled.notified() => {
                    conduct.end(Failure::Cancelled);
                    Vec::new()
                }
                () = sleep_until(deadline) => ended(&mut conduct, "the query expired"),
            };
        }
    }

    /// Begins the next round of a session if the querier signed its parameters. The sender is answered before the state
    /// is stored, and learns the round's progress from the status.
    fn advance(&self, conduct: &mut Conduct, advance: Advance) -> Vec<Command> {
        let Advance { parameters, taken } = advance;
        let directory = &self.driver.node.directory;
        let verified = parameters.verify(conduct.manifest(), directory);
        let begun = verified.and_then(|verified| conduct.advance(&verified, parameters));
        let (told, commands) = match begun {
            Ok(commands) => (Ok(()), commands),
            Err(error) => (Err(error), Vec::new()),
        };
        // A sender that stopped waiting learns the outcome from the status.
        let _ = taken.send(told);
        commands
    }

    /// Puts the query into the log before anybody is asked (protocol.md §16). Returns the commands with which the
    /// query ends if that fails.
    async fn publish(&self, conduct: &mut Conduct, deadline: Instant) -> Option<Vec<Command>> {
        tokio::select! {
            shown = self.driver.inclusion() => {
                let error = shown.err()?;
                tracing::warn!(query = %conduct.manifest().query(), %error, "the query is not in the log");
                Some(ended(conduct, &error.to_string()))
            }
            () = self.cancelled.notified() => {
                conduct.end(Failure::Cancelled);
                Some(Vec::new())
            }
            () = sleep_until(deadline) => Some(ended(conduct, "the query expired")),
        }
    }

    /// Stores the state if it has changed. Tries again until it succeeds or the query expires.
    ///
    /// # Errors
    /// [`Error::TakenOver`] if another process drives the query. The last error once `deadline` has passed.
    async fn keep(
        &mut self,
        query: QueryId,
        conduct: &Conduct,
        deadline: Instant,
    ) -> Result<(), Error> {
        let state = state(conduct);
        if state.record == self.kept {
            return Ok(());
        }
        let may_pass = |error: &Error| {
            let passes = matches!(error, Error::Storage(_) | Error::Away(_));
            if passes {
                tracing::error!(%query, %error, "the query waits until it can be kept");
            }
            passes
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let saved = STORE.within(left).retry(may_pass, || {
            // The version makes this write fail if another process wrote in the meantime, even if both believe to hold
            // the lease.
            self.store
                .save(query, &self.holder, self.version, state.clone())
        });
        saved.await?;
        self.version += 1;
        self.kept = state.record;
        Ok(())
    }
}

/// Ends the query with a reason. Returns the commands that are left, which are none.
fn ended(conduct: &mut Conduct, reason: &str) -> Vec<Command> {
    conduct.end(Failure::Ended(reason.into()));
    Vec::new()
}
