//! The life of one query here: its state is kept before its commands are carried out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dispers_base::{encoding::to_bytes, id::QueryId};
use dispers_core::{
    conduct::{Command, Conduct, Event, Failure, Phase, Status, Wait},
    session::{ParametersError, SignedParameters},
};
use dispers_node::{QueryPhase, now};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tracing::Instrument;

use crate::{Driver, Error, State, Store};

/// Between two tries to keep a state.
const PAUSE: Duration = Duration::from_millis(500);

/// What is kept of `conduct`.
pub(crate) fn state(conduct: &Conduct) -> State {
    let record = conduct.record();
    State {
        ended: record.has_ended(),
        record: to_bytes(&record),
        status: to_bytes(&conduct.status()),
        totals: conduct.totals().map(|totals| to_bytes(&totals)),
    }
}

/// Parameters of a session's next round, and whether they were taken.
pub(crate) struct Advance {
    pub(crate) parameters: SignedParameters,
    pub(crate) taken: oneshot::Sender<Result<(), ParametersError>>,
}

/// One query that this process drives.
pub(crate) struct Run {
    pub(crate) driver: Arc<Driver>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) holder: String,
    /// The version of what is kept, and its record.
    pub(crate) version: u64,
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
            if let Err(error) = self.keep(query, &conduct, deadline).await {
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
                done = steps.join_next(), if !steps.is_empty() || phase != Phase::Between => match done {
                    Some(Ok((number, event))) => {
                        waits.remove(&number);
                        conduct.handle(event)
                    }
                    // Every command ends in an event, so a step that panicked is a defect of ours.
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

    /// Begins the next round of a session, if the querier signed what it is computed with. It is kept before
    /// anybody is asked; who sent it looks at how far the session is.
    fn advance(&self, conduct: &mut Conduct, advance: Advance) -> Vec<Command> {
        let Advance { parameters, taken } = advance;
        let directory = &self.driver.node.directory;
        let verified = parameters.verify(conduct.manifest(), directory);
        let begun = verified.and_then(|verified| conduct.advance(&verified, parameters));
        let (told, commands) = match begun {
            Ok(commands) => (Ok(()), commands),
            Err(error) => (Err(error), Vec::new()),
        };
        // Who went away learns it from the status.
        let _ = taken.send(told);
        commands
    }

    /// Puts the query into the log before anybody is asked; the commands with which it ends if that
    /// fails.
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

    /// Keeps the state where it has changed, as soon as that succeeds.
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
        loop {
            let saved = self
                .store
                .save(query, &self.holder, self.version, state.clone());
            match saved.await {
                Ok(()) => break,
                Err(error @ (Error::Storage(_) | Error::Away(_))) if Instant::now() < deadline => {
                    tracing::error!(%query, %error, "the query waits until it can be kept");
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.version += 1;
        self.kept = state.record;
        Ok(())
    }
}

fn ended(conduct: &mut Conduct, reason: &str) -> Vec<Command> {
    conduct.end(Failure::Ended(reason.into()));
    Vec::new()
}
