//! The aggregator's side of a query (protocol.md §8 and §9).
//!
//! There is one [`Aggregation`] per query and committee. An attempt at a batch moves Frozen → Verifying → Prepared and
//! is then committed. Contributions live from the first of these states to the third and are never stored. Each
//! transition consumes the state before it, so that no step happens twice.
//!
//! After each step, [`Changes`] has the state that must outlive a restart. It has to be written before the step's
//! answer leaves; [`sealing`] encrypts it. [`Aggregation::restore`] reads it back.

mod batch;
mod error;
mod noise;
mod record;
mod releasing;
mod request;
pub mod sealing;
mod verdicts;
#[cfg(test)]
pub(crate) mod visible;

use std::{collections::BTreeMap, sync::Arc};

use rand::CryptoRng;

use borsh::{BorshDeserialize, BorshSerialize};
pub use error::AggregationError;
pub(crate) use noise::noise_circuit;
pub use noise::{Deal, DealRequest, DealStatement, DealtRequest, MAX_DEAL};
pub use record::{Changes, Part, Record};
pub use request::{
    BeginRequest, CommitRequest, DecideRequest, GuardsRequest, OpenHead, ReleaseRequest, StepReply,
    Verdict, VerifyRequest,
};
pub(crate) use verdicts::LARGEST_EXAMINED;
pub use verdicts::Quorum;

use crate::{
    ask::{GroupsStatement, allows, group_context},
    find::{Grant, SealedGrant, SignedGrant},
    manifest::VerifiedManifest,
    peer::{Channel, OpenedPeer, PeerContent, PeerMessage, SignedPeer},
    release::SignedAcknowledgement,
    session::NO_PARAMETERS,
};
use batch::{Attempt, Committed, Contributions, Freeze, Frozen};
pub use batch::{GroupOpener, OpenedGroup, Receiving};
use dispers_base::{
    encoding::Message,
    id::{BatchId, MemberNumber, Role, Work},
    keys::{Signature, SigningKey},
    weakness::{self, Weakness},
};
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopeSecretKey, prf};
use dispers_privacy::Expense;
use dispers_trust::directory::Directory;
use noise::Reading;
use record::Unsaved;
use releasing::Releasing;

/// Number of batches of one query whose contributions may be held at the same time.
pub const MAX_IN_FLIGHT: usize = 4;

/// Long-lived keys of an aggregator.
pub struct AggregatorKeys<'a> {
    /// Key that signs offers, messages, acknowledgements and totals.
    pub signing: &'a SigningKey,
    /// Share of the committee's threshold PRF, which makes the randomness.
    pub share: &'a KeyShare,
}

/// State of one query at one aggregator.
pub struct Aggregation {
    manifest: VerifiedManifest,
    channel: Channel,
    me: MemberNumber,
    needed: usize,
    /// Secret of the offered key, until the last release.
    secret: Option<Arc<EnvelopeSecretKey>>,
    grants: BTreeMap<u16, Grant>,
    batches: BTreeMap<(u16, BatchId), Batch>,
    releases: BTreeMap<u16, Releasing>,
    /// Digest of the parameters that the homes of a round were shown, by round. The first digest that comes is kept.
    parameters: BTreeMap<u16, [u8; 32]>,
    unsaved: Unsaved,
}

/// Attempts at one batch, and the committed one.
#[derive(Default, BorshSerialize, BorshDeserialize)]
struct Batch {
    attempts: BTreeMap<u8, Attempt>,
    committed: Option<Committed>,
}

impl Batch {
    /// Returns whether this aggregator promised others to count the batch.
    fn is_acknowledged(&self) -> bool {
        let mut attempts = self.attempts.values();
        self.committed.is_some() || attempts.any(|attempt| matches!(attempt, Attempt::Prepared(_)))
    }
}

impl Aggregation {
    /// Starts a query. Its manifest names the offer of this aggregator, and `secret` is the offer's secret.
    ///
    /// # Errors
    /// [`AggregationError::NoOffer`] when the manifest does not name the key of `secret` for this aggregator.
    pub fn new(
        manifest: VerifiedManifest,
        committee: u16,
        me: MemberNumber,
        secret: EnvelopeSecretKey,
    ) -> Result<Self, AggregationError> {
        Self::holding(manifest, committee, me, Some(secret))
    }

