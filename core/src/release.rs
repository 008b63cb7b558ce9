//! The release: the agreement that precedes it, and the sums that the querier opens (protocol.md §9).

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    manifest::{Manifest, SignedManifest, VerifiedManifest},
    ticket::FindId,
};
use dispers_base::{
    encoding::{self, Message},
    field,
    id::{AggregatorId, BatchId, MemberNumber, Name, QueryId, Role, Work},
    keys::{BadSignature, Signature, SigningKey, VerifyingKey},
    labels,
    signed::{Signed, SignedValue, Statement},
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

/// An aggregator's statement of what its quorum decided about a prepared batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Acknowledgement {
    /// Aggregator that acknowledges.
    pub member: MemberNumber,
    /// Work that was decided: the query, round, batch and attempt.
    pub work: Work,
    /// Hash of D, the quorum, the bitmap and all messages.
    pub decision: [u8; 32],
    /// Number of counted contributions.
    pub accepted: u32,
}

impl Statement for Acknowledgement {
    const LABEL: &'static str = labels::SIGN_ACKNOWLEDGEMENT;
}

/// An acknowledgement with the aggregator's signature.
pub type SignedAcknowledgement = SignedValue<Acknowledgement>;

/// Returns whether `aggregator`, as the directory lists it, signed this acknowledgement.
///
/// The Conductor checks this before it hands an acknowledgement on. Every aggregator refuses to commit with one that
/// has no valid signature, and would be excluded for that.
pub fn is_acknowledged_by(
    aggregator: AggregatorId,
    acknowledgement: &SignedAcknowledgement,
    directory: &Directory,
) -> bool {
    let AggregatorId { committee, member } = aggregator;
    let node = directory.member(Role::DataAggregator, committee, member);
    weakness::off(Weakness::FalseAcknowledgementEvicts)
        || node.is_some_and(|node| acknowledgement.verify(&node.signing_key).is_ok())
}

/// One committed batch of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommittedBatch {
    /// Name of the batch.
    pub batch: BatchId,
    /// Attempt that was committed.
    pub attempt: u8,
    /// Hash of the quorum's decision.
    pub decision: [u8; 32],
    /// Number of counted contributions.
    pub accepted: u32,
}

/// The set R of committed batches that the Conductor proposes to release.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// Query to release.
    pub query: QueryId,
    /// Round to release.
    pub round: u16,
    /// Committed batches, in increasing order.
    pub batches: Vec<CommittedBatch>,
}

impl Proposal {
    /// Returns the hash that the notary signs. The notary sees nothing else of the proposal.
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

impl Statement for CertificateBody {
    const LABEL: &'static str = labels::SIGN_CERTIFICATE;
}

/// The notary's signature, which says that this proposal is the only release of (query, round).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// Hash of the certified proposal.
    pub proposal: [u8; 32],
    signature: Signature,
}

impl Certificate {
    /// Signs a certificate. The caller must have stored that it certifies this proposal, and must never sign another
    /// one for the same (query, round).
    pub fn new(query: QueryId, round: u16, proposal: [u8; 32], key: &SigningKey) -> Self {
        let body = CertificateBody {
            query,
            round,
            proposal,
        };
        Self {
            proposal,
            signature: key.sign(CertificateBody::LABEL, &encoding::to_bytes(&body)),
        }
    }

    /// Verifies that the notary, whose key is `key`, certified `proposal`.
    ///
    /// # Errors
    pub fn verify(&self, proposal: &Proposal, key: &VerifyingKey) -> Result<(), BadSignature> {
        // The signature covers the hash in the certificate, so that this hash must be the one of the proposal at hand.
        if self.proposal != proposal.hash() {
            return Err(BadSignature {
                what: CertificateBody::LABEL,
            });
        }
        let body = CertificateBody {
            query: proposal.query,
            round: proposal.round,
            proposal: self.proposal,
        };
        key.verify(
            CertificateBody::LABEL,
            &encoding::to_bytes(&body),
            &self.signature,
        )
    }
}

