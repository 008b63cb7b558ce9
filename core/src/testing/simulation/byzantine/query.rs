//! One query of a campaign: every honest role runs the functions that the real one runs, and the coalition's moves
//! take the place of what its members would do.

use std::collections::{BTreeMap, BTreeSet};

use super::campaign::{Ask, Campaign, Move, Party};
use super::ground::{Ground, LISTS, encoded, number};
use super::purse::Ledgers;
use super::stacks::{Stacks, is_smaller};
use crate::aggregation::Quorum;
use crate::ask::{Answer, BatchAnswer};
use crate::conduct::{Command, Conduct, Event, StepError};
use crate::encoding::{from_bytes, to_bytes};
use crate::envelope::{Sealed, reader};
use crate::find::{ListSegment, MAX_BATCH, Memory, SealedGrant, TargetBatch};
use crate::id::{AggregatorId, MemberNumber, Name, Work};
use crate::keys::Signature;
use crate::oprf::Pseudonym;
use crate::peer::{Channel, PeerContent, PeerMessage};
use crate::privacy::Expense;
use crate::release::{Certificate, Proposal, SealedTotal, Total};
use crate::testing::{
    Found, Question, Scene, Setting, copy_of, failed, find_remembering, key_of, pseudonym,
    step_error,
};

/// What became of a query.
pub(super) struct Ended {
    pub(super) conduct: Conduct,
    /// The homes that were found, in every find whose batches were asked.
    pub(super) found: BTreeSet<usize>,
    /// Contributions that were counted in another batch than the one that the granted find put their homes in.
    pub(super) misplaced: u32,
    /// What it costs each population.
    pub(super) expenses: Vec<Expense>,
    /// What finders sealed.
    pub(super) sealed: Vec<Sealing>,
}

/// An encapsulation, and the ciphertext under it.
pub(super) type Sealing = (Vec<u8>, Vec<u8>);

/// What a find seals: its grants and batches.
fn sealings(found: &Found) -> Vec<Sealing> {
    fn of<R: reader::Reader, T>(sealed: &Sealed<R, T>) -> Sealing {
        (sealed.encapsulated().to_vec(), sealed.ciphertext().to_vec())
    }
    let grants = found.summary.grants.iter().map(|(_, _, grant)| of(grant));
    let batches = found.batches.iter().filter_map(|message| {
        let sealed = from_bytes(&message.sealed, MAX_BATCH, "batch").ok()?;
        Some(of::<reader::Target, TargetBatch>(&sealed))
    });
    grants.chain(batches).collect()
}

/// One query under way.
pub(super) struct Query<'a> {
    campaign: &'a Campaign,
    moves: Vec<Move>,
    /// The finds after the first.
    others: Vec<Found>,
    stacks: &'a mut Stacks,
    ledgers: &'a mut Ledgers,
    /// Which query of the campaign it is.
    place: usize,
    /// What it costs each population.
    expenses: Vec<Expense>,
    asked: bool,
    found: BTreeSet<usize>,
    /// What stacks answered last, for a target that uses it again.
    last: Vec<Answer>,
    /// The proposal that the notary signed.
    certified: Option<Proposal>,
    /// Works for which other homes were asked than the first find has in this batch.
    foreign: BTreeSet<Work>,
}

fn refused(why: &str) -> StepError {
    StepError::Refused(why.into())
}

/// The number of a member of the committee, counted around.
fn counted(scene: &Scene, number: u8) -> MemberNumber {
    let members = scene.members();
    members[usize::from(number.saturating_sub(1)) % members.len()]
}

/// The Byzantine aggregator, if it offers a key.
fn last(scene: &Scene) -> MemberNumber {
    *scene.members().last().expect("a committee has members")
}

