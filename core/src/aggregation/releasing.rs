//! Release of a round: guards, mask, total (protocol.md §9).

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;

use super::{
    Aggregation, AggregationError, AggregatorKeys, Part,
    batch::{Committed, Sums},
    record::Unsaved,
};
use crate::{
    conduct::coarse,
    find::NoisySize,
    peer::{OpenedPeer, PeerContent, PeerMessage},
    release::{Certificate, Proposal, SealedTotal, Total},
    ticket::FindId,
};
use dispers_base::{
    field,
    id::BatchId,
    signed::Signed,
    weakness::{self, Weakness},
};
use dispers_circuit::Circuit;
use dispers_crypto::shamir::Interpolation;
use dispers_trust::directory::Directory;

/// Certified release of one round. Its proposal never changes.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Releasing {
    proposal: [u8; 32],
    /// Guard counts of this aggregator, sealed for the others. They are kept, so that a repetition sends the same
    /// bytes.
    messages: Vec<PeerMessage>,
    step: Step,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum Step {
    /// The guard counts were sent to the others.
    Guarding(Guarding),
    /// The total is sealed, and nothing else is left.
    Released(SealedTotal),
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Guarding {
    asked: u64,
    accepted: u64,
    verified: u8,
    dealers: u8,
    /// Shares of the outputs, summed over the proposal's batches.
    sums: Sums,
}

#[cfg(test)]
impl Releasing {
    /// Returns the hash of the proposal, and whether the total is sealed.
    pub(super) fn visible(&self) -> ([u8; 32], bool) {
        (self.proposal, matches!(self.step, Step::Released(_)))
    }
}

impl Aggregation {
    /// Opens this aggregator's share of the guard counts of its committee's batches in a certified proposal, once per
    /// round.
    ///
    /// # Errors
    /// [`AggregationError`] when the certificate is not the notary's, when this aggregator did not commit exactly these
    /// batches, or when too few homes answered.
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
            // The notary could certify two proposals. This aggregator releases one of them (protocol.md §12).
            if releasing.proposal != certificate.proposal {
                return Err(AggregationError::SecondRelease);
            }
            return Ok(releasing.messages.clone());
        }
        // The Conductor could keep a partition from this aggregator. It would be missing in the result, unnoticed.
        if !self.has_every_grant(directory) {
            return Err(AggregationError::NoGrant);
        }
        let own = self.channel.committee;
        let granted = self.granted().filter(|(batch, _)| batch.committee == own);
        let asked: u64 = granted.map(|(_, count)| u64::from(count)).sum();
        let mut committed = Vec::new();
        let mut last = None;
        for listed in &proposal.batches {
            // Strictly increasing: a batch that is listed twice would be added twice.
            if last.replace(listed.batch) >= Some(listed.batch) {
                return Err(AggregationError::NotCommitted);
            }
            // Other committees check their own batches.
            if listed.batch.committee != own {
                continue;
            }
            // The notary saw only a hash. The content is compared with what this aggregator committed (protocol.md §9).
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
            committed.push(ours);
        }
        let (noise, of_homes): (Vec<&Committed>, Vec<&Committed>) = committed
            .iter()
            .partition(|ours| ours.work.batch.is_noise());
        // A noisy query releases nothing without its noise, and with no more than one batch of noise.
        if noise.len() != usize::from(self.manifest.privacy.is_some()) {
            return Err(AggregationError::NotCommitted);
        }
        let accepted: u64 = of_homes.iter().map(|ours| u64::from(ours.accepted)).sum();
        // The rate is measured against the sizes that the Target Finder signed, and not against the homes that a Target
        // says it asked.
        let wanted = asked.saturating_mul(self.manifest.answer_rate.into());
        // In whole numbers: a division would round.
        if of_homes.is_empty() || accepted.saturating_mul(1000) < wanted {
            return Err(AggregationError::TooFewAnswers);
        }
        let circuit = self.manifest.circuit_of(proposal.round);
        let mut sums = Sums::zero(circuit);
        for batch in &committed {
            sums.add(&batch.sums);
        }
        let dealers = noise.iter().map(|ours| ours.accepted as u8).sum();
        let verified = committed.iter().map(|batch| batch.verified).min();
        let content = PeerContent::Guards {
            round: proposal.round,
            proposal: certificate.proposal,
            counts: counts(circuit, self.manifest.privacy.is_some(), &sums),
        };
        let signed = self.channel.sign(self.me, content, keys.signing);
        let messages = self.seal_for_others(&signed, rng);
        let releasing = Releasing {
            proposal: certificate.proposal,
            messages: messages.clone(),
            step: Step::Guarding(Guarding {
                asked,
                accepted,
                verified: verified.unwrap_or(0),
                dealers,
                sums,
            }),
        };
        self.releases.insert(proposal.round, releasing);
        let round = proposal.round;
        self.unsaved.mark(Part::Release { round });
        Ok(messages)
    }

    /// Withholds the outputs that the guards do not cover, and seals this aggregator's total for the querier. The
    /// round's sums are then dropped, and after the last round the query's secret and grants too. Only messages that
    /// were already sent are left.
    ///
    /// # Errors
    /// [`AggregationError::Unread`] when the openings are too few, [`AggregationError::BadGuards`] when they are not
    /// on one polynomial.
    pub fn release(
        &mut self,
        round: u16,
        messages: &[PeerMessage],
        keys: &AggregatorKeys<'_>,
        directory: &Directory,
        rng: &mut impl CryptoRng,
    ) -> Result<SealedTotal, AggregationError> {
        let releasing = self.releases.get(&round);
        let releasing = releasing.ok_or(AggregationError::WrongStep)?;
        let guarding = match &releasing.step {
            // A release that is asked twice gets the same total, to the byte.
            Step::Released(total) => return Ok(total.clone()),
            Step::Guarding(guarding) => guarding,
        };
        let opened = self.open_peers(messages, directory);
        let (outputs, coarsely) = self.mask(round, &releasing.proposal, guarding, &opened)?;
        let (asked, accepted) = match coarsely {
            true => {
                let (asked, accepted) = self.noisy_counts(guarding.asked, guarding.accepted);
                let least = self.manifest.min_cohort;
                (coarse(asked, least), coarse(accepted, least))
            }
            false => (guarding.asked, guarding.accepted),
        };
        let total = Total {
            query: self.channel.query,
            round,
            committee: self.channel.committee,
            member: self.me,
            proposal: releasing.proposal,
            finds: self.finds(),
            asked,
            accepted,
            verified: guarding.verified,
            dealers: guarding.dealers,
            outputs,
        };
        let sealed = SealedTotal::seal(
            &Signed::new(&total, keys.signing),
            &self.manifest.reply_key,
            &Total::context(self.channel.query, self.channel.committee, self.me),
            rng,
        );
        self.end_round(round, sealed.clone());
        Ok(sealed)
    }

    /// Returns the find of each partition.
    fn finds(&self) -> Vec<(u16, FindId)> {
        let grants = self.grants.iter();
        grants
            .map(|(&partition, grant)| (partition, grant.find))
            .collect()
    }

    /// Returns the noisy numbers of homes of the committee that were asked and that gave an accepted answer. With
    /// exact numbers, a querier could tell whether one home is among them.
    fn noisy_counts(&self, asked: u64, accepted: u64) -> (u64, u64) {
        let finds = self.grants.values().map(|grant| &grant.noisy_size);
        let committees = self.manifest.committees.len() as u16;
        let place = self.channel.committee;
        let silent = asked.saturating_sub(accepted);
        (
            NoisySize::asked(finds.clone(), place, committees),
            NoisySize::answered(finds, place, committees, silent),
        )
    }

    /// Returns every batch of the query, with the number of its homes.
    fn granted(&self) -> impl Iterator<Item = (BatchId, u32)> {
        let grants = self.grants.iter();
        grants.flat_map(|(&partition, grant)| grant.batches.batches(partition))
    }

    fn end_round(&mut self, round: u16, total: SealedTotal) {
        if let Some(releasing) = self.releases.get_mut(&round) {
            releasing.step = Step::Released(total);
        }
        self.batches.retain(|(of, _), _| *of != round);
        // A session may leave out any round but the last.
        if round + 1 >= self.manifest.rounds {
            self.secret = None;
            self.grants.clear();
        }
        // All older records of the query are to be erased (protocol.md §8).
        self.unsaved = Unsaved::Whole;
    }

    /// Returns this aggregator's shares of the outputs, `None` where they are withheld, and whether numbers of homes
    /// are released in steps of the cohort.
    fn mask(
        &self,
        of_round: u16,
        of_proposal: &[u8; 32],
        guarding: &Guarding,
        opened: &[OpenedPeer],
    ) -> Result<(Vec<Option<u64>>, bool), AggregationError> {
        let bad = AggregationError::BadGuards;
        let circuit = self.manifest.circuit_of(of_round);
        let noisy = self.manifest.privacy.is_some();
        let mine = counts(circuit, noisy, &guarding.sums);
        let mut points = vec![self.me];
        let mut columns = vec![&mine];
        for peer in opened {
            if let PeerContent::Guards {
                round,
                proposal,
                counts,
            } = &peer.content
                && *round == of_round
                && proposal == of_proposal
                && counts.len() == mine.len()
            {
                points.push(peer.from);
                columns.push(counts);
            }
        }
        // The manifest's `min_verified` may exceed the threshold, so that a wrong opening contradicts the others.
        if points.len() < usize::from(self.manifest.min_verified) {
            let offers = self.manifest.offers(self.channel.committee);
            let members = offers.map(|(member, _)| member);
            return Err(AggregationError::Unread {
                members: members.filter(|member| !points.contains(member)).collect(),
            });
        }
        // All openings must lie on one polynomial. A single wrong one stops the release: it must not lift a mask.
        let interpolation = Interpolation::new(&points, self.needed).map_err(|_| bad.clone())?;
        let mut opened = Vec::with_capacity(mine.len());
        for position in 0..mine.len() {
            let shares: Vec<u64> = columns.iter().map(|column| column[position]).collect();
            if !interpolation.consistent(&shares) {
                return Err(bad);
            }
            let count = interpolation.at_zero(&shares);
            opened.push(match noisy {
                // A noisy count may be below zero.
                true => field::signed(count),
                // No exact count of people exceeds the number of accepted contributions.
                false if count > guarding.accepted => return Err(bad),
                false => count.into(),
            });
        }
        let cohort = self.manifest.min_cohort.into();
        let mask = self.manifest.mask(of_round, cohort, &opened);
        let homes = guarding.accepted;
        let coarsely = noisy
            || !weakness::off(Weakness::CellsGivenAway)
                && circuit.homes_give_away(&mask, cohort, homes, &opened);
        Ok((mask.apply(&guarding.sums.0), coarsely))
    }
}

/// Returns this aggregator's shares of the counts that are opened.
fn counts(circuit: &Circuit, noisy: bool, sums: &Sums) -> Vec<u64> {
    let openings = circuit.openings(noisy);
    openings
        .iter()
        .map(|count| count.evaluate(&sums.0))
        .collect()
}