/// One aggregator's share of the released totals.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct Total {
    /// Query of the release.
    pub query: QueryId,
    /// Round of the release.
    pub round: u16,
    /// Committee of the aggregator.
    pub committee: u16,
    /// Number of the aggregator.
    pub member: MemberNumber,
    /// Hash of the certified proposal.
    pub proposal: [u8; 32],
    /// Number of each partition, with the find that chose its homes. All committees must name the same finds.
    pub finds: Vec<(u16, FindId)>,
    /// Number of homes in the committee's batches. In a noisy query, and where the exact number would give few homes
    /// away, it has noise and is rounded to the cohort (protocol.md §9).
    pub asked: u64,
    /// Number of counted contributions, with noise and rounded where `asked` is.
    pub accepted: u64,
    /// Smallest number of aggregators that verified one of the committee's batches.
    pub verified: u8,
    /// Number of dealers of noise; 0 without noise.
    pub dealers: u8,
    /// Shares of the sums, one per output; `None` where the aggregator withholds the output.
    pub outputs: Vec<Option<u64>>,
}

impl Statement for Total {
    const LABEL: &'static str = labels::SIGN_TOTAL;
}

impl Message for Total {
    const NAME: &'static str = "total";
    const LIMIT: usize = 1 << 20;
}

/// A total with the aggregator's signature, inside the envelope.
pub type SignedTotal = Signed<Total>;

/// A total as it travels to the querier.
pub type SealedTotal = Sealed<reader::Querier, SignedTotal>;

impl Total {
    /// Returns the envelope context of the total of aggregator `from`.
    pub fn context(query: QueryId, committee: u16, from: MemberNumber) -> Context {
        Context {
            purpose: labels::ENVELOPE_TOTAL,
            sender: Role::DataAggregator,
            binding: encoding::to_bytes(&(query, committee, from)),
        }
    }
}

/// The result as the querier reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Round of the result.
    pub round: u16,
    /// Sums, one per output; `None` where an aggregator withheld the output, because too few people stand behind it or
    /// because it would give such a count away.
    pub outputs: Vec<Option<u64>>,
    /// Number of homes that were asked, as the aggregators say it.
    pub asked: u64,
    /// Number of counted contributions.
    pub accepted: u64,
    /// Smallest number of aggregators of a committee that verified a batch or gave totals.
    pub verified: u8,
    /// Number of dealers of noise in each committee; 0 without noise.
    pub dealers: Vec<u8>,
    /// Names of the aggregators whose totals opened and agree.
    pub aggregators: Vec<Name>,
}

/// Returns the noise in the sums of `circuit`, one per committee. `dealers` has the number of dealers of each
/// committee, in committee order.
///
/// # Errors
/// [`PrivacyError`] when no noise with these parameters and this number of dealers could have been dealt.
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
    /// Returns the sums as numbers. A noisy sum may be below zero.
    pub fn numbers(&self, noisy: bool) -> Vec<Option<i128>> {
        let outputs = self.outputs.iter().copied();
        let numbers = outputs.map(|sum| match noisy {
            true => sum.map(field::signed),
            false => sum.map(i128::from),
        });
        numbers.collect()
    }
}

/// Reason why totals give no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Too few totals open.
    #[error(
        "{opened} aggregators of a committee gave a total that opens, and {needed} are needed: submit the query again"
    )]
    TooFew {
        /// Number of totals of the committee that open and are signed.
        opened: usize,
        /// Number of totals that are needed.
        needed: usize,
    },
    /// The totals contradict each other.
    #[error(
        "the totals of the aggregators contradict each other: at least one of them lies, or a target finder granted them \
         different finds"
    )]
    Contradiction,
}

/// Opens one aggregator's total, verifies its signature, and checks that it is about this query, this aggregator and a
/// circuit of this manifest. Returns the total with the aggregator's name, or `None` if any check fails.
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
    let signed = sealed.open(secret, &context, SignedTotal::LIMIT).ok()?;
    signed.verify_signature(&node.signing_key).ok()?;
    let total = signed.unverified().ok()?;
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
    // Any t shares lie on one polynomial of degree t−1. Only a further share can show that one of them is wrong.
    let Some((first, rest)) = totals.split_first().filter(|_| totals.len() >= least) else {
        return Err(ReleaseError::TooFew {
            opened: totals.len(),
            needed: least,
        });
    };
    // Honest aggregators decide alike what to withhold and how many homes counted: a difference shows a liar.
    let agree = rest.iter().all(|total| {
        let released = total.outputs.iter().map(Option::is_some);
        (total.asked, total.accepted, total.dealers) == (first.asked, first.accepted, first.dealers)
            && released.eq(first.outputs.iter().map(Option::is_some))
    });
    if !agree {
        return Err(ReleaseError::Contradiction);
    }
    let points: Vec<MemberNumber> = totals.iter().map(|total| total.member).collect();
    let interpolation =
        Interpolation::new(&points, needed).map_err(|_| ReleaseError::Contradiction)?;
    let opened = (0..first.outputs.len()).map(|index| {
        let shares: Option<Vec<u64>> = totals.iter().map(|total| total.outputs[index]).collect();
        match shares {
            None => Ok(None),
            Some(shares) if interpolation.consistent(&shares) => {
                Ok(Some(interpolation.at_zero(&shares)))
            }
            Some(_) => Err(ReleaseError::Contradiction),
        }
    });
    opened.collect()
}

