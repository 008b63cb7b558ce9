//! Noise that aggregators deal to each other, so that released sums are already noisy and no party knows the noise
//! (protocol.md §9).
//!
//! The noise of each dealer is a contribution: shared, with a proof that it is within its public bound. The deals of a
//! committee go the way of a batch, from frozen to committed, under a work of their own.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;

use super::{Aggregation, AggregationError, AggregatorKeys, batch::Contributions};
use crate::{
    ask::{SealedGroup, allows, group_digest},
    manifest::VerifiedManifest,
    peer::PeerMessage,
};
use dispers_base::{
    encoding, field,
    id::{AggregatorId, BatchId, MemberNumber, Role, Work},
    keys::{Signature, SigningKey},
    labels,
    signed::Statement,
    weakness::{self, Weakness},
};
use dispers_circuit::{
    Circuit,
    contribution::{Contribution, HeldGroup, share},
};
use dispers_crypto::envelope::Context;
use dispers_privacy::{Noise, dealers_of};
use dispers_trust::directory::Directory;

/// Largest encoded deal, in bytes.
pub const MAX_DEAL: usize = 128 << 20;

/// Request of the Conductor to a dealer.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct DealRequest {
    /// Work of the committee's noise, with the attempt.
    pub work: Work,
    /// All dealers of this attempt, in increasing order. The noise of each depends on their number.
    pub dealers: Vec<MemberNumber>,
}

/// Statement about a deal, which the dealer signs.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct DealStatement {
    /// Number of the dealer.
    pub dealer: MemberNumber,
    /// Request that the deal answers.
    pub request: DealRequest,
    /// Digests of the sealed shares, one per aggregator with an offer, in committee order.
    pub digests: Vec<[u8; 32]>,
}

/// Noise of one dealer, as a share for each aggregator with an offer, in committee order.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct Deal {
    /// Signed statement about the deal.
    pub statement: DealStatement,
    /// Signature of the dealer.
    pub signature: Signature,
    /// Sealed shares.
    pub shares: Vec<SealedGroup>,
}

impl Deal {
    /// Returns whether the dealer signed exactly these shares, one of at most `largest` bytes for each of `offers`
    /// aggregators, for this request.
    ///
    /// A share that is too large would make the request to its reader too large, which then fails its step.
    pub(crate) fn is_for(
        &self,
        request: &DealRequest,
        dealer: MemberNumber,
        offers: usize,
        largest: usize,
    ) -> bool {
        let digests = self.shares.iter().map(group_digest);
        self.statement.is_for(request, dealer, offers)
            && self.shares.len() == offers
            && self.shares.iter().all(|share| share.len() <= largest)
            && digests.eq(self.statement.digests.iter().copied())
    }

    /// Returns whether the dealer, as the directory lists it, signed the statement.
    ///
    /// The Conductor checks this before it hands a deal on. Every aggregator refuses a statement that its dealer did
    /// not sign, and an aggregator that fails its step is excluded, so that one dealer could exclude all others.
    pub fn is_signed_by(&self, dealer: AggregatorId, directory: &Directory) -> bool {
        weakness::off(Weakness::FalseDealsEvict)
            || self
                .statement
                .is_signed_by(dealer, &self.signature, directory)
    }
}

/// Deals of an attempt, on their way to one aggregator.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct DealtRequest {
    /// Request that the dealers answered.
    pub request: DealRequest,
    /// Statement of each dealer, its signature, and the share for the reader, in order of the dealers.
    pub deals: Vec<(DealStatement, Signature, SealedGroup)>,
}

impl DealtRequest {
    /// Collects the shares for the aggregator at `position` among those with an offer. Returns `None` if a deal has no
    /// such share.
    pub fn for_reader(request: &DealRequest, deals: &[Deal], position: usize) -> Option<Self> {
        let shares = deals.iter().map(|deal| {
            let share = deal.shares.get(position)?.clone();
            Some((deal.statement.clone(), deal.signature, share))
        });
        Some(Self {
            request: request.clone(),
            deals: shares.collect::<Option<_>>()?,
        })
    }
}

/// Form of a batch's shares: answers of homes, or dealt noise.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) circuit: Arc<Circuit>,
    /// Dealers, by index; empty for the answers of homes.
    pub(super) dealers: Vec<MemberNumber>,
    /// Numbers to subtract from the sums of dealt levels, one per output, so that they are sums of noise.
    pub(super) offsets: Vec<u64>,
}

impl Reading {
    /// Returns the form of the answers of homes.
    pub(super) fn of_homes(circuit: &Arc<Circuit>) -> Self {
        Self {
            circuit: circuit.clone(),
            dealers: Vec::new(),
            offsets: Vec::new(),
        }
    }
}

/// Public bounds of one dealer's noise.
struct Terms {
    noise: Noise,
    /// Moment of each output.
    moments: Vec<usize>,
    bounds: Vec<u64>,
    circuit: Arc<Circuit>,
}

