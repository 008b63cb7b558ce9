//! The release: what is agreed on before anybody learns a number (protocol.md §9).

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    manifest::{Manifest, SignedManifest, VerifiedManifest},
    ticket::FindId,
};
use dispers_base::{
    encoding, field,
    id::{AggregatorId, BatchId, MemberNumber, Name, QueryId, Role, Work},
    keys::{BadSignature, Signature, SigningKey, VerifyingKey},
    labels,
    weakness::{self, Weakness},
};
use dispers_circuit::Circuit;
use dispers_crypto::{
    envelope::{Context, EnvelopeSecretKey, Sealed, reader},
    shamir::Interpolation,
};
use dispers_privacy::{Noise, Privacy, PrivacyError};
use dispers_trust::directory::Directory;

/// Largest encoded proposal, in bytes.
pub const MAX_PROPOSAL: usize = 16 << 20;
/// Largest encoded total, in bytes.
pub const MAX_TOTAL: usize = 1 << 20;

/// An aggregator's word on a prepared batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Acknowledgement {
    /// Which aggregator.
    pub member: MemberNumber,
    /// The batch.
    pub work: Work,
    /// Hash of D, the quorum, the bitmap and all messages.
    pub decision: [u8; 32],
    /// Contributions that are counted.
    pub accepted: u32,
}

/// An acknowledgement with its signature.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedAcknowledgement {
    /// What is acknowledged.
    pub body: Acknowledgement,
    signature: Signature,
}

impl SignedAcknowledgement {
    /// Signs an acknowledgement.
    pub fn new(body: Acknowledgement, key: &SigningKey) -> Self {
        let signature = key.sign(labels::SIGN_ACKNOWLEDGEMENT, &encoding::to_bytes(&body));
        Self { body, signature }
    }

    /// Returns whether `aggregator`, as the directory lists it, signed this acknowledgement.
    ///
    /// The Conductor checks this before it hands an acknowledgement on. Every aggregator refuses to commit with one that
    /// has no valid signature, and would be excluded for that.
    pub fn is_signed_by(&self, aggregator: AggregatorId, directory: &Directory) -> bool {
        let AggregatorId { committee, member } = aggregator;
        let node = directory.member(Role::DataAggregator, committee, member);
        weakness::off(Weakness::FalseAcknowledgementEvicts)
            || node.is_some_and(|node| self.verify(&node.signing_key).is_ok())
    }

    /// # Errors
    /// [`BadSignature`] when `key` did not sign this body.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), BadSignature> {
        key.verify(
            labels::SIGN_ACKNOWLEDGEMENT,
            &encoding::to_bytes(&self.body),
            &self.signature,
        )
    }
}

/// One committed batch of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommittedBatch {
    /// The batch.
    pub batch: BatchId,
    /// The attempt that was committed.
    pub attempt: u8,
    /// What its quorum decided.
    pub decision: [u8; 32],
    /// Contributions that are counted.
    pub accepted: u32,
}

/// The set R of committed batches that the Conductor proposes to release.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The query.
    pub query: QueryId,
    /// The round.
    pub round: u16,
    /// The batches, in increasing order.
    pub batches: Vec<CommittedBatch>,
}

impl Proposal {
    /// What the notary signs, and all that it sees.
    pub fn hash(&self) -> [u8; 32] {
        encoding::hash(labels::HASH_RELEASE, &[&encoding::to_bytes(self)])
    }
}

#[derive(BorshSerialize)]
struct CertificateBody {
    query: QueryId,
    round: u16,
    proposal: [u8; 32],
}

/// The notary's word that this is the only release of (query, round).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// Hash of the one proposal.
    pub proposal: [u8; 32],
    signature: Signature,
}

impl Certificate {
    /// Signs. The caller keeps that it did, and never signs another for the same (query, round).
    pub fn new(query: QueryId, round: u16, proposal: [u8; 32], key: &SigningKey) -> Self {
        let body = CertificateBody {
            query,
            round,
            proposal,
        };
        Self {
            proposal,
            signature: key.sign(labels::SIGN_CERTIFICATE, &encoding::to_bytes(&body)),
        }
    }

    /// # Errors
    /// [`BadSignature`] when `key` did not certify this proposal.
    pub fn verify(&self, proposal: &Proposal, key: &VerifyingKey) -> Result<(), BadSignature> {
        if self.proposal != proposal.hash() {
            return Err(BadSignature {
                what: labels::SIGN_CERTIFICATE,
            });
        }
        let body = CertificateBody {
            query: proposal.query,
            round: proposal.round,
            proposal: self.proposal,
        };
        key.verify(
            labels::SIGN_CERTIFICATE,
            &encoding::to_bytes(&body),
            &self.signature,
        )
    }
}

