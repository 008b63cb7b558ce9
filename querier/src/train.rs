//! The verbs of a training session: train and resume.

use std::time::{Duration, Instant};

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{
    encoding::{Message, decode, to_bytes},
    id::QueryId,
};
use dispers_core::{
    conduct::{Funnel, Phase, Status},
    manifest::{ManifestError, SignedManifest, VerifiedManifest},
    release::{Released, noise_of, open_totals},
    session::{SessionKey, SignedParameters},
};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_node::rng;
use dispers_privacy::{Noise, Privacy};
use dispers_proto::v1::AdvanceRequest;
use dispers_sql::plan::{TrainingPlan, TrainingRequest};
use dispers_training::{fit::Fit, home::State};
use tokio::time::sleep;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Error, InTraining, Pending, PrivacyLoss, Querier, Trained, TrainingProgress, TrainingQuestion,
    conductors::{patiently, refused},
    draft::Draft,
    follow::Updates,
    pending::Events,
};

/// Time after which the parameters of a round are sent again to Conductors that are still at the round before.
const BEHIND: Duration = Duration::from_millis(500);

/// Sums that a round released.
#[derive(BorshSerialize, BorshDeserialize)]
struct Sums {
    outputs: Vec<Option<i128>>,
    /// Number of aggregators that dealt noise, of each committee.
    dealers: Vec<u8>,
    milliseconds: u64,
}

/// Session as it is stored. The model is left out: it follows from the sums again.
#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    question: TrainingQuestion,
    signed: SignedManifest,
    reply: [u8; 32],
    salt: [u8; 32],
    /// Parameters of the latest round. A round begins once, so they must stay the same.
    last: Option<(u16, SignedParameters)>,
    released: Vec<Sums>,
}

impl Message for Kept {
    const NAME: &'static str = "kept session";
    const LIMIT: usize = 1 << 30;
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.reply.zeroize();
        self.salt.zeroize();
    }
}

/// Running session.
struct Session<'a> {
    querier: &'a Querier,
    manifest: VerifiedManifest,
    reply: EnvelopeSecretKey,
    key: SessionKey,
    kept: Kept,
    updates: Updates,
    events: &'a Events<TrainingProgress>,
    /// True once the reader knows that the session is kept.
    announced: bool,
    /// Keeps other processes from the session while it runs here.
    _lock: Option<std::fs::File>,
}

/// Returns the noise of a session with this loss.
fn privacy(loss: Option<PrivacyLoss>) -> Result<Option<Privacy>, Error> {
    let Some(PrivacyLoss { epsilon, delta }) = loss else {
        return Ok(None);
    };
    let delta = delta.ok_or(Error::NoDelta)?;
    let privacy = Privacy::of_session(epsilon, delta);
    Ok(Some(privacy.map_err(ManifestError::Privacy)?))
}

impl Querier {
    /// Plans a session against the directory's catalogue, without contacting another node.
    ///
    /// # Errors
    /// [`Error::Sql`] says what to write instead.
    pub fn plan_training(&self, request: &TrainingRequest) -> Result<TrainingPlan, Error> {
        Ok(TrainingPlan::new(request, &self.directory().catalogue)?)
    }

    /// Trains a model, round by round.
    ///
    /// The session is in the folder of the configuration from before it is submitted until
    /// [`forget`](Self::forget). A session that the network gave up is removed. After any other error it may be
    /// resumed.
    ///
    /// # Errors
    /// [`Error`] if there is no model yet.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use dispers_querier::{
    ///     Family, Querier, Settings, TrainingProgress, TrainingQuestion, TrainingRequest,
    /// };
    ///
    /// let querier = Querier::open(path)?;
    /// let request = TrainingRequest {
    ///     label: Some("heart_rate".into()),
    ///     positive: None,
    ///     features: vec!["age".into()],
    ///     from: "health".into(),
    ///     condition: None,
    ///     family: Family::Linear,
    ///     bits: 16,
    ///     clip: None,
    ///     held_out: 200,
    ///     updates: 1,
    /// };
    /// let settings = Settings { rate: 1.0, momentum: 0.9, l2: 0.0, adaptive: false, seed: 1 };
    /// let question = TrainingQuestion::new(request, settings, "sandbox", None);
    /// let mut training = querier.train(&question);
    /// while let Some(progress) = training.next().await {
    ///     if let TrainingProgress::Round(round, time) = progress {
    ///         println!("round {} of {} homes took {time:?}", round.number, round.homes);
    ///     }
    /// }
    /// let trained = training.await?;
    /// querier.forget(trained.query)?;
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn train(&self, question: &TrainingQuestion) -> InTraining {
        let (querier, question) = (self.clone(), question.clone());
        Pending::new(|events| async move { querier.begin_training(question, &events).await })
    }

