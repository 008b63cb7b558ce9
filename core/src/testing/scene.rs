//! One query with all who take part, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::model::{Call, Follower};
use super::question::{Found, find, homes, plain_sums, segment, upload};
use super::{
    Draft, Home, Network, Question, Setting, aggregator, copy_of, key_of, logged, member, name,
};
use crate::{
    aggregation::{
        Aggregation, AggregationError, AggregatorKeys, Deal, DealRequest, DealtRequest, Quorum,
    },
    ask::{
        Answer, AnsweringHome, AskError, BatchAnswer, OpenedBatch, TargetRequest, answer,
        collect_answers, open_batch,
    },
    find::{FindError, SealedGrant},
    peer::PeerMessage,
    release::{
        Certificate, CommittedBatch, Proposal, ReleaseError, Released, SealedTotal,
        SignedAcknowledgement, open_totals,
    },
    session::NO_PARAMETERS,
};
use dispers_base::{
    encoding,
    id::{AggregatorId, BatchId, MemberNumber, Work},
    keys::SigningKey,
};
use dispers_circuit::{Row, Section, VectorRow};
use dispers_crypto::envelope::{EnvelopeSecretKey, Watcher};
use dispers_query::catalogue::EVERY_HOME;
use dispers_training::{Design, Layout};

/// Result of an aggregator's step.
pub(crate) type Step<T> = Result<T, AggregationError>;

/// Query that was found and begun at every aggregator that made an offer.
pub(crate) struct Scene {
    pub(crate) network: Network,
    pub(crate) homes: Vec<Home>,
    pub(crate) question: Question,
    pub(crate) segments: Vec<Vec<u8>>,
    pub(crate) batch_size: u32,
    pub(crate) found: Found,
    /// Aggregators by number. A test that loses an aggregator removes its entry.
    pub(crate) aggregators: BTreeMap<MemberNumber, Aggregation>,
    pub(crate) rng: StdRng,
    /// Round that is asked. `shown` is the digest of the parameters that homes are shown in this round.
    pub(crate) round: u16,
    pub(crate) shown: [u8; 32],
    /// Watcher of the messages that aggregators open.
    pub(crate) watcher: Option<Arc<dyn Watcher>>,
    /// Model beside the query, if the query is followed.
    pub(crate) follower: Option<Follower>,
    /// Signing keys of the aggregators, by number.
    signing: Vec<SigningKey>,
}

/// Returns the signing key of an aggregator.
pub(crate) fn aggregator_key(member: MemberNumber) -> SigningKey {
    key_of(&format!("aggregator{member}"))
}

/// Copies a key, which is not `Clone`.
pub(crate) fn same_key(secret: &EnvelopeSecretKey) -> EnvelopeSecretKey {
    let bytes = secret.to_seed_bytes();
    EnvelopeSecretKey::from_bytes(secret.suite(), &bytes[..]).unwrap()
}

impl Scene {
    pub(crate) fn new(setting: Setting) -> Self {
        // All scenes draw the same keys, so that their uses must not be compared.
        dispers_crypto::aead::record::forget();
        let mut rng = StdRng::seed_from_u64(11);
        let (needed, members) = setting.committee;
        let mut network = Network::new(needed, members, &mut rng);
        network.size_noise = setting.size_noise;
        let homes = homes(&setting.rows, &mut rng);
        let question = Question::new(&network, &setting, &mut rng);
        let segments: Vec<Vec<u8>> = ["host1", "host2"]
            .into_iter()
            .map(|host| {
                let host = name(host);
                let own: Vec<&Home> = homes.iter().filter(|home| home.host == host).collect();
                let upload = upload(&network, &host, &own, &[EVERY_HOME], &mut rng);
                encoding::to_bytes(&segment(upload))
            })
            .collect();
        let found = find(&network, &question, &segments, setting.batch_size, &mut rng).unwrap();
        let mut scene = Self {
            network,
            homes,
            question,
            segments,
            batch_size: setting.batch_size,
            found,
            aggregators: BTreeMap::new(),
            rng,
            round: 0,
            shown: NO_PARAMETERS,
            watcher: None,
            follower: None,
            signing: (1..=members).map(member).map(aggregator_key).collect(),
        };
        for (_, member, grant) in copy_of(&scene.found.summary).grants {
            let mut aggregation = scene.aggregation(member);
            aggregation
                .grant(0, &grant, &scene.network.directory)
                .unwrap();
            scene.aggregators.insert(member, aggregation);
        }
        scene
    }

