//! One query over a network with faults, on a virtual clock.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use zeroize::Zeroizing;

use super::schedule::{Crash, Fault, Node, Op, Schedule};
use crate::{
    aggregation::{Aggregation, Part, Record as Kept},
    ask::Answer,
    conduct::{Command, Conduct, Event, Options, Phase, Record, StepError},
    release::{Certificate, Proposal},
    testing::{Scene, copy_of, failed, key_of, model::Follower, step_error},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{MemberNumber, Work},
};

/// Virtual milliseconds until a request counts as lost.
const PATIENCE: u64 = 1000;
/// Number of times that a repeatable step is tried.
const TRIES: u32 = 3;
/// Longest life of a query, in virtual milliseconds. `MOST` is the largest number of happenings in it.
const LIFE: u64 = 120_000;
const MOST: usize = 5000;

enum Happening {
    /// A request reaches its node.
    Request { call: u64, faults: Vec<Fault> },
    /// An answer reaches the conductor.
    Reply { call: u64, event: Box<Event> },
    /// An answer is late.
    Late { call: u64, tried: u32 },
    /// The conductor restarts.
    Back,
}

/// Command that waits for its event.
struct Call {
    command: Command,
    tried: u32,
}

/// Answers of a scene's stacks, by work.
pub(super) type Answers = BTreeMap<Work, Vec<Answer>>;

pub(super) struct World<'a> {
    scene: &'a mut Scene,
    answers: &'a mut Answers,
    schedule: &'a Schedule,
    rng: StdRng,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    /// Next number of a happening or call.
    next: u64,
    conduct: Conduct,
    /// Record that the conductor wrote. `up` is false while its process is gone.
    record: Vec<u8>,
    up: bool,
    calls: BTreeMap<u64, Call>,
    requests: u32,
    events: u32,
    asks: u32,
    disks: BTreeMap<MemberNumber, BTreeMap<Part, Vec<u8>>>,
    certified: Option<[u8; 32]>,
    /// Works that the target asked. The target loses them when it dies.
    asked: BTreeSet<Work>,
    /// Works that each stack answered.
    answered: BTreeSet<(usize, Work)>,
    /// Hosts whose homes are in the answer to a work.
    hosts: BTreeMap<Work, BTreeSet<usize>>,
    proposal: Option<Proposal>,
    /// Description of what happened, for people.
    pub(super) log: Vec<String>,
}

/// End of a query.
pub(super) struct Ended {
    pub(super) conduct: Conduct,
    /// Homes in the answers of the released batches.
    pub(super) homes: BTreeSet<usize>,
}

fn malformed() -> StepError {
    StepError::Refused("malformed".into())
}

/// Returns `value` with one bit of its encoding changed, or an error if the changed bytes do not decode.
fn flipped<T: BorshSerialize + BorshDeserialize>(value: &T, bit: u64) -> Result<T, StepError> {
    let mut bytes = to_bytes(value);
    let bit = bit as usize % (8 * bytes.len());
    bytes[bit / 8] ^= 1 << (bit % 8);
    from_bytes(&bytes, 1 << 30, "flipped").map_err(|_| malformed())
}

fn node_of(command: &Command) -> Node {
    match command {
        Command::Find { .. } => Node::Finder,
        Command::Ask { .. } => Node::Target,
        Command::Notarise { .. } => Node::Notary,
        other => Node::Aggregator(other.step().1.expect("an aggregator takes it").member),
    }
}

/// Returns the command that arrives after one bit was changed.
pub(super) fn corrupted(command: &Command, bit: u64) -> Result<Command, StepError> {
    let mut command = command.clone();
    match &mut command {
        Command::Find { .. } | Command::Ask { .. } | Command::Notarise { .. } => {
            return Err(malformed());
        }
        Command::Deal { request, .. } => *request = flipped(&**request, bit)?.into(),
        Command::OpenDeals { deals, .. } => *deals = flipped(&**deals, bit)?.into(),
        Command::Begin { grants, .. } => *grants = flipped(&**grants, bit)?.into(),
        Command::Open {
            position, answer, ..
        } => {
            let mut changed = (**answer).clone();
            if let Some(group) = changed.groups[*position].first_mut() {
                *group = flipped(group, bit)?;
            }
            *answer = changed.into();
        }
        Command::Verify { messages, .. }
        | Command::Decide { messages, .. }
        | Command::Release { messages, .. } => *messages = flipped(messages, bit)?,
        Command::Commit {
            acknowledgements, ..
        } => *acknowledgements = flipped(&**acknowledgements, bit)?.into(),
        Command::Guards { certificate, .. } => {
            *certificate = flipped(&**certificate, bit)?.into();
        }
    }
    Ok(command)
}