    /// Goes on with a session whose process died, or that lost its network. `id` is the text of the query's id. A
    /// session that cannot be resumed stays in the folder, since another configuration or directory may do.
    ///
    /// # Errors
    /// [`Error::NoSession`] if none of this id is kept, [`Error::Damaged`] for a file that is none of a session. The
    /// pending work ends with [`Error`] if there is no model yet, or if the session cannot be resumed any more.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use dispers_querier::{Error, Querier};
    ///
    /// let querier = Querier::open(path)?;
    /// match querier.resume("c0ffee") {
    ///     Ok(training) => println!("{:?}", training.await?.fit.history.last()),
    ///     Err(Error::NoSession { folder, .. }) => println!("nothing is in {}", folder.display()),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume(&self, id: &str) -> Result<InTraining, Error> {
        let folder = self.folder()?;
        let decoded = decode(&folder.session(id)?).map_err(Error::from);
        let kept: Kept = decoded.map_err(|error| folder.in_session(id, error))?;
        let querier = self.clone();
        Ok(Pending::new(|events| async move {
            querier.resume_training(kept, &events).await
        }))
    }

    async fn begin_training(
        &self,
        question: TrainingQuestion,
        events: &Events<TrainingProgress>,
    ) -> Result<Trained, Error> {
        let mut plan = self.plan_training(&question.request)?;
        question.settings.check()?;
        plan.training.guarded = question.loss.is_none();
        events.tell(TrainingProgress::Preparing).await;
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
            question,
            signed: drafted.signed.clone(),
            reply: *drafted.reply.to_seed_bytes(),
            salt: *drafted.salt,
            last: None,
            released: Vec::new(),
        };
        let query = drafted.manifest.query();
        let mut session = self.session(drafted.manifest.clone(), kept, events)?;
        session.keep().await;
        if let Err(error) = self.submit_drafted(&drafted).await {
            self.forget_unless_it_arrived(query, &error).await;
            return Err(error);
        }
        self.end_of_training(query, session.train(plan).await)
    }

    /// Removes the file of a session that failed for good. After any other error the session may be resumed.
    fn end_of_training(
        &self,
        query: QueryId,
        trained: Result<Trained, Error>,
    ) -> Result<Trained, Error> {
        if let Err(Error::Failed(_) | Error::Fit(_)) = &trained {
            // A failure is ignored: a file that stays reveals only sums that were released.
            let _ = self.forget(query);
        }
        trained
    }

    async fn resume_training(
        &self,
        kept: Kept,
        events: &Events<TrainingProgress>,
    ) -> Result<Trained, Error> {
        let mut plan = self.plan_training(&kept.question.request)?;
        plan.training.guarded = kept.question.loss.is_none();
        // An expired session still has the model of its earlier rounds, so it is verified as of the time of signing.
        let issued = kept.signed.unverified()?.issued;
        let manifest = kept.signed.verify(self.directory(), issued)?;
        if plan.local != manifest.local || Some(&plan.training) != manifest.training.as_ref() {
            return Err(Error::Changed);
        }
        events.tell(TrainingProgress::Preparing).await;
        let query = manifest.query();
        let mut session = self.session(manifest, kept, events)?;
        session.announced = true;
        self.end_of_training(query, session.train(plan).await)
    }

    fn session<'a>(
        &'a self,
        manifest: VerifiedManifest,
        kept: Kept,
        events: &'a Events<TrainingProgress>,
    ) -> Result<Session<'a>, Error> {
        let reply = EnvelopeSecretKey::from_bytes(manifest.reply_key.suite(), &kept.reply);
        let reply = reply.map_err(|_| Error::Changed)?;
        if reply.public() != manifest.reply_key {
            return Err(Error::Changed);
        }
        let lock = match &self.folder {
            Some(folder) => Some(folder.lock_session(manifest.query())?),
            None => None,
        };
        Ok(Session {
            querier: self,
            _lock: lock,
            key: SessionKey::new(&kept.salt, manifest.query()),
            reply: self.node.watched(reply),
            updates: Updates::new(self, manifest.query()),
            manifest,
            kept,
            events,
            announced: false,
        })
    }
}