impl<'a> Query<'a> {
    /// Asks a query, from its manifest to its end. `None` if it is refused before any aggregator begins.
    pub(super) fn run(
        ground: &mut Ground,
        campaign: &'a Campaign,
        ask: usize,
        (stacks, ledgers): (&'a mut Stacks, &'a mut Ledgers),
        finders: &mut [Memory; 2],
    ) -> Option<Ended> {
        let moves = campaign.moves(ask);
        let asked = &campaign.asks[ask];
        ground.scene.question = pose(ground, asked, &moves)?;
        let mut finds = finds(ground, asked, &moves, finders);
        if finds.is_empty() {
            return None;
        }
        let scene = &mut ground.scene;
        scene.found = finds.remove(0);
        scene.aggregators.clear();
        let offers = scene.question.manifest.offers(0);
        let members: Vec<MemberNumber> = offers.map(|(member, _)| member).collect();
        for member in members {
            let aggregation = scene.aggregation(member);
            scene.aggregators.insert(member, aggregation);
        }
        let mut query = Self {
            campaign,
            moves,
            others: finds,
            stacks,
            ledgers,
            place: ask,
            expenses: Vec::new(),
            asked: false,
            found: BTreeSet::new(),
            last: Vec::new(),
            certified: None,
            foreign: BTreeSet::new(),
        };
        let finds = std::iter::once(&scene.found).chain(&query.others);
        let sealed: Vec<Sealing> = finds.flat_map(sealings).collect();
        let conduct = scene.drive(|scene, command| query.intervene(scene, command));
        let proposal = query.certified.as_ref();
        let batches = proposal.iter().flat_map(|proposal| &proposal.batches);
        let misplaced = batches.filter(|batch| {
            let of = |work: &&Work| (work.batch, work.attempt) == (batch.batch, batch.attempt);
            query.foreign.iter().any(|work| of(&work))
        });
        Some(Ended {
            misplaced: misplaced.map(|batch| batch.accepted).sum(),
            conduct,
            found: query.found,
            expenses: query.expenses,
            sealed,
        })
    }

    fn is(&self, party: Party) -> bool {
        self.campaign.has(party)
    }

    fn made<T>(&self, what: impl Fn(&Move) -> Option<T>) -> Option<T> {
        self.moves.iter().find_map(what)
    }

    /// What happens instead of what honest parties do.
    fn intervene(&mut self, scene: &mut Scene, command: &Command) -> Option<Event> {
        if let Some(event) = self.refuses(scene, command) {
            return Some(event);
        }
        match command {
            Command::Begin { aggregator, grants } => Some(self.begin(scene, *aggregator, grants)),
            Command::Ask { work, .. } => {
                if !std::mem::replace(&mut self.asked, true) {
                    self.ask_before(scene);
                }
                let answer = self.ask(scene, *work);
                Some(Event::Asked(*work, answer))
            }
            Command::Open {
                aggregator, answer, ..
            } => self.open(scene, *aggregator, answer),
            Command::Verify {
                aggregator,
                work,
                messages,
            } => {
                let told = self.hide(scene, 1, messages)?;
                let verified = scene.verify_at(aggregator.member, *work, &told);
                Some(Event::Verified(
                    *aggregator,
                    *work,
                    verified.map_err(|error| step_error(&error)),
                ))
            }
            Command::Decide {
                aggregator,
                work,
                quorum,
                messages,
            } => self.decide(scene, *aggregator, *work, quorum, messages),
            Command::Notarise { proposal } => {
                self.charge(scene);
                Some(self.notarise(proposal))
            }
            Command::Guards { aggregator, .. } => self.guards(scene, *aggregator, command),
            Command::Release {
                aggregator,
                messages,
                ..
            } => self.release(scene, *aggregator, messages),
            _ => None,
        }
    }

    /// The Byzantine aggregator says nothing at a step.
    fn refuses(&self, scene: &Scene, command: &Command) -> Option<Event> {
        let step = match command {
            Command::Begin { .. } => 0,
            Command::Open { .. } => 1,
            Command::Verify { .. } => 2,
            Command::Decide { .. } => 3,
            Command::Commit { .. } => 4,
            Command::Guards { .. } => 5,
            _ => return None,
        };
        let (_, to) = command.step();
        let byzantine = to.is_some_and(|to| to.member == last(scene));
        let refuses = self.is(Party::Aggregator) && self.moves.contains(&Move::Refuses { step });
        (byzantine && refuses).then(|| failed(command, StepError::Unreachable))
    }

