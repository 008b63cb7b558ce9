//! The verb of a Target: ask.

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
use dispers_node::{Node, Reply, blocking, now, rng};
use dispers_proto::Messages;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tonic::{Code, Status};
use tracing::Instrument;

use crate::{Config, Error, Links, StackLink, breaker::Breakers, quota::Quotas};

/// Largest answer of a stack whose homes are only told, in bytes.
const ANNOUNCED: usize = 4096;

/// A round and an attempt, and when their query expires.
type Asked = ((u16, u8), Timestamp);

/// A Target.
pub struct Target {
    node: Arc<Node>,
    envelope: EnvelopeSecretKey,
    /// The pool's key of the key epoch before, where it is another.
    previous: Option<EnvelopeSecretKey>,
    link: Arc<Links>,
    breakers: Breakers,
    pub(crate) quotas: Quotas,
    stack_timeout: Duration,
    parallel_stacks: usize,
    /// The last round and attempt of each batch that was asked, until its query expires: nothing is asked twice.
    asked: Mutex<HashMap<(QueryId, BatchId), Asked>>,
}

impl Target {
    /// # Errors
    /// [`Error::NotListed`] when the directory has no pool with this key.
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

    /// Opens with this key what is asked under the key epoch before, while the directory lists it.
    #[must_use]
    pub fn with_previous(mut self, envelope: Option<EnvelopeSecretKey>) -> Self {
        self.previous = envelope;
        self
    }

    /// The pool's key of a key epoch; where there is one only, it is that of both.
    fn envelope_of(&self, epoch: KeyEpoch) -> &EnvelopeSecretKey {
        match &self.previous {
            Some(previous) if epoch != self.node.directory.key_epoch => previous,
            _ => &self.envelope,
        }
    }

    /// Takes the stream of a stack that attaches itself; the stream of asks to it.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many are attached.
    pub(crate) fn attach(&self, host: Name, answers: Messages) -> Result<Reply, Status> {
        self.link.attached().attach(host, answers)
    }

    /// Checks who chose the batch, and opens it.
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

    /// Notes that a batch is asked.
    fn ask_once(&self, work: Work, expires: Timestamp) -> Result<(), Error> {
        let now = now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, (_, expires)| !expires.has_passed(now));
        let last = (work.round, work.attempt);
        let before = asked.get(&(work.query, work.batch));
        if before.is_some_and(|(before, _)| *before >= last) {
            return Err(Error::Repeated);
        }
        asked.insert((work.query, work.batch), (last, expires));
        Ok(())
    }

    /// Tells a batch's homes that they will be asked.
    ///
    /// # Errors
    /// A status when the batch is not one that a Target Finder chose. A stack that is not reached is
    /// passed over: where its homes would have asked their owners, they refuse.
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

    /// Asks a batch's homes, each host at the same time, and collects what comes in time.
    ///
    /// # Errors
    /// A status when the batch is not one that a Target Finder chose.
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
        let left = Duration::from_millis(manifest.answer_by.0.saturating_sub(now().0));
        let wait = self.stack_timeout.min(left);
        let asks = opened.asks.into_iter().map(|(host, ask)| {
            let limit = answer_limit(&manifest, work, ask.homes.len());
            (host, ask, limit)
        });
        let answers = self.ask_hosts(asks.collect(), wait).await;
        let target = self.clone();
        let aggregators = manifest.offers(work.batch.committee).count();
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

    /// Asks hosts, each at the same time; the answers, of at most so many bytes, that come in time.
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
        let _slot = slots.acquire().await.ok()?;
        let homes = ask.homes.len() as u32;
        let asked = timeout(wait, self.link.ask(&host, ask, limit)).await;
        let code = match &asked {
            Ok(Ok(_)) => None,
            Ok(Err(status)) => Some(status.code()),
            Err(_) => Some(Code::DeadlineExceeded),
        };
        let lost = matches!(
            code,
            Some(Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled)
        );
        self.breakers.note(&host, !lost, Instant::now());
        if let Some(code) = code {
            tracing::warn!(?code, "a stack did not answer");
        }
        let answer = asked.ok()?.ok()?;
        // A stack cannot answer for more homes than it was asked for.
        (answer.homes <= homes).then_some(answer)
    }
}