/// Returns the event of an answer that arrives after one bit was changed.
pub(super) fn corrupted_reply(command: &Command, event: Event, bit: u64) -> Event {
    let changed = match event {
        Event::Opened(of, work, Ok(said)) => {
            flipped(&said, bit).map(|said| Event::Opened(of, work, Ok(said)))
        }
        Event::Dealt(of, work, Ok(said)) => {
            flipped(&said, bit).map(|said| Event::Dealt(of, work, Ok(said)))
        }
        Event::Verified(of, work, Ok(said)) => {
            flipped(&said, bit).map(|said| Event::Verified(of, work, Ok(said)))
        }
        Event::Decided(of, work, Ok(said)) => {
            flipped(&said, bit).map(|said| Event::Decided(of, work, Ok(said)))
        }
        Event::Guarded(of, Ok(said)) => {
            flipped(&said, bit).map(|said| Event::Guarded(of, Ok(said)))
        }
        Event::Released(of, Ok(total)) => {
            flipped(&total, bit).map(|total| Event::Released(of, Ok(total)))
        }
        Event::Notarised(Ok(word)) => flipped(&word, bit).map(|word| Event::Notarised(Ok(word))),
        Event::Asked(work, Ok(mut answer)) => {
            let groups = answer.groups.iter_mut().flatten();
            let changed = match groups.last() {
                Some(group) => flipped(group, bit).map(|changed| *group = changed),
                None => Ok(()),
            };
            changed.map(|()| Event::Asked(work, Ok(answer)))
        }
        other => Ok(other),
    };
    changed.unwrap_or_else(|error| failed(command, error))
}

impl<'a> World<'a> {
    pub(super) fn new(
        (scene, answers): (&'a mut Scene, &'a mut Answers),
        schedule: &'a Schedule,
    ) -> (Self, Vec<Command>) {
        // Schedules repeat the random draws of the scene.
        dispers_crypto::aead::record::forget();
        scene.rng = StdRng::seed_from_u64(schedule.seed ^ 0x5eed);
        let members = scene.members();
        for member in members {
            let fresh = scene.aggregation(member);
            scene.aggregators.insert(member, fresh);
        }
        let (conduct, commands) = Conduct::new(scene.question.manifest.clone(), options());
        let manifest = &scene.question.manifest;
        let modelled = scene.batches() <= 2 && manifest.offers(0).count() == 3;
        let follower = modelled.then(|| Follower::new(manifest.min_verified));
        scene.follower = follower;
        let mut world = Self {
            record: to_bytes(&conduct.record()),
            rng: StdRng::seed_from_u64(schedule.seed),
            now: 0,
            queue: BTreeMap::new(),
            next: 0,
            conduct,
            up: true,
            calls: BTreeMap::new(),
            requests: 0,
            events: 0,
            asks: 0,
            disks: BTreeMap::new(),
            certified: None,
            asked: BTreeSet::new(),
            answered: BTreeSet::new(),
            hosts: BTreeMap::new(),
            proposal: None,
            log: Vec::new(),
            scene,
            answers,
            schedule,
        };
        for member in world.scene.members() {
            world.write(member);
        }
        (world, commands)
    }

    /// Runs the query to its end.
    pub(super) fn run(mut self, commands: Vec<Command>) -> Result<(Ended, Vec<String>), String> {
        self.issue(commands);
        for _ in 0..MOST {
            let follower = self.scene.follower.as_ref();
            if let Some(differs) = follower.and_then(Follower::differs) {
                return Err(format!("not a path of the model: {differs}"));
            }
            let phase = self.conduct.status().phase;
            if self.up && matches!(phase, Phase::Done | Phase::Failed) {
                let homes = self.released();
                let conduct = self.conduct;
                return Ok((Ended { conduct, homes }, self.log));
            }
            let Some(((at, _), happening)) = self.queue.pop_first() else {
                return Err(format!("nothing happens any more at {} ms", self.now));
            };
            self.now = at;
            if at > LIFE {
                return Err("it does not end in its time".into());
            }
            match happening {
                Happening::Request { call, faults } => self.arrive(call, &faults),
                Happening::Reply { call, event } => {
                    if self.up && self.calls.remove(&call).is_some() {
                        self.handle(*event);
                    }
                }
                Happening::Late { call, tried } => self.late(call, tried),
                Happening::Back => self.resume(),
            }
        }
        Err("it does not end".into())
    }

    fn put(&mut self, after: u64, happening: Happening) {
        self.next += 1;
        self.queue.insert((self.now + after, self.next), happening);
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        let line = format!("{:>6} ms {}", self.now, words());
        self.log.push(line);
    }

