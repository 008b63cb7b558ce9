//! What goes wrong among honest nodes while a coalition makes its moves.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::super::schedule::{Crash, Fault, Node, Op};
use super::super::world::{corrupted, corrupted_reply};
use super::query::Query;
use crate::{
    aggregation::{Aggregation, Part, Record},
    conduct::{Command, Event, StepError},
    testing::{Scene, failed},
};
use dispers_base::id::MemberNumber;

/// The faults of a query, and what its nodes have on disk.
pub(super) struct Faults {
    ops: Vec<Op>,
    requests: u32,
    events: u32,
    disks: BTreeMap<MemberNumber, BTreeMap<Part, Vec<u8>>>,
}

impl Faults {
    pub(super) fn new(ops: Vec<Op>) -> Self {
        Self {
            ops,
            requests: 0,
            events: 0,
            disks: BTreeMap::new(),
        }
    }

    /// What goes wrong with the next request.
    pub(super) fn next(&mut self, command: &Command) -> Option<Fault> {
        let number = self.requests;
        self.requests += 1;
        let to = command.step().1;
        self.ops.iter().find_map(|op| match op {
            Op::Request(of, fault) if *of == number => Some(*fault),
            Op::Gone { node, from } => {
                let gone = to.is_some_and(|to| *node == Node::Aggregator(to.member));
                (gone && *from <= number.into()).then_some(Fault::DropRequest)
            }
            _ => None,
        })
    }

    /// Returns whether the conductor is interrupted at some event.
    pub(super) fn interrupt(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Conductor { .. }))
    }

    /// Whether the conductor dies at the next event: after it wrote what follows, or before it took it.
    pub(super) fn death(&mut self) -> Option<bool> {
        let number = self.events;
        self.events += 1;
        self.ops.iter().find_map(|op| match op {
            Op::Conductor { event, kept, .. } if *event == number => Some(*kept),
            _ => None,
        })
    }
}

/// The event as the one of this command, whatever the node took it for.
fn named_for(command: &Command, event: Event) -> Event {
    match (command, event) {
        (Command::Deal { request, .. }, Event::Dealt(of, _, dealt)) => {
            Event::Dealt(of, request.work, dealt)
        }
        (Command::OpenDeals { request, .. }, Event::Opened(of, _, opened)) => {
            Event::Opened(of, request.work, opened)
        }
        (_, event) => event,
    }
}

impl Query<'_> {
    /// An aggregator writes what its last step changed, with what it charges.
    pub(super) fn written(&mut self, scene: &mut Scene, member: MemberNumber) {
        let Some(aggregation) = scene.aggregators.get_mut(&member) else {
            return;
        };
        self.ledgers.charge(member, aggregation);
        if let Some(follower) = &mut scene.follower {
            follower.written(member);
        }
        if self.faults.ops.is_empty() {
            return;
        }
        let Some(changes) = aggregation.changes() else {
            return;
        };
        let disk = self.faults.disks.entry(member).or_default();
        if changes.whole {
            disk.clear();
        }
        let records = changes.records.iter();
        disk.extend(records.map(|(part, record)| (*part, record.as_bytes().to_vec())));
        aggregation.saved();
    }

    /// An aggregator dies and is back with what it wrote. Others keep nothing that they need.
    fn restart(&mut self, scene: &mut Scene, command: &Command) {
        let Some(aggregator) = command.step().1 else {
            return;
        };
        let member = aggregator.member;
        let Some(disk) = self.faults.disks.get(&member) else {
            return;
        };
        let records = disk
            .iter()
            .map(|(part, bytes)| (*part, Record::new(Zeroizing::new(bytes.clone()))));
        let manifest = scene.question.manifest.clone();
        let watcher = scene.watcher.clone();
        let restored = Aggregation::restore(manifest, 0, member, records, |key| match watcher {
            Some(watcher) => key.watched(watcher),
            None => key,
        });
        let restored = restored.expect("what was written is read");
        if let Some(follower) = &mut scene.follower {
            follower.restarted(member, &restored);
        }
        scene.aggregators.insert(member, restored);
    }

    /// The step of a node to which something happens. Whoever asks tries again, but for a find's answer and an ask.
    pub(super) fn faulty(&mut self, scene: &mut Scene, command: &Command, fault: Fault) -> Event {
        let once = matches!(command, Command::Ask { .. });
        match fault {
            Fault::DropRequest => failed(command, StepError::Unreachable),
            Fault::DropReply => {
                self.carry_out(scene, command);
                failed(command, StepError::Unreachable)
            }
            Fault::Duplicate | Fault::Delay(_) => {
                let event = self.carry_out(scene, command);
                let again = self.carry_out(scene, command);
                if once { event } else { again }
            }
            Fault::CorruptRequest(bit) => match corrupted(command, bit) {
                Ok(changed) => named_for(command, self.carry_out(scene, &changed)),
                Err(error) => failed(command, error),
            },
            Fault::CorruptReply(bit) => {
                let event = self.carry_out(scene, command);
                corrupted_reply(command, event, bit)
            }
            Fault::Crash(crash) => {
                match crash {
                    Crash::Before => {}
                    Crash::Unwritten => {
                        let event = self.intervene(scene, command);
                        event.unwrap_or_else(|| scene.carry_out(command));
                    }
                    Crash::Unsaid => {
                        self.carry_out(scene, command);
                    }
                }
                self.restart(scene, command);
                match once && crash != Crash::Before {
                    true => failed(command, StepError::Unreachable),
                    false => self.carry_out(scene, command),
                }
            }
        }
    }
}
