//! One attempt at one batch: Frozen → Verifying → Prepared, then committed (protocol.md §8).

use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, Read, Write},
};
use zeroize::{Zeroize, Zeroizing};

use super::{
    AggregationError, Quorum,
    verdicts::{Column, MESSAGE, Verdicts, bit, suspect},
};
use crate::{
    ask::{SealedGroup, group_context},
    circuit::{Circuit, Verifier},
    contribution::GroupShare,
    dealing::ThresholdKey,
    encoding,
    envelope::EnvelopeSecretKey,
    field,
    find::Grant,
    id::{MemberNumber, Work},
    keys::SigningKey,
    labels,
    peer::{Channel, OpenedPeer, PeerContent, SignedPeer},
    prf::{self, PrfShare},
    release::{Acknowledgement, SignedAcknowledgement},
    ticket::TagStream,
};

/// The shares of one batch, by index.
pub(super) struct Contributions {
    share_len: usize,
    /// For each index, which share is its own; `None` where absent, untagged or claimed twice.
    slots: Vec<Option<u32>>,
    shares: Vec<u64>,
}

impl Drop for Contributions {
    fn drop(&mut self) {
        self.shares.zeroize();
    }
}

impl Contributions {
    pub(super) fn share(&self, index: usize) -> Option<&[u64]> {
        let start = *self.slots.get(index)?.as_ref()? as usize * self.share_len;
        self.shares.get(start..start + self.share_len)
    }

    /// One bit per index, low bit first.
    fn present(&self) -> Vec<u8> {
        let mut bits = vec![0u8; self.slots.len().div_ceil(8)];
        for (index, slot) in self.slots.iter().enumerate() {
            bits[index / 8] |= u8::from(slot.is_some()) << (index % 8);
        }
        bits
    }
}

/// Opens the groups and keeps what carries its own valid tag. A group that does not open, and a
/// contribution without a valid tag, is left out alone; an index that is claimed twice is dropped.
#[expect(
    clippy::too_many_arguments,
    reason = "one call, from the state machine"
)]
pub(super) fn open_groups(
    groups: &[SealedGroup],
    work: Work,
    committee: u16,
    me: MemberNumber,
    secret: &EnvelopeSecretKey,
    grant: &Grant,
    count: u32,
    share_len: usize,
) -> Contributions {
    let context = group_context(work, committee, me);
    let tags = TagStream::new(&grant.key, work.batch);
    let mut claims = vec![0u8; count as usize];
    let mut slots = vec![None; count as usize];
    let mut shares = Vec::new();
    let mut kept = 0u32;
    for group in groups {
        let limit = group.ciphertext().len();
        let Ok(bytes) = group.open_bytes(secret, &context, limit) else {
            continue;
        };
        let Ok(group) = GroupShare::decode(&bytes, share_len, count as usize) else {
            continue;
        };
        let (entries, expanded) = group.expand(share_len);
        for (entry, share) in entries.iter().zip(expanded.chunks_exact(share_len)) {
            let index = entry.index as usize;
            let Some(claim) = claims.get_mut(index) else {
                continue;
            };
            if !tags.verify(entry.index, &entry.tag) {
                continue;
            }
            *claim = claim.saturating_add(1);
            if *claim == 1 {
                slots[index] = Some(kept);
                shares.extend_from_slice(share);
                kept += 1;
            }
        }
    }
    for (slot, claim) in slots.iter_mut().zip(claims) {
        if claim > 1 {
            *slot = None;
        }
    }
    Contributions {
        share_len,
        slots,
        shares,
    }
}

/// What an attempt is frozen with, for good.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Freeze {
    pub(super) digest: [u8; 32],
    pub(super) share: PrfShare,
    /// My signed share of the randomness.
    pub(super) randomness: SignedPeer,
}

/// An attempt and how far it is.
pub(super) enum Attempt {
    Frozen(Frozen),
    Verifying(Verifying),
    /// Frozen, and its contributions were lost in a restart. The same groups open it again.
    Forgotten(Freeze),
    Prepared(Prepared),
    /// Failed, or overtaken by a later attempt. Never taken up again.
    Withdrawn,
}

impl Attempt {
    pub(super) fn holds_contributions(&self) -> bool {
        matches!(self, Self::Frozen(_) | Self::Verifying(_))
    }

    /// Whether it may still be decided.
    pub(super) fn is_open(&self) -> bool {
        self.holds_contributions() || matches!(self, Self::Forgotten(_))
    }

