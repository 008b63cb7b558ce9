//! The verb of a Concept Indexor: evaluate.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dispers_base::{
    encoding,
    id::{KeyEpoch, MemberNumber, Timestamp},
    labels,
};
use dispers_core::evaluation::{
    EvaluationRequest, MAX_CONCEPTS, MAX_REQUEST, Requester, SealedEvaluationRequest, context,
};
use dispers_crypto::{
    dealing::KeyShare,
    envelope::EnvelopeSecretKey,
    oprf::{self, Evaluation},
};
use dispers_node::{Node, now, rng};

use crate::{Config, Error};

const HOUR: u64 = 3_600_000;

/// What one requester used of the current hour.
struct Used {
    since: Timestamp,
    concepts: u32,
}

/// A Concept Indexor. Its method computes; the service runs it off the executor.
pub struct Indexor {
    node: Arc<Node>,
    envelope: EnvelopeSecretKey,
    share: KeyShare,
    /// The share of the key epoch before, where it is another.
    previous: Option<KeyShare>,
    member: MemberNumber,
    limit: u32,
    used: Mutex<HashMap<Requester, Used>>,
}

impl Indexor {
    /// # Errors
    /// [`Error::NotListed`] when the directory gives this node no such place.
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

    /// Evaluates with this share for the key epoch before, while the directory lists it.
    #[must_use]
    pub fn with_previous(mut self, share: Option<KeyShare>) -> Self {
        self.previous = share;
        self
    }

    /// The share of a listed key epoch: the one whose public part the directory lists there.
    fn share_of(&self, epoch: KeyEpoch) -> Option<&KeyShare> {
        let keys = self.node.directory.keys_of(epoch)?;
        let listed = keys.indexors.share(self.member)?;
        let shares = [Some(&self.share), self.previous.as_ref()];
        let mut shares = shares.into_iter().flatten();
        shares.find(|share| share.number() == self.member && share.public() == listed)
    }

    /// Evaluates blinded concepts for the host or querier that signed the request.
    ///
    /// # Errors
    /// [`Error`] when the request does not hold, or the requester had its share of the hour.
    pub fn evaluate(&self, sealed: &SealedEvaluationRequest) -> Result<Evaluation, Error> {
        let now = now();
        let signed = sealed.open(&self.envelope, &context(self.member), MAX_REQUEST)?;
        let request: EvaluationRequest =
            encoding::from_bytes(&signed.body, MAX_REQUEST, "evaluation request")?;
        request
            .requester
            .key(&self.node.directory)
            .ok_or(Error::UnknownRequester)?
            .verify(labels::SIGN_EVALUATION, &signed.body, &signed.signature)?;
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
        self.spend(request.requester, request.blinded.len() as u32, now)?;
        Ok(oprf::evaluate(share, &request.blinded, &mut rng())?)
    }

    fn spend(&self, requester: Requester, concepts: u32, now: Timestamp) -> Result<(), Error> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Requesters are those of the directory, so the table is bounded by it.
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