    /// Runs the find again over these lists.
    pub(crate) fn find(&mut self, segments: &[Vec<u8>]) -> Result<Found, FindError> {
        let size = self.batch_size;
        find(&self.network, &self.question, segments, size, &mut self.rng)
    }

    /// Creates an aggregation that has no grant yet.
    pub(crate) fn aggregation(&self, member: MemberNumber) -> Aggregation {
        let secret = self.question.offered[member.index()].as_ref().unwrap();
        let mut secret = same_key(secret);
        if let Some(watcher) = &self.watcher {
            secret = secret.watched(watcher.clone());
        }
        Aggregation::new(self.question.manifest.clone(), 0, member, secret).unwrap()
    }

    pub(crate) fn grant_of(&self, member: MemberNumber) -> SealedGrant {
        let mut grants = self.found.summary.grants.iter();
        grants.find(|grant| grant.1 == member).unwrap().2.clone()
    }

    pub(crate) fn work(&self, batch: u32, attempt: u8) -> Work {
        Work {
            query: self.question.manifest.query(),
            round: self.round,
            batch: BatchId {
                partition: 0,
                committee: 0,
                number: batch,
            },
            attempt,
        }
    }

    /// Returns the batch that the Target opens: the same homes and tickets in every round.
    pub(crate) fn asks(&self, work: Work) -> OpenedBatch {
        self.try_asks(work).unwrap()
    }

    /// Returns the batch that the Target opens, if it accepts the batch.
    pub(crate) fn try_asks(&self, work: Work) -> Result<OpenedBatch, AskError> {
        let work = Work { round: 0, ..work };
        let request = TargetRequest {
            parameters: None,
            manifest: self.question.signed.clone(),
            inclusion: logged(&self.network, &self.question.signed),
            work,
            batch: copy_of(&self.found.batches[work.batch.number as usize]),
        };
        open_batch(
            &request,
            &self.question.manifest,
            &name("target"),
            &self.network.directory,
            &self.network.target,
        )
    }

    /// Returns the rows of a batch's homes, by index.
    pub(crate) fn rows(&self, batch: u32) -> BTreeMap<u32, Option<Row>> {
        let asks = self.asks(self.work(batch, 0)).asks;
        let homes = asks.into_values().flat_map(|ask| ask.homes);
        homes
            .map(|home| (home.index, self.home(&home.home.0).row.clone()))
            .collect()
    }

    pub(crate) fn home(&self, id: &str) -> &Home {
        self.homes.iter().find(|home| home.id.0 == id).unwrap()
    }

    /// Returns a home's vector in a session. The levels depend on the index.
    pub(crate) fn vector(&self, index: u32) -> Option<VectorRow> {
        let manifest = &self.question.manifest;
        let (training, task) = manifest.training.as_ref().zip(manifest.task(self.round))?;
        let design = Design::of(training, &manifest.local);
        let shape = Layout::of(training, &design, task).shape();
        let level = |place| (u64::from(index) * 37 + place as u64 * 11) % (1 << shape.bits);
        let section = |section: &Section| Some((0..section.len()).map(level).collect());
        Some(VectorRow {
            sections: shape.sections.iter().map(section).collect(),
        })
    }

    /// Begins a round of a session. `shown` is the digest of the parameters that homes are shown.
    pub(crate) fn begin_round(&mut self, round: u16, shown: [u8; 32]) {
        (self.round, self.shown) = (round, shown);
    }

