//! The steps of a batch at the aggregators, with the changes of a Byzantine conductor and a Byzantine aggregator.

use std::collections::BTreeSet;

use super::campaign::Party;
use super::moves::{AcknowledgedField, FalseNoise, Move};
use super::query::{Query, counted, last};
use crate::{
    aggregation::{Deal, DealRequest, Quorum},
    ask::{BatchAnswer, group_digest},
    conduct::{Event, StepError},
    peer::{Channel, PeerContent, PeerMessage},
    release::SignedAcknowledgement,
    testing::{Scene, step_error},
};
use dispers_base::{
    field,
    id::{AggregatorId, MemberNumber, Work},
};

impl Query<'_> {
    /// Opens groups at an aggregator, and further answers that the conductor hands it. Returns `None` for the honest
    /// step.
    pub(super) fn open(
        &mut self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        answer: &BatchAnswer,
    ) -> Option<Event> {
        let work = answer.statement.work;
        let member = aggregator.member;
        if self.is_byzantine(scene, aggregator) && self.makes(Move::ClaimsOtherBytes) {
            return Some(Event::Opened(aggregator, work, Err(super::other_bytes())));
        }
        let refusable = self.refusable.get(&work).cloned();
        let answer = refusable.as_ref().unwrap_or(answer);
        self.open_before(scene, member, answer);
        if self.hides(scene, 0, member) {
            return Some(Event::Opened(aggregator, work, Err(StepError::Unreachable)));
        }
        let again = self.one(|one| match one {
            Move::AskAgain { batch, member: to } => {
                *batch == work.batch.number && counted(scene, *to) == member
            }
            _ => false,
        });
        if again.is_some()
            && let Some(later) = self.again.get(&work)
        {
            let opened = scene.open_at(member, answer);
            let later = scene.open_at(member, later);
            let opened = opened.or(later).map_err(|error| step_error(&error));
            return Some(Event::Opened(aggregator, work, opened));
        }
        refusable.as_ref().map(|answer| {
            let opened = scene.open_at(member, answer);
            Event::Opened(aggregator, work, opened.map_err(|error| step_error(&error)))
        })
    }

    /// Opens at an aggregator also the answer for the previous batch, round or query, if the conductor makes this move.
    fn open_before(&mut self, scene: &mut Scene, member: MemberNumber, answer: &BatchAnswer) {
        let [now, before] = &mut self.earlier.opened;
        let new = now
            .as_ref()
            .is_none_or(|now| now.statement.work != answer.statement.work);
        if new {
            *before = now.replace(answer.clone());
        }
        let made = self.one(|one| match one {
            Move::AnswerBefore { member: to } => counted(scene, *to) == member,
            _ => false,
        });
        if let (Some(made), Some(before)) = (made, &self.earlier.opened[1])
            && before.groups.len() == answer.groups.len()
        {
            self.reached.note(made);
            // An aggregator that accepted this answer would count homes twice.
            let _ = scene.open_at(member, before);
        }
    }

    pub(super) fn hides(&self, scene: &Scene, at: u8, of: MemberNumber) -> bool {
        let made = self.one(|one| match one {
            Move::Hide { member, step } => *step == at && counted(scene, *member) == of,
            _ => false,
        });
        made.iter().for_each(|one| self.reached.note(*one));
        made.is_some()
    }

    /// Returns the messages that the conductor hands an aggregator at a step in place of `messages`, or `None` if it
    /// hands `messages`.
    pub(super) fn handed(
        &mut self,
        scene: &mut Scene,
        step: u8,
        to: AggregatorId,
        messages: &[PeerMessage],
    ) -> Option<Vec<PeerMessage>> {
        let last = self
            .earlier
            .messages
            .insert((step, to.member), messages.to_vec());
        let replay = self.one(|one| match one {
            Move::Replay { member, step: at } => {
                *at == step && counted(scene, *member) == to.member
            }
            _ => false,
        });
        if let (Some(made), Some(last)) = (replay, last) {
            self.reached.note(made);
            return Some(last);
        }
        let falsified = self.falsified(scene, step, messages);
        let now = falsified.as_deref().unwrap_or(messages);
        let senders: BTreeSet<MemberNumber> = now.iter().map(|one| one.from).collect();
        let hidden: BTreeSet<MemberNumber> = senders
            .into_iter()
            .filter(|from| self.hides(scene, step, *from))
            .collect();
        if hidden.is_empty() {
            return falsified;
        }
        let left = now.iter().filter(|one| !hidden.contains(&one.from));
        Some(left.cloned().collect())
    }

    /// Returns the messages of a step with the lies of the Byzantine aggregator, or `None` if it does not lie.
    fn falsified(
        &self,
        scene: &mut Scene,
        step: u8,
        messages: &[PeerMessage],
    ) -> Option<Vec<PeerMessage>> {
        if !self.is(Party::Aggregator) {
            return None;
        }
        let made = self.one(|one| match one {
            Move::FalseRandomness => step == 1,
            Move::FalseMessages { .. } => step == 2,
            Move::FalseGuards => step == 3,
            _ => false,
        })?;
        let liar = last(scene);
        let message_len = scene
            .question
            .manifest
            .circuit_of(scene.round)
            .message_len();
        let mut lies = false;
        let changed = messages.iter().map(|message| {
            let changed = (message.from == liar)
                .then(|| Self::resigned(scene, message, made, message_len))
                .flatten();
            lies |= changed.is_some();
            changed.unwrap_or_else(|| message.clone())
        });
        let changed: Vec<PeerMessage> = changed.collect();
        if lies {
            self.reached.note(made);
        }
        lies.then_some(changed)
    }

    /// Changes a message of the Byzantine aggregator and signs it again.
    fn resigned(
        scene: &mut Scene,
        message: &PeerMessage,
        made: Move,
        message_len: usize,
    ) -> Option<PeerMessage> {
        let manifest = &scene.question.manifest;
        let channel = Channel {
            query: manifest.query(),
            committee: 0,
        };
        let secret = scene.question.offered[message.to.index()].as_ref()?;
        let directory = &scene.network.directory;
        let mut opened = channel.open(message, message.to, secret, directory).ok()?;
        let add = |elements: &mut [u64], by| {
            elements
                .iter_mut()
                .for_each(|element| *element = field::add(*element, by));
        };
        match (&mut opened.content, made) {
            (PeerContent::Randomness { digest, .. }, Move::FalseRandomness) => digest[0] ^= 1,
            (PeerContent::Verifier { messages, .. }, Move::FalseMessages { from }) => {
                let start = (from as usize * message_len).min(messages.len());
                add(&mut messages[start..], 1);
            }
            (PeerContent::Guards { counts, .. }, Move::FalseGuards) => add(counts, 9),
            _ => return None,
        }
        let signed = channel.sign(message.from, opened.content, &scene.key(message.from));
        let mut offers = manifest.offers(0);
        let (_, key) = offers.find(|(to, _)| *to == message.to)?;
        let rng = &mut scene.rng;
        Some(channel.seal(&signed, message.from, message.to, key, rng))
    }

    pub(super) fn decide(
        &mut self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        work: Work,
        quorum: &Quorum,
        messages: &[PeerMessage],
    ) -> Option<Event> {
        let handed = self.handed(scene, 2, aggregator, messages);
        let other = self.one(|one| match one {
            Move::OtherQuorum { member } => counted(scene, *member) == aggregator.member,
            _ => false,
        });
        let lies = self.is_byzantine(scene, aggregator)
            && self
                .one(|one| matches!(one, Move::FalseAcknowledgement(_)))
                .is_some();
        if handed.is_none() && other.is_none() && !lies {
            return None;
        }
        let members = quorum.members().iter().copied();
        let away = members.clone().find(|one| *one != aggregator.member);
        let quorum = match other {
            Some(made) => {
                self.reached.note(made);
                Quorum::new(members.filter(|one| Some(*one) != away))
            }
            None => quorum.clone(),
        };
        let messages = handed.as_deref().unwrap_or(messages);
        let decided = scene.decide_at(aggregator.member, work, &quorum, messages);
        let decided = decided.map(|said| match lies {
            true => self.false_acknowledgement(scene, said),
            false => said,
        });
        let decided = decided.map_err(|error| step_error(&error));
        Some(Event::Decided(aggregator, work, decided))
    }

    fn false_acknowledgement(
        &self,
        scene: &Scene,
        honest: SignedAcknowledgement,
    ) -> SignedAcknowledgement {
        let mut body = honest.body;
        for made in &self.moves {
            let Move::FalseAcknowledgement(field) = made else {
                continue;
            };
            match field {
                AcknowledgedField::Decision => body.decision[0] ^= 1,
                AcknowledgedField::Accepted => body.accepted += 1,
                AcknowledgedField::Attempt => body.work.attempt ^= 1,
            }
            self.reached.note(*made);
        }
        let key = scene.key(body.member);
        SignedAcknowledgement::new(body, &key)
    }

    /// Commits at an aggregator with earlier acknowledgements, if the conductor makes this move.
    pub(super) fn commit(
        &mut self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        work: Work,
        acknowledgements: &[SignedAcknowledgement],
    ) -> Option<Event> {
        let member = aggregator.member;
        let kept = &mut self.earlier.acknowledgements;
        let last = kept.insert(member, acknowledgements.to_vec())?;
        let made = self.one(|one| match one {
            Move::Replay { member: to, step } => *step == 4 && counted(scene, *to) == member,
            _ => false,
        })?;
        self.reached.note(made);
        let committed = scene.commit_at(member, work, &last);
        let committed = committed.map_err(|error| step_error(&error));
        Some(Event::Committed(aggregator, work, committed))
    }

    /// Deals false noise at the Byzantine aggregator, if it makes this move.
    pub(super) fn deal(
        &self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        request: &DealRequest,
    ) -> Option<Event> {
        let made = self.one(|one| matches!(one, Move::FalseDeal(_)))?;
        let (true, Move::FalseDeal(how)) = (self.is_byzantine(scene, aggregator), made) else {
            return None;
        };
        let dealt = match how {
            FalseNoise::OutOfBound => Ok(scene.forge_deal(aggregator.member, request)),
            _ => scene.deal_at(aggregator.member, request),
        };
        let dealt = dealt.map(|deal| Self::false_deal(scene, deal, how));
        self.reached.note(made);
        let dealt = dealt.map_err(|error| step_error(&error));
        Some(Event::Dealt(aggregator, request.work, dealt))
    }

    fn false_deal(scene: &Scene, mut deal: Deal, how: FalseNoise) -> Deal {
        match how {
            FalseNoise::OutOfBound => return deal,
            FalseNoise::Unsigned => {
                deal.signature = deal.statement.signed_by(&crate::testing::key_of("nobody"));
                return deal;
            }
            FalseNoise::Malformed => {
                deal.shares.swap(0, 1);
                deal.statement.digests = deal.shares.iter().map(group_digest).collect();
            }
            FalseNoise::AnotherAttempt => deal.statement.request.work.attempt ^= 1,
        }
        deal.signature = deal.statement.signed_by(&scene.key(deal.statement.dealer));
        deal
    }
}