    /// Creates the state of a query that has just been accepted. Nothing has been saved yet. `secret` is `None` for a
    /// restored query whose last round was released.
    fn holding(
        manifest: VerifiedManifest,
        committee: u16,
        me: MemberNumber,
        secret: Option<EnvelopeSecretKey>,
    ) -> Result<Self, AggregationError> {
        let key = secret.as_ref().map(EnvelopeSecretKey::public);
        let offered = manifest
            .offers(committee)
            .any(|(member, offered)| member == me && key.as_ref().is_none_or(|key| key == offered));
        let terms = manifest.committees.get(usize::from(committee));
        let needed = terms.map(|terms| usize::from(terms.needed));
        let Some(needed) = needed.filter(|_| offered) else {
            return Err(AggregationError::NoOffer);
        };
        Ok(Self {
            channel: Channel {
                query: manifest.query(),
                committee,
            },
            me,
            needed,
            secret: secret.map(Arc::new),
            manifest,
            grants: BTreeMap::new(),
            batches: BTreeMap::new(),
            releases: BTreeMap::new(),
            parameters: BTreeMap::new(),
            unsaved: Unsaved::Whole,
        })
    }

    /// Returns the manifest of the query.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// Returns the cost of the query's noise to each population that a grant names. An exact query has none.
    pub fn expenses(&self) -> impl Iterator<Item = Expense> {
        let cost = self.manifest.cost();
        let (query, expires) = (self.manifest.query(), self.manifest.expires);
        let populations = self.grants.values().map(|grant| grant.population);
        populations.filter_map(move |population| {
            Some(Expense {
                population,
                query,
                rho: cost?,
                expires,
                released: false,
            })
        })
    }

    /// Returns the expenses that count for the whole key epoch: those of a query whose noise this aggregator
    /// acknowledged or whose release began. They are written in the transaction of the step that made them count, so
    /// that the cost of a release is never freed. A guard opens at no aggregator before every aggregator of a quorum
    /// acknowledged the noise, so that all of them have charged the query, even if only one opens a guard.
    pub fn charges(&self) -> Vec<Expense> {
        let noise = self
            .batches
            .iter()
            .filter(|((_, batch), _)| batch.is_noise());
        let acknowledged = noise.map(|(_, batch)| batch).any(Batch::is_acknowledged);
        let counts = acknowledged || !self.releases.is_empty();
        if !counts || weakness::off(Weakness::ReleasedUncharged) {
            return Vec::new();
        }
        let charges = self.expenses().map(|expense| Expense {
            released: true,
            ..expense
        });
        charges.collect()
    }

    /// Returns whether this aggregator holds a grant of every partition.
    fn has_every_grant(&self, directory: &Directory) -> bool {
        (0..directory.partitions()).all(|partition| self.grants.contains_key(&partition))
    }

    /// Returns whether the last round was released. Then the secret is erased and nothing is left to do.
    pub fn has_released(&self) -> bool {
        self.secret.is_none()
    }

    /// Returns the number of committed batches of homes.
    pub fn committed(&self) -> usize {
        let batches = self.batches.iter().filter(|((_, id), _)| !id.is_noise());
        batches
            .filter(|(_, batch)| batch.committed.is_some())
            .count()
    }