    fn issue(&mut self, commands: Vec<Command>) {
        for command in commands {
            if let Command::Notarise { proposal } = &command {
                self.proposal = Some((**proposal).clone());
            }
            self.next += 1;
            let call = self.next;
            self.calls.insert(call, Call { command, tried: 0 });
            self.send(call);
        }
    }

    /// Sends a call's request, for the first time or again.
    fn send(&mut self, call: u64) {
        let Some(waiting) = self.calls.get_mut(&call) else {
            return;
        };
        waiting.tried += 1;
        let tried = waiting.tried;
        let (step, to) = waiting.command.step();
        let faults: Vec<Fault> = self.schedule.faults(self.requests).collect();
        let number = self.requests;
        self.tell(|| format!("request {number}: {step:?} {to:?} {faults:?}"));
        self.requests += 1;
        let late = faults.iter().filter_map(|fault| match fault {
            Fault::Delay(by) => Some(*by),
            _ => None,
        });
        let delay = self.rng.random_range(1..40) + late.sum::<u64>();
        if !faults.contains(&Fault::DropRequest) {
            if faults.contains(&Fault::Duplicate) {
                let again = delay + self.rng.random_range(0..200);
                let faults = Vec::new();
                self.put(again, Happening::Request { call, faults });
            }
            self.put(delay, Happening::Request { call, faults });
        }
        self.put(PATIENCE, Happening::Late { call, tried });
    }

    fn late(&mut self, call: u64, tried: u32) {
        let Some(waiting) = self.calls.get(&call).filter(|call| call.tried == tried) else {
            return;
        };
        // A find and an ask are not repeated as they are.
        let once = matches!(waiting.command, Command::Find { .. } | Command::Ask { .. });
        if tried < TRIES && !once {
            return self.send(call);
        }
        if let Some(waiting) = self.calls.remove(&call) {
            self.handle(failed(&waiting.command, StepError::Unreachable));
        }
    }

    fn reachable(&self, node: Node) -> bool {
        !self.schedule.ops.iter().any(|op| match op {
            Op::Partition { node: of, from, to } => *of == node && (*from..*to).contains(&self.now),
            Op::Gone { node: of, from } => *of == node && *from <= self.now,
            _ => false,
        })
    }

    /// Delivers a request to its node, if the node is reachable.
    fn arrive(&mut self, call: u64, faults: &[Fault]) {
        // A call of a conductor that died is forgotten, so that its request has no effect.
        let Some(command) = self.calls.get(&call).map(|call| call.command.clone()) else {
            return;
        };
        let node = node_of(&command);
        if !self.reachable(node) {
            return self.tell(|| format!("{node:?} cannot be reached"));
        }
        let crash = faults.iter().find_map(|fault| match fault {
            Fault::Crash(crash) => Some(*crash),
            _ => None,
        });
        if crash == Some(Crash::Before) {
            return self.restart(node);
        }
        let bit = faults.iter().find_map(|fault| match fault {
            Fault::CorruptRequest(bit) => Some(*bit),
            _ => None,
        });
        let received = bit.map_or(Ok(command.clone()), |bit| corrupted(&command, bit));
        let mut event = match received {
            Ok(received) => self.take(&received),
            Err(error) => failed(&command, error),
        };
        if crash == Some(Crash::Unwritten) {
            return self.restart(node);
        }
        if let Node::Aggregator(member) = node {
            self.write(member);
        }
        if crash == Some(Crash::Unsaid) {
            return self.restart(node);
        }
        for fault in faults {
            match fault {
                Fault::DropReply => return,
                Fault::CorruptReply(bit) => event = corrupted_reply(&command, event, *bit),
                _ => {}
            }
        }
        let delay = self.rng.random_range(1..40);
        self.put(
            delay,
            Happening::Reply {
                call,
                event: event.into(),
            },
        );
    }

    /// Restarts a node from its written state.
    fn restart(&mut self, node: Node) {
        self.tell(|| format!("{node:?} restarts"));
        match node {
            Node::Aggregator(member) => {
                let records = self.disks[&member].iter();
                let records =
                    records.map(|(part, bytes)| (*part, Kept::new(Zeroizing::new(bytes.clone()))));
                let manifest = self.scene.question.manifest.clone();
                let restored = Aggregation::restore(manifest, 0, member, records, |key| key);
                let restored = restored.expect("what was written is read");
                if let Some(follower) = &mut self.scene.follower {
                    follower.restarted(member, &restored);
                }
                self.scene.aggregators.insert(member, restored);
            }
            Node::Target => self.asked.clear(),
            // A notary writes before it signs, and a finder keeps no state.
            Node::Notary | Node::Finder => {}
        }
    }

