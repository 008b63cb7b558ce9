//! The verb of a querier: train.

use std::time::{Duration, Instant};

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{AggregatorId, MemberNumber, QueryId},
};
use dispers_core::{
    conduct::{Funnel, Phase, Status},
    manifest::{MAX_MANIFEST, Manifest, ManifestError, SignedManifest, VerifiedManifest},
    release::{MAX_TOTAL, Released, SealedTotal, noise_of, open_totals},
    session::{SessionKey, SignedParameters},
};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_node::rng;
use dispers_privacy::{Noise, Privacy};
use dispers_proto::v1::{AdvanceRequest, Query, StatusUpdate};
use dispers_sql::plan::{TrainingPlan, TrainingRequest};
use dispers_training::{
    fit::{Fit, Round, Settings},
    home::State,
};
use tokio::time::sleep;
use tonic::Streaming;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Error, PrivacyLoss, Querier,
    conductors::{PATIENCE, PAUSE, patiently, refused},
    query::Draft,
};

/// What is to be trained, and of whom.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
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
    /// With this the session can be taken up again, also when this process has died: it is to be kept before
    /// anything else. Whoever has it reads the sums.
    Keep(QueryId, &'a [u8]),
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

/// Largest encoded session that is kept, in bytes.
const MAX_KEPT: usize = 1 << 30;

/// What a round released.
#[derive(BorshSerialize, BorshDeserialize)]
struct Sums {
    outputs: Vec<Option<i128>>,
    /// How many dealt noise, of each committee.
    dealers: Vec<u8>,
    milliseconds: u64,
}

/// A session as it is kept. What was made of the sums follows from them again.
#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    question: TrainingQuestion,
    signed: SignedManifest,
    reply: [u8; 32],
    salt: [u8; 32],
    /// What the latest round was begun with: a round is begun once.
    last: Option<(u16, SignedParameters)>,
    released: Vec<Sums>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.reply.zeroize();
        self.salt.zeroize();
    }
}

