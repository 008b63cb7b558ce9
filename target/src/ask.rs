//! Asking of the homes of a batch (protocol.md §6).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dispers_base::id::{BatchId, KeyEpoch, Name, QueryId, Role, Timestamp, Work};
use dispers_core::{
    ask::{
        Answer, Ask, BatchAnswer, OpenedBatch, TargetRequest, answer_limit, collect_answers,
        open_batch,
    },
    manifest::VerifiedManifest,
    session::{NO_PARAMETERS, SignedParameters},
};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_node::{CallFailure, Node, Reply, blocking, now, rng};
use dispers_proto::Messages;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tonic::Status;
use tracing::Instrument;

use crate::{Config, Error, Links, StackLink, breaker::Breakers, quota::Quotas};

/// Largest answer of a stack whose homes are only told that they will be asked, in bytes.
const ANNOUNCED: usize = 4096;

/// Round and attempt of an ask, and the time when its query expires.
type Asked = ((u16, u8), Timestamp);

/// A Target.
pub struct Target {
    node: Arc<Node>,
    envelope: EnvelopeSecretKey,
    /// The pool's envelope key of the previous key epoch, if it differs from `envelope`.
    previous: Option<EnvelopeSecretKey>,
    link: Arc<Links>,
    breakers: Breakers,
    pub(crate) quotas: Quotas,
    stack_timeout: Duration,
    parallel_stacks: usize,
    /// Latest round and attempt that each batch was asked with. An entry is dropped when its query expires.
    asked: Mutex<HashMap<(QueryId, BatchId), Asked>>,
}

impl Target {
    /// Creates the Target of `node`.
    ///
    /// # Errors
    /// [`Error::NotListed`] if the directory lists no pool of Targets with this envelope key.
    pub fn new(
        node: Arc<Node>,
        envelope: EnvelopeSecretKey,
        config: &Config,
    ) -> Result<Self, Error> {
        node.directory
            .pool(Role::Target, 0)
            .filter(|pool| pool.envelope_key == envelope.public())
            .ok_or(Error::NotListed)?;
        Ok(Self {
            link: Arc::new(Links::new(node.clone(), config)),
            node,
            envelope,
            previous: None,
            breakers: Breakers::default(),
            quotas: Quotas::new(config.upload_quota_bytes),
            stack_timeout: Duration::from_millis(config.stack_timeout_ms),
            parallel_stacks: config.parallel_stacks.max(1),
            asked: Mutex::default(),
        })
    }

    /// Sets the envelope key for the previous key epoch, which opens the batches of queries under that epoch.
    #[must_use]
    pub fn with_previous(mut self, envelope: Option<EnvelopeSecretKey>) -> Self {
        self.previous = envelope;
        self
    }

    /// Returns the pool's envelope key for a key epoch. Without a previous key, both key epochs have the same one.
    fn envelope_of(&self, epoch: KeyEpoch) -> &EnvelopeSecretKey {
        match &self.previous {
            Some(previous) if epoch != self.node.directory.key_epoch => previous,
            _ => &self.envelope,
        }
    }

    /// Takes the stream of a stack that attaches itself. Returns the stream of asks to that stack.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` if too many stacks are attached.
    pub(crate) fn attach(&self, host: Name, answers: Messages) -> Result<Reply, Status> {
        self.link.attached().attach(host, answers)
    }

    /// Verifies the manifest and that a Target Finder chose the batch for this Target, then opens the batch.
    fn open(&self, request: &TargetRequest) -> Result<(OpenedBatch, VerifiedManifest), Error> {
        let now = now();
        let manifest = request.manifest.verify(&self.node.directory, now)?;
        let opened = open_batch(
            request,
            &manifest,
            &self.node.name,
            &self.node.directory,
            self.envelope_of(manifest.key_epoch),
        )?;
        Ok((opened, manifest))
    }

    /// Records that a batch is asked with this round and attempt.
    ///
    /// # Errors
    /// [`Error::Repeated`] if the batch was asked with the same or a later round and attempt.
    fn ask_once(&self, work: Work, expires: Timestamp) -> Result<(), Error> {
        let now = now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // An expired query is refused when its manifest is verified, so forgetting its batches cannot allow a second
        // ask.
        asked.retain(|_, (_, expires)| !expires.has_passed(now));
        let last = (work.round, work.attempt);
        let before = asked.get(&(work.query, work.batch));
        // Stacks answer a (query, round, batch, attempt) once. A repeated ask would come back without their homes, so
        // it is refused, and the Conductor starts another attempt.
        if before.is_some_and(|(before, _)| *before >= last) {
            return Err(Error::Repeated);
        }
        asked.insert((work.query, work.batch), (last, expires));
        Ok(())
    }