    /// Returns the answers of honest stacks, one per host.
    pub(crate) fn answers(&mut self, work: Work) -> Vec<Answer> {
        let mut answers = Vec::new();
        for ask in self.asks(work).asks.into_values() {
            let homes: Vec<AnsweringHome> = ask
                .homes
                .iter()
                .map(|asked| {
                    let home = self.home(&asked.home.0);
                    let mut answering =
                        AnsweringHome::open(work, &ask.find, asked, &home.key).unwrap();
                    answering.row = home.row.clone();
                    answering.vector = self.vector(asked.index);
                    answering
                })
                .collect();
            let manifest = &self.question.manifest;
            answers.push(answer(manifest, work, &self.shown, &homes, &mut self.rng).unwrap());
        }
        answers
    }

    /// Collects answers as the Target does.
    pub(crate) fn collect(&mut self, work: Work, answers: Vec<Answer>) -> BatchAnswer {
        let aggregators = self.question.manifest.offers(0).count();
        let (target, key) = (name("target"), key_of("target"));
        collect_answers(
            &target,
            &key,
            (work, self.shown),
            aggregators,
            answers,
            &mut self.rng,
        )
    }

    /// Returns the Target's answer if all stacks are honest.
    pub(crate) fn honest(&mut self, work: Work) -> BatchAnswer {
        let answers = self.answers(work);
        self.collect(work, answers)
    }

    /// Returns the Target's answer if the stacks send `draft`.
    pub(crate) fn forged(&mut self, draft: &Draft) -> BatchAnswer {
        let shared = draft.share(self);
        let answers = shared.seal(self);
        self.collect(draft.work, answers)
    }