/// A session while it runs.
struct Session<'a> {
    querier: &'a Querier,
    manifest: VerifiedManifest,
    reply: EnvelopeSecretKey,
    key: SessionKey,
    kept: Kept,
    updates: Option<Streaming<StatusUpdate>>,
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
        let mut plan = self.plan_training(&question.request)?;
        plan.training.guarded = question.loss.is_none();
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
        let kept = Kept {
            question: question.clone(),
            signed: drafted.signed.clone(),
            reply: *drafted.reply.to_seed_bytes(),
            salt: *drafted.salt,
            last: None,
            released: Vec::new(),
        };
        let session = self.session(drafted.manifest.clone(), kept)?;
        session.keep(&mut observe);
        self.submit_drafted(&drafted).await?;
        session.train(plan, observe).await
    }

    /// Goes on with a session whose process died, from what [`TrainingStep::Keep`] told last. Its question, too.
    ///
    /// # Errors
    /// [`Error`] where there is no model yet, or the session cannot be taken up any more.
    pub async fn resume_training(
        &self,
        kept: &[u8],
        mut observe: impl FnMut(&TrainingStep<'_>),
    ) -> Result<(Trained, TrainingQuestion), Error> {
        let kept: Kept = from_bytes(kept, MAX_KEPT, "kept session")?;
        let question = kept.question.clone();
        let mut plan = self.plan_training(&question.request)?;
        plan.training.guarded = question.loss.is_none();
        // Of one that has expired there is still the model of the rounds before.
        let body: Manifest = from_bytes(&kept.signed.body, MAX_MANIFEST, "manifest")?;
        let manifest = kept.signed.verify(self.directory(), body.issued)?;
        if plan.local != manifest.local || Some(&plan.training) != manifest.training.as_ref() {
            return Err(Error::Changed);
        }
        observe(&TrainingStep::Preparing);
        let session = self.session(manifest, kept)?;
        Ok((session.train(plan, observe).await?, question))
    }

    fn session(&self, manifest: VerifiedManifest, kept: Kept) -> Result<Session<'_>, Error> {
        let reply = EnvelopeSecretKey::from_bytes(manifest.reply_key.suite(), &kept.reply);
        let reply = reply.map_err(|_| Error::Changed)?;
        if reply.public() != manifest.reply_key {
            return Err(Error::Changed);
        }
        Ok(Session {
            querier: self,
            key: SessionKey::new(&kept.salt, manifest.query()),
            reply: self.node.watched(reply),
            manifest,
            kept,
            updates: None,
        })
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
    /// Has round after round computed; what was released before is taken as it was.
    async fn train(
        mut self,
        plan: TrainingPlan,
        mut observe: impl FnMut(&TrainingStep<'_>),
    ) -> Result<Trained, Error> {
        let query = self.manifest.query();
        let rounds = self.manifest.rounds;
        let settings = self.kept.question.settings.clone();
        let mut trained = Trained {
            query,
            fit: Fit::new(&plan.training, &plan.local, plan.names, settings),
            classes: plan.classes,
            durations: Vec::new(),
            homes: Funnel::default(),
            privacy: self.manifest.privacy,
            rounds,
            interrupted: None,
        };
        let mut taken = 0;
        while let Some((round, state)) = trained.fit.next() {
            if taken == self.kept.released.len() {
                match self.round(round, &state, &mut observe).await {
                    Ok(homes) => trained.homes = homes,
                    Err(error) if trained.fit.is_usable() => {
                        trained.interrupted = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(sums) = self.kept.released.get(taken) else {
                break;
            };
            taken += 1;
            let noise = self.noise(round, sums)?;
            match trained.fit.take(&sums.outputs, &noise) {
                Ok(None) => {}
                Ok(Some(done)) => {
                    let time = Duration::from_millis(sums.milliseconds);
                    trained.durations.push(time);
                    observe(&TrainingStep::Round(done, time));
                }
                Err(error) => {
                    self.querier.end(query, round + 1 < rounds).await;
                    return Err(error.into());
                }
            }
        }
        let last = trained.fit.history.last().map_or(0, |round| round.number);
        // One that was interrupted may be taken up again.
        let early = last + 1 < rounds && trained.interrupted.is_none();
        self.querier.end(query, early).await;
        Ok(trained)
    }

    /// Has the session kept.
    fn keep(&self, observe: &mut impl FnMut(&TrainingStep<'_>)) {
        let bytes = Zeroizing::new(to_bytes(&self.kept));
        observe(&TrainingStep::Keep(self.manifest.query(), &bytes));
    }

    /// The noise in a round's sums.
    fn noise(&self, round: u16, sums: &Sums) -> Result<Vec<Noise>, Error> {
        let Some(privacy) = self.manifest.round_privacy(round) else {
            return Ok(Vec::new());
        };
        let circuit = self.manifest.circuit_of(round);
        let noise = noise_of(&self.manifest, circuit, &privacy, &sums.dealers);
        Ok(noise.map_err(ManifestError::Privacy)?)
    }

    /// Has a round computed, and keeps what it released: homes at each of its steps.
    async fn round(
        &mut self,
        round: u16,
        state: &State,
        observe: &mut impl FnMut(&TrainingStep<'_>),
    ) -> Result<Funnel, Error> {
        let start = Instant::now();
        if round > 0 {
            self.advance(round, state, observe).await?;
        }
        let status = self.watch(round, observe).await?;
        let released = self.outputs(round).await?;
        self.kept.released.push(Sums {
            // On either side of zero, with noise or without.
            outputs: released.numbers(true),
            dealers: released.dealers,
            milliseconds: start.elapsed().as_millis() as u64,
        });
        self.keep(observe);
        Ok(status.homes)
    }

    /// Sends what a round is computed with, the same also from another process.
    async fn advance(
        &mut self,
        round: u16,
        state: &State,
        observe: &mut impl FnMut(&TrainingStep<'_>),
    ) -> Result<(), Error> {
        if self.kept.last.as_ref().is_none_or(|(of, _)| *of != round) {
            let parameters = SignedParameters::seal(
                self.manifest.query(),
                round,
                state,
                &self.key,
                &self.querier.node.signing,
                &mut rng(),
            );
            self.kept.last = Some((round, parameters));
            self.keep(observe);
        }
        self.send().await
    }

    /// Sends the round's parameters, the same each time.
    async fn send(&self) -> Result<(), Error> {
        let Some((_, parameters)) = &self.kept.last else {
            return Ok(());
        };
        let request = AdvanceRequest {
            id: self.manifest.query().0.to_vec(),
            parameters: to_bytes(parameters),
        };
        let begun = patiently(|| async {
            let begun = self.querier.conductors.call(|mut conductor| {
                let request = request.clone();
                async move { conductor.advance(request).await }
            });
            begun.await.map_err(|status| refused(&status))?;
            Ok(())
        });
        let Err(error) = begun.await else {
            return Ok(());
        };
        // The session may have failed meanwhile, and the status says why.
        let status = self.querier.status(self.manifest.query()).await;
        match status.ok().and_then(|status| status.failure) {
            Some(failure) => Err(Error::Failed(failure)),
            None => Err(error),
        }
    }

    /// Follows a round to its end.
    async fn watch(
        &mut self,
        round: u16,
        observe: &mut impl FnMut(&TrainingStep<'_>),
    ) -> Result<Status, Error> {
        let query = self.manifest.query();
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

    /// What the round released.
    async fn outputs(&self, round: u16) -> Result<Released, Error> {
        let manifest = &self.manifest;
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
        let released = open_totals(manifest, &totals, &self.reply, self.querier.directory())?;
        match released.round == round {
            true => Ok(released),
            false => Err(Error::OtherRound),
        }
    }
}
