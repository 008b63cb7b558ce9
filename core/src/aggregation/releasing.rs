//! The last step: guards, mask, total (protocol.md §9).

use rand::CryptoRng;

use super::{Aggregation, AggregationError, AggregatorKeys, batch::Committed};
use crate::{
    directory::Directory,
    id::MemberNumber,
    keys::SigningKey,
    manifest::VerifiedManifest,
    peer::{Channel, OpenedPeer, PeerContent, PeerMessage, SignedPeer},
    release::{Certificate, Proposal, SealedTotal, Total},
    shamir::Interpolation,
};

/// A certified release of one round. Its proposal never changes.
pub(super) struct Releasing {
    proposal: [u8; 32],
    round: u16,
    asked: u64,
    accepted: u64,
    verified: u8,
    /// My shares of the outputs, summed over the proposal's batches.
    sums: Vec<u64>,
    /// My shares of the guard counts, as I opened them.
    counts: Vec<u64>,
    message: SignedPeer,
    released: Option<SealedTotal>,
}

impl Aggregation {
    /// Opens my share of the guard counts of a certified proposal, once per round.
    ///
    /// # Errors
    /// [`AggregationError`] when the certificate is not the notary's, when I did not commit
    /// exactly these batches, or when too few homes answered.
    pub fn guards(
        &mut self,
        proposal: &Proposal,
        certificate: &Certificate,
        keys: &AggregatorKeys<'_>,
        directory: &Directory,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<PeerMessage>, AggregationError> {
        let notary = directory
            .node(&self.manifest.notary)
            .ok_or(AggregationError::BadCertificate)?;
        if proposal.query != self.channel.query
            || certificate.verify(proposal, &notary.signing_key).is_err()
        {
            return Err(AggregationError::BadCertificate);
        }
        if let Some(releasing) = self.releases.get(&proposal.round) {
            if releasing.proposal() != certificate.proposal {
                return Err(AggregationError::SecondRelease);
            }
            let signed = releasing.message().clone();
            return Ok(self.seal_for_others(&signed, rng));
        }
        let asked: u64 = self
            .grants
            .values()
            .flat_map(|grant| &grant.batches)
            .map(|&count| u64::from(count))
            .sum();
        let mut committed = Vec::new();
        let mut last = None;
        for listed in &proposal.batches {
            let ours = self
                .batches
                .get(&(proposal.round, listed.batch))
                .and_then(|batch| batch.committed.as_ref())
                .filter(|ours| {
                    ours.work.attempt == listed.attempt
                        && ours.decision == listed.decision
                        && ours.accepted == listed.accepted
                })
                .ok_or(AggregationError::NotCommitted)?;
            if last.replace(listed.batch) >= Some(listed.batch) {
                return Err(AggregationError::NotCommitted);
            }
            committed.push(ours);
        }
        let accepted: u64 = committed.iter().map(|ours| u64::from(ours.accepted)).sum();
        let wanted = asked.saturating_mul(self.manifest.answer_rate.into());
        if committed.is_empty() || accepted.saturating_mul(1000) < wanted {
            return Err(AggregationError::TooFewAnswers);
        }
        let releasing = Releasing::new(
            &self.manifest,
            self.channel,
            self.me,
            certificate.proposal,
            proposal.round,
            &committed,
            asked,
            keys.signing,
        );
        let signed = releasing.message().clone();
        self.releases.insert(proposal.round, releasing);
        Ok(self.seal_for_others(&signed, rng))
    }

    /// Masks what its guard does not cover and seals my total for the querier.
    ///
    /// # Errors
    /// [`AggregationError::BadGuards`] when the openings are too few or not on one polynomial.
    pub fn release(
        &mut self,
        round: u16,
        messages: &[PeerMessage],
        keys: &AggregatorKeys<'_>,
        directory: &Directory,
        rng: &mut impl CryptoRng,
    ) -> Result<SealedTotal, AggregationError> {
        let opened = self.open_peers(messages, directory);
        let releasing = self
            .releases
            .get_mut(&round)
            .ok_or(AggregationError::WrongStep)?;
        releasing.release(
            &self.manifest,
            self.channel,
            self.me,
            self.needed,
            &opened,
            keys.signing,
            rng,
        )
    }
}

/// The outputs that guard others, in output order.
fn guards(manifest: &VerifiedManifest) -> Vec<usize> {
    let outputs = manifest.circuit().outputs();
    (0..outputs.len())
        .filter(|&index| outputs[index].guard == index)
        .collect()
}

impl Releasing {
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, from the state machine"
    )]
    pub(super) fn new(
        manifest: &VerifiedManifest,
        channel: Channel,
        me: MemberNumber,
        proposal: [u8; 32],
        round: u16,
        committed: &[&Committed],
        asked: u64,
        key: &SigningKey,
    ) -> Self {
        let mut sums = vec![0; manifest.circuit().outputs().len()];
        for batch in committed {
            batch.add_to(&mut sums);
        }
        let counts: Vec<u64> = guards(manifest)
            .into_iter()
            .map(|index| sums[index])
            .collect();
        let message = channel.sign(
            me,
            PeerContent::Guards {
                round,
                proposal,
                counts: counts.clone(),
            },
            key,
        );
        Self {
            proposal,
            round,
            asked,
            accepted: committed
                .iter()
                .map(|batch| u64::from(batch.accepted))
                .sum(),
            verified: committed
                .iter()
                .map(|batch| batch.verified)
                .min()
                .unwrap_or(0),
            sums,
            counts,
            message,
            released: None,
        }
    }

    pub(super) fn proposal(&self) -> [u8; 32] {
        self.proposal
    }

    pub(super) fn message(&self) -> &SignedPeer {
        &self.message
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call, from the state machine"
    )]
    pub(super) fn release(
        &mut self,
        manifest: &VerifiedManifest,
        channel: Channel,
        me: MemberNumber,
        needed: usize,
        opened: &[OpenedPeer],
        key: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Result<SealedTotal, AggregationError> {
        if let Some(released) = &self.released {
            return Ok(released.clone());
        }
        let mut points = vec![me];
        let mut columns = vec![&self.counts];
        for peer in opened {
            if let PeerContent::Guards {
                round,
                proposal,
                counts,
            } = &peer.content
                && *round == self.round
                && *proposal == self.proposal
                && counts.len() == self.counts.len()
            {
                points.push(peer.from);
                columns.push(counts);
            }
        }
        if points.len() < usize::from(manifest.min_verified) {
            return Err(AggregationError::BadGuards);
        }
        // All openings must lie on one polynomial: a single wrong one stops the release rather
        // than lifting a mask.
        let interpolation =
            Interpolation::new(&points, needed).map_err(|_| AggregationError::BadGuards)?;
        let mut released = vec![false; self.sums.len()];
        for (position, guard) in guards(manifest).into_iter().enumerate() {
            let shares: Vec<u64> = columns.iter().map(|column| column[position]).collect();
            if !interpolation.consistent(&shares) {
                return Err(AggregationError::BadGuards);
            }
            let count = interpolation.at_zero(&shares);
            if count > self.accepted {
                return Err(AggregationError::BadGuards);
            }
            released[guard] = count >= u64::from(manifest.min_cohort);
        }
        let outputs = manifest
            .circuit()
            .outputs()
            .iter()
            .zip(&self.sums)
            .map(|(output, &sum)| released[output.guard].then_some(sum))
            .collect();
        let total = Total {
            query: channel.query,
            round: self.round,
            committee: channel.committee,
            member: me,
            proposal: self.proposal,
            asked: self.asked,
            accepted: self.accepted,
            verified: self.verified,
            outputs,
        };
        let sealed = SealedTotal::seal(
            &total.sign(key),
            &manifest.reply_key,
            &Total::context(channel.query, channel.committee, me),
            rng,
        );
        self.released = Some(sealed.clone());
        Ok(sealed)
    }
}
