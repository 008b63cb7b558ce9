//! State of one attempt at one batch: Frozen → Verifying → Prepared, then committed (protocol.md §8).

use std::{collections::BTreeSet, sync::Arc};

use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, Read, Write},
};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{
    AggregationError, Quorum,
    noise::Reading,
    verdicts::{Column, Fault, Verdicts, bit, fault, held, several, suspect},
};
use crate::{
    ask::{SealedGroup, aggregator_digest, group_digest},
    find::Grant,
    peer::{Channel, OpenedPeer, PeerContent, SignedPeer},
    release::{Acknowledgement, SignedAcknowledgement},
    ticket::TagStream,
};
use dispers_base::{
    encoding, field,
    id::{MemberNumber, QueryId, Work},
    keys::SigningKey,
    labels,
    weakness::{self, Weakness},
};
use dispers_circuit::{Circuit, Verifier, contribution::HeldGroup};
use dispers_crypto::{
    dealing::ThresholdKey,
    envelope::{Context, EnvelopeSecretKey},
    prf::{self, PrfError, PrfShare},
};

/// Opener of the groups of one attempt at a batch. It may open them in any order and from any thread.
pub struct GroupOpener {
    secret: Arc<EnvelopeSecretKey>,
    context: Context,
    tags: TagStream,
    count: u32,
    share_len: usize,
}

/// A group as it was received, with its content.
pub struct OpenedGroup {
    digest: [u8; 32],
    group: Option<HeldGroup>,
    /// True for each entry that carries the valid tag of its own index.
    valid: Vec<bool>,
}

impl GroupOpener {
    /// Opens one group and checks its tags. A group that does not open or decode is kept as an empty one, since its
    /// digest is part of D.
    pub fn open(&self, group: SealedGroup) -> OpenedGroup {
        let digest = group_digest(&group);
        let bytes = group.open_bytes(&self.secret, &self.context).ok();
        let held = bytes
            .and_then(|bytes| HeldGroup::decode(bytes, self.share_len, self.count as usize).ok());
        let entries = held.iter().flat_map(HeldGroup::entries);
        // The comparison of tags takes constant time: the time of a wrong tag must not help to guess a valid one.
        let valid = entries.map(|e| e.index < self.count && self.tags.verify(e.index, &e.tag));
        OpenedGroup {
            digest,
            valid: valid.collect(),
            group: held,
        }
    }
}

/// Groups of one attempt at a batch while they arrive. Nothing is frozen yet.
pub struct Receiving {
    pub(super) work: Work,
    /// D.
    pub(super) digest: [u8; 32],
    /// Digest of the parameters that homes were shown.
    pub(super) parameters: [u8; 32],
    /// Digest of this aggregator's groups, as the Target signed it.
    expected: [u8; 32],
    opener: Arc<GroupOpener>,
    digests: Vec<[u8; 32]>,
    /// Number of valid claims of each index.
    claims: Vec<u8>,
    contributions: Contributions,
}