impl Session<'_> {
    /// Runs the rounds of the schedule, one after the other. Rounds that were released before are taken from the
    /// stored sums.
    async fn train(mut self, plan: TrainingPlan) -> Result<Trained, Error> {
        let query = self.manifest.query();
        let rounds = self.manifest.rounds;
        let settings = self.kept.question.settings.clone();
        let mut trained = Trained {
            query,
            question: self.kept.question.clone(),
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
                match self.round(round, &state).await {
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
                    let ended = TrainingProgress::Round(done.clone(), time);
                    self.events.tell(ended).await;
                }
                Err(error) => {
                    self.end_after(round).await;
                    return Err(error.into());
                }
            }
        }
        let last = trained.fit.history.last().map_or(0, |round| round.number);
        // An interrupted session may be resumed.
        if trained.interrupted.is_none() {
            self.end_after(last).await;
        }
        Ok(trained)
    }

    /// Ends the session at the Conductors if rounds after `round` are left, which are not needed.
    async fn end_after(&self, round: u16) {
        if round + 1 < self.manifest.rounds {
            // A failure is ignored, since the session expires anyway.
            let _ = self.querier.end(self.manifest.query()).await;
        }
    }

    /// Writes the state of the session. A session whose state cannot be written goes on.
    async fn keep(&mut self) {
        let Some(folder) = &self.querier.folder else {
            return;
        };
        let query = self.manifest.query();
        let bytes = Zeroizing::new(to_bytes(&self.kept));
        let event = match folder.keep_session(query, &bytes) {
            Ok(()) if self.announced => return,
            Ok(()) => TrainingProgress::Kept(query),
            Err(error) => TrainingProgress::Unkept(query, error),
        };
        self.announced = true;
        self.events.tell(event).await;
    }

    /// Returns the noise in a round's sums.
    fn noise(&self, round: u16, sums: &Sums) -> Result<Vec<Noise>, Error> {
        let Some(privacy) = self.manifest.round_privacy(round) else {
            return Ok(Vec::new());
        };
        let circuit = self.manifest.circuit_of(round);
        let noise = noise_of(&self.manifest, circuit, &privacy, &sums.dealers);
        Ok(noise.map_err(ManifestError::Privacy)?)
    }

    /// Has a round computed, and stores its sums. Returns the number of homes at each step.
    async fn round(&mut self, round: u16, state: &State) -> Result<Funnel, Error> {
        let start = Instant::now();
        if round > 0 {
            self.advance(round, state).await?;
        }
        let status = self.watch(round).await?;
        let released = self.outputs(round).await?;
        self.kept.released.push(Sums {
            // Updates are signed numbers, with noise or without.
            outputs: released.numbers(true),
            dealers: released.dealers,
            milliseconds: start.elapsed().as_millis() as u64,
        });
        self.keep().await;
        Ok(status.homes)
    }

    /// Sends the parameters of a round, the same also from another process.
    async fn advance(&mut self, round: u16, state: &State) -> Result<(), Error> {
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
            self.keep().await;
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
    async fn watch(&mut self, round: u16) -> Result<Status, Error> {
        let mut behind: Option<Instant> = None;
        loop {
            let status = self.updates.next().await?;
            if let Some(failure) = status.failure.clone() {
                return Err(Error::Failed(failure));
            }
            if status.round > round {
                // This round's totals are gone. Without this, the process would wait for the round until the session
                // expires.
                return Err(Error::OtherRound);
            }
            let ended = matches!(status.phase, Phase::Between | Phase::Done);
            if status.round == round && ended {
                return Ok(status);
            }
            if status.round < round && ended {
                // The Conductor lost the parameters before it stored them, or its status is from a moment ago.
                if behind.get_or_insert_with(Instant::now).elapsed() > BEHIND {
                    behind = None;
                    self.send().await?;
                }
                self.updates.begin_again();
                sleep(BEHIND / 10).await;
                continue;
            }
            self.events.tell(TrainingProgress::Running(status)).await;
        }
    }

    /// Fetches and opens the sums of a round.
    async fn outputs(&self, round: u16) -> Result<Released, Error> {
        let totals = self.querier.totals(self.manifest.query()).await?;
        let directory = self.querier.directory();
        let released = open_totals(&self.manifest, &totals, &self.reply, directory)?;
        match released.round == round {
            true => Ok(released),
            false => Err(Error::OtherRound),
        }
    }
}
