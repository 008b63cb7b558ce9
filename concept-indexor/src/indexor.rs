//! Evaluation of blinded concepts with this indexor's key share (protocol.md §4).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dispers_base::{
    encoding::Message,
    id::{KeyEpoch, MemberNumber, Timestamp},
};
use dispers_core::evaluation::{
    MAX_CONCEPTS, Requester, SealedEvaluationRequest, SignedEvaluationRequest, context,
};
use dispers_crypto::{
    dealing::KeyShare,
    envelope::EnvelopeSecretKey,
    oprf::{self, Evaluation},
};
use dispers_node::{Node, now, rng};

use crate::{Config, Error};

/// One hour, in milliseconds.
const HOUR: u64 = 3_600_000;

/// Concepts that one requester has had evaluated since the start of its current hour.
struct Used {
    since: Timestamp,
    concepts: u32,
}

/// A Concept Indexor. Its methods block the calling thread, so the service runs them on worker threads.
pub struct Indexor {
    node: Arc<Node>,
    envelope: EnvelopeSecretKey,
    share: KeyShare,
    /// Key share of the previous key epoch, if it differs from `share`.
    previous: Option<KeyShare>,
    member: MemberNumber,
    limit: u32,
    used: Mutex<HashMap<Requester, Used>>,
}

impl Indexor {
    /// Creates the indexor of `node`.
    ///
    /// # Errors
    /// [`Error::NotListed`] if the directory does not list `node` with the member number of `share`.
    pub fn new(
        node: Arc<Node>,
        envelope: EnvelopeSecretKey,
        share: KeyShare,
        config: &Config,
    ) -> Result<Self, Error> {
        let member = node
            .directory
            .node(&node.name)
            .and_then(|entry| entry.member)
            .filter(|member| *member == share.number())
            .ok_or(Error::NotListed)?;
        Ok(Self {
            node,
            envelope,
            share,
            previous: None,
            member,
            limit: config.concepts_per_hour,
            used: Mutex::default(),
        })
    }

    /// Sets the key share for the previous key epoch, which is used while the directory lists that epoch.
    #[must_use]
    pub fn with_previous(mut self, share: Option<KeyShare>) -> Self {
        self.previous = share;
        self
    }

    /// Returns the key share for a listed key epoch.
    fn share_of(&self, epoch: KeyEpoch) -> Option<&KeyShare> {
        // Clients verify the proof against the public share that the directory lists for the key epoch (§4), so only
        // the share with that public part can answer.
        let keys = self.node.directory.keys_of(epoch)?;
        let listed = keys.indexors.share(self.member)?;
        let shares = [Some(&self.share), self.previous.as_ref()];
        let mut shares = shares.into_iter().flatten();
        shares.find(|share| share.number() == self.member && share.public() == listed)
    }

    /// Evaluates blinded concepts for the host or querier that signed the request. Returns one evaluated element per
    /// blinded one, with one proof for all.
    ///
    /// # Errors
    /// [`Error`] if the request is not valid, or the requester has used up its concepts for this hour.
    pub fn evaluate(&self, sealed: &SealedEvaluationRequest) -> Result<Evaluation, Error> {
        let now = now();
        let signed = sealed.open(
            &self.envelope,
            &context(self.member),
            SignedEvaluationRequest::LIMIT,
        )?;
        let request = signed.unverified()?;
        // The quota below is charged to the requester that the request names, so its signature is checked first:
        // nobody may use up another requester's quota.
        let requester = request.requester.key(&self.node.directory);
        signed.verify_signature(requester.ok_or(Error::UnknownRequester)?)?;
        // The Conductor and the Target relay the sealed request and could send it again. The time bounds how long a
        // repeated request can cost the requester its quota.
        let stale =
            request.issued.is_ahead_of(now) || request.issued.plus(Timestamp::SKEW).has_passed(now);
        if stale
            || request.member != self.member
            || request.blinded.is_empty()
            || request.blinded.len() > MAX_CONCEPTS
        {
            return Err(Error::Unacceptable);
        }
        let share = self
            .share_of(request.key_epoch)
            .ok_or(Error::Unacceptable)?;
        // The quota is charged under one lock before the evaluation, so that requests at the same time cannot exceed
        // it.
        self.spend(request.requester, request.blinded.len() as u32, now)?;
        Ok(oprf::evaluate(share, &request.blinded, &mut rng())?)
    }

    /// Charges `concepts` to the requester's quota.
    ///
    /// # Errors
    /// [`Error::RateLimited`] if the quota does not cover all of them; then none is charged.
    fn spend(&self, requester: Requester, concepts: u32, now: Timestamp) -> Result<(), Error> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Only hosts and queriers of the directory get here, so the directory bounds the table's size.
        let entry = used.entry(requester).or_insert(Used {
            since: now,
            concepts: 0,
        });
        if now.0 >= entry.since.0.saturating_add(HOUR) {
            *entry = Used {
                since: now,
                concepts: 0,
            };
        }
        let total = entry.concepts.saturating_add(concepts);
        if total > self.limit {
            return Err(Error::RateLimited);
        }
        entry.concepts = total;
        Ok(())
    }
}