    /// What it is frozen with, while it may still be decided.
    pub(super) fn frozen(&self) -> Option<&Freeze> {
        match self {
            Self::Frozen(Frozen { freeze, .. })
            | Self::Verifying(Verifying { freeze, .. })
            | Self::Forgotten(freeze) => Some(freeze),
            Self::Prepared(_) | Self::Withdrawn => None,
        }
    }

    /// Why a step cannot be taken from here.
    pub(super) fn refusal(&self) -> AggregationError {
        match self {
            Self::Forgotten(_) => AggregationError::Forgotten,
            _ => AggregationError::WrongStep,
        }
    }

    pub(super) fn take_frozen(&mut self) -> Result<Frozen, AggregationError> {
        match std::mem::replace(self, Self::Withdrawn) {
            Self::Frozen(frozen) => Ok(frozen),
            other => {
                *self = other;
                Err(AggregationError::WrongStep)
            }
        }
    }

    pub(super) fn take_verifying(&mut self) -> Result<Verifying, AggregationError> {
        match std::mem::replace(self, Self::Withdrawn) {
            Self::Verifying(verifying) => Ok(verifying),
            other => {
                *self = other;
                Err(AggregationError::WrongStep)
            }
        }
    }
}

/// An attempt as it outlives a restart: a contribution is never written.
impl BorshSerialize for Attempt {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<(), Error> {
        match (self.frozen(), self) {
            (Some(freeze), _) => (0u8, freeze).serialize(writer),
            (None, Self::Prepared(prepared)) => (1u8, prepared).serialize(writer),
            (None, _) => 2u8.serialize(writer),
        }
    }
}

impl BorshDeserialize for Attempt {
    fn deserialize_reader<R: Read>(reader: &mut R) -> Result<Self, Error> {
        Ok(match u8::deserialize_reader(reader)? {
            0 => Self::Forgotten(Freeze::deserialize_reader(reader)?),
            1 => Self::Prepared(Prepared::deserialize_reader(reader)?),
            2 => Self::Withdrawn,
            _ => return Err(Error::other("no such step")),
        })
    }
}

/// D is fixed; the batch's randomness is not known yet.
pub(super) struct Frozen {
    pub(super) freeze: Freeze,
    pub(super) contributions: Contributions,
}

impl Frozen {
    /// Combines the shares of those that froze the same D.
    pub(super) fn combine(
        &self,
        me: MemberNumber,
        work: Work,
        opened: &[OpenedPeer],
        public: &ThresholdKey,
    ) -> Result<Zeroizing<[u8; 32]>, AggregationError> {
        let mut shares = vec![(me, self.freeze.share.clone())];
        for peer in opened {
            if let PeerContent::Randomness {
                work: theirs,
                digest,
                share,
            } = &peer.content
                && *theirs == work
                && *digest == self.freeze.digest
                && public
                    .share(peer.from)
                    .is_some_and(|key| share.verify(key, &work).is_ok())
            {
                shares.push((peer.from, share.clone()));
            }
        }
        prf::combine(public, &work, &shares)
            .map(Zeroizing::new)
            .map_err(|_| AggregationError::NoRandomness)
    }

    /// Compiles the verifier and applies it to every share.
    pub(super) fn verify(
        self,
        work: Work,
        me: MemberNumber,
        channel: Channel,
        circuit: &Circuit,
        seed: &[u8; 32],
        key: &SigningKey,
    ) -> (Verifying, SignedPeer) {
        let verifier = Verifier::compile(circuit, seed);
        let count = self.contributions.slots.len();
        let mut messages = vec![0u64; MESSAGE * count];
        for (index, message) in messages.chunks_exact_mut(MESSAGE).enumerate() {
            if let Some(share) = self.contributions.share(index) {
                message.copy_from_slice(&verifier.message(share));
            }
        }
        let message = channel.sign(
            me,
            PeerContent::Verifier {
                work,
                digest: self.freeze.digest,
                present: self.contributions.present(),
                messages: messages.clone(),
            },
            key,
        );
        let verifying = Verifying {
            freeze: self.freeze,
            contributions: self.contributions,
            messages,
            message: message.clone(),
        };
        (verifying, message)
    }
}

/// My verifier messages are out; the others' are awaited.
pub(super) struct Verifying {
    freeze: Freeze,
    contributions: Contributions,
    messages: Vec<u64>,
    pub(super) message: SignedPeer,
}

/// Which contributions count, and the hash that all of a quorum must agree on.
pub(super) struct Decided {
    bitmap: Vec<u8>,
    decision: [u8; 32],
    accepted: u32,
}