    /// An aggregator takes its grant, and reserves what the query costs.
    fn begin(
        &mut self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        grants: &[(u16, SealedGrant)],
    ) -> Event {
        let of = self.made(|one| match one {
            Move::GrantOf { member, find } => {
                (counted(scene, *member) == aggregator.member).then_some(usize::from(*find))
            }
            _ => None,
        });
        let other = match of.map(|of| of % (self.others.len() + 1)) {
            None | Some(0) => None,
            Some(other) => self.others.get(other - 1),
        };
        let other = other.and_then(|find| {
            let mut grants = find.summary.grants.iter();
            let grant = grants.find(|(_, member, _)| *member == aggregator.member)?;
            Some(vec![(0, copy_of(&grant.2))])
        });
        let grants = other.as_deref().unwrap_or(grants);
        let directory = &scene.network.directory;
        let byzantine = self.is(Party::Aggregator) && aggregator.member == last(scene);
        let Some(aggregation) = scene.aggregators.get_mut(&aggregator.member) else {
            return Event::Begun(aggregator, Err(refused("it made no offer")));
        };
        for (partition, grant) in grants {
            if let Err(error) = aggregation.grant(*partition, grant, directory) {
                return Event::Begun(aggregator, Err(step_error(&error)));
            }
        }
        self.expenses = aggregation.expenses().collect();
        // A liar charges nothing.
        let place = self.place;
        let reserved = match byzantine {
            true => Ok(()),
            false => self
                .ledgers
                .reserve(aggregator.member, aggregation, directory, place),
        };
        Event::Begun(aggregator, reserved.map_err(|why| refused(&why)))
    }

    /// Has every home asked under another find, for nothing.
    fn ask_before(&mut self, scene: &mut Scene) {
        let find = self.made(|one| match one {
            Move::AskBefore { find } => Some(usize::from(*find)),
            _ => None,
        });
        let Some(find) = find.filter(|_| !self.others.is_empty()) else {
            return;
        };
        let find = find % self.others.len();
        std::mem::swap(&mut scene.found, &mut self.others[find]);
        for batch in 0..scene.found.batches.len() as u32 {
            let work = scene.work(batch, 1);
            self.answers(scene, work);
        }
        std::mem::swap(&mut scene.found, &mut self.others[find]);
    }

    /// What the stacks answer when this batch of the scene's find is asked, one answer per host.
    fn answers(&mut self, scene: &mut Scene, work: Work) -> Vec<(Name, Answer)> {
        let mut answers = Vec::new();
        if work.batch.number as usize >= scene.found.batches.len() {
            return answers;
        }
        let Ok(opened) = scene.try_asks(work) else {
            return answers;
        };
        for (host, ask) in opened.asks {
            let homes = ask.homes.iter().map(|asked| number(&asked.home));
            self.found.extend(homes);
            let byzantine = self.is(Party::Host) && is_smaller(scene, &host);
            let answer = self
                .stacks
                .answer(scene, &host, &ask, byzantine, &self.moves);
            answers.extend(answer.map(|answer| (host, answer)));
        }
        answers
    }

    fn ask(&mut self, scene: &mut Scene, work: Work) -> Result<BatchAnswer, StepError> {
        let find = self.made(|one| match one {
            Move::BatchOf { batch, find } => {
                (*batch == work.batch.number).then_some(usize::from(*find))
            }
            _ => None,
        });
        let other = match find.map(|find| find % (self.others.len() + 1)) {
            None | Some(0) => None,
            Some(find) => Some(find - 1),
        };
        let granted = homes(scene, work);
        if let Some(other) = other {
            std::mem::swap(&mut scene.found, &mut self.others[other]);
            if homes(scene, work) != granted {
                self.foreign.insert(work);
            }
        }
        let twice = self.moves.iter().any(|one| match one {
            Move::AskTwice { batch } => *batch + 1 == work.batch.number,
            _ => false,
        });
        let replaced = match twice {
            true => super::finder::ask_again(scene, work.batch),
            false => None,
        };
        let answers = self.answers(scene, work);
        if let Some(honest) = replaced {
            scene.found.batches[work.batch.number as usize] = honest;
        }
        if let Some(other) = other {
            std::mem::swap(&mut scene.found, &mut self.others[other]);
        }
        let dropped = self.made(|one| match one {
            Move::DropHost { host } => Some(*host == 1),
            _ => None,
        });
        let keeps = |host: &Name| dropped.is_none_or(|smaller| is_smaller(scene, host) != smaller);
        let kept = answers.into_iter().filter(|(host, _)| keeps(host));
        let mut kept: Vec<Answer> = kept.map(|(_, answer)| answer).collect();
        let before = kept.iter().map(copy_of).collect();
        if self.moves.contains(&Move::AddGroups) {
            kept.append(&mut self.last);
        }
        self.last = before;
        if kept.is_empty() {
            return Err(refused("no stack answers"));
        }
        let mut answer = scene.collect(work, kept);
        for one in &self.moves {
            if let Move::OtherBytes { member } = one {
                let position = scene.position(counted(scene, *member));
                answer.groups[position].clear();
            }
        }
        Ok(answer)
    }