/// Adds the sums of all committees. A number that one committee withholds is withheld in the result. In a run of
/// counted levels, `None` means that a level is merged into the one before it: levels that two committees merge
/// differently are added up to the next level at which all committees begin a new number.
fn add_up(circuit: &Circuit, parts: &[Vec<Option<u64>>]) -> Vec<Option<u64>> {
    let Some((first, rest)) = parts.split_first() else {
        return Vec::new();
    };
    let sums = (0..first.len()).map(|place| {
        let others = rest.iter().map(|part| part[place]);
        others.fold(first[place], |sum, one| Some(field::add(sum?, one?)))
    });
    let mut sums: Vec<Option<u64>> = sums.collect();
    for run in circuit.runs() {
        // A run is added up from its first level on: without one committee's first number, no sum of the run would be
        // right.
        let whole = parts.iter().all(|part| part[run.start].is_some());
        let mut begun = run.start;
        for place in run.clone() {
            let here = parts.iter().map(|part| part[place]);
            let begins = here.clone().all(|sum| sum.is_some());
            let sum = here.fold(0, |sum, one| field::add(sum, one.unwrap_or(0)));
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
/// [`ReleaseError::TooFew`] when fewer totals of a committee open than the threshold and the manifest's `min_verified`
/// need. [`ReleaseError::Contradiction`] when the totals are not all shares of one result.
pub fn open_totals(
    manifest: &VerifiedManifest,
    totals: &[(AggregatorId, SealedTotal)],
    secret: &EnvelopeSecretKey,
    directory: &Directory,
) -> Result<Released, ReleaseError> {
    let mut opened: BTreeMap<AggregatorId, (Total, Name)> = BTreeMap::new();
    for (from, sealed) in totals {
        // A total that does not open or is not signed counts as missing: the Conductor can lose it anyway.
        if let Some(total) = open_total(manifest, *from, sealed, secret, directory) {
            opened.entry(*from).or_insert(total);
        }
    }
    let min_verified = usize::from(manifest.min_verified);
    let Some((first, _)) = opened.values().next() else {
        return Err(ReleaseError::TooFew {
            opened: 0,
            needed: manifest.needed_of(0).max(min_verified),
        });
    };
    // Totals of two proposals or of two finds must not be added: a home could be in both.
    let one_release = opened.values().all(|(total, _)| {
        (total.round, total.proposal, &total.finds) == (first.round, first.proposal, &first.finds)
    });
    if !one_release {
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
        let of_committee = opened
            .iter()
            .filter(|(from, _)| from.committee == committee);
        let (names, totals): (Vec<&Name>, Vec<&Total>) =
            of_committee.map(|(_, (total, name))| (name, total)).unzip();
        let needed = manifest.needed_of(committee);
        let outputs = interpolate(&totals, needed, needed.max(min_verified))?;
        parts.push(outputs);
        if let Some(total) = totals.first() {
            released.asked += total.asked;
            released.accepted += total.accepted;
            released.dealers.push(total.dealers);
        }
        // A liar can change a sum of exactly t totals, whoever verified the contributions.
        let count = u8::try_from(totals.len()).unwrap_or(u8::MAX);
        let verified = totals.iter().map(|total| total.verified).min();
        released.verified = released.verified.min(verified.unwrap_or(0)).min(count);
        released.aggregators.extend(names.into_iter().cloned());
    }
    released.outputs = add_up(manifest.circuit_of(first.round), &parts);
    Ok(released)
}

/// Request of the Conductor to the notary. It has the hash of the proposal and never its content.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct NotariseRequest {
    /// Manifest of the query.
    pub manifest: SignedManifest,
    /// Round to release.
    pub round: u16,
    /// Hash of the proposal.
    pub proposal: [u8; 32],
}