impl Receiving {
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, from the state machine"
    )]
    pub(super) fn new(
        work: Work,
        digest: [u8; 32],
        expected: [u8; 32],
        context: Context,
        secret: Arc<EnvelopeSecretKey>,
        grant: &Grant,
        count: u32,
        share_len: usize,
        parameters: [u8; 32],
    ) -> Self {
        let opener = GroupOpener {
            secret,
            context,
            tags: TagStream::new(&grant.key, work.batch),
            count,
            share_len,
        };
        Self {
            work,
            digest,
            parameters,
            expected,
            opener: Arc::new(opener),
            digests: Vec::new(),
            claims: vec![0; count as usize],
            contributions: Contributions {
                share_len,
                slots: vec![None; count as usize],
                groups: Vec::new(),
                received: 0,
            },
        }
    }

    /// Returns the largest possible number of groups: each comes from a host with at least one home.
    pub fn most_groups(&self) -> usize {
        self.claims.len()
    }

    /// Returns the query that the groups are for.
    pub fn query(&self) -> QueryId {
        self.work.query
    }

    /// Returns the opener of the groups.
    pub fn opener(&self) -> Arc<GroupOpener> {
        self.opener.clone()
    }

    /// Takes the next group, in the Target's order. Leaves out a contribution without a valid tag, and drops an index
    /// that is claimed twice.
    pub fn add(&mut self, opened: OpenedGroup) {
        self.digests.push(opened.digest);
        self.contributions.received += 1;
        let Some(group) = opened.group else {
            return;
        };
        let number = self.contributions.groups.len() as u32;
        for ((place, entry), valid) in (0u32..).zip(group.entries()).zip(opened.valid) {
            let index = entry.index as usize;
            let Some(claim) = self.claims.get_mut(index).filter(|_| valid) else {
                continue;
            };
            // Only the first claim fills the slot, and a second one empties it for good: nothing shows which of the two
            // is the home's.
            *claim = claim.saturating_add(1);
            self.contributions.slots[index] = (*claim == 1).then_some((number, place));
        }
        self.contributions.groups.push(group);
    }

    /// Returns the contributions, if the groups are exactly those that the Target signed, and those of most hosts
    /// open.
    ///
    /// The Target can invent a group for one aggregator, or repeat an honest one: such a group does not open, or adds
    /// no contribution. An aggregator that continued with such groups would lack contributions that the others hold,
    /// and would look like one that lies about what it received.
    pub(super) fn finish(self) -> Result<Contributions, AggregationError> {
        let all = self.digests.len();
        if all > self.most_groups() || aggregator_digest(&self.digests) != self.expected {
            return Err(AggregationError::BadGroups);
        }
        let slots = self.contributions.slots.iter().flatten();
        let adding: BTreeSet<u32> = slots.map(|(group, _)| *group).collect();
        // A group that adds no contribution counts like one that does not open: the Target may have repeated an honest
        // one.
        let unopened = all - adding.len();
        if several(unopened, all) && !weakness::off(Weakness::OtherBytesEvict) {
            return Err(AggregationError::Unopened {
                groups: unopened,
                of: all,
            });
        }
        Ok(self.contributions)
    }
}

/// Shares of one batch, by index.
pub(super) struct Contributions {
    share_len: usize,
    /// Group of each index, and the place in that group; `None` where a share is absent, has no valid tag, or is
    /// claimed twice.
    slots: Vec<Option<(u32, u32)>>,
    groups: Vec<HeldGroup>,
    /// Number of groups, including those that do not open.
    received: usize,
}

impl Contributions {
    /// Collects one share of each dealer, in order; `None` where the share does not open.
    pub(super) fn dealt(share_len: usize, shares: Vec<Option<HeldGroup>>) -> Self {
        let mut contributions = Self {
            share_len,
            slots: Vec::with_capacity(shares.len()),
            groups: Vec::new(),
            received: shares.len(),
        };
        for (dealer, share) in (0u32..).zip(shares) {
            // A dealer's share must stand at the dealer's own index, or it could pass for another's.
            let share =
                share.filter(|share| matches!(share.entries(), [one] if one.index == dealer));
            let place = contributions.groups.len() as u32;
            contributions
                .slots
                .push(share.is_some().then_some((place, 0)));
            contributions.groups.extend(share);
        }
        contributions
    }

    /// Calls `each` for every index that has a share, with the index, the share, its group and its place in the group.
    pub(super) fn for_each(&self, mut each: impl FnMut(usize, &[u64], &HeldGroup, usize)) {
        for (number, group) in (0u32..).zip(&self.groups) {
            let mut place = 0;
            group.for_each(self.share_len, |entry, share| {
                let index = entry.index as usize;
                if self.slots.get(index) == Some(&Some((number, place))) {
                    each(index, share, group, place as usize);
                }
                place += 1;
            });
        }
    }
}

/// Inputs of a verified batch, which are to be summed: the elements that every contribution begins with. Zeroized when
/// dropped.
struct Inputs {
    input_len: usize,
    /// Position of each index's input among `elements`, counted in inputs.
    slots: Vec<Option<u32>>,
    elements: Zeroizing<Vec<u64>>,
    /// Number of the group that each index came in.
    groups: Vec<Option<u32>>,
    /// Number of groups.
    received: usize,
}

impl Inputs {
    fn of(&self, index: usize) -> Option<&[u64]> {
        let start = *self.slots.get(index)?.as_ref()? as usize * self.input_len;
        self.elements.get(start..start + self.input_len)
    }

    /// Returns the number of groups in which the indices of `chosen` came.
    fn groups_of(&self, chosen: impl Fn(usize) -> bool) -> usize {
        let groups = self.groups.iter().enumerate();
        let groups = groups.filter(|(index, _)| chosen(*index));
        groups
            .filter_map(|(_, group)| *group)
            .collect::<BTreeSet<u32>>()
            .len()
    }