impl Verifying {
    /// Decides every contribution, unless too many contradict each other.
    pub(super) fn decide(
        &self,
        me: MemberNumber,
        work: Work,
        quorum: &Quorum,
        opened: &[OpenedPeer],
        needed: usize,
        min_verified: usize,
    ) -> Result<Decided, AggregationError> {
        let count = self.contributions.slots.len();
        let mine = self.contributions.present();
        let mut columns: Vec<Column<'_>> = Vec::new();
        let mut hashes: Vec<[u8; 32]> = Vec::new();
        for member in quorum.members() {
            if *member == me {
                columns.push((&mine, &self.messages));
                hashes.push(self.message.hash());
                continue;
            }
            let found = opened.iter().find_map(|peer| match &peer.content {
                PeerContent::Verifier {
                    work: theirs,
                    digest,
                    present,
                    messages,
                } if peer.from == *member
                    && *theirs == work
                    && *digest == self.freeze.digest
                    && present.len() == count.div_ceil(8)
                    && messages.len() == MESSAGE * count =>
                {
                    Some((present.as_slice(), messages.as_slice(), peer.hash))
                }
                _ => None,
            });
            let (present, messages, hash) = found.ok_or(AggregationError::BadQuorum)?;
            columns.push((present, messages));
            hashes.push(hash);
        }
        let all = Verdicts::of(quorum.members(), &columns, needed, count)?;
        let many = |rejected: u32| rejected > 1 && u64::from(rejected) * 20 > count as u64;
        if many(all.inconsistent + all.partial) {
            let suspect = suspect(quorum, &columns, needed, min_verified, count);
            // One home must not be able to fail a small batch, so one is always allowed.
            if suspect.is_some() || many(all.inconsistent) {
                return Err(AggregationError::TooManyInconsistent {
                    rejected: all.inconsistent + all.partial,
                    count: count as u32,
                    suspect,
                });
            }
        }
        let Verdicts {
            bitmap, accepted, ..
        } = all;
        let quorum = encoding::to_bytes(quorum);
        let mut parts: Vec<&[u8]> = vec![&self.freeze.digest, &quorum, &bitmap];
        parts.extend(hashes.iter().map(|hash| hash.as_slice()));
        Ok(Decided {
            decision: encoding::hash(labels::HASH_DECISION, &parts),
            bitmap,
            accepted,
        })
    }

    /// Adds up what was decided; the contributions end here.
    pub(super) fn prepare(
        self,
        decided: Decided,
        me: MemberNumber,
        work: Work,
        quorum: Quorum,
        circuit: &Circuit,
        key: &SigningKey,
    ) -> Prepared {
        // Outputs are linear, so the inputs are added first and the outputs formed once.
        let mut inputs = Zeroizing::new(vec![0u64; circuit.input_len()]);
        for index in 0..self.contributions.slots.len() {
            if bit(&decided.bitmap, index)
                && let Some(share) = self.contributions.share(index)
            {
                for (sum, element) in inputs.iter_mut().zip(share) {
                    *sum = field::add(*sum, *element);
                }
            }
        }
        let mut sums = Sums::zero(circuit);
        circuit.add_outputs(&inputs, &mut sums.0);
        let acknowledgement = SignedAcknowledgement::new(
            Acknowledgement {
                member: me,
                work,
                decision: decided.decision,
                accepted: decided.accepted,
            },
            key,
        );
        Prepared {
            quorum,
            sums,
            acknowledgement,
        }
    }
}

/// My shares of the outputs, one per output; zeroized when dropped.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Sums(pub(super) Vec<u64>);

impl Sums {
    pub(super) fn zero(circuit: &Circuit) -> Self {
        Self(vec![0; circuit.outputs().len()])
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, share) in self.0.iter_mut().zip(&other.0) {
            *sum = field::add(*sum, *share);
        }
    }
}

impl Drop for Sums {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A batch whose sum is known and acknowledged, but not yet counted.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Prepared {
    pub(super) quorum: Quorum,
    sums: Sums,
    pub(super) acknowledgement: SignedAcknowledgement,
}

/// A batch that counts.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Committed {
    pub(super) work: Work,
    pub(super) decision: [u8; 32],
    pub(super) accepted: u32,
    pub(super) verified: u8,
    pub(super) sums: Sums,
}

impl From<Prepared> for Committed {
    fn from(prepared: Prepared) -> Self {
        let body = prepared.acknowledgement.body;
        Self {
            work: body.work,
            decision: body.decision,
            accepted: body.accepted,
            verified: prepared.quorum.members().len() as u8,
            sums: prepared.sums,
        }
    }
}