    /// Takes the finder's grant for a partition. A repetition of the same grant changes nothing.
    ///
    /// # Errors
    /// [`AggregationError::BadGrant`] when the grant is forged, for another query, below the cohort or above the
    /// largest number of homes; [`AggregationError::SecondFind`] when another find or cut was taken before.
    pub fn grant(
        &mut self,
        partition: u16,
        sealed: &SealedGrant,
        directory: &Directory,
    ) -> Result<(), AggregationError> {
        let bad = AggregationError::BadGrant;
        let context = Grant::context(
            self.channel.query,
            partition,
            self.channel.committee,
            self.me,
        );
        let secret = self.secret.as_ref().ok_or(AggregationError::WrongStep)?;
        let signed = sealed
            .open(secret, &context, SignedGrant::LIMIT)
            .map_err(|_| bad.clone())?;
        let grant = signed.unverified().map_err(|_| bad.clone())?;
        let finder = directory
            .node(&grant.finder)
            .filter(|node| node.role == Role::TargetFinder && node.group == partition)
            .ok_or(bad.clone())?;
        signed
            .verify_signature(&finder.signing_key)
            .map_err(|_| bad.clone())?;
        // All partitions are released as one sum, which must stay within the field.
        let others = self.grants.iter().filter(|(of, _)| **of != partition);
        let counts = others.map(|(_, grant)| grant.batches.homes());
        let asked = counts.fold(grant.batches.homes(), u64::saturating_add);
        let (committees, cohort) = (self.manifest.committees.len(), self.manifest.min_cohort);
        if grant.query != self.channel.query
            || grant.partition != partition
            || !grant.batches.is_legal(committees, cohort)
            || asked > self.manifest.max_homes
        {
            return Err(bad);
        }
        match self.grants.get(&partition) {
            // With two finds or two cuts, a home could be in batches of both and count twice (protocol.md §6).
            Some(taken) if taken.find == grant.find && taken.batches == grant.batches => Ok(()),
            Some(_) => Err(AggregationError::SecondFind),
            None => {
                self.grants.insert(partition, grant);
                self.unsaved.mark(Part::Query);
                Ok(())
            }
        }
    }

    /// Begins to receive the groups of a batch. Checks the Target's signature, and that this aggregator may take groups
    /// for the attempt.
    ///
    /// # Errors
    /// [`AggregationError`]; the state is not changed.
    pub fn receive(
        &self,
        statement: &GroupsStatement,
        signature: &Signature,
        directory: &Directory,
    ) -> Result<Receiving, AggregationError> {
        let work = statement.work;
        self.check_work(work)?;
        let secret = self.secret.as_ref().ok_or(AggregationError::WrongStep)?;
        let digest = statement.digest();
        if !statement.is_signed(signature, directory) {
            return Err(AggregationError::BadGroups);
        }
        let committee = self.channel.committee;
        let mut offered = self.manifest.offers(committee);
        let mine = offered
            .position(|(member, _)| member == self.me)
            .ok_or(AggregationError::NoOffer)?;
        let expected = statement.digests.get(mine).copied();
        let offers = self.manifest.offers(committee).count();
        let expected = expected
            .filter(|_| statement.digests.len() == offers)
            .ok_or(AggregationError::BadGroups)?;
        let grant = self
            .grants
            .get(&work.batch.partition)
            .ok_or(AggregationError::NoGrant)?;
        let count = grant.batches.count(work.batch);
        let count = count.ok_or(AggregationError::WrongWork)?;
        self.admits(work, &digest)?;
        self.admits_parameters(work, &statement.parameters)?;
        Ok(Receiving::new(
            work,
            digest,
            expected,
            group_context(work, &statement.parameters, committee, self.me),
            secret.clone(),
            grant,
            count,
            self.manifest.circuit_of(work.round).share_len(),
            statement.parameters,
        ))
    }

    /// Checks that groups with this D may be frozen for an attempt. Returns the content with which the attempt was
    /// frozen before, if it was.
    fn admits(&self, work: Work, digest: &[u8; 32]) -> Result<Option<&Freeze>, AggregationError> {
        let Some(batch) = self.batches.get(&(work.round, work.batch)) else {
            return self.has_room(work.round, 0).map(|()| None);
        };
        if batch.committed.is_some() {
            return Err(AggregationError::AlreadyCommitted);
        }
        let mut before = None;
        if let Some(attempt) = batch.attempts.get(&work.attempt) {
            // Two values of D for one attempt would meet the same randomness: groups could be chosen after it is known.
            // The same D gets the same answer again.
            let freeze = attempt.frozen().filter(|freeze| freeze.digest == *digest);
            before = Some(freeze.ok_or(AggregationError::OtherGroups)?);
            if attempt.holds_contributions() {
                return Ok(before);
            }
        }
        // An attempt is given up when a later one opens, and stays so.
        if batch.attempts.keys().any(|&later| later > work.attempt) {
            return Err(AggregationError::WrongStep);
        }
        self.has_room(work.round, batch.in_flight())?;
        Ok(before)
    }

    /// Checks that all homes of the round were shown the same parameters, and that those of the first round were shown
    /// none.
    fn admits_parameters(&self, work: Work, parameters: &[u8; 32]) -> Result<(), AggregationError> {
        let first = self.parameters.get(&work.round);
        let same = first.is_none_or(|first| first == parameters)
            || weakness::off(Weakness::SeveralModelsOfOneRound);
        if !same || (work.round == 0) != (*parameters == NO_PARAMETERS) {
            return Err(AggregationError::OtherParameters);
        }
        Ok(())
    }

