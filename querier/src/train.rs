//! The verb of a querier: train.

use std::time::{Duration, Instant};

use dispers_core::{
    conduct::{Funnel, Phase, Status},
    encoding::{from_bytes, to_bytes},
    envelope::EnvelopeSecretKey,
    id::{AggregatorId, MemberNumber, QueryId},
    manifest::ManifestError,
    plan::{TrainingPlan, TrainingRequest},
    privacy::{Noise, Privacy},
    release::{MAX_TOTAL, SealedTotal, open_totals},
    training::{
        SessionKey, SignedParameters,
        fit::{Fit, Round, Settings},
        home::State,
    },
};
use dispers_node::rng;
use dispers_proto::v1::{AdvanceRequest, Query, StatusUpdate};
use tokio::time::sleep;
use tonic::Streaming;

use crate::{
    Error, PrivacyLoss, Querier,
    conductors::{PATIENCE, PAUSE, patiently, refused},
    query::{Draft, Drafted},
};

/// What is to be trained, and of whom.
#[derive(Debug, Clone)]
pub struct TrainingQuestion {
    /// Features, label and model.
    pub request: TrainingRequest,
    /// How updates become a model.
    pub settings: Settings,
    /// Why, one of the purposes registered for the querier.
    pub purpose: String,
    /// Fewest people behind a released number; the network's floor if `None`.
    pub min_cohort: Option<u32>,
    /// The most that the whole session may tell about any one home; `None` for exact sums.
    pub loss: Option<PrivacyLoss>,
    /// How long owners have who decide each time, before homes answer, in milliseconds.
    pub owners_ms: u64,
}

/// How far a session is.
pub enum TrainingStep<'a> {
    /// Concepts become pseudonyms and aggregators offer keys.
    Preparing,
    /// The network works on a round.
    Running(&'a Status),
    /// A round ended.
    Round(&'a Round, Duration),
}

/// A session that ended.
pub struct Trained {
    /// The session's query.
    pub query: QueryId,
    /// The model, its history and how good it is.
    pub fit: Fit,
    /// Names of the label's classes; none of a number.
    pub classes: Vec<String>,
    /// How long each round took.
    pub durations: Vec<Duration>,
    /// Homes at each step of the last round.
    pub homes: Funnel,
    /// What was spent.
    pub privacy: Option<Privacy>,
    /// Rounds that the manifest allowed.
    pub rounds: u16,
    /// Why the last rounds failed, if they did: the model is that of the rounds before.
    pub interrupted: Option<Error>,
}

/// The sums of a round, and the noise of each committee in them.
type Outputs = (Vec<Option<i128>>, Vec<Noise>);

/// A session while it runs.
struct Session<'a> {
    querier: &'a Querier,
    drafted: &'a Drafted,
    key: SessionKey,
    updates: Option<Streaming<StatusUpdate>>,
    last: Option<SignedParameters>,
}

/// The noise of a session of so many rounds.
fn privacy(loss: Option<PrivacyLoss>) -> Result<Option<Privacy>, Error> {
    let Some(PrivacyLoss { epsilon, delta }) = loss else {
        return Ok(None);
    };
    let delta = delta.ok_or(Error::NoDelta)?;
    let privacy = Privacy::of_session(epsilon, delta);
    Ok(Some(privacy.map_err(ManifestError::Privacy)?))
}

impl Querier {
    /// Plans a session against the directory's catalogue. Contacts nobody.
    ///
    /// # Errors
    /// [`Error::Sql`] says what to write instead.
    pub fn plan_training(&self, request: &TrainingRequest) -> Result<TrainingPlan, Error> {
        Ok(TrainingPlan::new(request, &self.directory().catalogue)?)
    }

