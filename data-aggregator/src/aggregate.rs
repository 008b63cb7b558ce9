//! The verbs of a Data Aggregator: offer, begin, open, verify, decide, commit, guard, release.

use std::sync::Arc;

use dispers_core::{
    aggregation::{
        Aggregation, AggregationError, AggregatorKeys, BeginRequest, CommitRequest, DecideRequest,
        GuardsRequest, OpenRequest, ReleaseRequest, Verdict, VerifyRequest,
    },
    dealing::KeyShare,
    envelope::EnvelopeSecretKey,
    id::{MemberNumber, QueryId, Timestamp},
    labels,
    manifest::MAX_LIFETIME,
    offer::{Offer, OfferBody, OfferRequest, SignedOfferRequest},
    peer::PeerMessage,
    release::SealedTotal,
};
use dispers_node::{Node, now, rng};

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
    /// # Errors
    /// [`Error::NoMember`] when the directory gives this node no place in a committee.
    pub fn new(node: Arc<Node>, share: KeyShare, config: &Config) -> Result<Self, Error> {
        let entry = node.directory.node(&node.name).ok_or(Error::NoMember)?;
        let member = entry.member.ok_or(Error::NoMember)?;
        if share.number() != member {
            return Err(Error::NoMember);
        }
        Ok(Self {
            committee: entry.group,
            member,
            share,
            store: Store::new(config.max_offers, config.max_queries),
            node,
        })
    }

    fn keys(&self) -> AggregatorKeys<'_> {
        AggregatorKeys {
            signing: &self.node.signing,
            share: &self.share,
        }
    }

    /// Makes a fresh envelope key for one query of the querier that signed the request.
    ///
    /// # Errors
    /// [`Error`] when the request is not a listed querier's, or outside its time.
    pub fn offer(&self, request: &SignedOfferRequest) -> Result<Offer, Error> {
        let now = now();
        self.store.expire(now);
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
        self.store.expire(now);
        let manifest = request.manifest.verify(&self.node.directory, now)?;
        let id = manifest.query();
        let expires = manifest.expires;
        if self.store.query(id).is_err() {
            let key = manifest
                .offers(self.committee)
                .find(|(member, _)| *member == self.member)
                .map(|(_, key)| key.clone())
                .ok_or(AggregationError::NoOffer)?;
            let offer = self
                .store
                .take_offer(&key)
                .ok_or(AggregationError::NoOffer)?;
            if offer.querier != manifest.querier {
                return Err(AggregationError::NoOffer.into());
            }
            let aggregation =
                Aggregation::new(manifest, self.committee, self.member, offer.secret)?;
            self.store.put_query(id, aggregation, expires)?;
        }
        self.active(id, |aggregation| {
            aggregation.grant(request.partition, &request.grant, &self.node.directory)
        })
    }

    /// Freezes a batch's groups; my share of the randomness for each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::open`].
    pub fn open(&self, request: &OpenRequest) -> Result<Vec<PeerMessage>, Error> {
        self.active(request.statement.work.query, |aggregation| {
            aggregation.open(
                &request.statement,
                &request.signature,
                &request.groups,
                &self.keys(),
                &self.node.directory,
                &mut rng(),
            )
        })
    }

    /// My verifier messages for each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::verify`].
    pub fn verify(&self, request: &VerifyRequest) -> Result<Vec<PeerMessage>, Error> {
        self.active(request.work.query, |aggregation| {
            aggregation.verify(
                request.work,
                &request.messages,
                &self.keys(),
                &self.node.directory,
                &mut rng(),
            )
        })
    }

    /// My acknowledgement of what the quorum decides, or that too much is inconsistent.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::decide`].
    pub fn decide(&self, request: &DecideRequest) -> Result<Verdict, Error> {
        self.active(request.work.query, |aggregation| {
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
                Err(error) => Err(error),
            }
        })
    }

    /// Counts a batch that the whole quorum acknowledged.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::commit`].
    pub fn commit(&self, request: &CommitRequest) -> Result<(), Error> {
        self.active(request.work.query, |aggregation| {
            aggregation.commit(
                request.work,
                &request.acknowledgements,
                &self.node.directory,
            )
        })
    }

    /// My guard counts for each other aggregator.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::guards`].
    pub fn guards(&self, request: &GuardsRequest) -> Result<Vec<PeerMessage>, Error> {
        self.active(request.proposal.query, |aggregation| {
            aggregation.guards(
                &request.proposal,
                &request.certificate,
                &self.keys(),
                &self.node.directory,
                &mut rng(),
            )
        })
    }

    /// My sealed total. The query's key is erased with it.
    ///
    /// # Errors
    /// [`Error`], as [`Aggregation::release`].
    pub fn release(&self, request: &ReleaseRequest) -> Result<SealedTotal, Error> {
        let kept = self.store.query(request.query)?;
        let mut query = lock(&kept);
        let total = match &mut *query {
            Query::Released(total) => return Ok(total.clone()),
            Query::Active(aggregation) => aggregation.release(
                request.round,
                &request.messages,
                &self.keys(),
                &self.node.directory,
                &mut rng(),
            )?,
        };
        *query = Query::Released(total.clone());
        Ok(total)
    }

    fn active<T>(
        &self,
        query: QueryId,
        step: impl FnOnce(&mut Aggregation) -> Result<T, AggregationError>,
    ) -> Result<T, Error> {
        let kept = self.store.query(query)?;
        match &mut *lock(&kept) {
            Query::Active(aggregation) => Ok(step(aggregation)?),
            Query::Released(_) => Err(AggregationError::WrongStep.into()),
        }
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
