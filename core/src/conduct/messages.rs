//! Checks of messages between aggregators before the Conductor hands them on (protocol.md §8, §11).
//!
//! The readers bound the size of their requests. A reader whose request is too large fails its step and is out of the
//! query. So the Conductor refuses messages that are too large, and their sender is out instead.

use super::{Conduct, StepError};
use crate::{
    aggregation::{DealRequest, noise_circuit},
    ask::share_limit,
    peer::PeerMessage,
};
use dispers_base::id::{AggregatorId, MemberNumber, Work};
use dispers_circuit::Circuit;

/// Largest message between aggregators without the numbers in it, in bytes: identifiers, lengths, a share of the
/// randomness with its proof, the signature and the envelope take less than half of it.
pub(super) const OVERHEAD: usize = 4096;

impl Conduct {
    /// Refuses an answer that is not one message of at most `limit` bytes to each other aggregator with an offer.
    pub(super) fn complete(
        &self,
        from: AggregatorId,
        result: Result<Vec<PeerMessage>, StepError>,
        limit: usize,
    ) -> Result<Vec<PeerMessage>, StepError> {
        let messages = result?;
        let offers = self.manifest.offers(from.committee);
        let others: Vec<MemberNumber> = offers
            .map(|(member, _)| member)
            .filter(|member| *member != from.member)
            .collect();
        let mut readers: Vec<MemberNumber> = messages.iter().map(|message| message.to).collect();
        // Number and readers must be exact: a reader that got no message, or two, would fail its step.
        readers.sort_unstable();
        let fit = messages
            .iter()
            .all(|message| message.from == from.member && message.len() <= limit);
        match readers == others && fit {
            true => Ok(messages),
            false => Err(StepError::BadMessages),
        }
    }

    /// Returns the circuit of dealt noise in the round of `work`.
    fn noise_circuit(&self, work: Work, dealers: usize) -> Option<std::sync::Arc<Circuit>> {
        let needed = self.needed_of(work.batch.committee);
        noise_circuit(&self.manifest, work.round, needed, dealers)
    }

    /// Returns the length of the largest share of a deal, in bytes. It is 0 for noise that cannot be dealt.
    pub(super) fn share_limit(&self, request: &DealRequest, offers: usize) -> usize {
        let circuit = self.noise_circuit(request.work, request.dealers.len());
        circuit.map_or(0, |circuit| share_limit(&circuit, offers))
    }

    /// Returns the length of the largest verifier message of a batch of `count` homes or dealers, in bytes.
    pub(super) fn verifier_limit(&self, work: Work, count: usize) -> usize {
        let message = match work.batch.is_noise() {
            true => self
                .noise_circuit(work, count)
                .map_or(0, |c| message_len(&c)),
            false => message_len(self.manifest.circuit_of(work.round)),
        };
        // Beside its elements, the message has one bit per index, set where the sender holds a share.
        OVERHEAD + count.div_ceil(8) + count.saturating_mul(message)
    }

    /// Returns the length of the largest message with guard counts, in bytes.
    pub(super) fn guards_limit(&self) -> usize {
        let circuit = self.manifest.circuit_of(self.round);
        let openings = circuit.openings(self.manifest.privacy.is_some());
        OVERHEAD + size_of::<u64>() * openings.len()
    }
}

/// Returns the bytes of a verifier message about one contribution.
fn message_len(circuit: &Circuit) -> usize {
    let joint = match circuit.has_joint_randomness() {
        true => 32,
        false => 0,
    };
    size_of::<u64>() * circuit.message_len() + joint
}