    /// Trains a model, round by round. `observe` is told every step.
    ///
    /// # Errors
    /// [`Error`] where there is no model yet.
    pub async fn train(
        &self,
        question: &TrainingQuestion,
        mut observe: impl FnMut(&TrainingStep<'_>),
    ) -> Result<Trained, Error> {
        let plan = self.plan_training(&question.request)?;
        observe(&TrainingStep::Preparing);
        let rounds = plan.training.schedule().len() as u16;
        let draft = Draft {
            purpose: &question.purpose,
            min_cohort: question.min_cohort,
            owners_ms: question.owners_ms,
            privacy: privacy(question.loss)?,
            local: plan.local.clone(),
            training: Some(plan.training.clone()),
            rounds,
        };
        let drafted = self.draft(&plan.profile, draft).await?;
        self.submit_drafted(&drafted).await?;
        let query = drafted.manifest.query();
        let mut session = Session {
            querier: self,
            key: SessionKey::new(&drafted.salt, query),
            drafted: &drafted,
            updates: None,
            last: None,
        };
        let mut trained = Trained {
            query,
            fit: Fit::new(
                &plan.training,
                &plan.local,
                plan.names,
                question.settings.clone(),
            ),
            classes: plan.classes,
            durations: Vec::new(),
            homes: Funnel::default(),
            privacy: drafted.manifest.privacy,
            rounds,
            interrupted: None,
        };
        while let Some((round, state)) = trained.fit.next() {
            let start = Instant::now();
            let (outputs, noise) = match session.round(round, &state, &mut observe).await {
                Ok((homes, released)) => {
                    trained.homes = homes;
                    released
                }
                Err(error) if trained.fit.is_usable() => {
                    trained.interrupted = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            match trained.fit.take(&outputs, &noise) {
                Ok(None) => {}
                Ok(Some(done)) => {
                    trained.durations.push(start.elapsed());
                    observe(&TrainingStep::Round(done, start.elapsed()));
                }
                Err(error) => {
                    self.end(query, round + 1 < rounds).await;
                    return Err(error.into());
                }
            }
        }
        let last = trained.fit.history.last().map_or(0, |round| round.number);
        self.end(query, last + 1 < rounds).await;
        Ok(trained)
    }

    /// Ends a session whose last rounds are not needed.
    async fn end(&self, query: QueryId, early: bool) {
        if early {
            // It expires anyway.
            let _ = self.cancel(query).await;
        }
    }
}

impl Session<'_> {
    /// Has a round computed: homes at each of its steps, and what it released.
    async fn round(
        &mut self,
        round: u16,
        state: &State,
        observe: &mut impl FnMut(&TrainingStep<'_>),
    ) -> Result<(Funnel, Outputs), Error> {
        if round > 0 {
            self.advance(round, state).await?;
        }
        let status = self.watch(round, observe).await?;
        Ok((status.homes, self.outputs(round).await?))
    }

    /// Sends what a round is computed with.
    async fn advance(&mut self, round: u16, state: &State) -> Result<(), Error> {
        let parameters = SignedParameters::seal(
            self.drafted.manifest.query(),
            round,
            state,
            &self.key,
            &self.querier.node.signing,
            &mut rng(),
        );
        self.last = Some(parameters);
        self.send().await
    }

    /// Sends the round's parameters, the same each time.
    async fn send(&self) -> Result<(), Error> {
        let Some(parameters) = &self.last else {
            return Ok(());
        };
        let request = AdvanceRequest {
            id: self.drafted.manifest.query().0.to_vec(),
            parameters: to_bytes(parameters),
        };
        patiently(|| async {
            let begun = self.querier.conductors.call(|mut conductor| {
                let request = request.clone();
                async move { conductor.advance(request).await }
            });
            begun.await.map_err(|status| refused(&status))?;
            Ok(())
        })
        .await
    }

    /// Follows a round to its end.
    async fn watch(
        &mut self,
        round: u16,
        observe: &mut impl FnMut(&TrainingStep<'_>),
    ) -> Result<Status, Error> {
        let query = self.drafted.manifest.query();
        let mut away: Option<Instant> = None;
        let mut behind: Option<Instant> = None;
        loop {
            let update = self.querier.next_update(query, &mut self.updates).await;
            let update = match update {
                Ok(update) => update,
                Err(error @ Error::Unreachable(_)) => {
                    if away.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        return Err(error);
                    }
                    self.updates = None;
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            away = None;
            let status: Status = from_bytes(&update.status, 1 << 20, "status")?;
            if let Some(failure) = status.failure.clone() {
                return Err(Error::Failed(failure));
            }
            let ended = matches!(status.phase, Phase::Between | Phase::Done);
            if status.round == round && ended {
                return Ok(status);
            }
            if status.round < round && ended {
                // Taken, and lost with the conductor before it was kept; or told a moment ago.
                if behind.get_or_insert_with(Instant::now).elapsed() > PAUSE {
                    behind = None;
                    self.send().await?;
                }
                self.updates = None;
                sleep(PAUSE / 10).await;
                continue;
            }
            observe(&TrainingStep::Running(&status));
        }
    }

    /// What the round released, and the noise in it.
    async fn outputs(&self, round: u16) -> Result<Outputs, Error> {
        let manifest = &self.drafted.manifest;
        let reply = patiently(|| async {
            let id = manifest.query().0.to_vec();
            let totals = self.querier.conductors.call(|mut conductor| {
                let id = id.clone();
                async move { conductor.totals(Query { id }).await }
            });
            totals.await.map_err(|status| refused(&status))
        });
        let mut totals: Vec<(AggregatorId, SealedTotal)> = Vec::new();
        for total in reply.await?.totals {
            let number = u8::try_from(total.member).ok();
            let member = number.and_then(|n| MemberNumber::new(n).ok());
            if let Some((member, committee)) = member.zip(total.committee.try_into().ok()) {
                let sealed = from_bytes(&total.sealed, 2 * MAX_TOTAL, "total")?;
                totals.push((AggregatorId { committee, member }, sealed));
            }
        }
        let reply: &EnvelopeSecretKey = &self.drafted.reply;
        let released = open_totals(manifest, &totals, reply, self.querier.directory())?;
        if released.round != round {
            return Err(Error::OtherRound);
        }
        let noise = match manifest.round_privacy(round) {
            Some(privacy) => released
                .noise(manifest, manifest.circuit_of(round), &privacy)
                .map_err(ManifestError::Privacy)?,
            None => Vec::new(),
        };
        // On either side of zero, with noise or without.
        Ok((released.numbers(true), noise))
    }
}
