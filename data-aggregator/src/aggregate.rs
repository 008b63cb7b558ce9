//! Steps of a Data Aggregator: offer, begin, open, verify, decide, commit, guard, release.

use std::{sync::Arc, time::Instant};

use dispers_base::id::{KeyEpoch, MemberNumber, Name, QueryId, Timestamp};
use dispers_core::{
    aggregation::{
        Aggregation, AggregationError, AggregatorKeys, BeginRequest, CommitRequest, Deal,
        DealRequest, DealtRequest, DecideRequest, GuardsRequest, OpenHead, Receiving,
        ReleaseRequest, StepReply, Verdict, VerifyRequest,
    },
    manifest::MAX_LIFETIME,
    offer::{Offer, OfferBody, OfferRequest, SignedOfferRequest},
    peer::PeerMessage,
    release::SealedTotal,
};
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopeSecretKey};
use dispers_node::{Activity, Database, Node, now, rng};
use dispers_privacy::{Budget, Expense, SignedBudgetRequest};

use crate::{
    Config, Error,
    store::{OpenOffer, Query, Store, lock},
};

/// A Data Aggregator. Its methods block the calling thread, so the service runs them on worker threads.
pub struct Aggregator {
    node: Arc<Node>,
    share: KeyShare,
    committee: u16,
    member: MemberNumber,
    store: Store,
}

impl Aggregator {
    /// Creates the aggregator of `node`, which goes on with the queries in `database`.
    ///
    /// # Errors
    /// [`Error::NoMember`] if the directory does not list `node` with the member number of `share`. [`Error::Database`]
    /// if a stored offer or query cannot be opened.
    pub fn new(
        node: Arc<Node>,
        share: KeyShare,
        database: Database,
        config: &Config,
    ) -> Result<Self, Error> {
        let entry = node.directory.node(&node.name).ok_or(Error::NoMember)?;
        let member = entry.member.ok_or(Error::NoMember)?;
        if share.number() != member {
            return Err(Error::NoMember);
        }
        Ok(Self {
            committee: entry.group,
            member,
            share,
            store: Store::new(&node, entry.group, member, database, config)?,
            node,
        })
    }

