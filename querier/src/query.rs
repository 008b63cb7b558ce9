//! Queries: planned, signed, submitted, followed and opened.

use std::{error::Error as _, sync::Arc, time::Instant};

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{AggregatorId, MemberNumber, QueryId, Role},
};
use dispers_circuit::Circuit;
use dispers_core::{
    conduct::{Phase, Status},
    evaluation::{Evaluating, Requester},
    find::{ProfileOpening, SealedProfile, exact_finder},
    manifest::{
        MAX_LIFETIME, Manifest, ManifestError, SignedManifest, Terms, VerifiedManifest,
        check_privacy, check_sums,
    },
    offer::{Offer, OfferRequest},
    release::{MAX_TOTAL, Released, SealedTotal, noise_of, open_totals},
};
use dispers_crypto::{
    envelope::{EnvelopeSecretKey, Sealed},
    oprf::{Evaluation, Pseudonym},
};
use dispers_node::{Node, now, rng};
use dispers_privacy::{Budget, BudgetRequest, MAX_BUDGET, Privacy};
use dispers_proto::v1::{EvaluateRequest, Message, Query, StatusUpdate, SubmitRequest};
use dispers_query::{local::LocalQuery, profile::Profile};
use dispers_sql::{
    decode::Table,
    plan::{Plan, PlanLimits},
};
use dispers_training::Training;
use dispers_trust::directory::Directory;
use rand::{Rng, seq::IteratorRandom};
use tokio::time::sleep;
use tonic::Streaming;
use zeroize::Zeroizing;

use crate::{
    Asked, Config, Error,
    asked::Saved,
    conductors::{Conductors, PATIENCE, PAUSE, patiently, refused},
    result::{PhaseTimes, QueryResult},
};

/// Number of attempts at each batch that a query allows.
const ATTEMPTS: u8 = 5;
/// Part of the configured lifetime, as a divisor, that each further round of a session adds.
const ROUNDS_IN_A_LIFETIME: u64 = 10;

/// Question that a querier asks.
#[derive(Debug, Clone)]
pub struct Question {
    /// SQL text (protocol.md §10).
    pub sql: String,
    /// Purpose, one of those that the directory registers for the querier.
    pub purpose: String,
    /// Fewest people behind a released number. `None` stands for the network's floor.
    pub min_cohort: Option<u32>,
    /// Largest privacy loss of a home. `None` asks for an exact answer.
    pub loss: Option<PrivacyLoss>,
    /// Time in which asked owners can decide before homes answer, in milliseconds.
    pub owners_ms: u64,
}

/// Bound on the information that the answer may give about one home.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct PrivacyLoss {
    /// ε of the whole query, or of all rounds of a session.
    pub epsilon: f64,
    /// δ. It allows Gaussian noise, which is smaller than that of pure ε for some queries.
    pub delta: Option<f64>,
}

/// Progress of a question.
#[derive(Debug, Clone)]
pub enum Step {
    /// The querier obtains pseudonyms from concept indexors and keys from aggregators.
    Preparing,
    /// The network works on the submitted query, with this status.
    Running(Status),
}

/// A querier with its connections to the Conductors.
pub struct Querier {
    pub(crate) node: Arc<Node>,
    pub(crate) conductors: Conductors,
    config: Config,
}

/// Contents of a manifest that do not follow from the directory and the configuration.
pub(crate) struct Draft<'a> {
    pub(crate) purpose: &'a str,
    pub(crate) min_cohort: Option<u32>,
    pub(crate) owners_ms: u64,
    pub(crate) privacy: Option<Privacy>,
    pub(crate) local: LocalQuery,
    pub(crate) training: Option<Training>,
    pub(crate) rounds: u16,
}

/// Signed manifest with its secrets and its sealed profiles.
pub(crate) struct Drafted {
    pub(crate) manifest: VerifiedManifest,
    pub(crate) signed: SignedManifest,
    pub(crate) reply: EnvelopeSecretKey,
    pub(crate) salt: Zeroizing<[u8; 32]>,
    pub(crate) profiles: Vec<SealedProfile>,
    pub(crate) pseudonyms: Vec<Pseudonym>,
}