    /// Tells a batch's homes that they will be asked, so that their owners can decide before (protocol.md §17).
    ///
    /// # Errors
    /// A status if no Target Finder chose the batch for this Target. A stack that cannot be reached is not an error:
    /// those of its homes whose rules leave the decision to the owner refuse later.
    pub async fn announce(self: Arc<Self>, request: TargetRequest) -> Result<(), Status> {
        let target = self.clone();
        let (opened, _) = blocking(move || {
            target
                .open(&request)
                .map_err(|error| error.fault().status(&error))
        })
        .await?;
        let asks = opened.asks.into_iter().map(|(host, mut ask)| {
            ask.announced = true;
            (host, ask, ANNOUNCED)
        });
        self.ask_hosts(asks.collect(), self.stack_timeout).await;
        Ok(())
    }

    /// Asks a batch's homes, all hosts in parallel, and collects the answers that arrive in time.
    ///
    /// # Errors
    /// A status if no Target Finder chose the batch for this Target, or the batch was asked before.
    pub async fn ask(self: Arc<Self>, request: TargetRequest) -> Result<BatchAnswer, Status> {
        let target = self.clone();
        let work = request.work;
        let parameters = request.parameters.as_ref();
        let parameters = parameters.map_or(NO_PARAMETERS, SignedParameters::digest);
        let (opened, manifest) = blocking(move || {
            let opened = target.open(&request);
            opened
                .and_then(|opened| {
                    target.ask_once(request.work, opened.1.expires)?;
                    Ok(opened)
                })
                .map_err(|error| error.fault().status(&error))
        })
        .await?;
        // Homes answer only until `answer_by` of the manifest, so waiting longer gains nothing.
        let left = Duration::from_millis(manifest.answer_by.0.saturating_sub(now().0));
        let wait = self.stack_timeout.min(left);
        let asks = opened.asks.into_iter().map(|(host, ask)| {
            // The bound follows from the number of homes asked: one host cannot make the Target hold more than honest
            // stacks send.
            let limit = answer_limit(&manifest, work, ask.homes.len());
            (host, ask, limit)
        });
        let answers = self.ask_hosts(asks.collect(), wait).await;
        let target = self.clone();
        let aggregators = manifest.offers(work.batch.committee).count();
        // > T drops the origins, shuffles each DA's groups, and signs D (§6).
        blocking(move || {
            Ok(collect_answers(
                &target.node.name,
                &target.node.signing,
                (work, parameters),
                aggregators,
                answers,
                &mut rng(),
            ))
        })
        .await
    }

    /// Asks hosts in parallel, each with the largest size of its answer in bytes. Returns the answers that arrive
    /// within `wait`.
    async fn ask_hosts(
        self: &Arc<Self>,
        asks: Vec<(Name, Ask, usize)>,
        wait: Duration,
    ) -> Vec<Answer> {
        let slots = Arc::new(Semaphore::new(self.parallel_stacks));
        let mut asking = JoinSet::new();
        for (host, ask, limit) in asks {
            let asked = self.clone().ask_host(host, ask, limit, wait, slots.clone());
            asking.spawn(asked.in_current_span());
        }
        let mut answers = Vec::new();
        while let Some(answer) = asking.join_next().await {
            answers.extend(answer.ok().flatten());
        }
        answers
    }

    /// Asks one host. Returns `None` if its breaker is open, it fails, or it does not answer within `wait`.
    async fn ask_host(
        self: Arc<Self>,
        host: Name,
        ask: Ask,
        limit: usize,
        wait: Duration,
        slots: Arc<Semaphore>,
    ) -> Option<Answer> {
        if !self.breakers.admits(&host, Instant::now()) {
            return None;
        }
        // The time for the answer starts once the host has a slot, so that a host late in the queue gets all of
        // `wait`.
        let _slot = slots.acquire().await.ok()?;
        let homes = ask.homes.len() as u32;
        let asked = timeout(wait, self.link.ask(&host, ask, limit)).await;
        let asked = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let failure = asked.as_ref().err().map(CallFailure::of);
        // Only failures to answer count for the breaker. A refusal proves that the stack is reachable.
        let reached = failure != Some(CallFailure::Unreachable);
        self.breakers.note(&host, reached, Instant::now());
        if let Err(status) = &asked {
            let code = status.code();
            // The log line does not name the host: which hosts a query reaches is for the Target alone.
            tracing::warn!(?code, "a stack did not answer");
        }
        let answer = asked.ok()?;
        // A stack cannot have answered for more homes than it was asked for, so a larger number is a lie, and the
        // answer is dropped.
        (answer.homes <= homes).then_some(answer)
    }
}