    /// Returns the keys that a step uses.
    fn keys(&self) -> AggregatorKeys<'_> {
        AggregatorKeys {
            signing: &self.node.signing,
            share: &self.share,
        }
    }

    /// Returns the node's record of its activity.
    pub(crate) fn activity(&self) -> &Activity {
        &self.node.activity
    }

    /// Returns the number of queries that run here: begun, not released, and worked on recently. An aggregator is not
    /// told when a query fails, so a query without a recent step does not count.
    pub fn running(&self) -> usize {
        self.store.running()
    }

    /// Erases offers, queries and reservations that have expired.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn expire(&self) -> Result<(), Error> {
        let directory = &self.node.directory;
        let epochs = [directory.key_epoch, directory.asked_keys().key_epoch];
        self.store.ledger().expire(&epochs, now())?;
        self.store.expire(now())
    }

    /// Creates a fresh envelope key for one query of the querier that signed the request (protocol.md §6).
    ///
    /// # Errors
    /// [`Error`] if the signature is not that of a listed querier, the request is outside its time, or too many offers
    /// are open.
    pub fn offer(&self, request: &SignedOfferRequest) -> Result<Offer, Error> {
        let now = now();
        // Expired offers are removed first, so that they do not count against the limits.
        self.store.expire(now)?;
        let body = request.unverified()?;
        let querier = self.node.directory.querier(&body.querier);
        request.verify_signature(&querier.ok_or(Error::UnknownQuerier)?.signing_key)?;
        check_offer_time(&body, now)?;
        let secret = EnvelopeSecretKey::generate(self.node.directory.suite, &mut rng());
        let secret = self.node.watched(secret);
        let offer = Offer::new(
            OfferBody {
                aggregator: self.node.name.clone(),
                key: secret.public(),
                querier: body.querier.clone(),
                expires: body.expires,
            },
            &self.node.signing,
        );
        // The secret is kept before the offer leaves (§6), so that the aggregator can open the groups after a restart.
        self.store.put_offer(OpenOffer {
            secret,
            querier: body.querier,
            expires: body.expires,
        })?;
        Ok(offer)
    }

    /// Takes a manifest with the finder's grant for one partition. From now on the offer belongs to this query only.
    ///
    /// # Errors
    /// [`Error`] if the manifest or the grant is not valid, the manifest names no open offer of this aggregator, or
    /// the querier's budget does not cover the query.
    pub fn begin(&self, request: &BeginRequest) -> Result<(), Error> {
        let now = now();
        self.store.expire(now)?;
        let manifest = request.manifest.verify(&self.node.directory, now)?;
        let id = manifest.query();
        let key = manifest
            .offers(self.committee)
            .find(|(member, _)| *member == self.member)
            .map(|(_, key)| key.clone())
            .ok_or(AggregationError::NoOffer)?;
        // While the node stops, a query that runs here still gets its remaining grants. Only new queries are refused.
        if self.node.activity.is_draining() && !self.store.has(id) {
            return Err(Error::Stopping);
        }
        self.store.begin(id, manifest.expires, &key, |secret| {
            let aggregation = Aggregation::new(manifest, self.committee, self.member, secret)?;
            Ok(Query::new(aggregation, request.manifest.clone(), &key))
        })?;
        let (querier, epoch, expenses) = self.step(id, |aggregation| {
            aggregation.grant(request.partition, &request.grant, &self.node.directory)?;
            let manifest = aggregation.manifest();
            let (querier, epoch) = (manifest.querier.clone(), manifest.key_epoch);
            Ok((querier, epoch, aggregation.expenses().collect::<Vec<_>>()))
        })?;
        // The cost is reserved before any home is asked. An aggregator that refuses here is out of the query (§9).
        let reserved = self.reserve(&querier, epoch, &expenses);
        if matches!(reserved, Err(Error::Budget(_))) {
            // The query cannot continue here, so it must not take a place until it expires.
            self.store.remove(id)?;
        }
        reserved
    }

    /// Reserves the costs of a query in the querier's budgets.
    fn reserve(&self, querier: &Name, epoch: KeyEpoch, expenses: &[Expense]) -> Result<(), Error> {
        let ledger = self.store.ledger();
        Ok(ledger.reserve(querier, epoch, expenses, self.store.most(), now())??)
    }

    /// Returns the expenses of a querier in the key epoch under which queries are asked, and the limit of its budgets.
    ///
    /// # Errors
    /// [`Error`] if the signature is not that of a listed querier, or the request is too old.
    pub fn budget(&self, request: &SignedBudgetRequest) -> Result<Budget, Error> {
        let now = now();
        let body = request.unverified()?;
        let directory = &self.node.directory;
        let querier = directory.querier(&body.querier);
        request.verify_signature(&querier.ok_or(Error::UnknownQuerier)?.signing_key)?;
        // The Conductor relays requests and could replay an old one, so only fresh ones are answered.
        if body.issued.is_ahead_of(now) || body.issued.plus(Timestamp::SKEW).has_passed(now) {
            return Err(Error::OfferTime);
        }
        let key_epoch = directory.asked_keys().key_epoch;
        Ok(Budget {
            most: self.store.most(),
            key_epoch,
            expenses: self.store.ledger().of(&body.querier, key_epoch, now)?,
        })
    }

    /// Checks that a Target signed the batch for this query, and begins to receive its groups.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::receive`].
    pub fn receive(&self, head: &OpenHead) -> Result<Receiving, Error> {
        let kept = self.store.query(head.statement.work.query)?;
        // The query is locked only for this check, so that other steps of the query go on while the groups arrive.
        let query = lock(&kept);
        let directory = &self.node.directory;
        let receiving = query
            .aggregation
            .receive(&head.statement, &head.signature, directory);
        Ok(receiving?)
    }

    /// Freezes a batch's groups. Returns this aggregator's share of the randomness, sealed to each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::freeze`].
    pub fn freeze(&self, received: Receiving) -> Result<Vec<PeerMessage>, Error> {
        self.step(received.query(), |aggregation| {
            aggregation.freeze(received, &self.keys(), &mut rng())
        })
    }

    /// Deals noise. Returns one share for each aggregator (protocol.md §9).
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::deal`].
    pub fn deal(&self, request: &DealRequest) -> Result<Deal, Error> {
        self.step(request.work.query, |aggregation| {
            aggregation.deal(request, &self.keys(), &mut rng())
        })
    }

    /// Freezes the noise of all dealers. Returns this aggregator's share of the randomness, sealed to each other
    /// aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::open_deals`].
    pub fn open_deals(&self, dealt: DealtRequest) -> Result<Vec<PeerMessage>, Error> {
        self.step(dealt.request.work.query, |aggregation| {
            aggregation.open_deals(dealt, &self.keys(), &self.node.directory, &mut rng())
        })
    }

    /// Verifies the contributions of a batch. Returns the verifier messages, sealed to each other aggregator, or the
    /// members whose shares of the randomness cannot be read.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::verify`].
    pub fn verify(&self, request: &VerifyRequest) -> Result<StepReply<Vec<PeerMessage>>, Error> {
        self.step(request.work.query, |aggregation| {
            StepReply::new(aggregation.verify(
                request.work,
                &request.messages,
                &self.keys(),
                &self.node.directory,
                &mut rng(),
            ))
        })
    }

    /// Decides which contributions count. Returns the signed acknowledgement, or the reason why the quorum cannot
    /// agree.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::decide`].
    pub fn decide(&self, request: &DecideRequest) -> Result<Verdict, Error> {
        self.step(request.work.query, |aggregation| {
            let decided = aggregation.decide(
                request.work,
                &request.quorum,
                &request.messages,
                &self.keys(),
                &self.node.directory,
            );
            match decided {
                Ok(acknowledgement) => Ok(Verdict::Prepared(acknowledgement)),
                Err(AggregationError::TooManyInconsistent { suspect, .. }) => {
                    Ok(Verdict::Inconsistent { suspect })
                }
                Err(AggregationError::BadDeals { dealers, disputes }) => {
                    Ok(Verdict::BadDeals { dealers, disputes })
                }
                Err(AggregationError::Unread { members }) => Ok(Verdict::Unread { members }),
                Err(error) => Err(error),
            }
        })
    }

    /// Commits a batch that the whole quorum acknowledged.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::commit`].
    pub fn commit(&self, request: &CommitRequest) -> Result<(), Error> {
        let committed = self.step(request.work.query, |aggregation| {
            let before = aggregation.committed();
            aggregation.commit(
                request.work,
                &request.acknowledgements,
                &self.node.directory,
            )?;
            // A repeated commit adds nothing, so the difference is zero.
            Ok(aggregation.committed() - before)
        })?;
        self.node.activity.committed(committed as u64);
        Ok(())
    }

    /// Returns this aggregator's shares of the guard counts, sealed to each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::guards`].
    pub fn guards(&self, request: &GuardsRequest) -> Result<Vec<PeerMessage>, Error> {
        let (querier, epoch, expenses) = self.step(request.proposal.query, |aggregation| {
            let manifest = aggregation.manifest();
            let (querier, epoch) = (manifest.querier.clone(), manifest.key_epoch);
            Ok((querier, epoch, aggregation.expenses().collect::<Vec<_>>()))
        })?;
        // The Conductor may have gone on with this aggregator although its budget refused the query. No guard count
        // may be opened then.
        self.reserve(&querier, epoch, &expenses)?;
        self.step(request.proposal.query, |aggregation| {
            aggregation.guards(
                &request.proposal,
                &request.certificate,
                &self.keys(),
                &self.node.directory,
                &mut rng(),
            )
        })
    }

    /// Returns this aggregator's total, sealed to the querier, or the members whose guard counts cannot be read. After
    /// the last round, the query's secrets are erased with the total.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::release`].
    pub fn release(&self, request: &ReleaseRequest) -> Result<StepReply<SealedTotal>, Error> {
        self.step(request.query, |aggregation| {
            StepReply::new(aggregation.release(
                request.round,
                &request.messages,
                &self.keys(),
                &self.node.directory,
                &mut rng(),
            ))
        })
    }

    /// Takes a step. Writes its changes and charges before its result leaves. This includes a refused step, which may
    /// have changed the state, too.
    fn step<T>(
        &self,
        id: QueryId,
        step: impl FnOnce(&mut Aggregation) -> Result<T, AggregationError>,
    ) -> Result<T, Error> {
        let kept = self.store.query(id)?;
        let mut query = lock(&kept);
        query.worked_on = Some(Instant::now());
        let result = step(&mut query.aggregation);
        self.store.save(id, &mut query)?;
        Ok(result?)
    }
}

/// Checks that an offer request is fresh and asks for no longer life than a query may have.
fn check_offer_time(request: &OfferRequest, now: Timestamp) -> Result<(), Error> {
    // An old request may not be replayed to use up the querier's share of the offers.
    let fresh =
        !request.issued.is_ahead_of(now) && !request.issued.plus(Timestamp::SKEW).has_passed(now);
    if !fresh
        || request.expires.has_passed(now)
        || request.expires > request.issued.plus(MAX_LIFETIME)
    {
        return Err(Error::OfferTime);
    }
    Ok(())
}