    /// Returns a bitmap of the indices that have an input, low bit first.
    fn present(&self) -> Vec<u8> {
        let mut bits = vec![0u8; self.slots.len().div_ceil(8)];
        for (index, slot) in self.slots.iter().enumerate() {
            bits[index / 8] |= u8::from(slot.is_some()) << (index % 8);
        }
        bits
    }
}

/// Content with which an attempt is frozen for good.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Freeze {
    pub(super) digest: [u8; 32],
    pub(super) share: PrfShare,
    /// Signed share of the randomness. The proof in it is random, so that the message is kept to be sent again as it
    /// was.
    pub(super) randomness: SignedPeer,
}

/// An attempt at a batch, by the step that it has reached.
pub(super) enum Attempt {
    Frozen(Frozen),
    Verifying(Verifying),
    /// Frozen, but the contributions were lost in a restart. The same groups open the attempt again.
    Forgotten(Freeze),
    Prepared(Prepared),
    /// Failed, or overtaken by a later attempt. It is never continued.
    Withdrawn,
}

impl Attempt {
    pub(super) fn holds_contributions(&self) -> bool {
        matches!(self, Self::Frozen(_) | Self::Verifying(_))
    }

    /// Returns whether the attempt may still be decided.
    pub(super) fn is_open(&self) -> bool {
        self.holds_contributions() || matches!(self, Self::Forgotten(_))
    }

    /// Returns the content with which the attempt is frozen, while the attempt may still be decided.
    pub(super) fn frozen(&self) -> Option<&Freeze> {
        match self {
            Self::Frozen(Frozen { freeze, .. })
            | Self::Verifying(Verifying { freeze, .. })
            | Self::Forgotten(freeze) => Some(freeze),
            Self::Prepared(_) | Self::Withdrawn => None,
        }
    }

    /// Returns the error for a step that cannot be taken from this state.
    pub(super) fn refusal(&self) -> AggregationError {
        match self {
            Self::Forgotten(_) => AggregationError::Forgotten,
            _ => AggregationError::WrongStep,
        }
    }