impl Statement for DealStatement {
    const LABEL: &'static str = labels::SIGN_DEAL;
}

impl DealStatement {
    /// Returns whether the statement is `dealer`'s, for this request, and covers a share for each of `offers`
    /// aggregators.
    fn is_for(&self, request: &DealRequest, dealer: MemberNumber, offers: usize) -> bool {
        self.dealer == dealer
            && encoding::to_bytes(&self.request) == encoding::to_bytes(request)
            && self.digests.len() == offers
    }

    fn is_signed_by(
        &self,
        dealer: AggregatorId,
        signature: &Signature,
        directory: &Directory,
    ) -> bool {
        let node = directory.member(Role::DataAggregator, dealer.committee, dealer.member);
        let bytes = encoding::to_bytes(self);
        node.is_some_and(|node| {
            let key = &node.signing_key;
            key.verify(Self::LABEL, &bytes, signature).is_ok()
        })
    }

    pub(crate) fn signed_by(&self, key: &SigningKey) -> Signature {
        key.sign(Self::LABEL, &encoding::to_bytes(self))
    }
}

/// Returns the envelope context of a dealer's share for one reader. It binds the request, so that the share opens only
/// in this attempt and beside the same dealers.
fn context(request: &DealRequest, committee: u16, from: MemberNumber, to: MemberNumber) -> Context {
    Context {
        purpose: labels::ENVELOPE_DEAL,
        sender: Role::DataAggregator,
        binding: encoding::to_bytes(&(request, committee, from, to)),
    }
}