/// Question that is ready to be submitted, with the key of its answer.
pub struct Prepared {
    asked: Asked,
    profiles: Vec<SealedProfile>,
    pseudonyms: Vec<Pseudonym>,
}

impl Prepared {
    /// Returns the question with the key that opens its answer.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Returns the verified manifest.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.asked.manifest
    }

    /// Returns the manifest with its signature, as it is sent.
    pub fn signed(&self) -> &SignedManifest {
        &self.asked.signed
    }

    /// Returns the pseudonyms of the target profile, each once.
    pub fn pseudonyms(&self) -> &[Pseudonym] {
        &self.pseudonyms
    }

    /// Returns the target profile, sealed for the Target Finders of each partition, in order of partitions.
    pub fn profiles(&self) -> &[SealedProfile] {
        &self.profiles
    }
}

impl Querier {
    /// Creates a querier of the network that `node` belongs to.
    pub fn new(node: Arc<Node>, config: Config) -> Self {
        Self {
            conductors: Conductors::new(node.clone()),
            node,
            config,
        }
    }

    /// Returns the network's directory.
    pub fn directory(&self) -> &Directory {
        &self.node.directory
    }

    /// Plans `sql` against the directory's catalogue, without contacting another node.
    ///
    /// # Errors
    /// [`Error::Sql`] says what to write instead.
    pub fn plan(&self, sql: &str) -> Result<Plan, Error> {
        let directory = &self.node.directory;
        let limits = PlanLimits {
            max_homes: directory.floors.max_homes,
            ..PlanLimits::default()
        };
        Ok(Plan::new(sql, &directory.catalogue, &limits)?)
    }

