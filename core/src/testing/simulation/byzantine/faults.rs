//! Faults of honest nodes during the moves of a coalition.

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

/// Faults of a query, and the disks of its aggregators.
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

    /// Returns the fault of the next request, if it has one.
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

    /// Returns `None` if the conductor survives the next event. Else it dies, and the value is true if it first took
    /// and wrote the event.
    pub(super) fn death(&mut self) -> Option<bool> {
        let number = self.events;
        self.events += 1;
        self.ops.iter().find_map(|op| match op {
            Op::Conductor { event, kept, .. } if *event == number => Some(*kept),
            _ => None,
        })
    }
}

/// Returns the event under the work of this command, even if the node read another work in it.
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
    /// Writes the changes of an aggregator's last step, with its charges.
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

    /// Restarts the aggregator of a command from its written state. Other nodes keep no state that they need.
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

    /// Takes a step with a fault. After a crash the request is repeated, except an ask that the node may have taken.
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