    /// Checks that one more batch of a round may be held, beside `own` attempts of the same batch that it replaces.
    fn has_room(&self, round: u16, own: usize) -> Result<(), AggregationError> {
        // Batches of earlier rounds do not count, since they are dropped when this round begins.
        let of_round = self.batches.iter().filter(|((of, _), _)| *of == round);
        let in_flight = of_round.map(|(_, batch)| batch.in_flight()).sum::<usize>();
        if in_flight.saturating_sub(own) >= MAX_IN_FLIGHT {
            return Err(AggregationError::TooManyInFlight);
        }
        Ok(())
    }

    /// Freezes D once all groups are received. Only then returns this aggregator's share of the randomness, sealed for
    /// each other aggregator.
    ///
    /// > Each DA opens its groups, checks every τ, durably freezes D, and only then gives its
    /// > share of the batch's randomness.
    ///
    /// # Errors
    /// [`AggregationError`]; an attempt that was frozen with another D stays frozen with it. Nothing is frozen if the
    /// groups are not those that the Target signed, or if the groups of several hosts do not open.
    pub fn freeze(
        &mut self,
        received: Receiving,
        keys: &AggregatorKeys<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<PeerMessage>, AggregationError> {
        let (work, digest, parameters) = (received.work, received.digest, received.parameters);
        let contributions = received.finish()?;
        let reading = Reading::of_homes(self.manifest.circuit_of(work.round));
        self.admits_parameters(work, &parameters)?;
        if work.round > 0 && !self.parameters.contains_key(&work.round) {
            self.begin_round(work.round, parameters);
        }
        self.freeze_with(work, digest, contributions, reading, keys, rng)
    }

    /// Drops the state of earlier rounds, including any whose end this aggregator never saw.
    fn begin_round(&mut self, round: u16, parameters: [u8; 32]) {
        self.parameters.insert(round, parameters);
        self.batches.retain(|(of, _), _| *of >= round);
        self.releases.retain(|of, _| *of >= round);
        self.unsaved = Unsaved::Whole;
    }

    fn freeze_with(
        &mut self,
        work: Work,
        digest: [u8; 32],
        contributions: Contributions,
        reading: Reading,
        keys: &AggregatorKeys<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<PeerMessage>, AggregationError> {
        if self.secret.is_none() {
            return Err(AggregationError::WrongStep);
        }
        self.check_work(work)?;
        // Checked again: other steps may have come while the groups were received.
        let before = self.admits(work, &digest)?.cloned();
        let held = self.batches.get(&(work.round, work.batch));
        let held = held.and_then(|batch| batch.attempts.get(&work.attempt));
        if let Some(freeze) = before.as_ref()
            && held.is_some_and(Attempt::holds_contributions)
        {
            return Ok(self.seal_for_others(&freeze.randomness, rng));
        }
        let mut offers = self.manifest.offers(self.channel.committee);
        let position = offers
            .position(|(member, _)| member == self.me)
            .ok_or(AggregationError::NoOffer)?;
        let freeze = before.unwrap_or_else(|| self.frozen(work, digest, keys, rng));
        let signed = freeze.randomness.clone();
        let batch = self.batches.entry((work.round, work.batch)).or_default();
        // An attempt that is given up must not hold contributions any longer, since they count as in flight.
        for attempt in batch.attempts.values_mut() {
            if attempt.is_open() {
                *attempt = Attempt::Withdrawn;
            }
        }
        let frozen = Frozen {
            freeze,
            contributions,
            reading,
            position,
        };
        batch.attempts.insert(work.attempt, Attempt::Frozen(frozen));
        self.unsaved.mark(Part::of(work));
        Ok(self.seal_for_others(&signed, rng))
    }

    fn frozen(
        &self,
        work: Work,
        digest: [u8; 32],
        keys: &AggregatorKeys<'_>,
        rng: &mut impl CryptoRng,
    ) -> Freeze {
        // The aggregator hashes the work itself, and evaluates no element that it was sent (protocol.md §8).
        let share = prf::evaluate(keys.share, &work, rng);
        let content = PeerContent::Randomness {
            work,
            digest,
            share: share.clone(),
        };
        Freeze {
            digest,
            share,
            randomness: self.channel.sign(self.me, content, keys.signing),
        }
    }

    /// Combines the shares of the randomness. Returns this aggregator's verifier messages, sealed for each other
    /// aggregator.
    ///
    /// # Errors
    /// [`AggregationError::Unread`] while fewer than the threshold froze the same D.
    pub fn verify(
        &mut self,
        work: Work,
        messages: &[PeerMessage],
        keys: &AggregatorKeys<'_>,
        directory: &Directory,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<PeerMessage>, AggregationError> {
        let opened = self.open_peers(messages, directory);
        let (me, channel) = (self.me, self.channel);
        let public = directory
            .committees
            .get(usize::from(channel.committee))
            .ok_or(AggregationError::NoOffer)?;
        let offers = self.manifest.offers(channel.committee);
        let offered: Vec<MemberNumber> = offers.map(|(member, _)| member).collect();
        let slot = self.attempt_mut(work)?;
        let signed = match slot {
            // A repetition sends the same message. A second one about the same shares could contradict the first.
            Attempt::Verifying(verifying) => verifying.message.clone(),
            Attempt::Frozen(frozen) => {
                let seed = frozen.combine(me, &offered, work, &opened, public)?;
                let (verifying, signed) =
                    slot.take_frozen()?
                        .verify(work, me, channel, &seed, keys.signing);
                *slot = Attempt::Verifying(verifying);
                signed
            }
            other => return Err(other.refusal()),
        };
        Ok(self.seal_for_others(&signed, rng))
    }

    /// Decides every contribution by the messages of the quorum, prepares the sum, and acknowledges it.
    ///
    /// # Errors
    /// [`AggregationError::TooManyInconsistent`] and [`AggregationError::BadDeals`] end the attempt. Other errors leave
    /// it as it was.
    pub fn decide(
        &mut self,
        work: Work,
        quorum: &Quorum,
        messages: &[PeerMessage],
        keys: &AggregatorKeys<'_>,
        directory: &Directory,
    ) -> Result<SignedAcknowledgement, AggregationError> {
        if quorum.members().len() < usize::from(self.manifest.min_verified)
            || !quorum.members().contains(&self.me)
        {
            return Err(AggregationError::BadQuorum);
        }
        // Noise is charged to all populations at once, so that all grants must be here.
        if work.batch.is_noise() && !self.has_every_grant(directory) {
            return Err(AggregationError::NoGrant);
        }
        let opened = self.open_peers(messages, directory);
        let (me, needed) = (self.me, self.needed);
        let min_verified = usize::from(self.manifest.min_verified);
        let slot = self.attempt_mut(work)?;
        // A repetition with the same quorum gets the same acknowledgement. Another quorum is refused: each would be an
        // agreement of its own on one attempt.
        if let Attempt::Prepared(prepared) = slot
            && prepared.quorum == *quorum
        {
            return Ok(prepared.acknowledgement.clone());
        }
        let Attempt::Verifying(verifying) = slot else {
            return Err(slot.refusal());
        };
        let decided = verifying.decide(me, work, quorum, &opened, needed, min_verified);
        match decided {
            Ok(decided) => {
                let prepared =
                    slot.take_verifying()?
                        .prepare(decided, me, work, quorum.clone(), keys.signing);
                let acknowledgement = prepared.acknowledgement.clone();
                *slot = Attempt::Prepared(prepared);
                self.withdraw_earlier(work);
                self.unsaved.mark(Part::of(work));
                Ok(acknowledgement)
            }
            Err(error) => {
                if matches!(
                    error,
                    AggregationError::TooManyInconsistent { .. }
                        | AggregationError::BadDeals { .. }
                ) {
                    *slot = Attempt::Withdrawn;
                    self.unsaved.mark(Part::of(work));
                }
                Err(error)
            }
        }
    }

    /// Commits a prepared batch once every member of its quorum acknowledged the same decision.
    ///
    /// # Errors
    /// [`AggregationError::Unequal`] when an acknowledgement is missing or forged, or acknowledges another decision.
    pub fn commit(
        &mut self,
        work: Work,
        acknowledgements: &[SignedAcknowledgement],
        directory: &Directory,
    ) -> Result<(), AggregationError> {
        let committee = self.channel.committee;
        let batch = self
            .batches
            .get_mut(&(work.round, work.batch))
            .ok_or(AggregationError::WrongStep)?;
        if let Some(committed) = &batch.committed {
            return if committed.work == work {
                Ok(())
            } else {
                Err(AggregationError::AlreadyCommitted)
            };
        }
        let prepared = match batch.attempts.get(&work.attempt) {
            Some(Attempt::Prepared(prepared)) => prepared,
            Some(other) => return Err(other.refusal()),
            None => return Err(AggregationError::WrongStep),
        };
        let mine = &prepared.acknowledgement.body;
        // The sums of the quorum are of the same contributions only if all its members decided alike.
        for member in prepared.quorum.members() {
            let node = directory
                .member(Role::DataAggregator, committee, *member)
                .ok_or(AggregationError::Unequal)?;
            let agrees = acknowledgements.iter().any(|other| {
                other.body.member == *member
                    && other.body.work == mine.work
                    && other.body.decision == mine.decision
                    && other.body.accepted == mine.accepted
                    && other.verify(&node.signing_key).is_ok()
            });
            if !agrees {
                return Err(AggregationError::Unequal);
            }
        }
        // One attempt per batch commits. All others are dropped, so that none can be committed later.
        let attempts = std::mem::take(&mut batch.attempts);
        for (number, attempt) in attempts {
            if let Attempt::Prepared(prepared) = attempt
                && number == work.attempt
            {
                batch.committed = Some(Committed::from(prepared));
            }
        }
        self.unsaved.mark(Part::of(work));
        Ok(())
    }

    fn check_work(&self, work: Work) -> Result<(), AggregationError> {
        let mine = work.batch.committee == self.channel.committee;
        // A released round stays as it is, and rounds come one after the other.
        let released = self.releases.keys().any(|round| *round >= work.round);
        let over = released || self.parameters.keys().any(|round| *round > work.round);
        if !allows(&self.manifest, work) || !mine {
            return Err(AggregationError::WrongWork);
        }
        if over {
            return Err(AggregationError::WrongStep);
        }
        Ok(())
    }

    fn attempt_mut(&mut self, work: Work) -> Result<&mut Attempt, AggregationError> {
        self.check_work(work)?;
        let batch = self
            .batches
            .get_mut(&(work.round, work.batch))
            .ok_or(AggregationError::WrongStep)?;
        if batch.committed.is_some() {
            return Err(AggregationError::AlreadyCommitted);
        }
        batch
            .attempts
            .get_mut(&work.attempt)
            .ok_or(AggregationError::WrongStep)
    }

    /// Withdraws the earlier attempts at a batch, once a later one is acknowledged: two acknowledged attempts could
    /// both be committed, at different aggregators.
    fn withdraw_earlier(&mut self, work: Work) {
        if let Some(batch) = self.batches.get_mut(&(work.round, work.batch)) {
            for (_, attempt) in batch.attempts.range_mut(..work.attempt) {
                *attempt = Attempt::Withdrawn;
            }
        }
    }

    /// Opens the messages. Leaves out those that do not open or are not signed, and all but the first of each sender.
    fn open_peers(&self, messages: &[PeerMessage], directory: &Directory) -> Vec<OpenedPeer> {
        let mut opened: Vec<OpenedPeer> = Vec::new();
        let Some(secret) = &self.secret else {
            return opened;
        };
        for message in messages {
            // The first message of a sender counts: two messages at one point cannot be interpolated.
            if let Ok(peer) = self.channel.open(message, self.me, secret, directory)
                && opened.iter().all(|other| other.from != peer.from)
            {
                opened.push(peer);
            }
        }
        opened
    }

    fn seal_for_others(&self, signed: &SignedPeer, rng: &mut impl CryptoRng) -> Vec<PeerMessage> {
        let others = self
            .manifest
            .offers(self.channel.committee)
            .filter(|(member, _)| *member != self.me);
        others
            .map(|(member, key)| self.channel.seal(signed, self.me, member, key, rng))
            .collect()
    }
}

impl Batch {
    fn in_flight(&self) -> usize {
        self.attempts
            .values()
            .filter(|attempt| attempt.holds_contributions())
            .count()
    }
}

#[cfg(test)]
mod tests;