impl Aggregation {
    /// Draws noise and deals a share of it to each aggregator with an offer, including this one. A repetition deals
    /// other noise; only the noise that all aggregators freeze counts.
    ///
    /// # Errors
    /// [`AggregationError`] when the query has no noise, or this aggregator is no dealer of the request.
    pub fn deal(
        &self,
        request: &DealRequest,
        keys: &AggregatorKeys<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Deal, AggregationError> {
        let terms = self.terms(request)?;
        if self.secret.is_none() || !request.dealers.contains(&self.me) {
            return Err(AggregationError::WrongStep);
        }
        let scales = terms.noise.scales();
        let drawn = terms
            .moments
            .iter()
            .map(|moment| scales[*moment].sample(rng));
        let noise: Vec<i64> = drawn.collect();
        let input = Circuit::encode_noise(&terms.bounds, &noise);
        self.deal_elements(request, &terms, &input, keys, rng)
    }

    /// Shares and seals the elements `input` without a check that they encode noise.
    fn deal_elements(
        &self,
        request: &DealRequest,
        terms: &Terms,
        input: &[u64],
        keys: &AggregatorKeys<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Deal, AggregationError> {
        let committee = self.channel.committee;
        let offers: Vec<_> = self.manifest.offers(committee).collect();
        let points: Vec<MemberNumber> = offers.iter().map(|(member, _)| *member).collect();
        // Noise needs no tickets: the dealer's signature covers each share.
        let tags = vec![[0; 16]; points.len()];
        let mut dealers = (0u32..).zip(&request.dealers);
        let place = dealers.find(|(_, dealer)| **dealer == self.me);
        let index = place.map_or(0, |(index, _)| index);
        let contribution = Contribution::new(index, tags, input);
        let groups = share(&terms.circuit, &[contribution], &points, self.needed, rng)
            .map_err(|_| AggregationError::NoOffer)?;
        let shares: Vec<SealedGroup> = groups
            .iter()
            .zip(&offers)
            .map(|(group, (to, key))| {
                let mut bytes = group.encode();
                let context = context(request, committee, self.me, *to);
                SealedGroup::seal_bytes(std::mem::take(&mut *bytes), key, &context, rng)
            })
            .collect();
        let statement = DealStatement {
            dealer: self.me,
            request: request.clone(),
            digests: shares.iter().map(group_digest).collect(),
        };
        Ok(Deal {
            signature: statement.signed_by(keys.signing),
            statement,
            shares,
        })
    }

    /// Takes the deals of an attempt and freezes them, as those of a batch. Returns this aggregator's share of the
    /// randomness, sealed for each other aggregator. A share that does not open is absent: the decision then names its
    /// dealer, or a dispute (protocol.md §9).
    ///
    /// # Errors
    /// [`AggregationError::FalseDeal`] when a statement is missing, forged or about other noise.
    pub fn open_deals(
        &mut self,
        dealt: DealtRequest,
        keys: &AggregatorKeys<'_>,
        directory: &Directory,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<PeerMessage>, AggregationError> {
        let DealtRequest { request, deals } = dealt;
        let terms = self.terms(&request)?;
        let secret = self.secret.clone().ok_or(AggregationError::WrongStep)?;
        let committee = self.channel.committee;
        let offers = self.manifest.offers(committee);
        let offers: Vec<MemberNumber> = offers.map(|(member, _)| member).collect();
        let mine = offers
            .iter()
            .position(|member| *member == self.me)
            .ok_or(AggregationError::NoOffer)?;
        if deals.len() != request.dealers.len() {
            return Err(AggregationError::WrongWork);
        }
        let mut statements = Vec::with_capacity(deals.len());
        let mut groups = Vec::with_capacity(deals.len());
        for (dealer, (statement, signature, share)) in request.dealers.iter().zip(deals) {
            let bytes = encoding::to_bytes(&statement);
            let from = AggregatorId {
                committee,
                member: *dealer,
            };
            let signed = statement.is_signed_by(from, &signature, directory);
            if !signed || !statement.is_for(&request, *dealer, offers.len()) {
                return Err(AggregationError::FalseDeal { dealer: *dealer });
            }
            // D covers the digests in the statements, so that only the bytes with the signed digest may be read.
            let sealed = statement.digests[mine] == group_digest(&share);
            let context = context(&request, committee, *dealer, self.me);
            let opened = share.open_bytes(&secret, &context).ok();
            let held = opened
                .filter(|_| sealed)
                .and_then(|bytes| HeldGroup::decode(bytes, terms.circuit.share_len(), 1).ok());
            statements.push(bytes);
            groups.push(held);
        }
        let parts: Vec<&[u8]> = statements.iter().map(Vec::as_slice).collect();
        // D covers all statements, and so the shares for every aggregator.
        let digest = encoding::hash(labels::HASH_DEALS, &parts);
        let contributions = Contributions::dealt(terms.circuit.share_len(), groups);
        let reading = terms.reading(&request.dealers);
        self.freeze_with(request.work, digest, contributions, reading, keys, rng)
    }

    /// Checks a request to deal, and returns the bounds of one dealer's noise.
    fn terms(&self, request: &DealRequest) -> Result<Terms, AggregationError> {
        let committee = self.channel.committee;
        let privacy = self.manifest.round_privacy(request.work.round);
        let privacy = &privacy.ok_or(AggregationError::WrongWork)?;
        let dealers = &request.dealers;
        // With fewer dealers than this kind of noise needs, t−1 colluding dealers could take off so much that too
        // little is left.
        let listed = dealers.windows(2).all(|pair| pair[0] < pair[1])
            && dealers.iter().all(|dealer| {
                let mut offers = self.manifest.offers(committee);
                offers.any(|(member, _)| member == *dealer)
            })
            && dealers.len() >= self.needed
            && dealers.len() == dealers_of(privacy, self.needed, dealers.len());
        if request.work.batch != BatchId::noise(committee)
            || !allows(&self.manifest, request.work)
            || !listed
        {
            return Err(AggregationError::WrongWork);
        }
        Terms::new(
            &self.manifest,
            request.work.round,
            self.needed,
            dealers.len(),
        )
    }
}

/// Returns the circuit of one dealer's noise if `dealers` aggregators deal. Returns `None` if the round has no noise,
/// or none that `dealers` aggregators can deal.
pub(crate) fn noise_circuit(
    manifest: &VerifiedManifest,
    round: u16,
    needed: usize,
    dealers: usize,
) -> Option<Arc<Circuit>> {
    let terms = Terms::new(manifest, round, needed, dealers);
    terms.ok().map(|terms| terms.circuit)
}

impl Terms {
    fn new(
        manifest: &VerifiedManifest,
        round: u16,
        needed: usize,
        dealers: usize,
    ) -> Result<Self, AggregationError> {
        let privacy = manifest.round_privacy(round);
        let privacy = &privacy.ok_or(AggregationError::WrongWork)?;
        let query = manifest.circuit_of(round);
        let sensitivities = query.sensitivities();
        let noise = Noise::plan(privacy, &sensitivities, needed, dealers)
            .map_err(|_| AggregationError::WrongWork)?;
        let moments = query.moments_of_outputs();
        let bounds = Circuit::noise_bounds(noise.bounds(&moments))
            .map_err(|_| AggregationError::WrongWork)?;
        let circuit = Circuit::noise(&bounds).map_err(|_| AggregationError::WrongWork)?;
        Ok(Self {
            noise,
            moments,
            bounds,
            circuit: Arc::new(circuit),
        })
    }

    fn reading(&self, dealers: &[MemberNumber]) -> Reading {
        let count = dealers.len() as u64;
        let offsets = self.bounds.iter().map(|bound| field::mul(count, *bound));
        Reading {
            circuit: self.circuit.clone(),
            dealers: dealers.to_vec(),
            offsets: offsets.collect(),
        }
    }
}

#[cfg(test)]
impl Aggregation {
    /// Deals noise whose first element is no bit, so that it is beyond its bound.
    pub(crate) fn forge_deal(
        &self,
        request: &DealRequest,
        keys: &AggregatorKeys<'_>,
        rng: &mut impl CryptoRng,
    ) -> Deal {
        let terms = self.terms(request).expect("a request that holds");
        let mut input = Circuit::encode_noise(&terms.bounds, &[]);
        input[0] = 1 << 30;
        self.deal_elements(request, &terms, &input, keys, rng)
            .expect("it deals")
    }
}