    fn open(
        &self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        answer: &BatchAnswer,
    ) -> Option<Event> {
        let work = answer.statement.work;
        let claims = self.is(Party::Aggregator) && self.moves.contains(&Move::ClaimsOtherBytes);
        if claims && aggregator.member == last(scene) {
            return Some(Event::Opened(aggregator, work, Err(super::other_bytes())));
        }
        let hidden = self.hides(scene, 0, aggregator.member);
        hidden.then_some(Event::Opened(aggregator, work, Err(StepError::Unreachable)))
    }

    fn hides(&self, scene: &Scene, at: u8, of: MemberNumber) -> bool {
        self.moves.iter().any(|one| match one {
            Move::Hide { member, step } => *step == at && counted(scene, *member) == of,
            _ => false,
        })
    }

    /// The messages without those that the conductor hides, with those that are false; `None` if they are as sent.
    fn hide(
        &self,
        scene: &mut Scene,
        step: u8,
        messages: &[PeerMessage],
    ) -> Option<Vec<PeerMessage>> {
        let senders: BTreeSet<MemberNumber> = messages.iter().map(|one| one.from).collect();
        let hidden = |from: &MemberNumber| self.hides(scene, step, *from);
        if !senders.iter().any(hidden) {
            return None;
        }
        let kept = messages
            .iter()
            .filter(|one| !self.hides(scene, step, one.from));
        Some(kept.cloned().collect())
    }

    fn decide(
        &self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        work: Work,
        quorum: &Quorum,
        messages: &[PeerMessage],
    ) -> Option<Event> {
        let kept = self.hide(scene, 2, messages);
        let mut told = kept.clone().unwrap_or_else(|| messages.to_vec());
        let false_from = self.made(|one| match one {
            Move::FalseMessages { from } => Some(*from as usize),
            _ => None,
        });
        let lies = false_from.filter(|_| self.is(Party::Aggregator));
        if let Some(from) = lies {
            let circuit = scene.question.manifest.circuit();
            let start = from * circuit.message_len();
            told = self.falsified(scene, told, |content| {
                if let PeerContent::Verifier { messages, .. } = content {
                    let changed = messages.iter_mut().skip(start);
                    changed.for_each(|element| *element = crate::field::add(*element, 1));
                }
            });
        }
        let other = self.moves.iter().any(|one| match one {
            Move::OtherQuorum { member } => counted(scene, *member) == aggregator.member,
            _ => false,
        });
        if kept.is_none() && lies.is_none() && !other {
            return None;
        }
        let members = quorum.members().iter().copied();
        let away = members.clone().find(|one| *one != aggregator.member);
        let quorum = match other {
            true => Quorum::new(members.filter(|one| Some(*one) != away)),
            false => quorum.clone(),
        };
        let decided = scene.decide_at(aggregator.member, work, &quorum, &told);
        let decided = decided.map_err(|error| step_error(&error));
        Some(Event::Decided(aggregator, work, decided))
    }

    /// The messages, with what the Byzantine aggregator says changed and signed again.
    fn falsified(
        &self,
        scene: &mut Scene,
        messages: Vec<PeerMessage>,
        change: impl Fn(&mut PeerContent),
    ) -> Vec<PeerMessage> {
        let liar = last(scene);
        let manifest = scene.question.manifest.clone();
        let channel = Channel {
            query: manifest.query(),
            committee: 0,
        };
        let falsify = |message: PeerMessage| {
            let secret = scene.question.offered[message.to.index()].as_ref();
            let directory = &scene.network.directory;
            let opened = (message.from == liar)
                .then(|| channel.open(&message, message.to, secret?, directory).ok());
            let Some(mut opened) = opened.flatten() else {
                return message;
            };
            change(&mut opened.content);
            let signed = channel.sign(liar, opened.content, &scene.key(liar));
            let mut offers = manifest.offers(0);
            let (_, key) = offers
                .find(|(to, _)| *to == message.to)
                .expect("it offered a key");
            channel.seal(&signed, liar, message.to, key, &mut scene.rng)
        };
        messages.into_iter().map(falsify).collect()
    }

