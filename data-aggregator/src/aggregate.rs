//! The verbs of a Data Aggregator: offer, begin, open, verify, decide, commit, guard, release.

use std::{sync::Arc, time::Instant};

use dispers_base::{
    id::{KeyEpoch, MemberNumber, Name, QueryId, Timestamp},
    labels,
};
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

/// A Data Aggregator. Its methods compute; the service runs them off the executor.
pub struct Aggregator {
    node: Arc<Node>,
    share: KeyShare,
    committee: u16,
    member: MemberNumber,
    store: Store,
}

impl Aggregator {
    /// Goes on with what is in `database`.
    ///
    /// # Errors
    /// [`Error::NoMember`] when the directory gives this node no place in a committee;
    /// [`Error::Database`] when something that was kept does not open.
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

    fn keys(&self) -> AggregatorKeys<'_> {
        AggregatorKeys {
            signing: &self.node.signing,
            share: &self.share,
        }
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.node.activity
    }

    /// Queries that run here: begun, not released, and worked on lately. Nobody tells an aggregator
    /// that a query failed.
    pub fn running(&self) -> usize {
        self.store.running()
    }

    /// Erases what has expired.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn expire(&self) -> Result<(), Error> {
        let directory = &self.node.directory;
        let epochs = [directory.key_epoch, directory.asked_keys().key_epoch];
        self.store.ledger().expire(&epochs, now())?;
        self.store.expire(now())
    }

    /// Makes a fresh envelope key for one query of the querier that signed the request.
    ///
    /// # Errors
    /// [`Error`] when the request is not a listed querier's, or outside its time.
    pub fn offer(&self, request: &SignedOfferRequest) -> Result<Offer, Error> {
        let now = now();
        self.store.expire(now)?;
        let body: OfferRequest = request.decode()?;
        self.node
            .directory
            .querier(&body.querier)
            .ok_or(Error::UnknownQuerier)?
            .signing_key
            .verify(
                labels::SIGN_OFFER_REQUEST,
                &request.body,
                &request.signature,
            )?;
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
        self.store.put_offer(OpenOffer {
            secret,
            querier: body.querier,
            expires: body.expires,
        })?;
        Ok(offer)
    }

    /// Takes a manifest and the finder's grant. The offer is bound to this query from now on.
    ///
    /// # Errors
    /// [`Error`] when the manifest, its offer of mine, or the grant does not hold.
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
        // The grants of a query that runs here are taken to the end.
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
        // Before anybody is asked: an aggregator that refuses here is out of the query.
        let reserved = self.reserve(&querier, epoch, &expenses);
        if matches!(reserved, Err(Error::Budget(_))) {
            // The query cannot continue here, so that it must not occupy a place until it expires.
            self.store.remove(id)?;
        }
        reserved
    }

    fn reserve(&self, querier: &Name, epoch: KeyEpoch, expenses: &[Expense]) -> Result<(), Error> {
        let ledger = self.store.ledger();
        Ok(ledger.reserve(querier, epoch, expenses, self.store.most(), now())??)
    }

    /// What a querier spent of its privacy budgets.
    ///
    /// # Errors
    /// [`Error`] when the request is not a listed querier's, or too old.
    pub fn budget(&self, request: &SignedBudgetRequest) -> Result<Budget, Error> {
        let now = now();
        let body = request.decode()?;
        let directory = &self.node.directory;
        let querier = directory.querier(&body.querier);
        querier.ok_or(Error::UnknownQuerier)?.signing_key.verify(
            labels::SIGN_BUDGET_REQUEST,
            &request.body,
            &request.signature,
        )?;
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

    /// Begins to receive a batch's groups.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::receive`].
    pub fn receive(&self, head: &OpenHead) -> Result<Receiving, Error> {
        let kept = self.store.query(head.statement.work.query)?;
        let query = lock(&kept);
        let directory = &self.node.directory;
        let receiving = query
            .aggregation
            .receive(&head.statement, &head.signature, directory);
        Ok(receiving?)
    }

    /// Freezes a batch's groups; my share of the randomness for each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::freeze`].
    pub fn freeze(&self, received: Receiving) -> Result<Vec<PeerMessage>, Error> {
        self.step(received.query(), |aggregation| {
            aggregation.freeze(received, &self.keys(), &mut rng())
        })
    }

    /// Noise, as a share for each aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::deal`].
    pub fn deal(&self, request: &DealRequest) -> Result<Deal, Error> {
        self.step(request.work.query, |aggregation| {
            aggregation.deal(request, &self.keys(), &mut rng())
        })
    }

    /// Freezes the noise that all dealers dealt; my share of the randomness for each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::open_deals`].
    pub fn open_deals(&self, dealt: DealtRequest) -> Result<Vec<PeerMessage>, Error> {
        self.step(dealt.request.work.query, |aggregation| {
            aggregation.open_deals(dealt, &self.keys(), &self.node.directory, &mut rng())
        })
    }

    /// My verifier messages for each other aggregator, or whose randomness I cannot read.
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

    /// My acknowledgement of what the quorum decides, or that too much is inconsistent.
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

    /// Counts a batch that the whole quorum acknowledged.
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
            // None when it is repeated.
            Ok(aggregation.committed() - before)
        })?;
        self.node.activity.committed(committed as u64);
        Ok(())
    }

    /// My guard counts for each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::guards`].
    pub fn guards(&self, request: &GuardsRequest) -> Result<Vec<PeerMessage>, Error> {
        let (querier, epoch, expenses) = self.step(request.proposal.query, |aggregation| {
            let manifest = aggregation.manifest();
            let (querier, epoch) = (manifest.querier.clone(), manifest.key_epoch);
            Ok((querier, epoch, aggregation.expenses().collect::<Vec<_>>()))
        })?;
        // Also where a conductor went on with one that had refused.
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

    /// My sealed total, or whose guard counts I cannot read. The query's secrets are erased with the total.
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

    /// Takes a step. Writes its changes and charges before its result leaves, even for a refusal, which may change the
    /// state too.
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

fn check_offer_time(request: &OfferRequest, now: Timestamp) -> Result<(), Error> {
    // An old request may not be replayed to fill the store.
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