    /// Makes the checks of a manifest that are possible before any node is contacted.
    fn check(&self, question: &Question, plan: &Plan) -> Result<(), ManifestError> {
        let privacy = self.privacy(question, plan)?;
        check_privacy(privacy.as_ref(), &self.node.directory.floors)?;
        let directory = &self.node.directory;
        let querier = directory.querier(&self.node.name);
        if !querier.is_some_and(|entry| entry.purposes.contains(&question.purpose)) {
            return Err(ManifestError::Purpose(question.purpose.clone()));
        }
        let floor = directory.floors.min_cohort;
        match question.min_cohort {
            Some(cohort) if cohort < floor => Err(ManifestError::BelowFloor {
                what: "minimum cohort",
                got: cohort.into(),
                floor: floor.into(),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the noise that keeps the question's ε and δ with the least error. Returns `None` for an exact question.
    ///
    /// # Errors
    /// [`ManifestError::Privacy`] if no noise can be dealt for this ε and δ, with what to write instead.
    /// [`ManifestError`] also if the sums could leave the field.
    pub fn privacy(
        &self,
        question: &Question,
        plan: &Plan,
    ) -> Result<Option<Privacy>, ManifestError> {
        let Some(PrivacyLoss { epsilon, delta }) = question.loss else {
            return Ok(None);
        };
        let circuit = Circuit::compile(&plan.shape);
        let circuit = circuit.map_err(|e| ManifestError::Query(e.to_string()))?;
        let sensitivities = circuit.sensitivities();
        let thresholds = self
            .node
            .directory
            .committees
            .iter()
            .map(|key| key.threshold());
        // All committees share one choice of noise. The largest threshold is taken, as in `Manifest::needed`.
        let (needed, dealers) = thresholds
            .map(|threshold| (threshold.needed(), threshold.members()))
            .max()
            .ok_or(ManifestError::Committees)?;
        let privacy = Privacy::new(epsilon, delta, &sensitivities, needed, dealers);
        let privacy = privacy.map_err(ManifestError::Privacy)?;
        // The manifest is not written yet, so the network's largest number of homes stands for its own.
        check_sums(
            Some(&privacy),
            &circuit,
            self.node.directory.floors.max_homes,
            [(needed, dealers)],
        )?;
        Ok(Some(privacy))
    }

    /// Asks a question and waits for its answer. Calls `observe` at every step.
    ///
    /// # Errors
    /// [`Error`] if the query cannot be prepared, if it fails, or if its answer cannot be opened. The question may be
    /// asked again.
    pub async fn ask(
        &self,
        question: &Question,
        mut observe: impl FnMut(&Step),
    ) -> Result<QueryResult, Error> {
        let start = Instant::now();
        let mut times = PhaseTimes::default();
        let plan = self.plan(&question.sql)?;
        self.check(question, &plan)?;
        observe(&Step::Preparing);
        let prepared = self.prepare_plan(question, plan).await?;
        self.submit(&prepared).await?;
        times.prepare = start.elapsed();
        self.fetch(&prepared.asked, times, observe).await
    }

    /// Waits for the answer to a submitted question. Calls `observe` at every step.
    ///
    /// # Errors
    /// [`Error`]. A query that still runs may be followed again.
    pub async fn follow(
        &self,
        asked: &Asked,
        observe: impl FnMut(&Step),
    ) -> Result<QueryResult, Error> {
        self.fetch(asked, PhaseTimes::default(), observe).await
    }

    /// Waits until the query has ended, then fetches and opens its totals.
    async fn fetch(
        &self,
        asked: &Asked,
        mut times: PhaseTimes,
        mut observe: impl FnMut(&Step),
    ) -> Result<QueryResult, Error> {
        let query = asked.manifest.query();
        let status = self.watch(query, &mut times, &mut observe).await?;
        let fetch = Instant::now();
        let reply = patiently(|| async {
            let id = query.0.to_vec();
            let totals = self.conductors.call(|mut conductor| {
                let id = id.clone();
                async move { conductor.totals(Query { id }).await }
            });
            totals.await.map_err(|status| refused(&status))
        });
        let mut totals: Vec<(AggregatorId, SealedTotal)> = Vec::new();
        for total in reply.await?.totals {
            let number = u8::try_from(total.member).ok();
            let member = number.and_then(|n| MemberNumber::new(n).ok());
            // A total without a possible member or committee is left out. The others may be enough.
            if let Some((member, committee)) = member.zip(total.committee.try_into().ok()) {
                let sealed = from_bytes(&total.sealed, 2 * MAX_TOTAL, "total")?;
                totals.push((AggregatorId { committee, member }, sealed));
            }
        }
        let (released, table) = self.open(asked, &totals)?;
        times.open = fetch.elapsed();
        Ok(QueryResult::new(
            query,
            table,
            &status,
            &released,
            asked.manifest.needed(),
            &times,
        ))
    }

    /// Opens the sealed totals of a question and decodes them into a table.
    ///
    /// # Errors
    /// [`Error::Release`] if the totals are too few or contradict each other.
    pub fn open(
        &self,
        asked: &Asked,
        totals: &[(AggregatorId, SealedTotal)],
    ) -> Result<(Released, Table), Error> {
        let released = open_totals(&asked.manifest, totals, &asked.reply, &self.node.directory)?;
        let cohort = asked.manifest.min_cohort;
        let decoder = &asked.plan.decoder;
        let Some(privacy) = &asked.manifest.privacy else {
            let table = decoder.decode(&released.numbers(false), cohort)?;
            return Ok((released, table));
        };
        let manifest = &asked.manifest;
        // Each committee's noise depends on the number of its members that dealt, which is known only after the
        // release. The standard errors follow from it.
        let noise = noise_of(manifest, manifest.circuit(), privacy, &released.dealers);
        let noise = noise.map_err(ManifestError::Privacy)?;
        let numbers = released.numbers(true);
        let table = decoder.decode_noisy(&numbers, cohort, &noise, &mut rng())?;
        Ok((released, table))
    }

    /// Prepares a question without submitting it: obtains pseudonyms and offers, and signs the manifest.
    ///
    /// # Errors
    /// [`Error`]. No home was asked.
    pub async fn prepare(&self, question: &Question) -> Result<Prepared, Error> {
        let plan = self.plan(&question.sql)?;
        self.check(question, &plan)?;
        self.prepare_plan(question, plan).await
    }

    /// Returns the privacy budget that this querier has spent, as counted by the aggregator that counts the most.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if no aggregator reports a budget.
    pub async fn budget(&self) -> Result<Budget, Error> {
        let request = BudgetRequest {
            querier: self.node.name.clone(),
            issued: now(),
        };
        let body = to_bytes(&request.sign(&self.node.signing));
        let reply = self.conductors.call(|mut conductor| {
            let body = body.clone();
            async move { conductor.budgets(Message { body }).await }
        });
        let reply = reply.await.map_err(|status| refused(&status))?;
        let told = reply.budgets.iter().filter(|budget| !budget.is_empty());
        let told = told.filter_map(|bytes| from_bytes::<Budget>(bytes, MAX_BUDGET, "budget").ok());
        let spent = |budget: &Budget| {
            let rho = budget.expenses.iter().map(|expense| expense.rho.0);
            rho.fold(0, u64::saturating_add)
        };
        told.max_by_key(spent)
            .ok_or_else(|| Error::Unreachable("no aggregator told its budget".into()))
    }

    /// Returns the progress of a query of this querier.
    ///
    /// # Errors
    /// [`Error::Refused`] for a query that the Conductor does not know, or that another querier asked.
    pub async fn status(&self, query: QueryId) -> Result<Status, Error> {
        let mut updates = self.updates(query).await?;
        let update = updates.message().await.map_err(|status| refused(&status))?;
        let update = update.ok_or_else(|| Error::Unreachable("it told nothing".into()))?;
        Ok(from_bytes(&update.status, 1 << 20, "status")?)
    }

    /// Cancels a query of this querier, so that nothing is released.
    ///
    /// # Errors
    /// [`Error::Refused`] for a query that has ended already.
    pub async fn cancel(&self, query: QueryId) -> Result<(), Error> {
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

    /// Restores a question from the bytes of [`Asked::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Manifest`] if the query has expired. [`Error::Changed`] if the catalogue gives its SQL another meaning
    /// now.
    pub fn restore(&self, bytes: &[u8]) -> Result<Asked, Error> {
        let saved: Saved = from_bytes(bytes, 1 << 20, "kept question")?;
        let manifest = saved.manifest.verify(&self.node.directory, now())?;
        let plan = self.plan(&saved.sql)?;
        // The plan decodes the answer. A plan of a changed catalogue could read the outputs as other columns.
        if plan.local != manifest.local {
            return Err(Error::Changed);
        }
        let reply = EnvelopeSecretKey::from_bytes(manifest.reply_key.suite(), &saved.reply);
        let reply = reply.map_err(|_| Error::Changed)?;
        if reply.public() != manifest.reply_key {
            return Err(Error::Changed);
        }
        Ok(Asked {
            sql: saved.sql.clone(),
            plan,
            signed: saved.manifest.clone(),
            manifest,
            reply,
        })
    }

    /// Returns the next status of a query, from the stream in `updates`, or from a new stream if there is none.
    pub(crate) async fn next_update(
        &self,
        query: QueryId,
        updates: &mut Option<Streaming<StatusUpdate>>,
    ) -> Result<StatusUpdate, Error> {
        let updates = match updates {
            Some(updates) => updates,
            None => updates.insert(self.updates(query).await?),
        };
        let update = updates.message().await.map_err(|status| refused(&status))?;
        update.ok_or_else(|| Error::Unreachable("it stopped telling how far the query is".into()))
    }

    /// Follows a query until it ends, through any Conductor that can be reached.
    async fn watch(
        &self,
        query: QueryId,
        times: &mut PhaseTimes,
        observe: &mut impl FnMut(&Step),
    ) -> Result<Status, Error> {
        let mut since = Instant::now();
        let mut phase = Phase::Find;
        let mut updates: Option<Streaming<StatusUpdate>> = None;
        let mut away: Option<Instant> = None;
        loop {
            let update = match self.next_update(query, &mut updates).await {
                Ok(update) => update,
                // The query goes on without this Conductor, and another one may report its status.
                Err(error @ Error::Unreachable(_)) => {
                    if away.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        return Err(error);
                    }
                    updates = None;
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            away = None;
            let status: Status = from_bytes(&update.status, 1 << 20, "status")?;
            // The duration of a phase ends when the first status of another phase arrives.
            if status.phase != phase {
                times.add(phase, since.elapsed());
                (phase, since) = (status.phase, Instant::now());
            }
            observe(&Step::Running(status.clone()));
            match (status.phase, status.failure.clone()) {
                (Phase::Done, _) => return Ok(status),
                (Phase::Failed, Some(failure)) => return Err(Error::Failed(failure)),
                _ => {}
            }
        }
    }

    /// Translates the concepts of a target profile into pseudonyms, with the first indexors that answer.
    async fn pseudonyms(&self, profile: &Profile<String>) -> Result<Profile<Pseudonym>, Error> {
        let directory = &self.node.directory;
        let keys = directory.asked_keys();
        // Each concept is evaluated once. The search at the end needs the order.
        let mut concepts: Vec<&str> = profile.atoms().map(String::as_str).collect();
        concepts.sort_unstable();
        concepts.dedup();
        let evaluating = Evaluating::new(&concepts, &mut rng())?;
        let requests = evaluating.requests(
            &Requester::Querier(self.node.name.clone()),
            &self.node.signing,
            directory,
            keys.key_epoch,
            now(),
            &mut rng(),
        );
        let needed = keys.indexors.threshold().needed();
        let mut evaluations: Vec<(MemberNumber, Evaluation)> = Vec::new();
        let mut missing = Vec::new();
        let name = |member| {
            let node = directory.member(Role::ConceptIndexor, 0, member);
            node.map_or("", |node| node.name.as_str())
        };
        for (member, sealed) in requests {
            if evaluations.len() == needed {
                break;
            }
            let request = EvaluateRequest {
                member: member.point().into(),
                sealed: to_bytes(&sealed),
            };
            let evaluated = self.conductors.call(|mut conductor| {
                let request = request.clone();
                async move { conductor.evaluate(request).await }
            });
            match evaluated.await {
                Ok(reply) => {
                    let body = reply.body;
                    let checked = from_bytes(&body, 1 << 20, "evaluation")
                        .map_err(|error| error.to_string())
                        .and_then(|evaluation: Evaluation| {
                            let checked = evaluating.check(&keys, member, &evaluation);
                            checked.map_err(|error| error.to_string())?;
                            Ok(evaluation)
                        });
                    match checked {
                        Ok(evaluation) => evaluations.push((member, evaluation)),
                        Err(reason) => missing.push(format!("{} ({reason})", name(member))),
                    }
                }
                // A status with a source was made by this node: it cannot reach any Conductor, so that the next indexor
                // would fail too.
                Err(status) if status.source().is_some() => return Err(refused(&status)),
                Err(status) => {
                    missing.push(format!("{} ({})", name(member), status.message()));
                }
            }
        }
        if evaluations.len() < needed {
            return Err(Error::TooFewIndexors { needed, missing });
        }
        let pseudonyms = evaluating.finish(&keys, &evaluations)?;
        Ok(profile.map(|concept| {
            let place = concepts.binary_search(&concept.as_str());
            pseudonyms[place.expect("every atom was evaluated")]
        }))
    }

    /// Requests an offer from each aggregator of each committee. Returns one `Terms` per committee, with `None` for
    /// each aggregator that made no valid offer.
    async fn offers(
        &self,
        issued: dispers_base::id::Timestamp,
        expires: dispers_base::id::Timestamp,
    ) -> Result<Vec<Terms>, Error> {
        let directory = &self.node.directory;
        let mut nonce = [0; 16];
        rng().fill_bytes(&mut nonce);
        let request = OfferRequest {
            querier: self.node.name.clone(),
            nonce,
            issued,
            expires,
        }
        .sign(&self.node.signing);
        let body = to_bytes(&request);
        let reply = self.conductors.call(|mut conductor| {
            let body = body.clone();
            async move { conductor.offers(Message { body }).await }
        });
        let reply = reply.await.map_err(|status| refused(&status))?;
        // Offers come in the order of committees and members. An aggregator without one has empty bytes, which do not
        // decode.
        let mut received = reply.offers.iter().map(Vec::as_slice);
        let mut offered = |group, member| {
            let bytes = received.next()?;
            let node = directory.member(Role::DataAggregator, group, member)?;
            let offer: Offer = from_bytes(bytes, 16 << 10, "offer").ok()?;
            // The Conductor relays offers and could change the key in one. An offer therefore counts only if the
            // directory's key of this aggregator verifies it (protocol.md §12).
            let mine = offer.body.aggregator == node.name
                && offer.body.querier == self.node.name
                && offer.body.expires == expires;
            (mine && offer.verify(&node.signing_key).is_ok()).then_some(offer)
        };
        let terms = (0u16..).zip(&directory.committees).map(|(group, key)| {
            let threshold = key.threshold();
            let offers = threshold.numbers().map(|member| offered(group, member));
            Terms {
                offers: offers.collect(),
                needed: threshold.needed() as u8,
                key: *key.key(),
            }
        });
        Ok(terms.collect())
    }

    /// Prepares a question from its plan.
    async fn prepare_plan(&self, question: &Question, plan: Plan) -> Result<Prepared, Error> {
        let draft = Draft {
            purpose: &question.purpose,
            min_cohort: question.min_cohort,
            owners_ms: question.owners_ms,
            privacy: self.privacy(question, &plan)?,
            local: plan.local.clone(),
            training: None,
            rounds: 1,
        };
        let drafted = self.draft(&plan.profile, draft).await?;
        Ok(Prepared {
            asked: Asked {
                sql: question.sql.clone(),
                plan,
                manifest: drafted.manifest,
                signed: drafted.signed,
                reply: drafted.reply,
            },
            profiles: drafted.profiles,
            pseudonyms: drafted.pseudonyms,
        })
    }

    /// Translates the profile, collects offers, and signs the manifest. Submits nothing.
    pub(crate) async fn draft(
        &self,
        profile: &Profile<String>,
        draft: Draft<'_>,
    ) -> Result<Drafted, Error> {
        let directory = &self.node.directory;
        let floors = &directory.floors;
        // Checked before any node is contacted, so that a query that would be refused reveals nothing.
        check_privacy(draft.privacy.as_ref(), floors)?;
        let profile = self.pseudonyms(profile).await?;
        let keys = directory.asked_keys();
        let notary = match draft.privacy {
            // Only this finder finds a query without noise, since finders do not share their memories (protocol.md §6).
            // As notary it adds no further node that must be reachable.
            None => exact_finder(directory, &self.node.name, keys.key_epoch, 0),
            // A notary that cannot be reached fails the query. A random choice gives the next query a chance of another
            // one.
            Some(_) => directory.nodes(Role::TargetFinder).choose(&mut rng()),
        };
        let notary = notary.ok_or(Error::NotListed("target finder"))?;
        let issued = now();
        let lifetime = self.config.lifetime_ms.saturating_add(draft.owners_ms);
        if lifetime > MAX_LIFETIME {
            return Err(Error::TooLong);
        }
        // Each further round of a session adds only a part of a query's life: it asks the homes that were found for the
        // first.
        let rounds = u64::from(draft.rounds.saturating_sub(1));
        let more = (self.config.lifetime_ms / ROUNDS_IN_A_LIFETIME).saturating_mul(rounds);
        let lifetime = lifetime.saturating_add(more).min(MAX_LIFETIME);
        let expires = issued.plus(lifetime);
        let committees = self.offers(issued, expires).await?;
        let needed = committees.iter().map(|terms| terms.needed).max();
        // With fewer verifying aggregators than the threshold there is no result, whatever the configuration says.
        let min_verified = self
            .config
            .min_verified
            .max(floors.min_verified)
            .max(needed.ok_or(Error::NotListed("committee"))?);
        for (group, terms) in (0u16..).zip(&committees) {
            if terms.offers.iter().flatten().count() < usize::from(min_verified) {
                let missing = (1u8..)
                    .zip(&terms.offers)
                    .filter(|(_, offer)| offer.is_none());
                let missing = missing.filter_map(|(number, _)| {
                    let member = MemberNumber::new(number).ok()?;
                    directory.member(Role::DataAggregator, group, member)
                });
                return Err(Error::TooFewAggregators {
                    needed: min_verified.into(),
                    missing: missing.map(|node| node.name.to_string()).collect(),
                });
            }
        }
        // The key is new for each query: a key that is stolen later opens no other answer.
        let reply = EnvelopeSecretKey::generate(directory.suite, &mut rng());
        let reply = self.node.watched(reply);
        let mut salt = Zeroizing::new([0; 32]);
        rng().fill_bytes(&mut salt[..]);
        // The salt hides the profile in the commitment, which everybody sees. Without it, the profiles of few concepts
        // could be guessed.
        let manifest = Manifest {
            network: directory.network.clone(),
            key_epoch: keys.key_epoch,
            querier: self.node.name.clone(),
            purpose: draft.purpose.to_owned(),
            local: draft.local,
            training: draft.training,
            min_cohort: draft.min_cohort.unwrap_or(floors.min_cohort),
            answer_rate: self.config.answer_rate.max(floors.answer_rate),
            min_verified,
            max_homes: floors.max_homes,
            committees,
            notary: notary.name.clone(),
            privacy: draft.privacy,
            rounds: draft.rounds,
            attempts: ATTEMPTS,
            reply_key: reply.public(),
            issued,
            answer_from: issued.plus(draft.owners_ms),
            answer_by: expires,
            expires,
            profile_commitment: profile.commitment(&salt),
        };
        let signed = manifest.sign(&self.node.signing);
        // Every other node verifies the manifest too. Here a fault shows before anything is submitted.
        let manifest = signed.verify(directory, issued)?;
        let opening = ProfileOpening {
            profile,
            salt: *salt,
        };
        let context = ProfileOpening::context(signed.query());
        let seal = |partition| {
            let pool = keys.pool(Role::TargetFinder, partition);
            let pool = pool.ok_or(Error::NotListed("target finder pool"))?;
            Ok(Sealed::seal(
                &opening,
                &pool.envelope_key,
                &context,
                &mut rng(),
            ))
        };
        let profiles: Result<_, Error> = (0..directory.partitions()).map(seal).collect();
        let profiles = profiles?;
        // The Conductor needs the pseudonyms to stream their lists. The profile's structure is sealed for the Target
        // Finders.
        let mut pseudonyms: Vec<Pseudonym> = opening.profile.atoms().copied().collect();
        pseudonyms.sort_unstable();
        pseudonyms.dedup();
        Ok(Drafted {
            manifest,
            signed,
            reply,
            salt,
            profiles,
            pseudonyms,
        })
    }

    /// Submits a prepared question. Submitting it twice starts one query.
    ///
    /// # Errors
    /// [`Error`]. The question may be submitted again.
    pub async fn submit(&self, prepared: &Prepared) -> Result<(), Error> {
        let signed = &prepared.asked.signed;
        self.submit_signed(signed, &prepared.profiles, &prepared.pseudonyms)
            .await
    }

    /// Submits a drafted manifest. Submitting it twice starts one query.
    pub(crate) async fn submit_drafted(&self, drafted: &Drafted) -> Result<(), Error> {
        self.submit_signed(&drafted.signed, &drafted.profiles, &drafted.pseudonyms)
            .await
    }

    async fn submit_signed(
        &self,
        signed: &SignedManifest,
        profiles: &[SealedProfile],
        pseudonyms: &[Pseudonym],
    ) -> Result<(), Error> {
        let request = SubmitRequest {
            manifest: to_bytes(signed),
            profiles: profiles.iter().map(to_bytes).collect(),
            pseudonyms: pseudonyms.iter().map(to_bytes).collect(),
        };
        let submitted = self.conductors.call(|mut conductor| {
            let request = request.clone();
            async move { conductor.submit(request).await }
        });
        submitted.await.map_err(|status| refused(&status))?;
        Ok(())
    }
}