/// One aggregator's share of the released totals.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct Total {
    /// The query.
    pub query: QueryId,
    /// The round.
    pub round: u16,
    /// The committee.
    pub committee: u16,
    /// Which aggregator.
    pub member: MemberNumber,
    /// Hash of the certified proposal.
    pub proposal: [u8; 32],
    /// Find of each partition that chose the homes. It must be the same for all committees.
    pub finds: Vec<(u16, FindId)>,
    /// Homes of the committee's batches.
    pub asked: u64,
    /// Contributions that are counted.
    pub accepted: u64,
    /// Fewest aggregators that verified a batch or gave a total, of a committee.
    pub verified: u8,
    /// How many dealt noise; 0 where there is none.
    pub dealers: u8,
    /// One share per output; `None` where the guard is below the cohort.
    pub outputs: Vec<Option<u64>>,
}

/// A total with its signature, inside the envelope.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct SignedTotal {
    body: Vec<u8>,
    signature: Signature,
}

/// A total as it travels to the querier.
pub type SealedTotal = Sealed<reader::Querier, SignedTotal>;

impl Total {
    /// The envelope context of one aggregator's total.
    pub fn context(query: QueryId, committee: u16, from: MemberNumber) -> Context {
        Context {
            purpose: labels::ENVELOPE_TOTAL,
            sender: Role::DataAggregator,
            binding: encoding::to_bytes(&(query, committee, from)),
        }
    }

    /// Signs.
    pub fn sign(&self, key: &SigningKey) -> SignedTotal {
        let body = encoding::to_bytes(self);
        let signature = key.sign(labels::SIGN_TOTAL, &body);
        SignedTotal { body, signature }
    }
}

/// What a querier learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The round that it is of.
    pub round: u16,
    /// One sum per output; `None` where fewer people than the minimum cohort stand behind it.
    pub outputs: Vec<Option<u64>>,
    /// Homes that the Target Finder chose.
    pub asked: u64,
    /// Contributions that are counted.
    pub accepted: u64,
    /// Fewest aggregators of a committee that verified a batch, or that gave totals.
    pub verified: u8,
    /// Number of dealers of noise in each committee; 0 without noise.
    pub dealers: Vec<u8>,
    /// Aggregators whose totals were opened and agree.
    pub aggregators: Vec<Name>,
}

/// The noise of each committee in sums of this circuit, of which so many dealt.
///
/// # Errors
/// [`PrivacyError`] when it is none that could have been dealt.
pub fn noise_of(
    manifest: &Manifest,
    circuit: &Circuit,
    privacy: &Privacy,
    dealers: &[u8],
) -> Result<Vec<Noise>, PrivacyError> {
    let sensitivities = circuit.sensitivities();
    let dealers = dealers.iter().map(|dealers| usize::from(*dealers));
    dealers
        .map(|dealers| Noise::plan(privacy, &sensitivities, manifest.needed(), dealers))
        .collect()
}

impl Released {
    /// The sums as numbers: with noise one may be below zero.
    pub fn numbers(&self, noisy: bool) -> Vec<Option<i128>> {
        let number = |sum: u64| match noisy {
            true => field::signed(sum),
            false => sum.into(),
        };
        self.outputs.iter().map(|sum| sum.map(number)).collect()
    }
}

/// Why totals give no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Too few totals open.
    #[error(
        "{opened} aggregators of a committee gave a total that opens, and {needed} are needed: submit the query again"
    )]
    TooFew {
        /// How many open and are signed.
        opened: usize,
        /// How many are needed.
        needed: usize,
    },
    /// They contradict each other.
    #[error(
        "the totals of the aggregators contradict each other: at least one of them lies, or a target finder granted them \
         different finds"
    )]
    Contradiction,
}

/// A total that opens, is signed, and is what it says to be; with the aggregator's name.
fn open_total(
    manifest: &VerifiedManifest,
    from: AggregatorId,
    sealed: &SealedTotal,
    secret: &EnvelopeSecretKey,
    directory: &Directory,
) -> Option<(Total, Name)> {
    let query = manifest.query();
    let node = directory.member(Role::DataAggregator, from.committee, from.member)?;
    let context = Total::context(query, from.committee, from.member);
    let signed = sealed.open(secret, &context, MAX_TOTAL).ok()?;
    let key = &node.signing_key;
    key.verify(labels::SIGN_TOTAL, &signed.body, &signed.signature)
        .ok()?;
    let total: Total = encoding::from_bytes(&signed.body, MAX_TOTAL, "total").ok()?;
    let expected = total.query == query
        && (total.committee, total.member) == (from.committee, from.member)
        && total.round < manifest.rounds
        && total.outputs.len() == manifest.circuit_of(total.round).outputs().len();
    expected.then(|| (total, node.name.clone()))
}