    pub(super) fn take_frozen(&mut self) -> Result<Frozen, AggregationError> {
        // The state moves out by value, so that no step is taken twice from it.
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

/// Encoding of an attempt for the disk. It contains no contribution.
impl BorshSerialize for Attempt {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<(), Error> {
        match (self.frozen(), self) {
            // Frozen and verifying attempts are written alike: after a restart both wait for the same groups.
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

/// State after D is fixed, while the batch's randomness is not known yet.
pub(super) struct Frozen {
    pub(super) freeze: Freeze,
    pub(super) contributions: Contributions,
    pub(super) reading: Reading,
    /// Position of this aggregator among those with an offer.
    pub(super) position: usize,
}

impl Frozen {
    /// Combines the shares of the aggregators that froze the same D.
    ///
    /// # Errors
    /// [`AggregationError::Unread`] with the members of `offered` that gave no valid share, if too few did.
    pub(super) fn combine(
        &self,
        me: MemberNumber,
        offered: &[MemberNumber],
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
            {
                shares.push((peer.from, share.clone()));
            }
        }
        // Only as many shares are verified as are needed, since each costs a proof. A wrong one is dropped, and the
        // next takes its place.
        let needed = public.threshold().needed();
        loop {
            let enough = shares.get(..needed);
            match enough.map(|shares| prf::combine(public, &work, shares)) {
                Some(Ok(seed)) => return Ok(Zeroizing::new(seed)),
                Some(Err(PrfError::WrongShare { member })) => {
                    shares.retain(|(from, _)| *from != member);
                }
                None | Some(Err(_)) => {
                    let mut members = offered.to_vec();
                    members.retain(|member| !shares.iter().any(|(from, _)| from == member));
                    return Err(AggregationError::Unread { members });
                }
            }
        }
    }

    /// Compiles the verifier and applies it to every share. The proofs are dropped; only the inputs are kept.
    pub(super) fn verify(
        self,
        work: Work,
        me: MemberNumber,
        channel: Channel,
        seed: &[u8; 32],
        key: &SigningKey,
    ) -> (Verifying, SignedPeer) {
        let circuit = &self.reading.circuit;
        let verifier = Verifier::compile(circuit, seed);
        let count = self.contributions.slots.len();
        let input_len = circuit.input_len();
        let held = self.contributions.slots.iter().flatten().count();
        let mut elements = Zeroizing::new(Vec::with_capacity(held * input_len));
        let mut slots = vec![None; count];
        let length = circuit.message_len();
        let mut messages = vec![0u64; length * count];
        let joined = circuit.has_joint_randomness();
        let mut joints = vec![[0; 32]; if joined { count } else { 0 }];
        let mut kept = 0u32;
        let groups = self.contributions.slots.iter();
        let groups = groups.map(|slot| slot.map(|(group, _)| group)).collect();
        self.contributions.for_each(|index, share, group, place| {
            // A group of the wrong form for this circuit counts as absent.
            if joined != group.has_joint_randomness() {
                return;
            }
            if let Some(joint) = joints.get_mut(index) {
                // A share to which the home did not commit counts as absent (protocol.md §7).
                let Some(mine) = group.joint(place, self.position, me, &share[..input_len]) else {
                    return;
                };
                *joint = mine;
            }
            let message = &mut messages[length * index..length * (index + 1)];
            verifier.write_message(share, message);
            elements.extend_from_slice(&share[..input_len]);
            slots[index] = Some(kept);
            kept += 1;
        });
        let inputs = Inputs {
            input_len,
            slots,
            elements,
            groups,
            received: self.contributions.received,
        };
        let message = channel.sign(
            me,
            PeerContent::Verifier {
                work,
                digest: self.freeze.digest,
                present: inputs.present(),
                messages: messages.clone(),
                joints: joints.clone(),
            },
            key,
        );
        let verifying = Verifying {
            freeze: self.freeze,
            reading: self.reading,
            inputs,
            messages,
            joints,
            message: message.clone(),
        };
        (verifying, message)
    }
}

/// State after the verifier messages were sent, while those of the others are awaited.
pub(super) struct Verifying {
    freeze: Freeze,
    reading: Reading,
    inputs: Inputs,
    messages: Vec<u64>,
    joints: Vec<[u8; 32]>,
    pub(super) message: SignedPeer,
}

/// The decided contributions, and the hash that all members of a quorum must agree on.
pub(super) struct Decided {
    bitmap: Vec<u8>,
    decision: [u8; 32],
    accepted: u32,
}

impl Verifying {
    /// Decides every contribution, unless one aggregator contradicts the others about contributions of several hosts.
    ///
    /// Any number of contradicting contributions is rejected without failing the attempt; the answer rate decides
    /// whether enough are left. If they failed the attempt, the host that sent them could fail every attempt at no
    /// cost. A host can make any one aggregator look like a liar, but only about its own homes, so that a suspect
    /// needs contradictions of several hosts.
    pub(super) fn decide(
        &self,
        me: MemberNumber,
        work: Work,
        quorum: &Quorum,
        opened: &[OpenedPeer],
        needed: usize,
        min_verified: usize,
    ) -> Result<Decided, AggregationError> {
        let count = self.inputs.slots.len();
        let mine = self.inputs.present();
        let mut columns: Vec<Column<'_>> = Vec::new();
        let mut hashes: Vec<[u8; 32]> = Vec::new();
        let mut unread: Vec<MemberNumber> = Vec::new();
        for member in quorum.members() {
            if *member == me {
                columns.push(Column {
                    present: &mine,
                    messages: &self.messages,
                    joints: &self.joints,
                });
                hashes.push(self.message.digest());
                continue;
            }
            // The numbers of elements are compared before anything is read by index: a member could send fewer.
            let found = opened.iter().find_map(|peer| match &peer.content {
                PeerContent::Verifier {
                    work: theirs,
                    digest,
                    present,
                    messages,
                    joints,
                } if peer.from == *member
                    && *theirs == work
                    && *digest == self.freeze.digest
                    && present.len() == count.div_ceil(8)
                    && messages.len() == self.messages.len()
                    && joints.len() == self.joints.len() =>
                {
                    let column = Column {
                        present,
                        messages,
                        joints,
                    };
                    Some((column, peer.hash))
                }
                _ => None,
            });
            let Some((column, hash)) = found else {
                unread.push(*member);
                continue;
            };
            columns.push(column);
            hashes.push(hash);
        }
        // A contribution counts only with a message of every member: without one of them nothing can be decided.
        if !unread.is_empty() {
            return Err(AggregationError::Unread { members: unread });
        }
        let circuit = &self.reading.circuit;
        let all = Verdicts::of(circuit, quorum.members(), &columns, needed, count)?;
        let held = held(&columns, count);
        // The noise of each dealer depends on the number of dealers: all of it counts, or none.
        if !self.reading.dealers.is_empty() && (all.accepted as usize) < count {
            return Err(self.refused(&all, |index| {
                fault(circuit, quorum, &columns, needed, index)
            }));
        }
        // A few contradictions, at least one and up to 5 %, are rejected without a search for a liar (protocol.md §8).
        if are_many(all.inconsistent + all.partial, count) {
            let by_homes = weakness::off(Weakness::HostFailsBatch);
            let suspect = suspect(
                circuit,
                quorum,
                &columns,
                needed,
                min_verified,
                count,
                &|member, verdicts| match by_homes {
                    true => u64::from(verdicts.accepted) * 20 >= held as u64 * 19,
                    false => {
                        let freed = self.inputs.groups_of(|index| {
                            bit(&verdicts.bitmap, index) && !bit(&all.bitmap, index)
                        });
                        member != me && several(freed, self.inputs.received)
                    }
                },
            );
            if suspect.is_some() || (by_homes && are_many(all.inconsistent, count)) {
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
        // The hash covers all messages, so that equal acknowledgements mean that all members decided from the same
        // ones.
        let mut parts: Vec<&[u8]> = vec![&self.freeze.digest, &quorum, &bitmap];
        parts.extend(hashes.iter().map(|hash| hash.as_slice()));
        Ok(Decided {
            decision: encoding::hash(labels::HASH_DECISION, &parts),
            bitmap,
            accepted,
        })
    }

    /// Returns the error that names the dealers whose noise is refused, and the pairs that are in dispute.
    fn refused(&self, verdicts: &Verdicts, fault: impl Fn(usize) -> Fault) -> AggregationError {
        let weak = weakness::off(Weakness::FalseBitEvictsDealer);
        let (mut dealers, mut disputes) = (Vec::new(), Vec::new());
        for (index, dealer) in self.reading.dealers.iter().copied().enumerate() {
            if bit(&verdicts.bitmap, index) {
                continue;
            }
            match fault(index) {
                _ if weak => dealers.push(dealer),
                Fault::Dealer => dealers.push(dealer),
                // A dealer knows its own share, so that its own denial shows that it lies.
                Fault::DealerOr(members) if members.contains(&dealer) => dealers.push(dealer),
                Fault::DealerOr(members) => {
                    disputes.extend(members.into_iter().map(|member| (dealer, member)));
                }
                Fault::Unknown => {}
            }
        }
        AggregationError::BadDeals { dealers, disputes }
    }

    /// Adds up the counted contributions, which are then dropped, and signs the acknowledgement.
    pub(super) fn prepare(
        self,
        decided: Decided,
        me: MemberNumber,
        work: Work,
        quorum: Quorum,
        key: &SigningKey,
    ) -> Prepared {
        let circuit = &self.reading.circuit;
        // Outputs are linear: the inputs are added first, and the outputs are computed once.
        let mut inputs = Zeroizing::new(vec![0u64; circuit.input_len()]);
        for index in 0..self.inputs.slots.len() {
            if bit(&decided.bitmap, index)
                && let Some(input) = self.inputs.of(index)
            {
                for (sum, element) in inputs.iter_mut().zip(input) {
                    *sum = field::add(*sum, *element);
                }
            }
        }
        let mut sums = Sums::zero(circuit);
        circuit.add_outputs(&inputs, &mut sums.0);
        // Noise is dealt as levels from zero. Taking off the middle of each range leaves a sum of noise around zero.
        for (sum, offset) in sums.0.iter_mut().zip(&self.reading.offsets) {
            *sum = field::sub(*sum, *offset);
        }
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

/// Shares of the outputs, one per output; zeroized when dropped.
#[derive(BorshSerialize, BorshDeserialize, ZeroizeOnDrop)]
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

/// State after the sum is computed and acknowledged, before the batch counts.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Prepared {
    pub(super) quorum: Quorum,
    sums: Sums,
    pub(super) acknowledgement: SignedAcknowledgement,
}

/// A committed batch, which counts.
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

/// Returns whether more of `count` contributions are rejected than are explained without a liar: at least one, and up
/// to 5 %.
fn are_many(rejected: u32, count: usize) -> bool {
    rejected > 1 && u64::from(rejected) * 20 > count as u64
}
