//! The release: what is agreed on before anybody learns a number (protocol.md §9).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    directory::Directory,
    encoding,
    envelope::{Context, EnvelopeSecretKey, Sealed, reader},
    id::{BatchId, MemberNumber, Name, QueryId, Role, Work},
    keys::{BadSignature, Signature, SigningKey, VerifyingKey},
    labels,
    manifest::{SignedManifest, VerifiedManifest},
    shamir::Interpolation,
};

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
    /// Homes that the Target Finder chose.
    pub asked: u64,
    /// Contributions that are counted.
    pub accepted: u64,
    /// Fewest aggregators that verified a batch.
    pub verified: u8,
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
    /// One sum per output; `None` where fewer people than the minimum cohort stand behind it.
    pub outputs: Vec<Option<u64>>,
    /// Homes that the Target Finder chose.
    pub asked: u64,
    /// Contributions that are counted.
    pub accepted: u64,
    /// Fewest aggregators that verified a batch.
    pub verified: u8,
    /// Aggregators whose totals were opened and agree.
    pub aggregators: Vec<Name>,
}

/// Why totals give no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Too few totals open.
    #[error("{opened} totals open, {needed} are needed")]
    TooFew {
        /// How many open and are signed.
        opened: usize,
        /// How many are needed.
        needed: usize,
    },
    /// They contradict each other.
    #[error("the totals of the aggregators contradict each other: at least one of them lies")]
    Contradiction,
}

/// Opens the totals of one committee and interpolates them.
///
/// # Errors
/// [`ReleaseError`] when fewer than the threshold open, or when they are not all shares of one
/// result.
pub fn open_totals(
    manifest: &VerifiedManifest,
    committee: u16,
    totals: &[(MemberNumber, SealedTotal)],
    secret: &EnvelopeSecretKey,
    directory: &Directory,
) -> Result<Released, ReleaseError> {
    let query = manifest.query();
    let mut opened: Vec<(Total, Name)> = Vec::new();
    for (member, sealed) in totals {
        let Some(node) = directory.member(Role::DataAggregator, committee, *member) else {
            continue;
        };
        let Ok(signed) = sealed.open(
            secret,
            &Total::context(query, committee, *member),
            MAX_TOTAL,
        ) else {
            continue;
        };
        if node
            .signing_key
            .verify(labels::SIGN_TOTAL, &signed.body, &signed.signature)
            .is_err()
        {
            continue;
        }
        let Ok(total) = encoding::from_bytes::<Total>(&signed.body, MAX_TOTAL, "total") else {
            continue;
        };
        let expected = total.query == query
            && total.committee == committee
            && total.member == *member
            && total.outputs.len() == manifest.circuit().outputs().len()
            && opened.iter().all(|(other, _)| other.member != *member);
        if expected {
            opened.push((total, node.name.clone()));
        }
    }
    let needed = manifest
        .committees
        .get(usize::from(committee))
        .map_or(usize::MAX, |terms| usize::from(terms.needed));
    let Some(((first, _), rest)) = opened.split_first().filter(|_| opened.len() >= needed) else {
        return Err(ReleaseError::TooFew {
            opened: opened.len(),
            needed,
        });
    };
    let agree = rest.iter().all(|(total, _)| {
        let mask = |total: &Total| {
            total
                .outputs
                .iter()
                .map(Option::is_some)
                .collect::<Vec<_>>()
        };
        (total.round, total.proposal, total.asked, total.accepted)
            == (first.round, first.proposal, first.asked, first.accepted)
            && mask(total) == mask(first)
    });
    if !agree {
        return Err(ReleaseError::Contradiction);
    }
    let points: Vec<MemberNumber> = opened.iter().map(|(total, _)| total.member).collect();
    let interpolation =
        Interpolation::new(&points, needed).map_err(|_| ReleaseError::Contradiction)?;
    let mut outputs = Vec::with_capacity(first.outputs.len());
    for index in 0..first.outputs.len() {
        let shares: Option<Vec<u64>> = opened
            .iter()
            .map(|(total, _)| total.outputs[index])
            .collect();
        outputs.push(match shares {
            None => None,
            Some(shares) if interpolation.consistent(&shares) => {
                Some(interpolation.at_zero(&shares))
            }
            Some(_) => return Err(ReleaseError::Contradiction),
        });
    }
    Ok(Released {
        outputs,
        asked: first.asked,
        accepted: first.accepted,
        verified: opened.iter().map(|(t, _)| t.verified).min().unwrap_or(0),
        aggregators: opened.into_iter().map(|(_, name)| name).collect(),
    })
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