/// Returns the outputs of one committee, from totals of different members.
///
/// At least `least` totals are required, so that a liar contradicts others: exactly `needed` always agree.
fn interpolate(
    totals: &[&Total],
    needed: usize,
    least: usize,
) -> Result<Vec<Option<u64>>, ReleaseError> {
    let Some((first, rest)) = totals.split_first().filter(|_| totals.len() >= least) else {
        return Err(ReleaseError::TooFew {
            opened: totals.len(),
            needed: least,
        });
    };
    let mask = |total: &Total| -> Vec<bool> { total.outputs.iter().map(Option::is_some).collect() };
    let agree = |total: &&Total| {
        (total.asked, total.accepted, total.dealers) == (first.asked, first.accepted, first.dealers)
            && mask(total) == mask(first)
    };
    if !rest.iter().all(agree) {
        return Err(ReleaseError::Contradiction);
    }
    let points: Vec<MemberNumber> = totals.iter().map(|total| total.member).collect();
    let interpolation =
        Interpolation::new(&points, needed).map_err(|_| ReleaseError::Contradiction)?;
    let open = |index: usize| {
        let shares: Option<Vec<u64>> = totals.iter().map(|total| total.outputs[index]).collect();
        match shares {
            None => Ok(None),
            Some(shares) if interpolation.consistent(&shares) => {
                Ok(Some(interpolation.at_zero(&shares)))
            }
            Some(_) => Err(ReleaseError::Contradiction),
        }
    };
    (0..first.outputs.len()).map(open).collect()
}

/// What all committees released, added up. A number that one committee holds back is held back; runs
/// that two committees cut differently are added up to where both begin a new one.
fn add_up(circuit: &Circuit, parts: &[Vec<Option<u64>>]) -> Vec<Option<u64>> {
    let Some((first, rest)) = parts.split_first() else {
        return Vec::new();
    };
    let add = |a: u64, b: Option<u64>| field::add(a, b.unwrap_or(0));
    let place = |place: usize| {
        let others = rest.iter().map(|part| part[place]);
        others.fold(first[place], |sum, one| Some(field::add(sum?, one?)))
    };
    let mut sums: Vec<Option<u64>> = (0..first.len()).map(place).collect();
    for run in circuit.runs() {
        let whole = parts.iter().all(|part| part[run.start].is_some());
        let mut begun = run.start;
        for place in run.clone() {
            let here = parts.iter().map(|part| part[place]);
            let begins = here.clone().all(|sum| sum.is_some());
            let sum = here.fold(0, add);
            if begins {
                begun = place;
                sums[place] = Some(sum);
            } else {
                sums[place] = None;
                sums[begun] = sums[begun].map(|before| field::add(before, sum));
            }
        }
        if !whole {
            sums[run.clone()].fill(None);
        }
    }
    sums
}

/// Opens the totals of every committee of the manifest, interpolates each committee's totals, and adds them up. A
/// number that one committee withholds stays withheld.
///
/// # Errors
/// [`ReleaseError`] when fewer than the threshold of a committee open, or when they are not all
/// shares of one result.
pub fn open_totals(
    manifest: &VerifiedManifest,
    totals: &[(AggregatorId, SealedTotal)],
    secret: &EnvelopeSecretKey,
    directory: &Directory,
) -> Result<Released, ReleaseError> {
    let mut opened: BTreeMap<AggregatorId, (Total, Name)> = BTreeMap::new();
    for (from, sealed) in totals {
        if let Some(total) = open_total(manifest, *from, sealed, secret, directory) {
            opened.entry(*from).or_insert(total);
        }
    }
    let needed_of = |committee: u16| {
        let terms = manifest.committees.get(usize::from(committee));
        terms.map_or(usize::MAX, |terms| usize::from(terms.needed))
    };
    let least_of = |committee| needed_of(committee).max(usize::from(manifest.min_verified));
    let Some((first, _)) = opened.values().next() else {
        return Err(ReleaseError::TooFew {
            opened: 0,
            needed: least_of(0),
        });
    };
    let one_release = |(total, _): &(Total, Name)| {
        (total.round, total.proposal, &total.finds) == (first.round, first.proposal, &first.finds)
    };
    if !opened.values().all(one_release) {
        return Err(ReleaseError::Contradiction);
    }
    let mut released = Released {
        round: first.round,
        outputs: Vec::new(),
        asked: 0,
        accepted: 0,
        verified: u8::MAX,
        dealers: Vec::new(),
        aggregators: Vec::new(),
    };
    let mut parts = Vec::new();
    for committee in 0..manifest.committees.len() as u16 {
        let of = opened
            .iter()
            .filter(|(from, _)| from.committee == committee);
        let (names, of): (Vec<&Name>, Vec<&Total>) = of.map(|(_, (t, name))| (name, t)).unzip();
        let outputs = interpolate(&of, needed_of(committee), least_of(committee))?;
        parts.push(outputs);
        if let Some(total) = of.first() {
            released.asked += total.asked;
            released.accepted += total.accepted;
            released.dealers.push(total.dealers);
        }
        // A liar can change a sum of exactly t totals, whoever verified the contributions.
        let totals = u8::try_from(of.len()).unwrap_or(u8::MAX);
        let verified = of.iter().map(|total| total.verified).min();
        released.verified = released.verified.min(verified.unwrap_or(0)).min(totals);
        released.aggregators.extend(names.into_iter().cloned());
    }
    released.outputs = add_up(manifest.circuit_of(first.round), &parts);
    Ok(released)
}

/// What the Conductor asks the notary: a proposal's hash, never its content.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct NotariseRequest {
    /// The query.
    pub manifest: SignedManifest,
    /// The round.
    pub round: u16,
    /// Hash of the proposal.
    pub proposal: [u8; 32],
}