    /// Every aggregator has written its steps, with what they charge.
    fn charge(&mut self, scene: &Scene) {
        for (member, aggregation) in &scene.aggregators {
            self.ledgers.charge(*member, aggregation);
        }
    }

    /// The proposal as the conductor makes it.
    fn proposed(&self, proposal: &Proposal) -> Proposal {
        let without = self.made(|one| match one {
            Move::Propose { without } => Some(*without),
            _ => None,
        });
        let mut proposal = proposal.clone();
        proposal
            .batches
            .retain(|batch| batch.batch.is_noise() || Some(batch.batch.number) != without);
        proposal
    }

    fn notarise(&mut self, proposal: &Proposal) -> Event {
        let proposal = self.proposed(proposal);
        let certified = self.certified.get_or_insert_with(|| proposal.clone());
        if *certified != proposal {
            return Event::Notarised(Err(refused("another release is certified")));
        }
        Event::Notarised(Ok(certificate(&proposal)))
    }

    fn guards(
        &self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        command: &Command,
    ) -> Option<Event> {
        let Command::Guards { proposal, .. } = command else {
            return None;
        };
        let mut proposed = self.proposed(proposal);
        // A notary that signs everything: each aggregator gets another proposal.
        let both = self.is(Party::Finder) && self.is(Party::Conductor);
        if both && self.moves.contains(&Move::CertifyAll) {
            let place = scene.position(aggregator.member) % (proposed.batches.len() + 1);
            if place < proposed.batches.len() && proposed.batches.len() > 1 {
                proposed.batches.remove(place);
            }
        }
        if proposed == **proposal {
            return None;
        }
        let guards = scene.guards_at(aggregator.member, &proposed, &certificate(&proposed));
        let guards = guards.map_err(|error| step_error(&error));
        Some(Event::Guarded(aggregator, guards))
    }

    fn release(
        &self,
        scene: &mut Scene,
        aggregator: AggregatorId,
        messages: &[PeerMessage],
    ) -> Option<Event> {
        let byzantine = self.is(Party::Aggregator);
        if byzantine && aggregator.member == last(scene) && self.moves.contains(&Move::FalseTotal) {
            let total = Self::false_total(scene, aggregator, messages);
            return Some(Event::Released(aggregator, total));
        }
        let kept = self.hide(scene, 3, messages);
        let lies = byzantine && self.moves.contains(&Move::FalseGuards);
        let mut told = match (kept, lies) {
            (None, false) => return None,
            (kept, _) => kept.unwrap_or_else(|| messages.to_vec()),
        };
        if lies {
            told = self.falsified(scene, told, |content| {
                if let PeerContent::Guards { counts, .. } = content {
                    counts
                        .iter_mut()
                        .for_each(|count| *count = crate::field::add(*count, 9));
                }
            });
        }
        let total = scene.release_at(aggregator.member, &told);
        let total = total.map_err(|error| step_error(&error));
        Some(Event::Released(aggregator, total))
    }

    /// The Byzantine aggregator's total with another number in it.
    fn false_total(
        scene: &mut Scene,
        aggregator: AggregatorId,
        messages: &[PeerMessage],
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
        for share in total.outputs.iter_mut().flatten() {
            *share = crate::field::add(*share, 1);
        }
        let signed = total.sign(&scene.key(aggregator.member));
        let reply = scene.question.reply.public();
        Ok(SealedTotal::seal(&signed, &reply, &context, &mut scene.rng))
    }
}

/// The homes of a batch of the scene's find.
fn homes(scene: &Scene, work: Work) -> BTreeSet<usize> {
    if work.batch.number as usize >= scene.found.batches.len() {
        return BTreeSet::new();
    }
    let asks = scene.try_asks(work).map(|opened| opened.asks);
    let asked = asks.into_iter().flat_map(BTreeMap::into_values);
    let homes = asked.flat_map(|ask| ask.homes);
    homes.map(|asked| number(&asked.home)).collect()
}