    /// Takes a step of one aggregator.
    fn at<T>(
        &mut self,
        member: MemberNumber,
        step: impl FnOnce(&mut Aggregation, &AggregatorKeys<'_>, &Network, &mut StdRng) -> Step<T>,
    ) -> Step<T> {
        let keys = AggregatorKeys {
            signing: &self.signing[member.index()],
            share: &self.network.shares[member.index()],
        };
        let aggregation = self.aggregators.get_mut(&member).unwrap();
        step(aggregation, &keys, &self.network, &mut self.rng)
    }

    /// Follows a step of one aggregator in the model. `said` returns the acknowledgement of a decision.
    fn followed<T>(
        &mut self,
        member: MemberNumber,
        call: Call<'_>,
        outcome: Step<T>,
        said: impl FnOnce(&T) -> Option<&SignedAcknowledgement>,
    ) -> Step<T> {
        if let Some(follower) = &mut self.follower {
            let visible = self.aggregators[&member].visible();
            match &outcome {
                Ok(value) => follower.step(member, call, Ok(said(value)), &visible),
                Err(error) => follower.step(member, call, Err(error), &visible),
            }
        }
        outcome
    }

    /// Returns the place of an aggregator among those that made an offer.
    pub(crate) fn position(&self, member: MemberNumber) -> usize {
        let mut offers = self.question.manifest.offers(0);
        offers.position(|(offered, _)| offered == member).unwrap()
    }

    pub(crate) fn open_at(
        &mut self,
        member: MemberNumber,
        answer: &BatchAnswer,
    ) -> Step<Vec<PeerMessage>> {
        let groups = &answer.groups[self.position(member)];
        let outcome = self.at(member, |aggregation, keys, network, rng| {
            let (statement, signature) = (&answer.statement, &answer.signature);
            let directory = &network.directory;
            let mut receiving = aggregation.receive(statement, signature, directory)?;
            let opener = receiving.opener();
            for group in groups {
                receiving.add(opener.open(group.clone()));
            }
            aggregation.freeze(receiving, keys, rng)
        });
        self.followed(
            member,
            Call::Open(answer.statement.work, answer.statement.digest()),
            outcome,
            |_| None,
        )
    }

    pub(crate) fn deal_at(&mut self, member: MemberNumber, request: &DealRequest) -> Step<Deal> {
        self.at(member, |aggregation, keys, _, rng| {
            aggregation.deal(request, keys, rng)
        })
    }

    /// Deals noise beyond its bound.
    pub(crate) fn forge_deal(&mut self, member: MemberNumber, request: &DealRequest) -> Deal {
        let forged = self.at(member, |aggregation, keys, _, rng| {
            Ok(aggregation.forge_deal(request, keys, rng))
        });
        forged.unwrap()
    }

    /// Returns an aggregator's signing key.
    pub(crate) fn key(&self, member: MemberNumber) -> SigningKey {
        aggregator_key(member)
    }

    pub(crate) fn open_deals_at(
        &mut self,
        member: MemberNumber,
        request: &DealRequest,
        deals: &[Deal],
    ) -> Step<Vec<PeerMessage>> {
        let dealt = DealtRequest::for_reader(request, deals, self.position(member)).unwrap();
        self.at(member, |aggregation, keys, network, rng| {
            aggregation.open_deals(dealt, keys, &network.directory, rng)
        })
    }

    pub(crate) fn verify_at(
        &mut self,
        member: MemberNumber,
        work: Work,
        messages: &[PeerMessage],
    ) -> Step<Vec<PeerMessage>> {
        let messages = to(member, messages);
        let outcome = self.at(member, |aggregation, keys, network, rng| {
            aggregation.verify(work, &messages, keys, &network.directory, rng)
        });
        self.followed(member, Call::Verify(work), outcome, |_| None)
    }

    pub(crate) fn decide_at(
        &mut self,
        member: MemberNumber,
        work: Work,
        quorum: &Quorum,
        messages: &[PeerMessage],
    ) -> Step<SignedAcknowledgement> {
        let messages = to(member, messages);
        let outcome = self.at(member, |aggregation, keys, network, _| {
            aggregation.decide(work, quorum, &messages, keys, &network.directory)
        });
        self.followed(member, Call::Decide(work, quorum), outcome, |said| {
            Some(said)
        })
    }

    pub(crate) fn commit_at(
        &mut self,
        member: MemberNumber,
        work: Work,
        acknowledgements: &[SignedAcknowledgement],
    ) -> Step<()> {
        let outcome = self.at(member, |aggregation, _, network, _| {
            aggregation.commit(work, acknowledgements, &network.directory)
        });
        self.followed(member, Call::Commit(work), outcome, |_| None)
    }

    pub(crate) fn guards_at(
        &mut self,
        member: MemberNumber,
        proposal: &Proposal,
        certificate: &Certificate,
    ) -> Step<Vec<PeerMessage>> {
        let outcome = self.at(member, |aggregation, keys, network, rng| {
            aggregation.guards(proposal, certificate, keys, &network.directory, rng)
        });
        self.followed(member, Call::Guards(proposal), outcome, |_| None)
    }

    pub(crate) fn release_at(
        &mut self,
        member: MemberNumber,
        messages: &[PeerMessage],
    ) -> Step<SealedTotal> {
        let (messages, round) = (to(member, messages), self.round);
        let outcome = self.at(member, |aggregation, keys, network, rng| {
            aggregation.release(round, &messages, keys, &network.directory, rng)
        });
        self.followed(member, Call::Release, outcome, |_| None)
    }

    pub(crate) fn members(&self) -> Vec<MemberNumber> {
        self.aggregators.keys().copied().collect()
    }

    pub(crate) fn quorum(&self) -> Quorum {
        Quorum::new(self.members())
    }

    /// Opens the answer at all aggregators. Returns their messages to each other.
    pub(crate) fn open(&mut self, answer: &BatchAnswer) -> Vec<PeerMessage> {
        let members = self.members().into_iter();
        members
            .flat_map(|member| self.open_at(member, answer).unwrap())
            .collect()
    }

    pub(crate) fn verify(&mut self, work: Work, messages: &[PeerMessage]) -> Vec<PeerMessage> {
        let members = self.members().into_iter();
        members
            .flat_map(|member| self.verify_at(member, work, messages).unwrap())
            .collect()
    }

    /// Opens and verifies the answer at all aggregators. Returns the verifier messages.
    pub(crate) fn verified(&mut self, answer: &BatchAnswer) -> Vec<PeerMessage> {
        let randomness = self.open(answer);
        self.verify(answer.statement.work, &randomness)
    }

    /// Decides at all aggregators, as one quorum.
    pub(crate) fn decide(
        &mut self,
        work: Work,
        messages: &[PeerMessage],
    ) -> Step<Vec<SignedAcknowledgement>> {
        let (members, quorum) = (self.members(), self.quorum());
        let decide = |member| self.decide_at(member, work, &quorum, messages);
        members.into_iter().map(decide).collect()
    }

    /// Takes the answer through all steps of all aggregators, up to the commit.
    pub(crate) fn commit(&mut self, answer: &BatchAnswer) -> CommittedBatch {
        let work = answer.statement.work;
        let messages = self.verified(answer);
        let acknowledgements = self.decide(work, &messages).unwrap();
        for member in self.members() {
            self.commit_at(member, work, &acknowledgements).unwrap();
        }
        let decided = &acknowledgements[0].body;
        CommittedBatch {
            batch: work.batch,
            attempt: work.attempt,
            decision: decided.decision,
            accepted: decided.accepted,
        }
    }

    pub(crate) fn proposal(&self, batches: &[CommittedBatch]) -> Proposal {
        Proposal {
            query: self.question.manifest.query(),
            round: self.round,
            batches: batches.to_vec(),
        }
    }

    pub(crate) fn certificate(&self, proposal: &Proposal) -> Certificate {
        let key = key_of("finder");
        Certificate::new(proposal.query, proposal.round, proposal.hash(), &key)
    }

    /// Opens the guards at all aggregators. Returns their messages to each other.
    pub(crate) fn guards(&mut self, proposal: &Proposal) -> Vec<PeerMessage> {
        let certificate = self.certificate(proposal);
        let members = self.members().into_iter();
        members
            .flat_map(|member| self.guards_at(member, proposal, &certificate).unwrap())
            .collect()
    }

    /// Releases these batches at all aggregators.
    pub(crate) fn release(
        &mut self,
        batches: &[CommittedBatch],
    ) -> Vec<(AggregatorId, SealedTotal)> {
        let messages = self.guards(&self.proposal(batches));
        let members = self.members().into_iter();
        members
            .map(|member| {
                let total = self.release_at(member, &messages).unwrap();
                (aggregator(member.point()), total)
            })
            .collect()
    }

    /// Opens the totals as the querier does.
    pub(crate) fn read(
        &self,
        totals: &[(AggregatorId, SealedTotal)],
    ) -> Result<Released, ReleaseError> {
        let question = &self.question;
        let directory = &self.network.directory;
        open_totals(&question.manifest, totals, &question.reply, directory)
    }

    /// Commits this one answer and releases it. Returns the querier's result.
    pub(crate) fn released(&mut self, answer: &BatchAnswer) -> Released {
        let batch = self.commit(answer);
        let totals = self.release(&[batch]);
        self.read(&totals).unwrap()
    }

    /// Computes the expected outputs over these rows in the clear.
    pub(crate) fn sums<'a>(&self, rows: impl Iterator<Item = &'a Option<Row>>) -> Vec<Option<u64>> {
        let Question { plan, manifest, .. } = &self.question;
        let sums = plain_sums(&plan.shape, rows.flatten());
        if manifest.privacy.is_some() || manifest.training.is_some() {
            return sums.into_iter().map(Some).collect();
        }
        // Withholds the numbers that a result withholds because they would give others away.
        let openings = manifest.circuit().openings(false);
        let opened: Vec<i128> = openings
            .iter()
            .map(|count| count.evaluate(&sums).into())
            .collect();
        let mask = manifest.mask(0, manifest.min_cohort.into(), &opened);
        mask.apply(&sums)
    }

    /// Computes the expected outputs over the first batch without the homes at `left_out`.
    pub(crate) fn sums_without(&self, left_out: &[u32]) -> Vec<Option<u64>> {
        let rows = self.rows(0);
        let kept = rows.iter().filter(|(index, _)| !left_out.contains(index));
        self.sums(kept.map(|(_, row)| row))
    }
}

fn to(member: MemberNumber, messages: &[PeerMessage]) -> Vec<PeerMessage> {
    let messages = messages.iter().filter(|message| message.to == member);
    messages.cloned().collect()
}
