//! The verb of a querier: ask.

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

/// Attempts at one batch that a query allows.
const ATTEMPTS: u8 = 5;
/// A session's life grows by one part of so many for each further round.
const ROUNDS_IN_A_LIFETIME: u64 = 10;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The SQL.
    pub sql: String,
    /// Why, one of the purposes registered for the querier.
    pub purpose: String,
    /// Fewest people behind a released number; the network's floor if `None`.
    pub min_cohort: Option<u32>,
    /// The most that it may tell about any one home; `None` for an exact answer.
    pub loss: Option<PrivacyLoss>,
    /// How long owners have who decide each time, before homes answer, in milliseconds.
    pub owners_ms: u64,
}

/// How much about any one home the answer may tell.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct PrivacyLoss {
    /// ε of the whole query.
    pub epsilon: f64,
    /// δ, where less noise may do than pure ε takes.
    pub delta: Option<f64>,
}

/// How far a question is.
#[derive(Debug, Clone)]
pub enum Step {
    /// Concepts become pseudonyms and aggregators offer keys.
    Preparing,
    /// The network works on it.
    Running(Status),
}

/// A querier with its connections to the Conductors.
pub struct Querier {
    pub(crate) node: Arc<Node>,
    pub(crate) conductors: Conductors,
    config: Config,
}

/// What a manifest says beside what follows from the directory.
pub(crate) struct Draft<'a> {
    pub(crate) purpose: &'a str,
    pub(crate) min_cohort: Option<u32>,
    pub(crate) owners_ms: u64,
    pub(crate) privacy: Option<Privacy>,
    pub(crate) local: LocalQuery,
    pub(crate) training: Option<Training>,
    pub(crate) rounds: u16,
}

/// A signed manifest, and what belongs to it.
pub(crate) struct Drafted {
    pub(crate) manifest: VerifiedManifest,
    pub(crate) signed: SignedManifest,
    pub(crate) reply: EnvelopeSecretKey,
    pub(crate) salt: Zeroizing<[u8; 32]>,
    pub(crate) profiles: Vec<SealedProfile>,
    pub(crate) pseudonyms: Vec<Pseudonym>,
}

/// A question as it is submitted, and what opens its answer.
pub struct Prepared {
    asked: Asked,
    profiles: Vec<SealedProfile>,
    pseudonyms: Vec<Pseudonym>,
}

impl Prepared {
    /// What opens the answer.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The verified manifest.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.asked.manifest
    }

    /// The manifest as it is signed.
    pub fn signed(&self) -> &SignedManifest {
        &self.asked.signed
    }

    /// Returns the pseudonyms of the target profile, each once.
    pub fn pseudonyms(&self) -> &[Pseudonym] {
        &self.pseudonyms
    }

    /// The target profile, sealed for the Target Finders of each partition.
    pub fn profiles(&self) -> &[SealedProfile] {
        &self.profiles
    }
}

impl Querier {
    /// A querier of the network.
    pub fn new(node: Arc<Node>, config: Config) -> Self {
        Self {
            conductors: Conductors::new(node.clone()),
            node,
            config,
        }
    }

    /// The network's directory.
    pub fn directory(&self) -> &Directory {
        &self.node.directory
    }

    /// Plans `sql` against the directory's catalogue. Contacts nobody.
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

    /// Refuses what the manifest would be refused for, before anybody is contacted.
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

