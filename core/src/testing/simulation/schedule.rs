//! Faults as data: a schedule follows from a seed, and prints.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::testing::member;
use dispers_base::id::MemberNumber;

/// Node to which the conductor sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Finder,
    Target,
    Notary,
    Aggregator(MemberNumber),
}

/// Moment at which a node that takes a request dies. It is back at once, with its written state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// Before the step.
    Before,
    /// After the step, before it is written.
    Unwritten,
    /// After the step is written, before its answer leaves.
    Unsaid,
}

/// Fault of one request of the conductor, or of its answer. Bit numbers that are too large wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    DropRequest,
    DropReply,
    Duplicate,
    Delay(u64),
    CorruptRequest(u64),
    CorruptReply(u64),
    Crash(Crash),
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Fault of the request with this number, counted over the whole query.
    Request(u32, Fault),
    /// The conductor dies at the event of this number, and is back after `down` milliseconds. `kept` is true if it took
    /// and wrote the event before.
    Conductor { event: u32, kept: bool, down: u64 },
    /// A node cannot be reached for a while.
    Partition { node: Node, from: u64, to: u64 },
    /// A node is lost for good.
    Gone { node: Node, from: u64 },
    /// A stack does not answer the ask of this number.
    Silent { host: usize, ask: u32 },
}

/// Network and its faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    /// Index into [`SHAPES`](super::SHAPES).
    pub(super) shape: usize,
    pub(super) ops: Vec<Op>,
}

/// Largest number of requests of a query without faults.
const REQUESTS: u32 = 70;
/// Largest number of virtual milliseconds of a query without faults.
const TIME: u64 = 1500;

impl Schedule {
    /// Draws the schedule of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = rng.random_range(0..super::SHAPES.len());
        let members = super::SHAPES[shape].committee.1;
        let count = rng.random_range(0..=6);
        let ops = (0..count).map(|_| op(&mut rng, members)).collect();
        Self { seed, shape, ops }
    }

    /// Returns the faults of one request.
    pub(super) fn faults(&self, request: u32) -> impl Iterator<Item = Fault> + '_ {
        self.ops.iter().filter_map(move |op| match op {
            Op::Request(number, fault) if *number == request => Some(*fault),
            _ => None,
        })
    }

    /// Returns whether a received message may differ from the sent one.
    pub(super) fn corrupts(&self) -> bool {
        let corrupts = |fault| matches!(fault, Fault::CorruptRequest(_) | Fault::CorruptReply(_));
        let mut ops = self.ops.iter();
        ops.any(|op| matches!(op, Op::Request(_, fault) if corrupts(*fault)))
    }
}

fn node(rng: &mut StdRng, members: u8) -> Node {
    match rng.random_range(0..6) {
        0 => Node::Finder,
        1 => Node::Target,
        2 => Node::Notary,
        _ => Node::Aggregator(member(rng.random_range(1..=members))),
    }
}

fn fault(rng: &mut StdRng) -> Fault {
    match rng.random_range(0..9) {
        0 => Fault::DropRequest,
        1 => Fault::DropReply,
        2 => Fault::Duplicate,
        3 => Fault::Delay(rng.random_range(0..2500)),
        4 => Fault::CorruptRequest(rng.random_range(0..1 << 20)),
        5 => Fault::CorruptReply(rng.random_range(0..1 << 20)),
        6 => Fault::Crash(Crash::Before),
        7 => Fault::Crash(Crash::Unwritten),
        _ => Fault::Crash(Crash::Unsaid),
    }
}

fn op(rng: &mut StdRng, members: u8) -> Op {
    match rng.random_range(0..10) {
        0..=5 => Op::Request(rng.random_range(0..REQUESTS), fault(rng)),
        6 => Op::Conductor {
            event: rng.random_range(0..REQUESTS),
            kept: rng.random(),
            down: rng.random_range(0..3000),
        },
        7 => {
            let from = rng.random_range(0..TIME);
            Op::Partition {
                node: node(rng, members),
                from,
                to: from + rng.random_range(0..4000),
            }
        }
        8 => Op::Gone {
            node: node(rng, members),
            from: rng.random_range(0..TIME),
        },
        _ => Op::Silent {
            host: rng.random_range(0..2),
            ask: rng.random_range(0..4),
        },
    }
}

/// Draws a fault beside a coalition's moves, where there is no clock: a request that is lost at every try, before or
/// after its step, or that is repeated, changed or interrupted; or a conductor that dies at an event.
pub(super) fn of_campaign(rng: &mut StdRng, members: u8) -> Op {
    match rng.random_range(0..8) {
        0 => Op::Conductor {
            event: rng.random_range(0..REQUESTS / 2),
            kept: rng.random(),
            down: 0,
        },
        1 => Op::Gone {
            node: Node::Aggregator(member(rng.random_range(1..=members))),
            // The time is counted in requests here.
            from: rng.random_range(0..u64::from(REQUESTS)),
        },
        _ => {
            let drawn = fault(rng);
            let fault = match drawn {
                Fault::Delay(_) => Fault::Duplicate,
                other => other,
            };
            Op::Request(rng.random_range(0..REQUESTS / 2), fault)
        }
    }
}