    fn write(&mut self, member: MemberNumber) {
        if let Some(follower) = &mut self.scene.follower {
            follower.written(member);
        }
        let aggregation = self.scene.aggregators.get_mut(&member);
        let aggregation = aggregation.expect("it is there");
        let disk = self.disks.entry(member).or_default();
        let Some(changes) = aggregation.changes() else {
            return;
        };
        if changes.whole {
            disk.clear();
        }
        let records = changes.records.iter();
        disk.extend(records.map(|(part, record)| (*part, record.as_bytes().to_vec())));
        aggregation.saved();
    }

    /// Carries out a command at its node.
    fn take(&mut self, command: &Command) -> Event {
        match command {
            Command::Find { partition } => {
                let summary = copy_of(&self.scene.found.summary);
                Event::Found(*partition, Ok(summary))
            }
            Command::Ask { work, .. } => Event::Asked(*work, self.ask(*work)),
            Command::Notarise { proposal } => {
                let hash = proposal.hash();
                if *self.certified.get_or_insert(hash) != hash {
                    let refused = StepError::Refused("another release is certified".into());
                    return Event::Notarised(Err(refused));
                }
                let key = key_of("finder");
                let word = Certificate::new(proposal.query, proposal.round, hash, &key);
                Event::Notarised(Ok(word))
            }
            Command::Begin { aggregator, grants } => {
                let directory = &self.scene.network.directory;
                let state = self.scene.aggregators.get_mut(&aggregator.member);
                let state = state.expect("it is there");
                let mut taken = grants
                    .iter()
                    .map(|(partition, grant)| state.grant(*partition, grant, directory));
                let taken = taken.try_for_each(|taken| taken.map_err(|e| step_error(&e)));
                Event::Begun(*aggregator, taken)
            }
            _ => self.scene.carry_out(command),
        }
    }

    fn ask(&mut self, work: Work) -> Result<crate::ask::BatchAnswer, StepError> {
        let ask = self.asks;
        self.asks += 1;
        if !self.asked.insert(work) {
            return Err(StepError::Refused("asked already".into()));
        }
        // The answers of stacks to a work are made once for all schedules.
        let answered = match self.answers.get(&work) {
            Some(answered) => answered,
            None => {
                let made = self.scene.answers(work);
                self.answers.entry(work).or_insert(made)
            }
        };
        let mut answers = Vec::new();
        for (host, answer) in answered.iter().map(copy_of).enumerate() {
            let silent = self.schedule.ops.contains(&Op::Silent { host, ask });
            // A stack answers a work once, whoever asks.
            if !silent && self.answered.insert((host, work)) {
                self.hosts.entry(work).or_default().insert(host);
                answers.push(answer);
            }
        }
        Ok(self.scene.collect(work, answers))
    }

    /// Gives an event to the conductor, which writes its record before it acts, or dies.
    fn handle(&mut self, event: Event) {
        let event = self.scene.received(event);
        let number = self.events;
        self.events += 1;
        let death = self.schedule.ops.iter().find_map(|op| match op {
            Op::Conductor { event, kept, down } if *event == number => Some((*kept, *down)),
            _ => None,
        });
        if let Some((kept, down)) = death {
            if kept {
                self.conduct.handle(event);
                self.record = to_bytes(&self.conduct.record());
            }
            self.up = false;
            self.calls.clear();
            self.tell(|| format!("the conductor dies at event {number}, kept: {kept}"));
            return self.put(down, Happening::Back);
        }
        let commands = self.conduct.handle(event);
        self.record = to_bytes(&self.conduct.record());
        self.issue(commands);
    }

    fn resume(&mut self) {
        let record: Record = from_bytes(&self.record, 1 << 20, "record").expect("it was kept");
        let manifest = self.scene.question.manifest.clone();
        let (conduct, commands) = Conduct::resume(manifest, options(), record);
        self.conduct = conduct;
        self.record = to_bytes(&self.conduct.record());
        self.up = true;
        self.tell(|| "the conductor is back".into());
        self.issue(commands);
    }

    /// Returns the numbers of the homes in the last proposal, if totals were released.
    fn released(&self) -> BTreeSet<usize> {
        if self.conduct.totals().is_none() {
            return BTreeSet::new();
        }
        let mut homes = BTreeSet::new();
        for committed in self.proposal.iter().flat_map(|proposal| &proposal.batches) {
            let work = Work {
                query: self.scene.question.manifest.query(),
                round: 0,
                batch: committed.batch,
                attempt: committed.attempt,
            };
            let answered = self.hosts.get(&work).cloned().unwrap_or_default();
            let asks = self.scene.asks(work).asks;
            for (host, ask) in asks.into_values().enumerate() {
                if answered.contains(&host) {
                    homes.extend(ask.homes.iter().map(|home| super::number(&home.home)));
                }
            }
        }
        homes
    }
}

fn options() -> Options {
    Options::default()
}