fn certificate(proposal: &Proposal) -> Certificate {
    Certificate::new(
        proposal.query,
        proposal.round,
        proposal.hash(),
        &key_of("finder"),
    )
}

/// The querier signs a manifest. `None` if it is one that nobody takes.
fn pose(ground: &mut Ground, asked: &Ask, moves: &[Move]) -> Option<Question> {
    let absent = moves.iter().filter_map(|one| match one {
        Move::WithoutOffer(member) => Some(*member),
        _ => None,
    });
    let setting = Setting {
        profile: Some(asked.whom.profile()),
        absent: absent.collect(),
        noise: asked.noise.map(|noise| {
            let delta = match noise.delta {
                0 => None,
                delta => Some(f64::from(delta) / 1e9),
            };
            (f64::from(noise.epsilon) / 1e6, delta)
        }),
        ..ground.setting(asked.counts)
    };
    let change = |manifest: &mut crate::manifest::Manifest| {
        for one in moves {
            match one {
                Move::Cohort(cohort) => manifest.min_cohort = *cohort,
                Move::MostHomes(most) => manifest.max_homes = *most,
                Move::AnswerRate(rate) => manifest.answer_rate = *rate,
                Move::Verifying(number) => manifest.min_verified = *number,
                _ => {}
            }
        }
    };
    let scene = &mut ground.scene;
    Question::posed(&scene.network, &setting, change, &mut scene.rng).ok()
}

/// What the finders find: first what the conductor asks for, then what a Byzantine one asks for beside it.
fn finds(
    ground: &mut Ground,
    asked: &Ask,
    moves: &[Move],
    finders: &mut [Memory; 2],
) -> Vec<Found> {
    let (whom, batch_size) = (asked.whom, asked.batch_size);
    let left_out = moves.iter().filter_map(|one| match one {
        Move::LeaveOutList(list) => Some(pseudonym(LISTS[usize::from(*list) % LISTS.len()])),
        _ => None,
    });
    let left_out: BTreeSet<Pseudonym> = left_out.collect();
    let atoms: BTreeSet<Pseudonym> = whom.profile().atoms().copied().collect();
    let lists: BTreeSet<Pseudonym> = atoms.difference(&left_out).copied().collect();
    let segments = ground.segments(&lists, asked.late);
    let mut streamed = encoded(&segments);
    for one in moves {
        if let Move::RepeatSegment(segment) = one {
            let again = streamed[*segment as usize % streamed.len()].clone();
            streamed.push(again);
        }
    }
    let mut wanted = vec![(batch_size, streamed.clone(), false)];
    for one in moves {
        match one {
            Move::Cut(size) => wanted.push((*size, streamed.clone(), false)),
            Move::OtherFinder => wanted.push((batch_size, streamed.clone(), true)),
            Move::DropEntry(entry) => {
                let dropped = without_entry(&segments, *entry);
                wanted.push((batch_size, encoded(&dropped), false));
            }
            _ => {}
        }
    }
    let scene = &mut ground.scene;
    let mut found = Vec::new();
    for (size, segments, other) in wanted {
        let finder = match other {
            true => scene.network.other_finder_keys(),
            false => scene.network.finder_keys(),
        };
        let opening = scene.question.opening();
        let rng = &mut scene.rng;
        let mut request = scene
            .question
            .find_request(&scene.network, &opening, size, rng);
        // The head names what is streamed: what the querier submitted.
        request.lists.retain(|list| !left_out.contains(list));
        let memory = &mut finders[usize::from(other)];
        let (network, question) = (&scene.network, &scene.question);
        let once = find_remembering(&finder, memory, network, question, &request, &segments);
        found.extend(once);
    }
    found
}

/// The segments without one entry.
pub(super) fn without_entry(segments: &[ListSegment], entry: u32) -> Vec<ListSegment> {
    let mut segments: Vec<ListSegment> = segments.iter().map(copy_of).collect();
    let all: usize = segments.iter().map(|segment| segment.entries.len()).sum();
    let mut place = entry as usize % all.max(1);
    for segment in &mut segments {
        if place < segment.entries.len() {
            segment.entries.remove(place);
            break;
        }
        place -= segment.entries.len();
    }
    segments
}
