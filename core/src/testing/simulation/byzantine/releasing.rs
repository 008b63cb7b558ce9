//! The release of a round: the proposal, its certificate, the guard counts and the totals.

use super::campaign::Party;
use super::moves::{Move, TotalField};
use super::query::{Query, counted, refused};
use crate::{
    conduct::{Command, Event, StepError},
    find::Cut,
    peer::PeerMessage,
    release::{Certificate, Proposal, SealedTotal, Total},
    testing::{Scene, key_of, step_error},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    field,
    id::AggregatorId,
    keys::Signature,
    signed::Signed,
};

fn certificate(proposal: &Proposal) -> Certificate {
    let key = key_of("finder");
    Certificate::new(proposal.query, proposal.round, proposal.hash(), &key)
}

impl Query<'_> {
    /// Returns the proposal with the conductor's changes.
    fn proposed(&self, proposal: &Proposal) -> Proposal {
        let mut proposal = proposal.clone();
        let of = proposal.batches.len();
        for made in &self.moves {
            let Move::Propose { without } = made else {
                continue;
            };
            let batches = &mut proposal.batches;
            batches.retain(|batch| batch.batch.is_noise() || batch.batch.number != *without);
            if batches.len() < of {
                self.reached.note(*made);
            }
            break;
        }
        proposal
    }

    pub(super) fn notarise(&mut self, proposal: &Proposal) -> Event {
        let proposal = self.proposed(proposal);
        let certified = self.certified.entry(proposal.round);
        let certified = certified.or_insert_with(|| proposal.clone());
        if *certified != proposal {
            return Event::Notarised(Err(refused("another release is certified")));
        }
        let certificate = certificate(&proposal);
        let kept = &mut self.earlier.certified;
        if kept.last().is_none_or(|(last, _)| *last != proposal) {
            kept.push((proposal, certificate.clone()));
        }
        Event::Notarised(Ok(certificate))
    }

    pub(super) fn guards(
        &self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        command: &Command,
    ) -> Option<Event> {
        let Command::Guards { proposal, .. } = command else {
            return None;
        };
        let member = aggregator.member;
        let before = self.one(|one| match one {
            Move::CertificateBefore { member: to } => counted(scene, *to) == member,
            _ => false,
        });
        let certified = &self.earlier.certified;
        let place = certified.len().checked_sub(2);
        if let (Some(made), Some(place)) = (before, place) {
            self.reached.note(made);
            let (proposal, certificate) = &certified[place];
            let guards = scene.guards_at(member, proposal, certificate);
            let guards = guards.map_err(|error| step_error(&error));
            return Some(Event::Guarded(aggregator, guards));
        }
        let mut proposed = self.proposed(proposal);
        // A notary that signs everything lets each aggregator get another proposal.
        let both = self.is(Party::Finder) && self.is(Party::Conductor);
        if both && self.moves.contains(&Move::CertifyAll) {
            let place = scene.position(member) % (proposed.batches.len() + 1);
            if place < proposed.batches.len() && proposed.batches.len() > 1 {
                proposed.batches.remove(place);
                self.reached.note(Move::CertifyAll);
            }
        }
        if proposed == **proposal {
            return None;
        }
        let guards = scene.guards_at(member, &proposed, &certificate(&proposed));
        let guards = guards.map_err(|error| step_error(&error));
        Some(Event::Guarded(aggregator, guards))
    }

    pub(super) fn release(
        &mut self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        messages: &[PeerMessage],
    ) -> Option<Event> {
        let lie = self.one(|one| matches!(one, Move::FalseTotal(_)));
        if let Some(made @ Move::FalseTotal(field)) = lie
            && self.is_byzantine(scene, aggregator)
        {
            let total = Self::false_total(scene, aggregator, messages, field);
            if total.is_ok() {
                self.reached.note(made);
            }
            return Some(Event::Released(aggregator, total));
        }
        let handed = self.handed(scene, 3, aggregator, messages)?;
        let total = scene.release_at(aggregator.member, &handed);
        let total = total.map_err(|error| step_error(&error));
        Some(Event::Released(aggregator, total))
    }

    /// Returns the Byzantine aggregator's total with a false field.
    fn false_total(
        scene: &mut Scene,
        aggregator: AggregatorId,
        messages: &[PeerMessage],
        field: TotalField,
    ) -> Result<SealedTotal, StepError> {
        let honest = scene.release_at(aggregator.member, messages);
        let honest = honest.map_err(|error| step_error(&error))?;
        let query = scene.question.manifest.query();
        let context = Total::context(query, 0, aggregator.member);
        let opened = honest.open(&scene.question.reply, &context, 1 << 20);
        let signed = to_bytes(&opened.map_err(|_| refused("it does not open"))?);
        let (body, _): (Vec<u8>, Signature) =
            from_bytes(&signed, 1 << 20, "signed total").map_err(|_| refused("no total"))?;
        let mut total: Total =
            from_bytes(&body, 1 << 20, "total").map_err(|_| refused("no total"))?;
        match field {
            TotalField::Outputs => {
                for share in total.outputs.iter_mut().flatten() {
                    *share = field::add(*share, 1);
                }
            }
            TotalField::Accepted => total.accepted += 1,
            TotalField::Verified => total.verified += 1,
            TotalField::Proposal => total.proposal[0] ^= 1,
            TotalField::Find => {
                let find = scene
                    .network
                    .secret
                    .find(query, 0, &[9; 32], 1, &Cut::default());
                total.finds = vec![(0, find)];
            }
        }
        let signed = Signed::new(&total, &scene.key(aggregator.member));
        let reply = scene.question.reply.public();
        Ok(SealedTotal::seal(&signed, &reply, &context, &mut scene.rng))
    }
}