    /// The noise that keeps what the question says, with the least error.
    ///
    /// # Errors
    /// [`ManifestError::Privacy`] saying what to write.
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
        let (needed, dealers) = thresholds
            .map(|threshold| (threshold.needed(), threshold.members()))
            .max()
            .ok_or(ManifestError::Committees)?;
        let privacy = Privacy::new(epsilon, delta, &sensitivities, needed, dealers);
        let privacy = privacy.map_err(ManifestError::Privacy)?;
        check_sums(
            Some(&privacy),
            &circuit,
            self.node.directory.floors.max_homes,
            [(needed, dealers)],
        )?;
        Ok(Some(privacy))
    }

    /// Asks, and waits for the answer. `observe` is told every step.
    ///
    /// # Errors
    /// [`Error`]; nothing was released, and the question may be asked again.
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

    /// Waits for the answer to a question that was submitted. `observe` is told every step.
    ///
    /// # Errors
    /// [`Error`]; where the query still runs, it may be followed again.
    pub async fn follow(
        &self,
        asked: &Asked,
        observe: impl FnMut(&Step),
    ) -> Result<QueryResult, Error> {
        self.fetch(asked, PhaseTimes::default(), observe).await
    }

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

    /// Opens the sealed totals of a question.
    ///
    /// # Errors
    /// [`Error::Release`] when they are too few or contradict each other.
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
        let noise = noise_of(manifest, manifest.circuit(), privacy, &released.dealers);
        let noise = noise.map_err(ManifestError::Privacy)?;
        let numbers = released.numbers(true);
        let table = decoder.decode_noisy(&numbers, cohort, &noise, &mut rng())?;
        Ok((released, table))
    }

    /// Prepares a question: its concepts become pseudonyms, aggregators offer keys, and the manifest
    /// is signed. Nothing is submitted.
    ///
    /// # Errors
    /// [`Error`]; nobody was asked.
    pub async fn prepare(&self, question: &Question) -> Result<Prepared, Error> {
        let plan = self.plan(&question.sql)?;
        self.check(question, &plan)?;
        self.prepare_plan(question, plan).await
    }

    /// What this querier spent of its privacy budgets, by the aggregator that counts the most.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no aggregator tells.
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

    /// How far a query of this querier is.
    ///
    /// # Errors
    /// [`Error::Refused`] for a query that the conductor does not know or that is another's.
    pub async fn status(&self, query: QueryId) -> Result<Status, Error> {
        let mut updates = self.updates(query).await?;
        let update = updates.message().await.map_err(|status| refused(&status))?;
        let update = update.ok_or_else(|| Error::Unreachable("it told nothing".into()))?;
        Ok(from_bytes(&update.status, 1 << 20, "status")?)
    }

    /// Ends a query of this querier: nothing of it is released.
    ///
    /// # Errors
    /// [`Error::Refused`] for one that has ended already.
    pub async fn cancel(&self, query: QueryId) -> Result<(), Error> {
        let cancelled = self.conductors.call(|mut conductor| {
            let id = query.0.to_vec();
            async move { conductor.cancel(Query { id }).await }
        });
        cancelled.await.map_err(|status| refused(&status))?;
        Ok(())
    }

    /// What a conductor tells of a query from now on.
    async fn updates(&self, query: QueryId) -> Result<Streaming<StatusUpdate>, Error> {
        let updates = self.conductors.call(|mut conductor| {
            let id = query.0.to_vec();
            async move { conductor.watch(Query { id }).await }
        });
        updates.await.map_err(|status| refused(&status))
    }

    /// Takes up a question that was kept as [`Asked::to_bytes`].
    ///
    /// # Errors
    /// [`Error`] when the query has expired, or the catalogue gives its SQL another meaning now.
    pub fn restore(&self, bytes: &[u8]) -> Result<Asked, Error> {
        let saved: Saved = from_bytes(bytes, 1 << 20, "kept question")?;
        let manifest = saved.manifest.verify(&self.node.directory, now())?;
        let plan = self.plan(&saved.sql)?;
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

    /// What is told next of a query, by the conductor that told the last or by another.
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

    /// Follows a query to its end, through whichever conductor can be reached.
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
                // The query goes on, and another conductor may tell of it.
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

    /// The target profile in pseudonyms, from the first indexors that answer.
    async fn pseudonyms(&self, profile: &Profile<String>) -> Result<Profile<Pseudonym>, Error> {
        let directory = &self.node.directory;
        let keys = directory.asked_keys();
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
                // With a cause of its own, the failure is on the way to the conductor.
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

    /// The committees, with the offers that their aggregators make; `None` for one that made no valid
    /// offer.
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
        let mut received = reply.offers.iter().map(Vec::as_slice);
        let mut offered = |group, member| {
            let bytes = received.next()?;
            let node = directory.member(Role::DataAggregator, group, member)?;
            let offer: Offer = from_bytes(bytes, 16 << 10, "offer").ok()?;
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

    /// Has the profile's concepts become pseudonyms and aggregators offer keys, and signs the manifest.
    pub(crate) async fn draft(
        &self,
        profile: &Profile<String>,
        draft: Draft<'_>,
    ) -> Result<Drafted, Error> {
        let directory = &self.node.directory;
        let floors = &directory.floors;
        // This check comes before any node is contacted.
        check_privacy(draft.privacy.as_ref(), floors)?;
        let profile = self.pseudonyms(profile).await?;
        let keys = directory.asked_keys();
        let notary = match draft.privacy {
            // No other finder would find the query, so that no other need be up.
            None => exact_finder(directory, &self.node.name, keys.key_epoch, 0),
            // One that is down fails the query: the next query may draw another.
            Some(_) => directory.nodes(Role::TargetFinder).choose(&mut rng()),
        };
        let notary = notary.ok_or(Error::NotListed("target finder"))?;
        let issued = now();
        let lifetime = self.config.lifetime_ms.saturating_add(draft.owners_ms);
        if lifetime > MAX_LIFETIME {
            return Err(Error::TooLong);
        }
        // Each further round of a session has a part of what a query has.
        let rounds = u64::from(draft.rounds.saturating_sub(1));
        let more = (self.config.lifetime_ms / ROUNDS_IN_A_LIFETIME).saturating_mul(rounds);
        let lifetime = lifetime.saturating_add(more).min(MAX_LIFETIME);
        let expires = issued.plus(lifetime);
        let committees = self.offers(issued, expires).await?;
        let needed = committees.iter().map(|terms| terms.needed).max();
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
        let reply = EnvelopeSecretKey::generate(directory.suite, &mut rng());
        let reply = self.node.watched(reply);
        let mut salt = Zeroizing::new([0; 32]);
        rng().fill_bytes(&mut salt[..]);
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

    /// Submits a prepared question. Submitting it again is the same query.
    ///
    /// # Errors
    /// [`Error`]; it may be submitted again.
    pub async fn submit(&self, prepared: &Prepared) -> Result<(), Error> {
        let signed = &prepared.asked.signed;
        self.submit_signed(signed, &prepared.profiles, &prepared.pseudonyms)
            .await
    }

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
